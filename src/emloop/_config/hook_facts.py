"""What the built-in hooks write into an epoch's data, and what they read from it.

A hook of the user may do anything there, unless it does not even look at the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

__all__ = ["OBSERVES_EPOCHS", "Facts", "Needed", "Provided", "facts_of"]

OBSERVES_EPOCHS = frozenset({"after_epoch", "_after_n_epoch", "_on_plateau_action"})
"""Methods that are given the epoch's data."""

Arguments: TypeAlias = Mapping[str, Any]


class Provided(NamedTuple):
    """A variable that a hook writes.

    Args:
        variable: Its name.
        streams: For which streams; ``None`` for all.
        aggregations: What it is a mapping of; ``None`` if it is a plain value.
    """

    variable: str
    streams: tuple[str, ...] | None
    aggregations: tuple[str, ...] | None = None


class Needed(NamedTuple):
    """A variable that a hook reads.

    Args:
        variable: Its name.
        path: Where the arguments name it.
        stream: In which stream; ``None`` for all.
        stream_path: Where the arguments name the stream.
        aggregation: Which of its aggregations; ``None`` for any; empty for the plain value.
    """

    variable: str
    path: tuple[Any, ...]
    stream: str | None = None
    stream_path: tuple[Any, ...] = ()
    aggregation: str | None = None


class Facts(NamedTuple):
    """What a hook does with an epoch's data, in this order: it writes, then it reads."""

    provided: tuple[Provided, ...] = ()
    needed: tuple[Needed, ...] = ()


def facts_of(full_name: str, arguments: Arguments) -> Facts | None:
    """What a built-in hook does with an epoch's data.

    Args:
        full_name: Its class.
        arguments: What it is given, and its defaults.

    Returns:
        ``None`` if the arguments are too wrong to tell.
    """
    rule = _RULES.get(full_name)
    try:
        return Facts() if rule is None else rule(arguments)
    except _UnclearError:
        return None


class _UnclearError(Exception):
    """An argument is not what the rule needs."""


def _text(arguments: Arguments, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise _UnclearError
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise _UnclearError
    return tuple(value)


def _streams(arguments: Arguments) -> tuple[str, ...] | None:
    value = arguments.get("streams")
    return None if value is None else _names(value)


def _compute_stats(arguments: Arguments) -> Facts:
    variables = arguments.get("variables")
    items = [variables] if isinstance(variables, Mapping) else variables
    if not isinstance(items, (list, tuple)):
        raise _UnclearError
    provided = []
    for item in items:
        named = item if isinstance(item, Mapping) else {item: ["mean"]}
        for variable, wanted in named.items():
            if not isinstance(variable, str):
                raise _UnclearError
            provided.append(Provided(variable, _streams(arguments), _names(wanted)))
    return Facts(tuple(provided))


def _on_plateau(arguments: Arguments) -> Facts:
    provided = Provided(_text(arguments, "variable"), _streams(arguments), ("mean",))
    return Facts((provided,), (_monitored(arguments, "mean"),))


def _classification_metrics(arguments: Arguments) -> Facts:
    prefix, average = _text(arguments, "var_prefix"), arguments.get("f1_average")
    names = ["precision", "recall", "f1", "accuracy", *(["specificity"] if average == "binary" else [])]
    return Facts(tuple(Provided(f"{prefix}{name}", _streams(arguments)) for name in names))


def _save_best(arguments: Arguments) -> Facts:
    aggregation = arguments.get("aggregation")
    if not isinstance(aggregation, str | None):
        raise _UnclearError
    return Facts(needed=(_monitored(arguments, aggregation or ""),))


def _check(arguments: Arguments) -> Facts:
    return Facts(needed=(_monitored(arguments, None),))


def _monitored(arguments: Arguments, aggregation: str | None) -> Needed:
    return Needed(_text(arguments, "variable"), ("variable",), _text(arguments, "stream"), ("stream",), aggregation)


def _all_streams(arguments: Arguments) -> Facts:
    variables = arguments.get("variables")
    names = () if variables is None else _names(variables)
    return Facts(needed=tuple(Needed(name, ("variables", index)) for index, name in enumerate(names)))


def _write_csv(arguments: Arguments) -> Facts:
    return _all_streams(arguments) if arguments.get("on_missing_variable") == "error" else Facts()


def _write_tensorboard(arguments: Arguments) -> Facts:
    return _write_csv(arguments) if arguments.get("streams") is None else Facts()


def _stop_on_nan(arguments: Arguments) -> Facts:
    return _all_streams(arguments) if arguments.get("after_epoch") is True else Facts()


def _save_confusion_matrix(arguments: Arguments) -> Facts:
    if arguments.get("figure_action") != "store":
        return Facts()
    return Facts((Provided("confusion_heatmap", _streams(arguments)),))


_RULES: dict[str, Callable[[Arguments], Facts]] = {
    "emloop.hooks.check.Check": _check,
    "emloop.hooks.classification_metrics.ClassificationMetrics": _classification_metrics,
    "emloop.hooks.compute_stats.ComputeStats": _compute_stats,
    "emloop.hooks.learning_rate.DecayLROnPlateau": _on_plateau,
    "emloop.hooks.log_variables.LogVariables": _all_streams,
    "emloop.hooks.save.SaveBest": _save_best,
    "emloop.hooks.save_cm.SaveConfusionMatrix": _save_confusion_matrix,
    "emloop.hooks.stop_on_nan.StopOnNaN": _stop_on_nan,
    "emloop.hooks.stop_on_plateau.StopOnPlateau": _on_plateau,
    "emloop.hooks.write_csv.WriteCSV": _write_csv,
    "emloop.hooks.write_tensorboard.WriteTensorBoard": _write_tensorboard,
}
