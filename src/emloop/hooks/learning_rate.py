"""Steer the learning rate, or any other number of a model that hooks may change.

These hooks know no framework: a model offers its numbers by ``get_variable`` and ``set_variable``, and keeps in its own
state what they set. A hook's state is only what the hook itself must remember.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeAlias

from emloop._contracts import SAFE, AbstractHook, AbstractModel, Inspectable, ResumeChanges, Steerable
from emloop._state.kinds import check_state
from emloop._support.suggest import pick
from emloop.declare import Amount, Positive, Scalar, Statistics, Variable
from emloop.errors import ConfigError, Problem
from emloop.types import EpochData, Objective, StateTree

from .every_n_epoch import EveryNEpoch
from .on_plateau import OnPlateau

__all__ = ["DecayLR", "DecayLROnPlateau", "InitLR", "LogLR"]

_LOGGER = logging.getLogger(__name__)

_DecayType: TypeAlias = Literal["multiply", "add"]

_DECAYS: dict[str, Callable[[float, float], float]] = {"multiply": operator.mul, "add": operator.add}


class InitLR(AbstractHook):
    """Set the learning rate once, before a run's first epoch; a resumed run keeps the rate it had.

    .. code-block:: yaml

        hooks:
          - InitLR: {value: 0.01}

    Args:
        model: The model.
        value: The value.
        variable_name: Name of the number, if it is not the learning rate.
    """

    steers_training = True
    reads = writes = ()
    resume_changes: ClassVar[ResumeChanges] = {"*": "the value was set when the run began, and is not set again"}

    def __init__(self, model: AbstractModel, value: float, variable_name: str = "learning_rate") -> None:
        super().__init__()
        self._variable = _Variable(self, model, variable_name)
        self._value = value
        self._done = False

    def before_training(self) -> None:
        """Set the value, unless an earlier attempt has.

        Raises:
            MissingVariableError: If the model has no such number.
        """
        if not self._done:
            self._variable.set(self._value)
            self._done = True

    def state_dict(self) -> StateTree:
        """Whether the value has been set."""
        return {"done": self._done}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on where an equal hook stopped."""
        self._done = check_state(self, state, {"done": bool})["done"]


class DecayLR(EveryNEpoch):
    """Change the learning rate after every ``n_epochs`` epochs of training.

    .. code-block:: yaml

        hooks:
          - DecayLR: {decay_value: 0.5, n_epochs: 10}

    Args:
        model: The model.
        decay_value: What to multiply the rate by, or to add to it.
        decay_type: ``multiply`` or ``add``.
        variable_name: Name of the number, if it is not the learning rate.
        n_epochs: Number of epochs from one change to the next.
    """

    stateless = True
    steers_training = True
    reads = writes = ()

    def __init__(
        self,
        model: AbstractModel,
        decay_value: float = 0.98,
        decay_type: _DecayType = "multiply",
        variable_name: str = "learning_rate",
        n_epochs: Positive = 1,
    ) -> None:
        super().__init__(n_epochs=n_epochs)
        self._variable = _Variable(self, model, variable_name)
        self._decay = pick("decay_type", decay_type, _DECAYS)
        self._decay_value = decay_value

    def _after_n_epoch(self, epoch_id: int, epoch_data: EpochData | None = None) -> None:
        if epoch_id > 0:  # the zeroth epoch trains nothing
            self._variable.set(self._decay(self._variable.get(), self._decay_value))


class DecayLROnPlateau(OnPlateau):
    """Change the learning rate on a plateau, as ``OnPlateau`` defines it; then not for another ``long_term`` epochs.

    .. code-block:: yaml

        hooks:
          - DecayLROnPlateau: {variable: loss, long_term: 20, short_term: 5, decay_value: 0.1}

    Args:
        model: The model.
        long_term: Number of epochs of the long average, and of those after a change without another.
        short_term: Number of epochs of the short average, which is worse than the long one on a plateau.
        stream: Name of the stream whose mean is observed.
        variable: Name of the observed variable.
        objective: Whether smaller (``min``) or larger (``max``) is better.
        decay_value: What to multiply the rate by, or to add to it.
        decay_type: ``multiply`` or ``add``.
        variable_name: Name of the number to change, if it is not the learning rate.
        min_delta: By how much the short average must be worse; exactly as much does not count.
    """

    reads = (Variable("{variable}"), Scalar("{variable}", stream="{stream}", aggregation="mean"))
    writes = (Statistics("{variable}"),)

    resume_changes: ClassVar[ResumeChanges] = {
        **OnPlateau.resume_changes,
        **dict.fromkeys(("decay_value", "decay_type", "variable_name"), "counts from the next plateau on"),
    }

    def __init__(
        self,
        model: AbstractModel,
        long_term: Positive = 50,
        short_term: Positive = 10,
        stream: str = "valid",
        variable: str = "loss",
        objective: Objective = "min",
        decay_value: float = 0.1,
        decay_type: _DecayType = "multiply",
        variable_name: str = "learning_rate",
        *,
        min_delta: Amount = 0.0,
    ) -> None:
        super().__init__(long_term, short_term, stream, variable, objective, min_delta=min_delta)
        self._rate = _Variable(self, model, variable_name)
        self._decay = pick("decay_type", decay_type, _DECAYS)
        self._decay_value = decay_value
        self._quiet = 0

    def _on_plateau_action(self, epoch_id: int, epoch_data: EpochData) -> None:
        if self._quiet == 0:
            self._rate.set(self._decay(self._rate.get(), self._decay_value))
            self._quiet = self._long_term + 1

    # As in OnPlateau: this family has always been called with the epoch first.
    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:  # type: ignore[override]
        """Look for a plateau.

        Raises:
            MissingVariableError: If the stream is not in the epoch's data, or the model has no such number.
        """
        super().after_epoch(epoch_id=epoch_id, epoch_data=epoch_data)
        self._quiet = max(self._quiet - 1, 0)

    def state_dict(self) -> StateTree:
        """What a plateau is found by, and for how many epochs the rate stays."""
        return {**super().state_dict(), "quiet": self._quiet}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on where an equal hook stopped."""
        rest = dict(check_state(self, state, {**dict.fromkeys(super().state_dict(), object), "quiet": int}))
        self._quiet = rest.pop("quiet")
        super().load_state_dict(rest)


class LogLR(AbstractHook):
    """Log the learning rate after every epoch.

    .. code-block:: yaml

        hooks:
          - LogLR

    Args:
        model: The model.
        variable_name: Name of the number, if it is not the learning rate.
    """

    stateless = True
    reads = writes = ()
    resume_changes: ClassVar[ResumeChanges] = {"*": SAFE}

    def __init__(self, model: AbstractModel, variable_name: str = "learning_rate") -> None:
        super().__init__()
        self._variable = _Variable(self, model, variable_name, changes=False)
        self._name = variable_name

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Log the value.

        Raises:
            MissingVariableError: If the model has no such number.
        """
        _LOGGER.info("\t%s: %g", self._name, self._variable.get())


class _Variable:
    """One number of a model."""

    def __init__(self, hook: object, model: Any, name: str, *, changes: bool = True) -> None:
        self._model: Steerable = model
        if not isinstance(model, Steerable if changes else Inspectable):
            hint = "a model offers its numbers by get_variable(name) and set_variable(name, value)"
            wanted = "change" if changes else "read"
            message = f"{type(hook).__name__}: {type(model).__name__} has no number that a hook could {wanted}"
            raise ConfigError(Problem(message, hints=(hint,)))
        self._name = name

    def get(self) -> float:
        """The value."""
        return self._model.get_variable(self._name)

    def set(self, value: float) -> None:
        """Change it, and log the change."""
        before = self.get()
        self._model.set_variable(self._name, value)
        _LOGGER.info("\t%s: %g → %g", self._name, before, value)
