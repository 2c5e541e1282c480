"""Tests that are promises: a failure names the promise, what was seen, the fix, and where to read about it."""

from __future__ import annotations

import functools
import reprlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np

from emloop._state.tree import equal_trees

__all__ = ["BrokenPromise", "Section", "claims", "promise", "refuses", "same"]

P = ParamSpec("P")
R = TypeVar("R")

Section: TypeAlias = Literal[
    "run-a-batch",
    "declare-the-settings",
    "keep-the-state",
    "let-hooks-steer",
    "save-and-restore",
    "restore-without-the-source",
    "predict",
    "run-the-contract-suite",
]
"""A heading of the page."""

_PAGE = "docs/how-to/write-a-backend.md"


class BrokenPromise(AssertionError):
    """A promise that a backend does not keep."""


def promise(section: Section, fix: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a promise of a test, or of a fixture; the first line of its docstring states it.

    Args:
        section: Where the page on writing a backend tells more.
        fix: What a backend does to keep the promise.
    """

    def make(test: Callable[P, R]) -> Callable[P, R]:
        stated = str(test.__doc__).partition("\n")[0].rstrip(".")

        @functools.wraps(test)
        def kept(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return test(*args, **kwargs)
            except Exception as error:
                seen = _seen(error).replace("\n", "\n    ")
                message = f"{stated}\n  seen: {seen}\n  fix: {fix}\n  see: {_PAGE}#{section}"
                raise BrokenPromise(message) from error

        return kept

    return make


@contextmanager
def refuses(kind: type[Exception], what: str, *words: str) -> Iterator[None]:
    """Demand an error of a kind, whose message contains some words, from the block.

    Args:
        kind: Class of the error.
        what: What has to be refused, for the failure.
        *words: What the message has to contain.
    """
    expected = f"{what}: expected a {kind.__name__} that says {', '.join(map(repr, words)) or 'why'}, got"
    try:
        yield
    except Exception as error:
        if isinstance(error, kind) and all(word in str(error) for word in words):
            return
        raise AssertionError(f"{expected} {_seen(error)}") from error
    raise AssertionError(f"{expected} no error")


def claims(model: Any, ability: type) -> Any:
    """The model, if it has an ability."""
    assert isinstance(model, ability), (
        f"{type(model).__name__} is not {ability.__name__}, see emloop.abilities.{ability.__name__}"
    )
    return model


def same(expected: Any, found: Any, what: str, *, exact: bool = True) -> None:
    """Demand that two state trees are equal.

    Args:
        expected: What it should be.
        found: What it is.
        what: What they are, for the failure, which names the first place where they differ.
        exact: To the bit; otherwise floating-point arrays may differ by rounding.
    """
    differences = _differences(expected, found, what, exact=exact)
    assert not differences, differences[0]


def _differences(expected: Any, found: Any, place: str, *, exact: bool) -> list[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        if list(expected) != list(found):
            return [f"{place}: has {', '.join(map(repr, found))} instead of {', '.join(map(repr, expected))}"]
        pairs = [(f"{place}[{key!r}]", expected[key], found[key]) for key in expected]
    elif isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(expected) != len(found):
            return [f"{place}: has {len(found)} items instead of {len(expected)}"]
        pairs = [(f"{place}[{index}]", *pair) for index, pair in enumerate(zip(expected, found, strict=True))]
    else:
        rounded = not exact and isinstance(expected, np.ndarray) and expected.dtype.kind == "f"
        if rounded and np.shape(found) == expected.shape:
            is_same = np.allclose(found, expected, rtol=1e-3, atol=1e-5, equal_nan=True)
        else:
            is_same = equal_trees(expected, found)
        return [] if is_same else [f"{place}: {_short(found)} instead of {_short(expected)}"]
    return [told for name, one, other in pairs for told in _differences(one, other, name, exact=exact)]


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)} {reprlib.repr(value.ravel()[:4].tolist())}"
    return reprlib.repr(value)


def _seen(error: Exception) -> str:
    """What an error says; one that nobody made for this purpose, with its type and where it comes from."""
    if type(error) is AssertionError and str(error):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
