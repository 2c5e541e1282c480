"""Estimators described by a configuration alone.

.. code-block:: yaml

    estimator:
      class: sklearn.pipeline.Pipeline
      steps:
        - [scale, {class: sklearn.preprocessing.StandardScaler}]
        - [classify, {class: sklearn.linear_model.SGDClassifier, loss: log_loss}]

A mapping with ``class`` stands for an object, wherever it occurs; everything else is passed on as it is. All mistakes
are reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emloop.arguments import read_component
from emloop.declare import Family
from emloop.errors import ConfigError, Problem
from emloop_sklearn._boosting.libraries import defaults_of

__all__ = ["Estimators", "build_estimator"]

_SEED = "random_state"


class Estimators(Family):
    """The key ``estimator``."""

    word = "estimator"
    methods = ("get_params",)
    nested = True


def build_estimator(description: Any, seed: int | None) -> Any:
    """The estimator that a configuration describes.

    Args:
        description: ``class`` (full name) and the arguments of its constructor.
        seed: What every ``random_state`` becomes that the description leaves out.

    Raises:
        ConfigError: With all mistakes: unknown classes and arguments, values that scikit-learn does not accept.
    """
    problems: list[Problem] = []
    built = _build(description, ("estimator",), seed, problems)
    if problems:
        raise ConfigError(problems)
    return built


def _build(value: Any, keys: tuple[Any, ...], seed: int | None, problems: list[Problem]) -> Any:
    """What a part of the configuration stands for."""
    is_outermost = keys == ("estimator",)
    if not (is_outermost or (isinstance(value, Mapping) and "class" in value)):
        if isinstance(value, (list, tuple)):
            return [_build(part, (*keys, index), seed, problems) for index, part in enumerate(value)]
        if isinstance(value, Mapping):
            return {key: _build(part, (*keys, key), seed, problems) for key, part in value.items()}
        return value
    try:
        chosen = read_component(Estimators, value, keys)
    except ConfigError as error:
        # Said of the outermost, it covers all within; parts that are in order may still have wrong values.
        problems += error.problems if is_outermost else ()
        for key, part in value.items() if isinstance(value, Mapping) else ():
            _build(part, (*keys, key), seed, problems)
        return None
    arguments = {key: _build(part, (*keys, key), seed, problems) for key, part in chosen.arguments.items()}
    cls: Any = chosen.cls
    built = cls(**arguments)
    defaults = defaults_of(built, arguments)
    # Not every class names it in its own signature.
    if seed is not None and _SEED not in arguments and _SEED in built.get_params(deep=False):
        defaults[_SEED] = seed
    if defaults:
        built.set_params(**defaults)
    # scikit-learn checks the values of its own classes only when it fits, which may be an epoch later.
    if hasattr(built, "_parameter_constraints"):
        try:
            built._validate_params()
        except ValueError as error:
            problems.append(Problem(f"{cls.__name__}: {error}", keys=keys))
    return built
