"""Suggest the word that was probably meant, or none: an implausible suggestion misleads more than it helps."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from emloop.errors import ConfigError

T = TypeVar("T")


_SYNONYMS = [
    frozenset(line.split())
    for line in (
        "learning_rate lr rate step_size eta0 learning_rate_init",
        "optimizer optimiser optim solver",
        "lr_schedule lr_scheduler scheduler schedule",
        "batch_size batchsize bs minibatch_size",
        "epochs epochs_count n_epochs num_epochs max_epochs nb_epoch",
        "loss criterion loss_fn loss_function",
        "metrics metric scores",
        "net network module layers architecture",
        "weight_decay wd l2",
        "clip_gradient clip_grad grad_clip gradient_clip gradient_clip_val max_grad_norm",
        "accumulate accumulate_grad_batches gradient_accumulation_steps",
        "precision dtype amp mixed_precision",
        "objective condition mode direction",
        "variable monitor metric",
        "seed random_seed random_state",
        "classes num_classes n_classes",
        "valid validation val dev",
        "train training",
        "features inputs",
        "warmup_steps warmup num_warmup_steps",
        "keep keep_last save_top_k max_to_keep",
        "every interval frequency",
    )
]
"""Words that the field uses for one thing."""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant, or ``None`` if none of them is a plausible guess.

    Plausible are typing errors (one edit, more in long words), abbreviations (``acc`` for ``accuracy``) and the other
    way round, and names with a word more or less (``num_epochs`` for ``epochs``). Case and ``_-.`` make no difference.
    """
    found = [(rank, candidate) for candidate in words if (rank := _rank(word, candidate)) is not None]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _rank(word: str, candidate: str) -> int | None:
    """How far a candidate is from what was typed; ``None`` if nobody would take one for the other."""
    given, meant = ("_".join(filter(None, re.split(r"[_\-. ]", text.lower()))) for text in (word, candidate))
    given_letters, meant_letters = given.replace("_", ""), meant.replace("_", "")
    if any(given in synonyms and meant in synonyms for synonyms in _SYNONYMS):
        return 0 if given == meant else 3
    short, long = sorted((given_letters, meant_letters), key=len)
    if not short or (len(short) == 1 and short != long):
        return None
    # One edit turns a short word into many others. But typing errors leave the beginning alone: 'run' for 'rum' is
    # plausible, 'tty' for 'toy' and 'date' for 'rate' are not.
    if len(long) > 4 or long[0] in short[:2] or short[0] in long[:2]:
        limit = min(max(len(long) // 4, 1), 3)
        replacing = 1 if len(long) > 3 or short[:2] == long[:2] else 2
        distance = _edits(given_letters, meant_letters, limit, replacing=replacing)
        if distance <= limit:
            # Letters in the wrong order are likelier than a wrong one.
            return 2 * distance - (sorted(given_letters) == sorted(meant_letters))
    stem = given_letters.rstrip("s")
    is_abbreviation = len(stem) >= 3 and "." not in candidate and meant_letters.startswith(stem)
    is_longhand = len(meant) >= 3 and "_" not in given and given.startswith(meant)
    is_less = len(meant) >= 4 and f"_{meant}_" in f"_{given}_"
    is_more = 2 * len(given) >= len(meant) and f"_{given}_" in f"_{meant}_"
    return 10 + len(long) if is_abbreviation or is_longhand or is_less or is_more else None


def _edits(first: str, second: str, limit: int, *, replacing: int) -> int:
    """Letters inserted, left out, replaced or exchanged with their neighbour; any number above ``limit`` if more."""
    if abs(len(first) - len(second)) > limit:
        return limit + 1
    earlier: list[int] = []
    before = list(range(len(second) + 1))
    for i, letter in enumerate(first):
        row = [i + 1]
        for j, other in enumerate(second):
            cost = min(row[j] + 1, before[j + 1] + 1, before[j] + replacing * (letter != other))
            if i and j and (letter, first[i - 1]) == (second[j - 1], other):
                cost = min(cost, earlier[j - 1] + 1)
            row.append(cost)
        earlier, before = before, row
    return before[-1]


def did_you_mean(word: str, words: Iterable[str]) -> tuple[str, ...]:
    """``("did you mean 'x'?",)``, or nothing if no word is plausible."""
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
        choices: Accepted word → what it stands for.

    Raises:
        ConfigError: If the word is not accepted; lists those that are.
    """
    try:
        return choices[word]
    except (KeyError, TypeError):
        hint = "".join(f"; {text}" for text in did_you_mean(str(word), choices))
        raise ConfigError.about(argument, f"expected {one_of(choices)}, got {word!r}{hint}") from None


def check_choice(argument: str, word: str, choices: Iterable[str]) -> str:
    """The word itself if it is one of the choices; see :func:`pick`."""
    return pick(argument, word, {choice: choice for choice in choices})
