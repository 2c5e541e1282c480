"""A curve drawn in characters, eight dots each."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

_ROWS = 8
"""Lines of the drawing."""
_BLANK = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the dots of a Braille character, by row and column."""


def curve(values: Sequence[float | None], columns: int) -> list[str]:
    """Draw values from left to right, joined by lines, with the largest and the smallest beside them.

    Args:
        values: The values, equally far apart; where there is none, or no finite one, the line is broken.
        columns: How wide the drawing may be.

    Returns:
        Its lines; none if there is nothing to draw.
    """
    finite = [value if value is not None and math.isfinite(value) else None for value in values]
    known = [value for value in finite if value is not None]
    if not known:
        return []
    low, high = min(known), max(known)
    # Equal values stand in the middle.
    beside = {0: f"{high:.4g}", _ROWS - 1: f"{low:.4g}"} if low != high else {_ROWS // 2: f"{low:.4g}"}
    margin = max(map(len, beside.values()))
    width = max(columns - margin - 2, 1)
    cells = [[0] * width for _ in range(_ROWS)]
    for x, y in _dots(finite, low, high, 2 * width, 4 * _ROWS):
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    lines = ["".join(chr(_BLANK + dots) for dots in row).rstrip(chr(_BLANK)) for row in cells]
    return [f"{beside.get(row, ''):>{margin}} ┤{line}" for row, line in enumerate(lines)]


def _dots(
    values: Sequence[float | None], low: float, high: float, width: int, height: int
) -> Iterator[tuple[int, int]]:
    """Column and row, counted from the top, of all dots of the line."""

    def place(index: int, value: float) -> tuple[int, int]:
        # Halves, since the difference of two finite numbers may not be finite.
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
        return round(index * (width - 1) / max(len(values) - 1, 1)), round((1 - share) * (height - 1))

    points = [None if value is None else place(index, value) for index, value in enumerate(values)]
    yield from (point for point in points if point is not None)
    for first, second in pairwise(points):
        if first is not None and second is not None and first != second:
            (x, y), (to_x, to_y) = first, second
            steps = max(abs(to_x - x), abs(to_y - y))
            for step in range(steps):
                yield round(x + (to_x - x) * step / steps), round(y + (to_y - y) * step / steps)
