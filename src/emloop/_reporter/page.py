"""A run in a notebook: its facts, and a curve for each value that is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .wording import Value, cells_of, number

__all__ = ["run_html"]

_WIDTH, _HEIGHT = 240, 80


def run_html(facts: Mapping[str, object], metrics: Iterable[Mapping[str, Any]]) -> str:
    """A run as HTML.

    Args:
        facts: What to say of it.
        metrics: The lines of its metrics.
    """
    curves: dict[Value, list[tuple[int, float]]] = {}
    for line in metrics:
        for value, found in cells_of(line).items():
            if value.aggregation in ("", "mean") and math.isfinite(found):
                curves.setdefault(value, []).append((int(line.get("epoch_id", 0)), found))
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(of))}</td></tr>" for name, of in facts.items())
    drawn = "".join(_curve(value, points) for value, points in curves.items())
    return f'<table style="text-align:left">{rows}</table><div>{drawn}</div>'


def _curve(value: Value, points: Sequence[tuple[int, float]]) -> str:
    (first, last), (low, high) = (points[0][0], points[-1][0]), (min(y for _, y in points), max(y for _, y in points))
    across, up = _WIDTH / max(last - first, 1), _HEIGHT / (high - low or 1)
    places = " ".join(f"{(x - first) * across:.1f},{_HEIGHT - (y - low) * up:.1f}" for x, y in points)
    title = escape(f"{value.stream} {value.label}: {number(points[-1][1])}")
    return (
        f'<figure style="display:inline-block;margin:4px"><figcaption>{title}</figcaption>'
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="-2 -2 {_WIDTH + 4} {_HEIGHT + 4}">'
        f'<polyline points="{places}" fill="none" stroke="currentColor"/></svg></figure>'
    )
