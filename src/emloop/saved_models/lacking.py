"""What a saved model cannot bring along of the classes that it was made by, and which packages those are from."""

import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from emloop.errors import SavedModelError

from .collecting import packages_of
from .reading import Saved

__all__ = ["overridden_methods", "require_program", "versions_of", "why_training_needs_source"]


def overridden_methods(cls: type, base: type, methods: Iterable[str]) -> list[str]:
    """Which of some methods of a base only the class's source has."""
    return [name for name in methods if hasattr(base, name) and getattr(cls, name) is not getattr(base, name)]


def why_training_needs_source(cls: type, overridden: Iterable[str], trained_by: Iterable[type] = ()) -> str | None:
    """Why the source is needed for training, or ``None`` if it is not.

    Args:
        cls: The model's class.
        overridden: Its methods that no program has.
        trained_by: Classes of what trains it. A package can be installed wherever the training is to go on; the
            project's own modules are its source.
    """
    name = f"{cls.__module__}.{cls.__qualname__}"
    if overridden := list(overridden):
        return f"{name} overrides {', '.join(overridden)}"
    for kind in trained_by:
        if kind.__module__ not in sys.modules or packages_of(kind.__module__) is None:
            return f"{name} is trained by {kind.__module__}.{kind.__qualname__}"
    return None


def versions_of(classes: Iterable[type]) -> dict[str, str]:
    """Distribution → version, of all that brought some classes along."""
    modules = {kind.__module__ for kind in classes}
    return {package: version(package) for package in sorted({p for name in modules for p in packages_of(name) or ()})}


def require_program(saved: Saved) -> Path:
    """The directory of the program that a saved model needs where its source is gone.

    Raises:
        SavedModelError: If there is none, or it is damaged.
    """
    if (directory := saved.program()) is None:
        raise SavedModelError(
            f"{saved.path}: the model's source is needed: its run has never saved a model, so there is no program of it"
        )
    return directory
