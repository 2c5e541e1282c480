"""The picture of a confusion matrix.

The figure's size is given, so its text adapts to the number of classes: it becomes smaller, breaks into two lines, and
is left out where nobody could read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST_NAME = 20
_LARGEST_TEXT = 10.0  # points
_SMALLEST_TEXT = 4.0
_COMFORTABLE_TEXT = 7.0
_CHARACTER = 0.72  # width of a digit in units of the text's size, rounded up to whole pixels as small digits are


def draw_confusion_matrix(
    matrix: npt.NDArray[np.int32], names: Sequence[str], *, normalize: bool, cmap: str, size: tuple[float, float]
) -> Figure:
    """Draw a heat map whose cells say ``<share of the row> / <count>``.

    Args:
        matrix: ``[classes, classes]``, rows expected, columns predicted.
        names: Name of every class.
        normalize: Whether colours show shares rather than counts.
        cmap: Name of the colour map.
        size: Width and height in inches; see :func:`new_figure`.
    """
    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.zeros(matrix.shape), where=sums > 0)
    shown, largest = (shares, 1) if normalize else (matrix, max(1.0, float(matrix.max())))

    figure = new_figure(size)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    image = axes.imshow(shown, cmap=cmap, vmin=0, vmax=largest)
    figure.colorbar(image, ax=axes)
    axes.set_title("Predicted")
    axes.set_ylabel("Expected")
    axes.tick_params(which="both", length=0)
    axes.tick_params(labeltop=True, labelbottom=False)
    _name_classes(axes, [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names])
    dark = image.to_rgba(shown)[..., :3] @ (0.299, 0.587, 0.114) < 0.5
    _annotate(axes, shares, matrix, dark)
    figure.set_layout_engine("none")  # it stays as it is: what is inside of cells takes no room
    return figure


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    size = min(_LARGEST_TEXT, 0.8 * _cell_width(axes))
    if size < _SMALLEST_TEXT:
        return  # the axes keep some of the classes' indices
    # A dollar sign in a name begins no formula.
    axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)
    upright = max(map(len, names)) * size * _CHARACTER > _cell_width(axes)
    axes.set_xticks(range(len(names)), names, fontsize=size, parse_math=False, rotation=90 if upright else 0)
    between = np.arange(len(names) - 1) + 0.5
    for draw_lines in (axes.hlines, axes.vlines):
        draw_lines(between, -0.5, len(names) - 0.5, "white", linewidth=0.5)


def _annotate(
    axes: Axes, shares: npt.NDArray[np.float64], counts: npt.NDArray[np.int32], dark: npt.NDArray[np.bool_]
) -> None:
    width = 0.95 * _cell_width(axes)
    digits = len(str(counts.max()))
    separator, size = " / ", width / ((len("0.00 / ") + digits) * _CHARACTER)
    if size < _COMFORTABLE_TEXT:
        separator, size = " /\n", width / (max(len("0.00 /"), digits) * _CHARACTER)
    if size < _SMALLEST_TEXT:
        return
    for row, column in np.ndindex(*counts.shape):
        text = f"{shares[row, column]:.2f}{separator}{counts[row, column]}"
        color = "white" if dark[row, column] else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=min(size, _LARGEST_TEXT), color=color)


def _cell_width(axes: Axes) -> float:
    """Width of a class's column in points, once everything has found its place; quicker than drawing it all."""
    figure: Any = axes.figure  # the whole one; there are no figures in it
    figure.get_layout_engine().execute(figure)
    axes.apply_aspect()
    left, right = axes.get_xlim()
    return float(axes.get_window_extent().width / (right - left) * 72 / figure.dpi)
