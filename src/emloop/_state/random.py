"""The run's seed and the global random generators.

Those are Python's ``random``, NumPy's, and the ones that backends register for their frameworks.
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

from .kinds import check_state

__all__ = [
    "RUN_SEED",
    "GlobalGenerator",
    "add_global_generator",
    "current_seed",
    "random_state",
    "random_state_kept",
    "restore_random_state",
    "seed_everything",
    "use_seed",
]

RUN_SEED: ContextVar[int | None] = ContextVar("emloop_run_seed", default=None)
"""Seed of the current run; datasets and models derive theirs from it."""

logger = logging.getLogger(__name__)

_OWN = ("python", "numpy")
_TWISTER = 624
"""Words of a Mersenne twister."""


class GlobalGenerator(Protocol):
    """The generator a framework draws from unless told otherwise, on all devices in use."""

    def seed(self, seed: int) -> None:
        """Start over with a seed from 0 to 2**64 - 1."""

    def state_dict(self) -> StateTree:
        """Return the current state without advancing it."""

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from a state returned by :meth:`state_dict`."""


_OTHERS: dict[str, GlobalGenerator] = {}


def add_global_generator(name: str, generator: GlobalGenerator) -> None:
    """Seed, commit and restore a framework's global generator together with those of Python and NumPy.

    Backends register theirs on import, before anything is built. One registered in the middle of a run is seeded at
    once.

    Args:
        name: Short name of the backend; registering a name again replaces its generator.
        generator: The generator.

    Raises:
        ConfigError: If the name is reserved for the core.
    """
    if name in _OWN:
        raise ConfigError(f"a global generator cannot be named {' or '.join(map(repr, _OWN))}, got {name!r}")
    _OTHERS[name] = generator
    seed = current_seed()
    if seed is not None:
        generator.seed(seed)


def current_seed() -> int | None:
    """Seed of the current run; ``None`` outside any run."""
    return RUN_SEED.get()


@contextmanager
def use_seed(seed: int | None) -> Iterator[None]:
    """Set the seed of the current run inside the block; ``None`` keeps the present one."""
    token = RUN_SEED.set(RUN_SEED.get() if seed is None else seed)
    try:
        yield
    finally:
        RUN_SEED.reset(token)


def seed_everything(seed: int) -> None:
    """Seed the global generators: Python's, NumPy's and those registered by backends.

    Args:
        seed: From 0 to 2**64 - 1. NumPy takes 32 bits, so it gets a larger seed as two words.

    Raises:
        ConfigError: If the seed is not such a number.
    """
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise ConfigError.about("seed", f"expected a whole number from 0 to 2**64 - 1, got {seed!r}")
    random.seed(number)
    np.random.seed(number if number < 2**32 else [number & 0xFFFFFFFF, number >> 32])
    for generator in _OTHERS.values():
        generator.seed(number)


def random_state() -> StateTree:
    """State of all global generators."""
    version, words, gauss = random.getstate()
    return {
        "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),
        **{name: generator.state_dict() for name, generator in _OTHERS.items()},
    }


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave all global generators after the block as they were before; not those of backends loaded in it."""
    python, numpy = random.getstate(), np.random.get_state()
    others = [(generator, generator.state_dict()) for generator in _OTHERS.values()]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for generator, state in others:
            generator.load_state_dict(state)


def restore_random_state(state: StateTree) -> None:
    """Restore the global generators to what :func:`random_state` returned; one missing there is left alone.

    Raises:
        StateError: If it is no such state, or includes a generator that is not registered here.
    """
    words = np.dtype(np.uint32)
    try:
        python = check_state("Python", state["python"], {"version": int, "words": words, "gauss": (float, None)})
        random.setstate((python["version"], tuple(map(int, python["words"])), python["gauss"]))
        # NumPy takes what is missing for zero, and believes every position.
        numpy = check_state("NumPy", state["numpy"], dict.fromkeys(np.random.get_state(legacy=False), object))
        if numpy["bit_generator"] == "MT19937":
            twister = check_state("NumPy", numpy["state"], {"key": words, "pos": int})
            if twister["key"].shape != (_TWISTER,) or twister["pos"] > _TWISTER:
                raise StateError(f"NumPy: no state of a generator of {_TWISTER} words")
        np.random.set_state(numpy)
        for name, generator in _OTHERS.items():
            if name in state:
                generator.load_state_dict(state[name])
            else:
                logger.warning("No random state of %r was saved: it starts from the run's seed", name)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise StateError(f"not a state of the random generators: {error}") from error
    missing = sorted(state.keys() - {*_OWN, *_OTHERS})
    if missing:
        raise StateError(f"includes the random state of {', '.join(map(repr, missing))}, whose backend is not loaded")
