"""Decides whether a saved model works without the source of the class that saved it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path

__all__ = ["overridden_methods", "why_source_is_needed"]

_METHODS = ("compute_outputs", "fit_batch", "load_state_dict", "run", "state_dict")
"""Methods that a saved estimator cannot carry; ``create_model`` is not among them, since it has done its work."""


def overridden_methods(cls: type, base: type) -> list[str]:
    """Methods that only the source of the class has."""
    return [name for name in _METHODS if getattr(cls, name) is not getattr(base, name)]


def why_source_is_needed(cls: type, base: type, types: Collection[str]) -> str | None:
    """Say why restoring needs the source; ``None`` if it does not.

    Args:
        cls: The model's class.
        base: The class that would have to restore it.
        types: Full names of the types in the estimator that come from no known library.
    """
    overridden = overridden_methods(cls, base)
    if overridden:
        return f"{cls.__module__}.{cls.__qualname__} overrides {', '.join(overridden)}"
    own = [name for name in types if not _is_installed(name.rpartition(".")[0])]
    return f"the estimator is made of {', '.join(own)}" if own else None


def _is_installed(module: str) -> bool:
    """Whether a module belongs to an installed library, which other machines can have too."""
    file = getattr(sys.modules.get(module), "__file__", None)
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    return file is not None and any(Path(file).is_relative_to(library) for library in libraries)
