"""Measure how long a block takes."""

from __future__ import annotations

from collections.abc import MutableMapping
from time import perf_counter
from types import TracebackType
from typing import Self

from emloop.errors import UsageError

__all__ = ["Timer"]


class Timer:
    """Append the duration of a block, in seconds, to a list of a profile.

    .. code-block:: python

        profile = {}
        with Timer("read", profile):
            read()
        profile["read"]  # [0.25]

    Blocks can be nested, even those of one timer.

    Args:
        name: Key of the list.
        profile: Name → seconds, one per block; a missing list is created.
    """

    def __init__(self, name: str, profile: MutableMapping[str, list[float]]) -> None:
        self._name = name
        self._profile = profile
        self._starts: list[float] = []

    def __enter__(self) -> Self:
        self._starts.append(perf_counter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._starts:
            raise UsageError(f"timer {self._name!r} was stopped but never started; use it in a with statement")
        self._profile.setdefault(self._name, []).append(perf_counter() - self._starts.pop())
