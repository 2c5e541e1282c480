"""Abilities that a model may have beside :class:`emloop.AbstractModel`; for backends, hooks and plugins.

.. code-block:: python

    if not isinstance(model, Steerable):
        raise ConfigError(f"{type(model).__name__} has no numbers that a hook could change")
"""

from emloop._contracts.abilities import (
    Described,
    EpochAware,
    Explaining,
    Exportable,
    Gathering,
    Inspectable,
    NaNAware,
    Predicting,
    Prefetching,
    Restorable,
    Stateful,
    Steerable,
)

__all__ = [
    "Described",
    "EpochAware",
    "Explaining",
    "Exportable",
    "Gathering",
    "Inspectable",
    "NaNAware",
    "Predicting",
    "Prefetching",
    "Restorable",
    "Stateful",
    "Steerable",
]
