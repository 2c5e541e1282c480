"""The run's seed, and the generators that everybody shares: Python's ``random`` and NumPy's global one."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from emloop.errors import ConfigError, StateError
from emloop.types import StateTree

__all__ = ["RUN_SEED", "current_seed", "random_state", "restore_random_state", "seed_everything", "use_seed"]

RUN_SEED: ContextVar[int | None] = ContextVar("emloop_run_seed", default=None)
"""Seed of the run in whose context the code runs; datasets and models derive theirs from it."""


def current_seed() -> int | None:
    """Seed of the current run, ``None`` outside of any."""
    return RUN_SEED.get()


@contextmanager
def use_seed(seed: int | None) -> Iterator[None]:
    """Make a seed the current run's, inside the block; ``None`` leaves the current one."""
    token = RUN_SEED.set(RUN_SEED.get() if seed is None else seed)
    try:
        yield
    finally:
        RUN_SEED.reset(token)


def seed_everything(seed: int) -> None:
    """Seed Python's and NumPy's global generators.

    Args:
        seed: From 0 to 2**64 - 1. NumPy takes 32 bits: a larger seed is given to it as two such words.

    Raises:
        ConfigError: If the seed is none of these.
    """
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise ConfigError(f"seed: expected a whole number from 0 to 2**64 - 1, got {seed!r}")
    random.seed(number)
    np.random.seed(number if number < 2**32 else [number & 0xFFFFFFFF, number >> 32])


def random_state() -> StateTree:
    """Where the global generators stand."""
    version, words, gauss = random.getstate()
    return {
        "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),
    }


def restore_random_state(state: StateTree) -> None:
    """Let the global generators go on from what :func:`random_state` returned.

    Raises:
        StateError: If it is no such state.
    """
    try:
        python = state["python"]
        random.setstate((python["version"], tuple(map(int, python["words"])), python["gauss"]))
        np.random.set_state(state["numpy"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StateError(f"no state of the random generators: {error}") from error
