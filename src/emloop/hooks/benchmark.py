"""Log how long the model takes for one example."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from statistics import fmean, median

from emloop._contracts import AbstractHook
from emloop.declare import Positive
from emloop.types import TimeProfile

from ._checks.arguments import at_least

__all__ = ["Benchmark"]

_LOGGER = logging.getLogger(__name__)


class Benchmark(AbstractHook):
    """Log the mean and median time that the model takes for an example, for every epoch and stream.

    The last batch may be smaller, so it does not count unless it is the only one.

    .. code-block:: yaml

        hooks:
          - Benchmark: {batch_size: 32}

    Args:
        batch_size: Number of examples in a batch.
    """

    stateless = True
    reads = writes = ()

    def __init__(self, batch_size: Positive) -> None:
        super().__init__()
        self._batch_size = at_least("batch_size", 1, batch_size)

    def after_epoch_profile(self, epoch_id: int, profile: TimeProfile, streams: Sequence[str]) -> None:
        """Log the epoch's times; nothing for a stream without a batch."""
        for stream in streams:
            times = profile.get(f"eval_batch_{stream}", ())
            counted = times[:-1] or times
            if counted:
                per_example = [seconds / self._batch_size for seconds in counted]
                _LOGGER.info(
                    "%s - time per example: mean=%.5fs, median=%.5fs", stream, fmean(per_example), median(per_example)
                )
