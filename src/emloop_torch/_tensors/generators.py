"""A model's own random numbers: one sequence for training, another for evaluation.

PyTorch's dropout and the like draw from global generators. While a model runs, these are set to the model's own
sequence, and afterwards back to where they were. So neither an extra evaluation nor a hook that draws changes what
training draws, and the state is complete.

Everything else draws from the global generators, which the core seeds, commits and restores.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import numpy as np
import torch

from emloop.errors import StateError
from emloop.saved_models import check_state
from emloop.types import StateTree

from .arrays import to_plain, to_tensor

__all__ = ["Generators", "GlobalGenerators"]

logger = logging.getLogger(__name__)

Purpose = Literal["training", "evaluation"]

_OTHER_HALF = 1 << 63
_HOST = torch.default_generator


class GlobalGenerators:
    """PyTorch's global generators, of the host and of every device in use."""

    def seed(self, seed: int) -> None:
        """Start all generators from a seed."""
        torch.manual_seed(seed)

    def state_dict(self) -> StateTree:
        """Kind of device → state of each device's generator, ``uint8``."""
        states = {"cpu": [torch.get_rng_state()]}
        if torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state_all()
        if torch.backends.mps.is_available():
            states["mps"] = [torch.mps.get_rng_state()]
        return {kind: list(map(to_plain, of_kind)) for kind, of_kind in states.items()}

    def load_state_dict(self, state: StateTree) -> None:
        """Restore what :meth:`state_dict` returned, for the devices of this machine."""
        torch.set_rng_state(to_tensor(state["cpu"][0]))
        for number, of_device in enumerate(state.get("cuda", ())[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(to_tensor(of_device), number)
        if "mps" in state and torch.backends.mps.is_available():
            torch.mps.set_rng_state(to_tensor(state["mps"][0]))


class Generators:
    """Positions of a model's sequences.

    Args:
        seed: Start of both; ``None`` draws it from PyTorch's global generator.
        device: Device of the model, which has a generator beside the host's.
    """

    def __init__(self, seed: int | None, device: torch.device) -> None:
        self._device = device
        self._kind = device.type
        if seed is None:
            seed = int(torch.randint(2**62, ()))
        self._seed = seed = seed % 2**64
        self._states: dict[Purpose, dict[str, torch.Tensor]] = {
            "training": self._begin(seed),
            "evaluation": self._begin(seed ^ _OTHER_HALF),
        }
        self._uses = {purpose: _Use(self, purpose) for purpose in self._states}

    def take_share(self, share: int) -> None:
        """Begin the sequences of one of several processes that share a seed; the first has those of one alone."""
        if share:
            seed = int(np.random.SeedSequence([self._seed, share]).generate_state(1, np.uint64)[0])
            self._states["training"] = self._begin(seed)
            self._states["evaluation"] = self._begin(seed ^ _OTHER_HALF)

    def use(self, purpose: Purpose) -> AbstractContextManager[None]:
        """Draw from one of the sequences inside the block."""
        return self._uses[purpose]

    @contextmanager
    def borrow(self) -> Iterator[None]:
        """Draw the same each time inside the block: from where evaluations are, which stay there."""
        before = self._states["evaluation"]
        try:
            with self.use("evaluation"):
                yield
        finally:
            self._states["evaluation"] = before

    def state_dict(self) -> StateTree:
        """Purpose → kind of device → state of the generator, ``uint8``."""
        return {
            purpose: {name: to_plain(state) for name, state in states.items()}
            for purpose, states in self._states.items()
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Restore what :meth:`state_dict` returned, as far as the kind of device is the same.

        Raises:
            StateError: If it is something else.
        """
        check_state("random generators", state, {purpose: {str: object} for purpose in self._states})
        for purpose, own in self._states.items():
            found = {name: to_tensor(state[purpose][name]) for name in own if name in state[purpose]}
            for name, value in found.items():
                try:
                    torch.Generator(name).set_state(value)
                except (RuntimeError, TypeError) as error:
                    raise StateError(f"no state of a random generator for {purpose}: {error}") from error
            missing = sorted(own.keys() - found.keys())
            if "cpu" in missing:
                raise StateError(f"no state of the host's random generator for {purpose}")
            if missing:
                logger.warning(
                    "The state holds no random generator of %s; its %s draws anew", ", ".join(missing), purpose
                )
            own.update(found)

    def _begin(self, seed: int) -> dict[str, torch.Tensor]:
        states = {"cpu": torch.Generator().manual_seed(seed).get_state()}
        if self._device.type != "cpu":
            states[self._device.type] = torch.Generator(self._device).manual_seed(seed).get_state()
        return states

    def _exchange(self, states: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Set the global generators, and return what they were set to."""
        before = {"cpu": _HOST.get_state()}
        _HOST.set_state(states["cpu"])
        if self._kind == "cuda":
            before["cuda"] = torch.cuda.get_rng_state(self._device)
            torch.cuda.set_rng_state(states["cuda"], self._device)
        elif self._kind == "mps":
            before["mps"] = torch.mps.get_rng_state()
            torch.mps.set_rng_state(states["mps"])
        return before


class _Use(AbstractContextManager[None]):
    """No generator function, since there is one for every batch."""

    def __init__(self, generators: Generators, purpose: Purpose) -> None:
        self._generators = generators
        self._purpose: Purpose = purpose
        self._outer: list[dict[str, torch.Tensor]] = []

    def __enter__(self) -> None:
        own = self._generators
        self._outer.append(own._exchange(own._states[self._purpose]))

    def __exit__(self, *_: object) -> None:
        own = self._generators
        own._states[self._purpose] = own._exchange(self._outer.pop())
