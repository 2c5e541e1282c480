"""The run's seed, and the generators that everybody shares.

These are Python's ``random``, NumPy's global one, and those of frameworks, which their backends add.
"""

from __future__ import annotations

import logging
import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import numpy as np

from emloop.errors import ConfigError, StateError
from emloop.types import StateTree

__all__ = [
    "RUN_SEED",
    "GlobalGenerator",
    "add_global_generator",
    "current_seed",
    "random_state",
    "restore_random_state",
    "seed_everything",
    "use_seed",
]

RUN_SEED: ContextVar[int | None] = ContextVar("emloop_run_seed", default=None)
"""Seed of the run in whose context the code runs; datasets and models derive theirs from it."""

logger = logging.getLogger(__name__)

_OWN = ("python", "numpy")


class GlobalGenerator(Protocol):
    """Random numbers that a framework draws where it is given no generator, with all devices that are in use."""

    def seed(self, seed: int) -> None:
        """Begin anew; the seed is from 0 to 2**64 - 1."""

    def state_dict(self) -> StateTree:
        """Where it stands; asking does not move it."""

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned."""


_OTHERS: dict[str, GlobalGenerator] = {}


def add_global_generator(name: str, generator: GlobalGenerator) -> None:
    """Let a framework's global generator be seeded, committed and restored with those of Python and NumPy.

    A backend does so where it is imported, which is before anything is built. One that comes in the middle of a run is
    seeded at once.

    Args:
        name: Short name of the backend; a second one of that name replaces the first.
        generator: The generator.

    Raises:
        ConfigError: If the name is taken by the core.
    """
    if name in _OWN:
        raise ConfigError(f"the global generators {' and '.join(map(repr, _OWN))} are there already, got {name!r}")
    _OTHERS[name] = generator
    seed = current_seed()
    if seed is not None:
        generator.seed(seed)


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
    """Seed the global generators: Python's, NumPy's and those that backends have added.

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
    for generator in _OTHERS.values():
        generator.seed(number)


def random_state() -> StateTree:
    """Where the global generators stand."""
    version, words, gauss = random.getstate()
    return {
        "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),
        **{name: generator.state_dict() for name, generator in _OTHERS.items()},
    }


def restore_random_state(state: StateTree) -> None:
    """Let the global generators go on from what :func:`random_state` returned; one that had no state there stays.

    Raises:
        StateError: If it is no such state; or if it holds, too, that of a generator which nobody has added here.
    """
    try:
        python = state["python"]
        random.setstate((python["version"], tuple(map(int, python["words"])), python["gauss"]))
        np.random.set_state(state["numpy"])
        for name, generator in _OTHERS.items():
            if name in state:
                generator.load_state_dict(state[name])
            else:
                logger.warning("There is no random state of %r to go on from: it begins with the run's seed", name)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StateError(f"no state of the random generators: {error}") from error
    missing = sorted(state.keys() - {*_OWN, *_OTHERS})
    if missing:
        raise StateError(f"holds the random numbers of {', '.join(map(repr, missing))}, whose backend is not here")
