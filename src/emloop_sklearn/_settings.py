"""The keys of the section ``model`` beside the arguments of ``create_model``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from emloop.declare import Component, Limits, Names, Positive
from emloop.errors import ConfigError

from ._estimators import Estimators

__all__ = ["Settings", "sources_of"]


@dataclass(frozen=True)
class Saving:
    """The key ``saved_model``.

    Args:
        capsule: Whether the texts of the project's own modules go along, for those who trust them.
    """

    capsule: Literal["on", "off", True, False] = "off"


@dataclass(frozen=True)
class Settings:
    """The settings of every model of scikit-learn, as a configuration gives them."""

    outputs: Names
    inputs: Annotated[Names, Limits(unique=True, words="a list of one or two names: the features, the labels")] = ()
    features: Names = ()
    labels: str | None = None
    categories: Names | None = None
    estimator: Component[Estimators] | None = None
    rounds_per_epoch: Positive | None = None
    classes: Annotated[int | Sequence[Any] | None, Limits(words="their number or a list of them")] = None
    weights: Mapping[str, str] | None = None
    trusted_types: Names = ()
    saved_model: Saving = Saving()


def sources_of(settings: Settings) -> tuple[tuple[str, ...], str | None]:
    """Names of the sources of features and of labels.

    Raises:
        ConfigError: If they are not named, or in both ways.
    """
    inputs, features = tuple(settings.inputs), tuple(settings.features)
    if features and not inputs:
        if settings.labels in features:
            raise ConfigError.about("labels", f"{settings.labels!r} is among the features")
        if odd := sorted(set(settings.categories or ()) - set(features)):
            raise ConfigError.about("categories", f"{odd[0]!r} is none of the features {', '.join(features)}")
        return features, settings.labels
    if features or settings.labels is not None or settings.categories is not None:
        raise ConfigError.about("inputs", "expected either inputs, or features and labels, got both")
    if not 1 <= len(inputs) <= 2:
        message = f"expected one name, of the features, or two, also of the labels, got {settings.inputs!r}"
        raise ConfigError.about("inputs", message)
    return inputs[:1], inputs[1] if len(inputs) == 2 else None
