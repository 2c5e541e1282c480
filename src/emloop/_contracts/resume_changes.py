"""What classes declare about arguments that change between two attempts at a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["REFUSED", "SAFE", "ResumeChanges"]

ResumeChanges: TypeAlias = Mapping[str, str]
"""Argument of the configuration, ``*`` for any other → ``safe``, ``refused``, or the effect in words."""

SAFE = "safe"
"""The result is that of a run with the new value from the start, or does not depend on the value."""

REFUSED = "refused"
"""The run cannot be resumed with another value."""
