"""What installed packages register under a short name; nothing of them is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emloop._support.problems import hidden_class
from emloop.errors import Problem

from .hints import Kind

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["distribution", "offered_twice", "registered"]


def registered(group: str) -> Sequence[EntryPoint]:
    """The entry points of a group."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - dear, and only needed for names not built in

    return list(entry_points(group=group))


def distribution(point: EntryPoint) -> str:
    """Name of the distribution that registers an entry point."""
    return point.dist.name if point.dist is not None else "an unknown distribution"


def offered_twice(name: str, kind: Kind, points: Sequence[EntryPoint]) -> Problem:
    """Several packages register one name."""
    return hidden_class(kind.word, name, (f"{point.value} of {distribution(point)}" for point in points))
