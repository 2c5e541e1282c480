"""Builds estimators from their description in a configuration.

.. code-block:: yaml

    estimator:
      class: sklearn.pipeline.Pipeline
      steps:
        - [scale, {class: sklearn.preprocessing.StandardScaler}]
        - [classify, {class: sklearn.linear_model.SGDClassifier, loss: log_loss}]

A mapping with ``class`` stands for an object, wherever it occurs; everything else is passed on as is. All mistakes are
reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emloop.arguments import argument_problems, arguments_of, import_object
from emloop.errors import ConfigError, Problem, UnknownClassError

__all__ = ["build_estimator"]

_SEED = "random_state"


def build_estimator(description: Any, seed: int | None) -> Any:
    """Build the estimator that a configuration describes.

    Args:
        description: ``class`` (full name) and the arguments of its constructor.
        seed: Value of every ``random_state`` that the description leaves out.

    Raises:
        ConfigError: With all mistakes: unknown classes and arguments, values that scikit-learn does not accept.
    """
    if not isinstance(description, Mapping) or "class" not in description:
        hint = "an estimator is described as {class: sklearn.linear_model.SGDClassifier, loss: log_loss}"
        raise ConfigError(Problem(f"estimator: expected a mapping with 'class', got {description!r}", hints=(hint,)))
    builder = _Builder(seed)
    estimator = builder.build(description, "")
    if builder.problems:
        raise ConfigError(
            Problem(": ".join(filter(None, ("estimator", found.path.lstrip("."), found.message))), hints=found.hints)
            for found in builder.problems
        )
    return estimator


class _Builder:
    """Builds what it can and collects the problems of the rest."""

    def __init__(self, seed: int | None) -> None:
        self.problems: list[Problem] = []
        self._seed = seed

    def build(self, value: Any, path: str) -> Any:
        """Build what a part of the configuration stands for; ``None`` if it is wrong."""
        if isinstance(value, Mapping):
            problems_before = len(self.problems)
            parts = {key: self.build(part, f"{path}.{key}") for key, part in value.items()}
            return self._object(parts, path, problems_before) if "class" in parts else parts
        if isinstance(value, (list, tuple)):
            return [self.build(part, f"{path}[{index}]") for index, part in enumerate(value)]
        return value

    def _object(self, arguments: dict[str, Any], path: str, problems_before: int) -> Any:
        try:
            cls = _find_class(arguments.pop("class"))
        except UnknownClassError as error:
            self.problems += [problem._replace(path=f"{path}.class") for problem in error.problems]
            return None
        path = f"{path}.{cls.__name__}"
        accepted = arguments_of(cls, arguments)
        mistakes = argument_problems(cls.__name__, arguments, accepted)
        self.problems += [mistake._replace(path=path) for mistake in mistakes]
        if len(self.problems) > problems_before:
            return None
        if _SEED in accepted and self._seed is not None:
            arguments.setdefault(_SEED, self._seed)
        built = cls(**arguments)
        # scikit-learn validates the values of its own classes only on fitting, which may be an epoch later.
        if hasattr(built, "_parameter_constraints"):
            try:
                built._validate_params()
            except ValueError as error:
                self.problems.append(Problem(str(error), path))
        return built


def _find_class(name: Any) -> type[Any]:
    """Import a class by its full name.

    Raises:
        UnknownClassError: If the name leads nowhere, or to something unlike a scikit-learn estimator.
    """
    if "." not in str(name):
        hint = "write the full name, e.g. sklearn.linear_model.SGDClassifier"
        raise UnknownClassError(Problem(f"expected package.module.Class, got {name!r}", hints=(hint,)))
    found = import_object(name)
    if not isinstance(found, type) or not hasattr(found, "get_params"):
        raise UnknownClassError(f"{name} is not a class with get_params, as those of scikit-learn have")
    return found
