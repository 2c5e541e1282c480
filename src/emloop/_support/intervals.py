"""How often: ``100`` or ``100ba`` (batches), ``1000sa`` (samples), ``2ep`` (epochs), ``30s``, ``10min``, ``2h``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from emloop.errors import ConfigError

__all__ = ["Interval", "Rhythm", "Unit", "parse_interval"]

Unit = Literal["batches", "samples", "epochs", "seconds"]

_UNITS: dict[str, tuple[float, Unit]] = {
    "": (1, "batches"),
    "ba": (1, "batches"),
    "sa": (1, "samples"),
    "ep": (1, "epochs"),
    "s": (1, "seconds"),
    "min": (60, "seconds"),
    "h": (3600, "seconds"),
}
_INTERVAL = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")


@dataclass(frozen=True)
class Interval:
    """How often something happens.

    Args:
        amount: Number of units, more than 0; whole for all but seconds.
        unit: What is counted.
    """

    amount: float
    unit: Unit


def parse_interval(value: str | float, *, argument: str = "interval") -> Interval:
    """Parse an interval from a configuration.

    Args:
        value: ``100``, ``100ba``, ``1000sa``, ``2ep``, ``30s``, ``1.5min``, ``2h``; a bare number counts batches.
        argument: Name of the value, for the message.

    Raises:
        ConfigError: If it is not an interval, not more than 0, or a fraction of a batch, a sample or an epoch.
    """
    match = _INTERVAL.fullmatch(str(value))
    if match is None or match[2] not in _UNITS:
        raise ConfigError.about(argument, f"expected {_GRAMMAR}, got {value!r}")
    factor, unit = _UNITS[match[2]]
    amount = float(match[1]) * factor
    if not 0 < amount < math.inf:
        raise ConfigError.about(argument, f"expected more than 0 {unit}, got {value!r}")
    if unit != "seconds" and not amount.is_integer():
        raise ConfigError.about(argument, f"expected a whole number of {unit}, got {value!r}")
    return Interval(amount, unit)


class Rhythm:
    """Tells when an interval is over.

    Args:
        interval: The interval.
        clock: Seconds since some moment, never going back.
    """

    def __init__(self, interval: Interval, clock: Callable[[], float] = monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self.begin()

    @property
    def unit(self) -> Unit:
        """What is counted."""
        return self._interval.unit

    @property
    def is_over(self) -> bool:
        """Whether as much has been counted, or as much time has passed, as the interval says."""
        done = self._clock() - self._begun_at if self.unit == "seconds" else self._done
        return done >= self._interval.amount

    def count(self, unit: Unit, number: int = 1) -> None:
        """Count something, if it is what the interval counts."""
        if unit == self.unit:
            self._done += number

    def begin(self) -> None:
        """Begin a new interval."""
        self._done = 0
        self._begun_at = self._clock()

    def state(self) -> Mapping[str, int]:
        """What was counted of the unfinished interval; time begins anew with a process."""
        return {self.unit: self._done}

    def load(self, state: Mapping[str, int]) -> None:
        """Go on in an unfinished interval; one of another unit begins anew."""
        self._done = state.get(self.unit, 0)


_GRAMMAR = "an interval such as 100 or 100ba (batches), 1000sa (samples), 2ep (epochs), 30s, 10min or 2h"
