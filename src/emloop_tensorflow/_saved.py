"""What marks the states of this backend's models, and what of a class its saved models cannot bring along."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from emloop.saved_models import packages_of

__all__ = ["BACKEND", "FORMAT", "METHODS", "installed_as", "overridden_methods", "versions"]

BACKEND = "tensorflow"
FORMAT = f"emloop_{BACKEND} 1"
_TENSORFLOW = "tensorflow"

METHODS = ("load_state_dict", "run", "state_dict")
"""What a class may do in its own way outside of its graphs."""


def overridden_methods(cls: type, base: type) -> list[str]:
    """The methods of a base that only the class's source has; what is traced has done its work."""
    return [name for name in METHODS if getattr(cls, name) is not getattr(base, name)]


def versions() -> dict[str, str]:
    """What made a program: it is sure to work with the same minor versions."""
    return installed_as({_TENSORFLOW: tf.__version__, "keras": keras.__version__})


def installed_as(made_with: Mapping[str, str]) -> dict[str, str]:
    """Versions by what distributions are called here; several bring the same TensorFlow along."""
    name = next(iter(packages_of(_TENSORFLOW) or ()), _TENSORFLOW)
    return {name if each.startswith(_TENSORFLOW) else each: made for each, made in made_with.items()}
