"""The characters that the model knows: a new line, the printable ones of ASCII, and one for all others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

OTHER = "\N{REPLACEMENT CHARACTER}"
CHARACTERS = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1))) + OTHER

_NUMBERS = np.full(128, CHARACTERS.index(OTHER), np.uint8)
_NUMBERS[[ord(character) for character in CHARACTERS[:-1]]] = range(len(CHARACTERS) - 1)


def encode(text: str) -> npt.NDArray[np.uint8]:
    """The number of every character of a text, ``uint8 [T]``; a new line has the number 0."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return _NUMBERS[np.minimum(points, 127)]


def decode(numbers: npt.ArrayLike) -> str:
    """The text with these numbers ``[T]``; what the alphabet lacks has become ``OTHER``."""
    return "".join(CHARACTERS[number] for number in np.asarray(numbers, np.uint8))
