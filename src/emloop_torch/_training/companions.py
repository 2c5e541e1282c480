"""Optimizers that a model keeps beside the one of ``create_optimizer``, such as that of a discriminator.

Every one that is an attribute of the model once it is made is a part of its state, by the attribute's name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn, optim

from emloop.errors import ConfigError, StateError
from emloop.types import StateTree
from emloop_torch._programs.program_module import ProgramModule

from .optimizers import learnable, load_optimizer, optimizer_state

__all__ = ["Companions"]

logger = logging.getLogger(__name__)


class Companions:
    """The other optimizers of a model.

    Args:
        model: The model, made; its attributes are looked through.
        module: The module whose parameters they have.
        main: The optimizers that are no companions.

    Raises:
        ConfigError: If one is of other parameters.
    """

    def __init__(self, model: object, module: nn.Module, main: Sequence[optim.Optimizer]) -> None:
        self._model = model
        self._module = module
        self._main = main
        self._configured = dict[str, list[Mapping[str, Any]]]()
        own = set(map(id, module.parameters()))
        for name, optimizer in self._found().items():
            if any(id(parameter) not in own for group in optimizer.param_groups for parameter in group["params"]):
                message = f"{type(model).__name__}.{name}: the optimizer has parameters that self.module has not"
                raise ConfigError(f"{message}; make it in create_optimizer")
            self._configured[name] = self._groups(optimizer)
        self._late: set[str] = set()
        self._handed_on: StateTree = {}

    def state_dict(self) -> StateTree:
        """What they remember, by attribute; what was made later than the model cannot be restored, which is told."""
        found = self._found()
        late = found.keys() - self._configured.keys() - self._late
        for name in sorted(late):
            logger.warning(
                "%s.%s is made too late to be restored, so a resumed run begins with a new one; "
                "create_optimizer is the place to make it",
                type(self._model).__name__,
                name,
            )
        self._late |= late
        return self._handed_on | {
            name: {**optimizer_state(found[name], self._module), "configured": groups}
            for name, groups in self._configured.items()
            if name in found
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            StateError: If there is an optimizer in it that the model does not have, or another one.
        """
        if isinstance(self._module, ProgramModule):
            self._handed_on = state
            return
        found = self._found()
        unknown = sorted(state.keys() - self._configured.keys())
        if unknown:
            raise StateError(f"the state has an optimizer {unknown[0]!r}, which {type(self._model).__name__} has not")
        for name, values in state.items():
            configured, before = self._configured[name], values["configured"]
            load_optimizer(found[name], self._module, learnable(self._module), values, configured, before)

    def _found(self) -> dict[str, optim.Optimizer]:
        return {
            name: value
            for name, value in vars(self._model).items()
            if isinstance(value, optim.Optimizer) and all(value is not one for one in self._main)
        }

    def _groups(self, optimizer: optim.Optimizer) -> list[Mapping[str, Any]]:
        groups: list[Mapping[str, Any]] = optimizer_state(optimizer, self._module)["groups"]
        return groups
