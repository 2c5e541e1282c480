"""The meaning of single words of YAML: the core rules of YAML 1.2, plus ISO dates and times.

``1e-3``, ``1_000``, ``0x1F`` and ``0o17`` are numbers, ``010`` is ten, ``2026-01-31`` is a date; ``yes``, ``on``,
``12:30``, ``nan`` and ``none`` are text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import date, datetime

Scalar: TypeAlias = "bool | int | float | str | date | datetime | None"

CORE = "tag:yaml.org,2002:"
"""The prefix that ``!!`` abbreviates."""

_WORDS: dict[str, Scalar] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Expressions are compiled, and kept by `re`, when the first word needs them: most files need one or two.
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_INT = rf"[-+]?{_DIGITS}"
_HEXADECIMAL = "0x[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
_OCTAL = "0o[0-7]+(?:_[0-7]+)*"
_FLOAT = rf"[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+]?[0-9]+)?"
_SPECIAL_FLOAT = r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_DATETIME = r"""(?x)
        ([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})         # year, month, day
        (?:[Tt]|[ \t]+)
        ([0-9]{1,2}):([0-9]{2}):([0-9]{2})           # hour, minute, second
        (?:\.([0-9]*))?                              # fraction of a second
        (?:[ \t]*(?:Z|([-+][0-9]{1,2})(?::?([0-9]{2}))?))?   # hours and minutes ahead of UTC
"""


def plain_value(word: str) -> Scalar:
    """The value of a word without quotes and without a tag.

    Raises:
        ValueError: If it looks like a number or a date that does not exist.
    """
    if word in _WORDS:
        return _WORDS[word]
    if word[0] not in "-+.0123456789":
        return word
    number = _number(word)
    return number if number is not None else _time(word)


def tagged_value(word: str, kind: str) -> Scalar:
    """The value of a tagged word, e.g. ``!!int "12"``.

    Args:
        word: The word, without its quotes if it had any.
        kind: The part of the tag after ``!!``: one of ``str``, ``int``, ``float``, ``bool``, ``null``.

    Raises:
        ValueError: If the word is not of that kind.
    """
    if kind == "str":
        return word
    value = plain_value(word)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value).__name__ != {"null": "NoneType"}.get(kind, kind):
        raise ValueError(f"this is not of the kind '!!{kind}'")
    return value


def _number(word: str) -> int | float | None:
    if re.fullmatch(_INT, word):
        return _int(word)
    if re.fullmatch(_FLOAT, word):
        return float(word)
    if re.fullmatch(_HEXADECIMAL, word):
        return int(word[2:], 16)
    if re.fullmatch(_OCTAL, word):
        return int(word[2:], 8)
    if re.fullmatch(_SPECIAL_FLOAT, word):
        return float(word.replace(".", ""))
    return None


def _int(word: str) -> int:
    try:
        return int(word)
    except ValueError:  # Python's limit, without which reading takes quadratic time
        raise ValueError(f"a number of {len(word):,} digits is too long") from None


def _time(word: str) -> str | date | datetime:
    from datetime import date  # noqa: PLC0415 - few files hold dates

    try:
        if re.fullmatch(_DATE, word):
            return date.fromisoformat(word)
        if match := re.fullmatch(_DATETIME, word):
            return _datetime(word, match)
    except ValueError as error:
        raise ValueError("there is no such date") from error
    return word


def _datetime(word: str, match: re.Match[str]) -> datetime:
    from datetime import UTC, datetime, timedelta, timezone  # noqa: PLC0415

    fraction, hours, minutes = match.groups()[6:]
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    zone = UTC if word.endswith("Z") else None
    if hours is not None:
        ahead = timedelta(hours=abs(int(hours)), minutes=int(minutes or 0))
        zone = timezone(-ahead if hours.startswith("-") else ahead)
    microsecond = int((fraction or "").ljust(6, "0")[:6])
    return datetime(year, month, day, hour, minute, second, microsecond, zone)
