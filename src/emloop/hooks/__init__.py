"""The built-in hooks; a configuration names them without a path.

Nothing is imported before it is used: :mod:`._modules` says where each name lives. What hooks share is in the rooms
below.
"""

from emloop._support.lazy import lazy_names

from ._modules import MODULES

__all__ = sorted(MODULES)  # noqa: PLE0605  (computed, so that no name can be missing)

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **{name: f".{module}" for name, module in MODULES.items()},
        **{module: f".{module}" for module in MODULES.values()},
    },
)
