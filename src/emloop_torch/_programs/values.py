"""What a module holds as a part of a model's state, buffers included that it makes only when it sees data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from emloop.types import StateTree
from emloop_torch._tensors.parameters import load_values, values_of

from .program_module import ProgramModule

__all__ = ["Values"]


class Values:
    """The values of a module, from which an equal one, as made, goes on.

    A buffer that has grown, or that came with the first batch, is of another kind than when the module was made. Such
    buffers are named in the state, and replace those of the module that takes it up; all others must fit.

    Args:
        module: The module, as made.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._as_made = _kinds_of_buffers(module)
        self._as_made_by_source: list[str] = []

    def state_dict(self) -> StateTree:
        """All that the module holds, and the names of buffers that are new, gone, or of another dtype or shape."""
        now = _kinds_of_buffers(self._module)
        remade = {name for name in now.keys() | self._as_made.keys() if now.get(name) != self._as_made.get(name)}
        return {**values_of(self._module), "remade": sorted(remade.union(self._as_made_by_source))}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            StateError: If it is the state of another module.
        """
        remade = state.get("remade", [])
        if isinstance(self._module, ProgramModule):
            # It was made of a module that had them already, and hands on what a module as made lacks.
            load_values(self._module, state)
            self._as_made_by_source = remade
        else:
            load_values(self._module, state, remade)


def _kinds_of_buffers(module: nn.Module) -> Mapping[str, tuple[torch.dtype, torch.Size]]:
    return {name: (buffer.dtype, buffer.shape) for name, buffer in module.named_buffers()}
