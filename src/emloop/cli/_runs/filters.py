"""Which runs are meant: filters, ``valid.accuracy > 0.9``, ``age < 2h``; and the best, ``3:valid.accuracy``.

A condition compares a field (see :mod:`~emloop.cli._runs.fields`) with a value in YAML. What a run does not
have equals ``null`` and nothing else, and is neither smaller nor larger than anything.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from emloop import _yaml
from emloop._run_dir.summary import RunSummary
from emloop._yaml.scalars import plain_value
from emloop.errors import ConfigError, UsageError

from .fields import SPANS, as_moment, find_field

_COMPARISON = re.compile(r"([^=!<>]+)(==|!=|<=|>=|=|<|>)(.*)", re.DOTALL)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUALITY = ("==", "!=")
_FLOW = "[{\"'"
"""First characters of values that are more than a word."""
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h|d|w)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

_NUMBER = re.compile("[1-9][0-9]{0,8}")
_BETTER_SMALLER = ("loss", "error")


@dataclass(frozen=True)
class Condition:
    """A comparison of a field with a value.

    Args:
        text: The condition as written.
        field: Name of the field.
        sign: One of ``==  !=  <  <=  >  >=``.
        value: What to compare with.
        word: The same as text, for fields that hold text: a run may be called ``12``.
    """

    text: str
    field: str
    sign: str
    value: Any
    word: str

    def holds(self, found: Any) -> bool:
        """Tell whether a run's value meets the condition."""
        wanted = self.word if isinstance(found, str) and self.sign in _EQUALITY else self.value
        if _kind(found) != _kind(wanted):
            return self.sign == "!="
        if found is None:
            return self.sign == "=="
        try:
            pair = (as_moment(value) if isinstance(value, date) else value for value in (found, wanted))
            return bool(_OPERATORS[self.sign](*pair))
        except TypeError:
            # Lists of unlike things and mappings are neither smaller nor larger.
            return False


def parse_condition(text: str) -> Condition | None:
    """Read a condition; ``None`` if the text is no comparison.

    Raises:
        UsageError: If it is one that makes no sense.
    """
    match = _COMPARISON.fullmatch(text)
    if match is None:
        return None
    field, sign, word = match[1].strip(), match[2], match[3].strip()
    if not field or not word:
        raise UsageError(f"{text!r}: expected a field, a comparison and a value, such as 'valid.accuracy > 0.9'")
    if sign == "=":
        raise UsageError(f"{text!r}: to compare, write {field} == {word}")
    value = _span(text, word) if field in SPANS else _value(text, word)
    return Condition(text, field, sign, value, value if isinstance(value, str) else word)


def select(runs: Sequence[RunSummary], conditions: Iterable[Condition]) -> list[RunSummary]:
    """Select the runs that meet all conditions.

    Raises:
        UsageError: If no run has a field, or none holds there what could be smaller or larger than the value.
    """
    selected = list(runs)
    for condition in conditions:
        read = find_field(condition.field, runs).read
        found = [(run, read(run)) for run in selected]
        values = [value for _, value in found if value is not None]
        wanted = _kind(condition.value)
        if condition.sign not in _EQUALITY and values and all(_kind(value) != wanted for value in values):
            raise UsageError(
                f"{condition.text!r}: {condition.field} is {values[0]!r:.100}, which is neither smaller nor larger "
                f"than {condition.value!r}"
            )
        selected = [run for run, value in found if condition.holds(value)]
    return selected


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


def _kind(value: Any) -> str:
    """The kind of a value; only values of one kind are compared."""
    match value:
        case bool() | None:
            return repr(type(value))
        case int() | float():
            return "number"
        case date():
            return "moment"
    return type(value).__name__


def _value(text: str, word: str) -> Any:
    try:
        return _yaml.load(word, text) if word[0] in _FLOW else plain_value(word)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}; if {word!r} is meant as text, put it into quotes") from error


def _span(text: str, word: str) -> float:
    match = _SPAN.fullmatch(word)
    if match is None:
        raise UsageError(f"{text!r}: expected a span of time such as 30s, 10min, 2h, 3d or 1w, got {word!r}")
    return float(match[1]) * _SECONDS[match[2]]
