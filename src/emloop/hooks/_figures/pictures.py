"""Pictures in memory: arrays of many kinds → pixels → files.

``H`` is the height, ``W`` the width, ``C`` the number of channels: 1 for grey, 3 for red, green and blue, 4 with
opacity.
"""

from __future__ import annotations

import importlib
import io
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from emloop._state.kinds import check_state
from emloop.errors import VariableTypeError
from emloop.types import StateTree

from .._variables.batches import as_numbers, lives_on_device, no_examples

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""``uint8 [H, W, C]``."""


def as_pixels(value: Any) -> Pixels:
    """A picture as pixels.

    Args:
        value: ``[H, W]`` or ``[H, W, C]``. Bytes stay as they are, booleans become black and white; other numbers are
            stretched so that the smallest becomes 0 and the largest 255. NaN becomes 0.

    Raises:
        VariableTypeError: If it is not such a picture.
    """
    array = as_numbers(value)
    channels = array.shape[2:] if array.ndim == 3 else (1,)
    if array.ndim not in (2, 3) or channels[0] not in (1, 3, 4) or not array.size:
        hint = "; channels come last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise VariableTypeError(
            "expected a picture of shape [H, W] or [H, W, C] with 1, 3 or 4 channels, "
            f"got {array.dtype} values of shape {array.shape}{hint}"
        )
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype != np.uint8:
        array = _stretched(array.astype(np.float64))
    return array.reshape(*array.shape[:2], -1)


def png(pixels: Pixels) -> bytes:
    """Pixels as a PNG file."""
    file = io.BytesIO()
    grey = pixels.shape[2] == 1
    importlib.import_module("PIL.Image").fromarray(pixels[:, :, 0] if grey else pixels).save(file, format="PNG")
    return file.getvalue()


def _stretched(values: npt.NDArray[np.float64]) -> Pixels:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    known = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    # Halves, since the difference of two large numbers may overflow.
    span = high / 2 - low / 2
    shares = (known / 2 - low / 2) / span if span else np.zeros_like(known)
    return np.rint(255 * shares).astype(np.uint8)


class FirstPictures:
    """The first pictures of a variable in an epoch.

    Args:
        most: Number of pictures.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self._batches: list[Any] = []

    def add(self, value: Any) -> None:
        """Take as many of a batch's pictures as are needed, copied, or kept if they live on a device.

        Raises:
            VariableTypeError: If the value does not hold pictures.
        """
        if not self._left:
            return
        if not hasattr(value, "__len__") or not getattr(value, "shape", True):
            raise no_examples(value)
        self._batches.append(value if lives_on_device(value) else _first(value, self._left))
        self._left = max(0, self._left - len(value))

    def all(self) -> list[Pixels]:
        """The pictures so far.

        Raises:
            VariableTypeError: If an array that was still on a device does not hold pictures.
        """
        fetched = [batch if isinstance(batch, list) else _first(batch, self._most) for batch in self._batches]
        self._batches = [[pixels for batch in fetched for pixels in batch][: self._most]]
        pictures: list[Pixels] = self._batches[0]
        return pictures

    def state(self) -> StateTree:
        """The pictures so far."""
        return list(self.all())

    def load(self, state: StateTree) -> None:
        """Take up what :meth:`state` returned."""
        self._batches = [list(map(as_pixels, check_state("pictures", state, [np.dtype(np.uint8), ...])))]
        self._left = max(0, self._most - len(state))


def _first(value: Any, count: int) -> list[Pixels]:
    examples = np.asarray(value) if hasattr(value, "__array__") else value
    return [as_pixels(example).copy() for example in islice(examples, count)]
