"""A module's values as part of a model's state, including buffers created only when data arrive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from emloop.types import StateTree
from emloop_torch._tensors.parameters import load_values, values_of

from .program_module import ProgramModule

__all__ = ["Values"]


class Values:
    """Values of a module, with which an equal, freshly built one goes on.

    Buffers that have grown, or appeared with the first batch, differ in kind from those of a fresh module. The state
    names them, and they replace those of the module that loads it; all others must match.

    Args:
        module: The module, freshly built.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._as_made = _kinds_of_buffers(module)
        self._as_made_by_source: list[str] = []

    def state_dict(self, frozen: Iterable[str] = ()) -> StateTree:
        """All values, of which those of frozen parameters last; the names of buffers that are new, gone, or differ."""
        now = _kinds_of_buffers(self._module)
        remade = {name for name in now.keys() | self._as_made.keys() if now.get(name) != self._as_made.get(name)}
        return {**values_of(self._module, frozen), "remade": sorted(remade.union(self._as_made_by_source))}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            StateError: If it is the state of another module.
        """
        remade = state.get("remade", [])
        if isinstance(self._module, ProgramModule):
            # It was made from a module that had them already, and passes on which ones a fresh module lacks.
            load_values(self._module, state)
            self._as_made_by_source = remade
        else:
            load_values(self._module, state, remade)


def _kinds_of_buffers(module: nn.Module) -> Mapping[str, tuple[torch.dtype, torch.Size]]:
    return {name: (buffer.dtype, buffer.shape) for name, buffer in module.named_buffers()}
