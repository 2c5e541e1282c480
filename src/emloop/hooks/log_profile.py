"""Log where the time of an epoch went."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from emloop._contracts import AbstractHook
from emloop.types import TimeProfile

__all__ = ["LogProfile"]

_LOGGER = logging.getLogger(__name__)


class LogProfile(AbstractHook):
    """Log the seconds that every epoch spends in the model, by stream, in reading data and in hooks."""

    stateless = only_sums_times = True
    reads = writes = ()

    def __init__(self) -> None:
        super().__init__()

    def after_epoch_profile(self, epoch_id: int, profile: TimeProfile, streams: Sequence[str]) -> None:
        """Log the epoch's times; what was not measured counts as 0."""

        def seconds(*events: str) -> float:
            return sum(sum(profile.get(event, ())) for event in events)

        for stream in streams:
            _LOGGER.info("\tT %s:\t%f", stream, seconds(f"eval_batch_{stream}"))
        _LOGGER.info("\tT read data:\t%f", seconds(*(f"read_batch_{stream}" for stream in streams)))
        hooks = seconds("after_epoch_hooks", *(f"after_batch_hooks_{stream}" for stream in streams))
        _LOGGER.info("\tT hooks:\t%f", hooks)
