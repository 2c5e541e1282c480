"""Which runs are the best: ``3:valid.accuracy``, ``5:min:valid.loss``."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from emloop._run_dir.summary import RunSummary
from emloop.errors import UsageError

from .fields import find_field

_NUMBER = re.compile("[1-9][0-9]{0,8}")
_BETTER_SMALLER = ("loss", "error")


@dataclass(frozen=True)
class Ranking:
    """An order of runs, and how many count as the best.

    Args:
        number: How many.
        metric: Name of the metric; after ``min:``, less is better.
    """

    number: int
    metric: str

    def others(self, runs: Sequence[RunSummary]) -> list[tuple[RunSummary, float]]:
        """List the runs that are not among the best, with their values; runs without the metric are left out.

        Raises:
            UsageError: If no run has the metric.
        """
        if not runs:
            return []
        read = find_field(self.metric, runs).read
        ranked = [(run, value) for run in runs if isinstance(value := read(run), int | float)]
        sign = 1 if self.metric.startswith("min:") else -1
        ranked.sort(key=lambda pair: math.inf if math.isnan(pair[1]) else sign * pair[1])
        return ranked[self.number :]


def parse_ranking(text: str) -> Ranking:
    """Read ``N:METRIC``.

    Args:
        text: How many, and the metric: that of the last epoch, where more is better; after ``min:`` or ``max:``, the
            least or largest of all epochs.

    Raises:
        UsageError: If the text has another form, or it is doubtful whether more is better.
    """
    number, _, metric = text.partition(":")
    if not _NUMBER.fullmatch(number) or not metric:
        raise UsageError(f"--keep-best: expected N:METRIC such as 3:valid.accuracy or 3:min:valid.loss, got {text!r}")
    if ":" not in metric and any(word in metric.lower() for word in _BETTER_SMALLER):
        raise UsageError(
            f"--keep-best: is a small {metric} good? Write {number}:min:{metric}, or {number}:last:{metric} if not"
        )
    return Ranking(int(number), metric)
