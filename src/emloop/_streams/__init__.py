"""Streams: cut into epochs, read ahead, counted, and resumed where a run stopped."""

from .digest import describe_file, digest
from .passes import Pass, current_pass, entered, keyed_rng
from .prefetch import Gate
from .source import Level
from .wrapper import Cursor, StreamWrapper

__all__ = [
    "Cursor",
    "Gate",
    "Level",
    "Pass",
    "StreamWrapper",
    "current_pass",
    "describe_file",
    "digest",
    "entered",
    "keyed_rng",
]
