"""Several processes that train one model: what a backend needs to take part.

.. code-block:: python

    ranks = current_ranks()  # in the constructor of a model; None where the process is alone
"""

from emloop._contracts.ranks import Ranks, Scene, Shared, current_ranks, use_ranks
from emloop._streams.shares import Divisible, Part, Share

__all__ = ["Divisible", "Part", "Ranks", "Scene", "Share", "Shared", "current_ranks", "use_ranks"]
