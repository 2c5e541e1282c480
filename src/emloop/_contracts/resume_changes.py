"""What classes say about changes of their arguments between two attempts on a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["REFUSED", "SAFE", "ResumeChanges"]

ResumeChanges: TypeAlias = Mapping[str, str]
"""Argument of the configuration, ``*`` for any other → ``safe``, ``refused``, or what the change does, in words."""

SAFE = "safe"
"""The run goes on as if it had had the new value from the start, or as if it did not matter to its result."""

REFUSED = "refused"
"""The run cannot go on with another value."""
