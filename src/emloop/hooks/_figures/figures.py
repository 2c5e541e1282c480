"""Figures drawn into memory: no window, no chosen backend, and no list of figures that keeps them alive.

Sizes are fixed here, so that pictures of two runs match whatever the user's Matplotlib defaults.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emloop._support.files import atomic_write
from emloop._support.suggest import check_choice, did_you_mean
from emloop.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 100
DEFAULT_SIZE = (6.4, 4.8)


def check_image_format(argument: str, name: str) -> str:
    """Return the name of a file format in which figures can be written.

    Raises:
        ConfigError: If they cannot; lists the formats.
    """
    return check_choice(argument, name, new_figure().canvas.get_supported_filetypes())


def check_colormap(argument: str, name: str) -> str:
    """Return the name of one of Matplotlib's colour maps.

    Raises:
        ConfigError: If there is no such map.
    """
    from matplotlib import colormaps  # noqa: PLC0415 - an extra

    if name not in colormaps:
        hint = "".join(f"; {text}" for text in did_you_mean(str(name), colormaps))
        raise ConfigError.about(argument, f"expected a colour map of Matplotlib, e.g. 'Blues', got {name!r}{hint}")
    return name


def new_figure(size: tuple[float, float] = DEFAULT_SIZE) -> Figure:
    """An empty figure.

    Args:
        size: Width and height in inches, of 100 pixels each; 640 × 480 pixels by default.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the file's suffix names, whole or not at all; folders are made.

    Raises:
        OSError: If it cannot be written.
    """
    image = io.BytesIO()
    print_png: Any = getattr(figure.canvas, "print_png", None)
    if print_png is not None and path.suffix == ".png" and figure.dpi == _DOTS_PER_INCH:
        print_png(image)  # draws it once; `savefig` does twice
    else:
        figure.savefig(image, format=path.suffix.removeprefix("."), dpi=_DOTS_PER_INCH)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, image.getvalue())


def pixels_of(figure: Figure) -> npt.NDArray[np.uint8]:
    """The figure as ``uint8 [height, width, 3]``."""
    canvas: Any = figure.canvas  # of `new_figure`
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
