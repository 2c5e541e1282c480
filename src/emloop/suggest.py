"""Saying which word somebody probably meant, in the same grammar everywhere; for backends and plugins.

.. code-block:: python

    raise ConfigError(Problem(f"unknown argument {name!r}", hints=did_you_mean(name, accepted)))
"""

from emloop._support.moved import hints as moved_hints
from emloop._support.suggest import check_choice, did_you_mean, nearest, one_of, pick

__all__ = ["check_choice", "did_you_mean", "moved_hints", "nearest", "one_of", "pick"]
