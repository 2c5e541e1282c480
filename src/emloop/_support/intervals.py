"""How often: ``100`` or ``100ba`` (batches), ``2ep`` (epochs), ``30s``, ``10min``, ``2h``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from emloop.errors import ConfigError

__all__ = ["Interval", "Unit", "parse_interval"]

Unit = Literal["batches", "epochs", "seconds"]

_UNITS: dict[str, tuple[float, Unit]] = {
    "": (1, "batches"),
    "ba": (1, "batches"),
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
        amount: Number of units, more than 0; whole for batches and epochs.
        unit: What is counted.
    """

    amount: float
    unit: Unit


def parse_interval(value: str | float, *, argument: str = "interval") -> Interval:
    """Parse an interval from a configuration.

    Args:
        value: ``100``, ``100ba``, ``2ep``, ``30s``, ``1.5min``, ``2h``; a bare number counts batches.
        argument: Name of the value, for the message.

    Raises:
        ConfigError: If it is not an interval, not more than 0, or a fraction of a batch or an epoch.
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


_GRAMMAR = "an interval such as 100 or 100ba (batches), 2ep (epochs), 30s, 10min or 2h"
