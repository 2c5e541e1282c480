"""The pass being read, and its random generators.

A generator is a pure function of (run seed, stream, purpose, index): the SHA-256 of these four, as a JSON list, is the
entropy of a NumPy ``SeedSequence``, which seeds a ``PCG64``. Neither the order in which streams are read nor the
threads that read them affect what is drawn, and a pass can be started without its predecessors.

The pass is set around a stream's code only, in whichever thread runs it; hooks and models are outside any pass.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal

import numpy as np

from emloop._state.random import current_seed

__all__ = ["CURRENT_PASS", "Pass", "Purpose", "current_pass", "entered", "keyed_rng"]

logger = logging.getLogger(__name__)

Purpose = Literal["training", "evaluation", "outside"]
"""What numbers are drawn for; ``outside``: by a dataset while no :class:`StreamWrapper` reads it."""


class Pass:
    """One iteration of a stream from its start to its end, as far as random numbers are concerned.

    Args:
        training: Whether the pass trains the model.
        index: Number of this pass; ignored in evaluation, so that every evaluation sees the same numbers.
    """

    __slots__ = ("_generators", "_index", "_purpose")

    def __init__(self, *, training: bool, index: int) -> None:
        self._purpose: Purpose = "training" if training else "evaluation"
        self._index = index if training else 0
        self._generators: dict[str, np.random.Generator] = {}

    def rng(self, stream: str) -> np.random.Generator:
        """Generator of a stream in this pass; the same object every time."""
        generator = self._generators.get(stream)
        if generator is None:
            generator = self._generators[stream] = keyed_rng(stream, self._purpose, self._index)
        return generator

    def key(self, stream: str) -> int:
        """A number of 63 bits that belongs to seed, stream and pass, for generators of other libraries."""
        return int(keyed_rng(f"{stream}: loader", self._purpose, self._index).integers(2**63))

    @property
    def has_drawn(self) -> bool:
        """Whether any generator was created in this pass."""
        return bool(self._generators)

    def state(self) -> dict[str, Any]:
        """States of the generators created in this pass, by stream."""
        return {stream: generator.bit_generator.state for stream, generator in self._generators.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        for stream, generator_state in state.items():
            self.rng(stream).bit_generator.state = generator_state


CURRENT_PASS: ContextVar[Pass | None] = ContextVar("emloop_pass", default=None)


def current_pass() -> Pass | None:
    """The pass being read in this context; ``None`` outside any."""
    return CURRENT_PASS.get()


@contextmanager
def entered(reading: Pass) -> Iterator[Pass]:
    """Make a pass the current one."""
    before = CURRENT_PASS.get()
    try:
        CURRENT_PASS.set(reading)
        yield reading
    finally:
        CURRENT_PASS.set(before)


def keyed_rng(stream: str, purpose: Purpose, index: int) -> np.random.Generator:
    """Create a generator for a stream; equal in every process with the same run seed.

    If no run seed is set, one is drawn for the process and logged.
    """
    seed = current_seed()
    key = json.dumps([_process_seed() if seed is None else seed, stream, purpose, index])
    entropy = int.from_bytes(hashlib.sha256(key.encode()).digest(), "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


@cache
def _process_seed() -> int:
    seed = secrets.randbits(32)
    logger.info("No run seed is set; the streams of this process use %d", seed)
    return seed
