"""The number by which a run is judged, and whether less of it is better.

It is what ``SaveBest`` or ``EarlyStopping`` watches; without them, or where the epoch lacks it, the first number of a
stream of validation, else of the training, else of any stream.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from emloop.errors import UsageError

from .config import hook_calls
from .summary import Extremum, RunSummary, metric_of

_DEFAULTS = {"variable": "loss", "condition": "min", "stream": "valid", "aggregation": "mean"}
"""Those of the hooks below, which no listing can wait for."""

_WATCHERS = {"SaveBest": _DEFAULTS | {"model_name": "best"}, "EarlyStopping": _DEFAULTS}

_LIKE_VALIDATION = ("valid", "val", "dev", "eval")
_LESS_IS_BETTER = ("loss", "error", "perplexity", "nll", "mse", "mae", "rmse")
_MORE_IS_BETTER = ("accuracy", "acc", "precision", "recall", "f1", "auc", "iou", "score", "reward", "bleu", "map")


class Watched(NamedTuple):
    """What a hook watches.

    Args:
        metric: Its name, such as ``valid.loss``.
        better: Whether the smallest or the largest is the best.
        saved_as: Suffix of the model that is saved when it is best; empty if none is.
    """

    metric: str
    better: Extremum
    saved_as: str


def watched(hooks: Any) -> Iterator[Watched]:
    """What the hooks of a configuration watch, those that save models first."""
    calls = [(path.rpartition(".")[2], given) for path, given in hook_calls(hooks)]
    for watcher, defaults in _WATCHERS.items():
        for name, given in calls:
            if name == watcher:
                how = {**defaults, **(given if isinstance(given, Mapping) else {})}
                metric = f"{how['stream']}.{how['variable']}.{how['aggregation'] or 'mean'}".removesuffix(".mean")
                yield Watched(metric, "max" if how["condition"] == "max" else "min", str(how.get("model_name", "")))


def headline(run: RunSummary) -> str | None:
    """Name of the metric that a run is judged by, among those of its last epoch; ``None`` if there is none."""
    record = run.metrics
    for metric, _, _ in watched(run.settings.get("hooks")):
        if metric_of(record, metric) is not None:
            return metric
    by_stream = sorted(record, key=_rank) if len(record) > 1 else record
    return next((name for stream in by_stream if (name := _first_number(stream, record[stream])) is not None), None)


def direction(metric: str, runs: Iterable[RunSummary]) -> Extremum:
    """Whether the smallest or the largest value of a metric is the best: as the hooks that watch it say, else its name.

    Raises:
        UsageError: If the hooks disagree, or neither they nor the name tell.
    """
    told = {seen.better for run in runs for seen in watched(run.settings.get("hooks")) if seen.metric == metric}
    if not told:
        words = set(metric.lower().replace(".", "_").replace("-", "_").split("_"))
        pairs: tuple[tuple[Extremum, tuple[str, ...]], ...] = (("min", _LESS_IS_BETTER), ("max", _MORE_IS_BETTER))
        told = {better for better, known in pairs if words.intersection(known)}
    if len(told) != 1:
        raise UsageError(f"{metric}: is less of it better, or more? Write min:{metric} or max:{metric}")
    return told.pop()


def _rank(stream: str) -> int:
    return 0 if stream.lower().startswith(_LIKE_VALIDATION) else 1 if stream == "train" else 2


def _first_number(stream: str, variables: Any) -> str | None:
    for variable in variables if isinstance(variables, Mapping) else ():
        value = metric_of(variables, variable)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"{stream}.{variable}"
    return None
