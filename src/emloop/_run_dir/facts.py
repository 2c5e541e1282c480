"""What a run was made with and what came out, as flat tables that can be compared with those of another run.

Whatever is missing or damaged is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from emloop.errors import RunDirError

from .attempts import read_attempts
from .info import read_info
from .layout import ENVIRONMENT_FILE, PATCH_FILE
from .metrics import last_metrics, metric_names, metric_of
from .reading import read_small

__all__ = ["Facts", "code_facts", "environment_facts", "metric_facts", "seed_of"]

Facts: TypeAlias = dict[str, Any]

_SHOWN = 12
"""Characters of a hash that people can tell apart."""


def code_facts(run: Path) -> Facts:
    """``commit``, ``branch``, and a hash of the ``uncommitted changes``."""
    header: list[str] = []
    lines = _lines(run / PATCH_FILE)
    while lines and lines[0].startswith(b"# ") and len(header) < 2:
        header.append(lines.pop(0).decode(errors="replace").removeprefix("# "))
    facts: Facts = dict(line.split(" ", 1) for line in header if " " in line)
    if facts:
        changes = b"\n".join(lines).strip()
        facts["uncommitted changes"] = hashlib.sha256(changes).hexdigest()[:_SHOWN] if changes else None
    return facts


def environment_facts(run: Path) -> Facts:
    """Machine, versions and thread limits of the latest attempt, and all distributions that were installed."""
    pairs = [line.decode(errors="replace").partition("==") for line in _lines(run / ENVIRONMENT_FILE)]
    facts: Facts = {name: version for name, equals, version in pairs if equals}
    starts = [record for record in _attempts(run) if isinstance(record.get("environment"), dict)]
    latest = starts[-1]["environment"] if starts else {}
    for name, value in latest.items():
        facts |= value if isinstance(value, Mapping) else {name: value}
    return facts


def metric_facts(run: Path) -> Facts:
    """All metrics of the last epoch: ``valid.loss`` → value."""
    record = last_metrics(run)
    return {name: metric_of(record, name) for name in metric_names(record)}


def seed_of(run: Path) -> int | None:
    """The run's seed; ``None`` if it does not say."""
    try:
        return read_info(run).seed
    except RunDirError:
        return None


def _attempts(run: Path) -> list[dict[str, Any]]:
    try:
        return read_attempts(run)
    except OSError:
        return []


def _lines(path: Path) -> list[bytes]:
    try:
        return read_small(path).splitlines()
    except OSError:
        return []
