"""Which names in an archive may become files: those that mean one place inside, and the same one on every system."""

from __future__ import annotations

import re
import unicodedata

from emloop.errors import ArchiveError

from .printable import printable

__all__ = ["Names", "readable"]

_LONGEST = 1024
"""Characters of a path."""

_LONGEST_PART = 255
"""Bytes of one name, which is what nearly all file systems take."""

_UNWANTED = re.compile(r"[\x00-\x1f\x7f\\]")


class Names:
    """The files and folders of an archive, as far as it was read.

    Args:
        limit: How many files and folders there may be.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[str, tuple[str, bool]] = {}

    def add(self, name: str, *, is_folder: bool) -> str:
        """Take up a name that stands in the archive.

        Returns:
            The path, relative, with ``/`` between its parts; empty for the folder that holds everything.

        Raises:
            ArchiveError: If it leads out, is too long, or cannot be told from another on every file system.
        """
        parts = _parts(name)
        if not parts and not is_folder:
            raise ArchiveError(f"{readable(name)} is no name for a file")
        path = ""
        for depth, part in enumerate(parts, start=1):
            path = f"{path}/{part}" if path else part
            self._register(path, is_folder=is_folder or depth < len(parts))
        return path

    def _register(self, path: str, *, is_folder: bool) -> None:
        # Some file systems take letters of any case, and of any way to write accents, for the same.
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        known = self._known.get(key)
        if known is None:
            self._known[key] = path, is_folder
            if len(self._known) > self._limit:
                raise ArchiveError(f"holds more than {self._limit} files and folders")
        elif known != (path, is_folder):
            raise ArchiveError(f"{readable(known[0])} and {readable(path)} are one and the same name somewhere")
        elif not is_folder:
            raise ArchiveError(f"{readable(path)} is there twice")


def readable(name: str) -> str:
    """A name for a message, shortened and with odd characters spelt out."""
    shown = printable(name)
    return f"'{shown if len(shown) <= 100 else shown[:97] + '...'}'"


def _parts(name: str) -> list[str]:
    if len(name) > _LONGEST:
        raise ArchiveError(f"{readable(name)} is longer than {_LONGEST} characters")
    if _UNWANTED.search(name):
        raise ArchiveError(f"{readable(name)} has a backslash or a control character in its name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise ArchiveError(f"{readable(name)} leads out of the archive")
    for part in parts:
        if len(part.encode(errors="surrogateescape")) > _LONGEST_PART:
            raise ArchiveError(f"{readable(part)} is longer than {_LONGEST_PART} bytes")
    return parts
