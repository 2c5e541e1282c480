"""Parameters of an estimator that may change while it learns: the learning rate, and what a new configuration changes.

A restored estimator brings its parameters along. Numbers that act on every batch anew (rates, penalties) follow the
configuration if it has changed since; sizes and choices, which the learned state depends on, stay.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from emloop.errors import MissingVariableError

from ._fitting import last_step

__all__ = ["follow", "get_variable", "parameters_of", "set_variable"]

logger = logging.getLogger(__name__)

_LEARNING_RATE = "learning_rate"
_MLP_RATE = "learning_rate_init"
_SGD_RATE = "eta0"


def get_variable(estimator: Any, name: str) -> float:
    """Value of ``learning_rate``; the initial one if the estimator has a schedule of its own.

    Raises:
        MissingVariableError: If it is another name, or the estimator has none or computes its own.
    """
    return float(getattr(last_step(estimator), _rate_name(estimator, name)))


def set_variable(estimator: Any, name: str, value: float) -> None:
    """Set ``learning_rate`` for all future batches; a schedule of the estimator's own goes on from there.

    Raises:
        MissingVariableError: As :func:`get_variable`.
    """
    attribute, estimator = _rate_name(estimator, name), last_step(estimator)
    setattr(estimator, attribute, float(value))
    # A multi-layer perceptron that has seen a batch asks its optimizer.
    optimizer = getattr(estimator, "_optimizer", None)
    if attribute == _MLP_RATE and optimizer is not None:
        optimizer.learning_rate_init = float(value)
        optimizer.learning_rate = float(value)


def parameters_of(estimator: Any) -> dict[str, Any]:
    """The parameters that are plain values, by their names in ``set_params``; a pipeline's with those of its steps."""
    plain = {name: value for name, value in estimator.get_params(deep=True).items() if _is_plain(value)}
    # A state tree has no tuples, so what was saved could not be told from what is configured.
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def follow(estimator: Any, configured: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Let a restored estimator obey the configuration.

    Args:
        estimator: The restored estimator.
        configured: Parameters of the estimator that the configuration describes.
        before: Those of the estimator that the configuration described when the restored one was saved.
    """
    restored = parameters_of(estimator)
    kept = []
    for name, value in configured.items():
        old = before.get(name, restored.get(name, value))
        # Compared as text, since NaN differs from itself.
        if repr(value) == repr(old) or name.endswith("random_state"):
            continue
        is_kept = name.endswith(_LEARNING_RATE) and _rescales(last_step(estimator))
        if not is_kept and _is_number(value) and _is_number(old) and isinstance(value + old, float):
            logger.info("%s follows the configuration: %s instead of %s", name, value, restored[name])
            estimator.set_params(**{name: value})
            if name.endswith(_MLP_RATE):
                set_variable(estimator, _LEARNING_RATE, value)
        else:
            kept.append(f"{name} stays {old!r} (configured: {value!r})")
    if kept:
        logger.warning(
            "The restored %s keeps what its learned state was made for: %s", type(estimator).__name__, "; ".join(kept)
        )


def _rate_name(estimator: Any, name: str) -> str:
    """The attribute that holds the learning rate, if that is what the name says."""
    if name != _LEARNING_RATE:
        raise MissingVariableError(f"there is no variable {name!r}; there is {_LEARNING_RATE!r}")
    estimator = last_step(estimator)
    if hasattr(estimator, _MLP_RATE):
        return _MLP_RATE
    if _is_number(getattr(estimator, _LEARNING_RATE, None)) and not _rescales(estimator):
        return _LEARNING_RATE  # of trees to come
    if not hasattr(estimator, _SGD_RATE):
        raise MissingVariableError(f"{name}: {type(estimator).__name__} has none")
    if estimator.learning_rate == "optimal":
        raise MissingVariableError(f"{name}: {estimator} computes its own; choose learning_rate: constant, and eta0")
    return _SGD_RATE


def _rescales(estimator: Any) -> bool:
    """Whether a learning rate acts on what was learned before, too."""
    return type(estimator).__name__.startswith("GradientBoosting")


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
