"""The module path of the reference; the command is in :mod:`emloop.cli._training.gridsearch`."""

from ._training.gridsearch import _build_grid_search_commands, grid_search

__all__ = ["_build_grid_search_commands", "grid_search"]
