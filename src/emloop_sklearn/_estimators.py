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

from emloop.arguments import argument_problems, arguments_of, import_object
from emloop.errors import ConfigError, Problem, UnknownClassError

__all__ = ["build_estimator"]

_SEED = "random_state"


def build_estimator(description: Any, seed: int | None) -> Any:
    """The estimator that a configuration describes.

    Args:
        description: ``class`` (full name) and the arguments of its constructor.
        seed: What every ``random_state`` becomes that the description leaves out.

    Raises:
        ConfigError: With all mistakes: unknown classes and arguments, values that scikit-learn does not accept.
    """
    if not isinstance(description, Mapping) or "class" not in description:
        hint = "an estimator is described as {class: sklearn.linear_model.SGDClassifier, loss: log_loss}"
        raise ConfigError(Problem(f"estimator: expected a mapping with 'class', got {description!r}", hints=(hint,)))
    builder = _Builder(seed)
    estimator = builder.build(description, "")
    if builder.problems:
        raise ConfigError(map(_told, builder.problems))
    return estimator


def _told(problem: Problem) -> Problem:
    """A problem in the grammar ``argument: what is wrong``, with the part of the argument."""
    parts = ("estimator", problem.path.lstrip("."), problem.message)
    return Problem(": ".join(part for part in parts if part), hints=problem.hints)


class _Builder:
    """Builds what it can, and gathers what is wrong with the rest."""

    def __init__(self, seed: int | None) -> None:
        self.problems: list[Problem] = []
        self._seed = seed

    def build(self, value: Any, path: str) -> Any:
        """What a part of the configuration stands for; ``None`` where it is wrong."""
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
        return self._checked(cls(**arguments), path)

    def _checked(self, built: Any, path: str) -> Any:
        # scikit-learn looks at the values of its own classes only when it fits, which may be an epoch later.
        if hasattr(built, "_parameter_constraints"):
            try:
                built._validate_params()
            except ValueError as error:
                self.problems.append(Problem(str(error), path))
        return built


def _find_class(name: Any) -> type[Any]:
    """The class of a full name.

    Raises:
        UnknownClassError: If the name leads nowhere, or to something that is not in the manner of scikit-learn.
    """
    if "." not in str(name):
        hint = "write the full name, e.g. sklearn.linear_model.SGDClassifier"
        raise UnknownClassError(Problem(f"expected package.module.Class, got {name!r}", hints=(hint,)))
    found = import_object(name)
    if not isinstance(found, type) or not hasattr(found, "get_params"):
        raise UnknownClassError(f"{name} is no class with get_params, as those of scikit-learn have")
    return found
