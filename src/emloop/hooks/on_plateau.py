"""Do something when a variable stops improving."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from emloop._contracts import SAFE, Monitored, ResumeChanges
from emloop._state.kinds import check_state
from emloop._support.suggest import pick
from emloop.declare import Amount, Positive, Scalar, Statistics, Variable
from emloop.errors import ConfigError
from emloop.types import EpochData, Objective, StateTree

from ._checks.arguments import at_least
from ._variables.epochs import read_scalar
from .compute_stats import ComputeStats

__all__ = ["OnPlateau"]

_SIGN = {"min": 1.0, "max": -1.0}


class OnPlateau(ComputeStats, ABC):
    """Call ``_on_plateau_action`` after every epoch in which a variable is on a plateau; to be extended.

    It is on one when its average over the last ``short_term`` epochs is worse than over the last ``long_term``, at the
    earliest after ``short_term + 1`` epochs. The zeroth epoch counts. The variable's mean is computed here, and left in
    ``epoch_data`` as by ``ComputeStats``. A mean of NaN is a plateau at once, and no part of later averages.

    Args:
        long_term: Number of epochs of the long average.
        short_term: Number of epochs of the short average.
        stream: Name of the stream whose mean is observed.
        variable: Name of the variable.
        objective: Whether smaller (``min``) or larger (``max``) is better.
        min_delta: By how much the short average must be worse; exactly as much does not count.
    """

    steers_training = True
    reads: ClassVar[Sequence[NamedTuple]] = (
        Variable("{variable}", stream="{streams}"),
        Scalar("{variable}", stream="{stream}", aggregation="mean"),
    )
    writes: ClassVar[Sequence[NamedTuple]] = (Statistics("{variable}", stream="{streams}"),)
    resume_changes: ClassVar[ResumeChanges] = {
        **dict.fromkeys(("stream", "variable"), "the means so far stay, and count as those of the new one"),
        "*": SAFE,
    }

    OBJECTIVES: ClassVar[frozenset[str]] = frozenset(_SIGN)

    def __init__(
        self,
        long_term: Positive = 50,
        short_term: Positive = 10,
        stream: str = "valid",
        variable: str = "loss",
        objective: Objective = "min",
        *,
        min_delta: Amount = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(variables=[variable], **kwargs)
        self._long_term = at_least("long_term", 1, long_term)
        self._short_term = at_least("short_term", 1, short_term)
        if long_term < short_term:
            raise ConfigError.about(
                "long_term", f"expected at least short_term, which is {short_term}, got {long_term}"
            )
        self._stream = stream
        self._variable = variable
        self._sign = pick("objective", objective, _SIGN)
        self._min_delta = at_least("min_delta", 0.0, min_delta)
        self._means: deque[float] = deque(maxlen=long_term)
        self.monitored = Monitored(variable, stream, "mean", objective)

    @abstractmethod
    def _on_plateau_action(self, epoch_id: int, epoch_data: EpochData) -> None:
        """What to do on a plateau."""

    # As in AbstractHook again: this family has always been called with the epoch first.
    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:  # type: ignore[override]
        """Look for a plateau.

        Raises:
            MissingVariableError: If the stream is not in the epoch's data.
        """
        # Without a batch, the mean is NaN as well, which says nothing about the training.
        had_batches = self._variable in self._columns.gathered.get(self._stream, ())
        super().after_epoch(epoch_data=epoch_data, epoch_id=epoch_id)
        self._means.append(float(read_scalar(epoch_data, self._stream, self._variable)))
        means = list(self._means)
        worse_by = self._sign * (_average(means[-self._short_term :]) - _average(means))
        if (had_batches and math.isnan(means[-1])) or worse_by > self._min_delta:
            self._on_plateau_action(epoch_id=epoch_id, epoch_data=epoch_data)

    def state_dict(self) -> StateTree:
        """The means of the last epochs, and the unfinished statistics."""
        return {**super().state_dict(), "means": list(self._means)}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on where an equal hook stopped; with another ``long_term``, from as many epochs as are known."""
        rest = dict(check_state(self, state, {**dict.fromkeys(super().state_dict(), object), "means": [float, ...]}))
        means = rest.pop("means")
        super().load_state_dict(rest)
        self._means = deque(means, maxlen=self._long_term)


def _average(numbers: Sequence[float]) -> float:
    # fsum and the like refuse infinities.
    known = [number for number in numbers if not math.isnan(number)]
    return sum(known) / len(known) if known else math.nan
