"""The source files of the running interpreter's standard library, and windows that are cut out of texts.

``B`` is the number of windows in a batch, ``T`` the number of characters in a window.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

# What is installed beside the library, its tests, programs that come with it, and tables.
_SKIPPED_FOLDERS = {
    *("site-packages", "dist-packages", "__pycache__", "test", "tests"),
    *("idlelib", "lib2to3", "turtledemo", "ensurepip", "encodings", "pydoc_data"),
}
_GENERATED = "_sysconfigdata"


def library_files(root: str | None = None) -> list[Path]:
    """The library's source files, in an order that does not depend on the machine.

    Args:
        root: Its folder, where it is not that of the running interpreter.

    Raises:
        FileNotFoundError: If there are none, as where the library is kept in an archive.
    """
    root = sysconfig.get_path("stdlib") if root is None else root
    found = sorted(_walk(Path(root)), key=lambda path: path.relative_to(root).parts)
    if not found:
        raise FileNotFoundError(f"{root}: there are no source files of the standard library")
    return found


def read(path: Path) -> str:
    """The text of a source file; bytes that are no UTF-8 become replacement characters."""
    return path.read_text(encoding="utf-8", errors="replace")


def _walk(root: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in _SKIPPED_FOLDERS]
        yield from (Path(folder, name) for name in names if name.endswith(".py") and not name.startswith(_GENERATED))


class Windows:
    """Windows of several texts, each within one of them: examples by number, for an ``IndexStream``.

    Args:
        texts: The texts, as numbers of characters, ``uint8 [length]`` each.
        size: Number of characters in a window, ``T``; one more must follow, or there is none.
        offset: Where in each text the first window begins; the others follow without a gap.
    """

    def __init__(self, texts: Sequence[npt.NDArray[np.uint8]], size: int, offset: int = 0) -> None:
        self._text = np.concatenate(texts)
        ends = np.cumsum([len(text) for text in texts])
        self._starts = np.concatenate(
            [np.arange(end - len(text) + offset, end - size, size) for text, end in zip(texts, ends, strict=True)]
        )
        self._window = np.arange(size)

    def __len__(self) -> int:
        return len(self._starts)

    def batch(self, indices: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
        """Windows by number: ``text: int64 [B, T]``, and as ``targets`` for each character the one that follows it."""
        places = self._starts[indices, np.newaxis] + self._window
        return {"text": self._text[places].astype(np.int64), "targets": self._text[places + 1].astype(np.int64)}
