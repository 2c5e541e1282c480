"""Whether what is read may come from a stranger, and what the user has named all the same.

One switch for the process, which every gate asks: with it, a run's own files are data only, and what the user himself
has written, in an override or in a config of his own, is his word.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

__all__ = ["is_untrusted", "is_vouched", "untrusted", "vouch"]

_vouched: set[str] | None = None


@contextmanager
def untrusted() -> Generator[None]:
    """Around whatever reads a stranger's run: no class but those of emloop and the installed backends is imported for
    it, no other path than those in it is opened, and nothing else is started.

    Raises:
        UntrustedError: From within, where a file of the run asks for more.
    """
    global _vouched  # noqa: PLW0603 - threads ask, too
    before, _vouched = _vouched, set()
    try:
        yield
    finally:
        _vouched = before


def is_untrusted() -> bool:
    """Whether what is read may come from a stranger."""
    return _vouched is not None


def vouch(words: Iterable[str]) -> None:
    """Take names and paths for the user's own."""
    if _vouched is not None:
        _vouched.update(words)


def is_vouched(word: str) -> bool:
    """Whether a name or a path may be followed: always, unless a stranger's file may have it."""
    return _vouched is None or word in _vouched
