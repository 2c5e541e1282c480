"""The word somebody probably meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from emloop.errors import ConfigError

T = TypeVar("T")


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The most similar of some words, or ``None`` if none is similar."""
    candidates = list(words)
    folded = {candidate.lower(): candidate for candidate in reversed(candidates)}
    matches = get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, words: Iterable[str]) -> tuple[str, ...]:
    """``("did you mean 'x'?",)``, or nothing where no word is similar."""
    match = nearest(word, words)
    return (f"did you mean {match!r}?",) if match is not None else ()


def one_of(words: Collection[str]) -> str:
    """``one of 'a', 'b'``, for the middle of a sentence."""
    return f"one of {', '.join(map(repr, words))}"


def pick(argument: str, word: str, choices: Mapping[str, T]) -> T:
    """What a word stands for.

    Args:
        argument: Name of the argument that holds the word, for the message.
        word: The word.
        choices: Every word that is accepted → what it stands for.

    Raises:
        ConfigError: If the word is not accepted; says which are.
    """
    try:
        return choices[word]
    except (KeyError, TypeError):
        hint = "".join(f"; {text}" for text in did_you_mean(str(word), choices))
        raise ConfigError(f"{argument}: expected {one_of(choices)}, got {word!r}{hint}") from None


def check_choice(argument: str, word: str, choices: Iterable[str]) -> str:
    """The word itself, if it is one of the choices; see :func:`pick`."""
    return pick(argument, word, {choice: choice for choice in choices})
