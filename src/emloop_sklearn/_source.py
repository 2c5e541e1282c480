"""Decides whether a saved model works without the source of the class that saved it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path

__all__ = ["LEARNING", "METHODS", "what_needs_source"]

LEARNING = "fit_batch"
"""The one method that a model which only predicts does without."""

METHODS = ("compute_outputs", "fit_batch", "load_state_dict", "run", "state_dict")
"""Methods that a saved estimator cannot carry; ``create_model`` is not among them, since it has done its work."""


def what_needs_source(cls: type, overridden: Collection[str], types: Collection[str]) -> tuple[str, str | None]:
    """How much works without the source, and why not all of it.

    Args:
        cls: The model's class.
        overridden: Its methods that a saved estimator cannot carry.
        types: Full names of the types in the estimator that come from no known library.

    Returns:
        The rung, ``estimator`` (all), ``inference`` (all but training) or ``weights`` (nothing); and the reason.
    """
    if own := [name for name in types if not _is_installed(name.rpartition(".")[0])]:
        return "weights", f"the estimator is made of {', '.join(own)}"
    if not overridden:
        return "estimator", None
    rung = "inference" if list(overridden) == [LEARNING] else "weights"
    return rung, f"{cls.__module__}.{cls.__qualname__} overrides {', '.join(overridden)}"


def _is_installed(module: str) -> bool:
    """Whether a module belongs to an installed library, which other machines can have too."""
    file = getattr(sys.modules.get(module), "__file__", None)
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    return file is not None and any(Path(file).is_relative_to(library) for library in libraries)
