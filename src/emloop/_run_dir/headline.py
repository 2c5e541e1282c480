"""The number by which a run is judged, and whether less of it is better.

It is what its hooks watch, as its trace says; where none does, or the epoch lacks it, the first number of a stream of
validation, else of the training, else of any stream.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from emloop.errors import UsageError

from .summary import RunSummary, metric_of
from .trace import Extremum

_LIKE_VALIDATION = ("valid", "val", "dev", "eval")
_LESS_IS_BETTER = ("loss", "error", "perplexity", "nll", "mse", "mae", "rmse")
_MORE_IS_BETTER = ("accuracy", "acc", "precision", "recall", "f1", "auc", "iou", "score", "reward", "bleu", "map")


def headline(run: RunSummary) -> str | None:
    """Name of the metric that a run is judged by, among those of its last epoch; ``None`` if there is none."""
    record = run.metrics
    for seen in run.trace.monitored:
        if metric_of(record, seen.metric) is not None:
            return seen.metric
    by_stream = sorted(record, key=_rank) if len(record) > 1 else record
    return next((name for stream in by_stream if (name := _first_number(stream, record[stream])) is not None), None)


def direction(metric: str, runs: Iterable[RunSummary]) -> Extremum:
    """Whether the smallest or the largest value of a metric is the best: as the hooks that watch it say, else its name.

    Raises:
        UsageError: If the hooks disagree, or neither they nor the name tell.
    """
    told = {seen.better for run in runs for seen in run.trace.monitored if seen.metric == metric}
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
