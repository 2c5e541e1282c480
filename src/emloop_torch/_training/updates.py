"""From a loss to new parameters: backward pass, accumulation, clipping, the optimizer's step, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeAlias

import torch
from torch import nn, optim

from emloop.declare import Limits
from emloop.errors import ConfigError, StateError
from emloop.types import StateTree
from emloop_torch._tensors.arrays import to_plain, to_tensor

from .optimizers import Rates, first_rates, learnable, load_optimizer, optimizer_state
from .schedules import Schedule

__all__ = ["Clip", "Limit", "Updates", "clipper"]

Limit: TypeAlias = Annotated[float, Limits(above=0)]
_Weight: TypeAlias = float | torch.Tensor


@dataclass(frozen=True)
class Clip:
    """The key ``clip_gradient``: by value or by norm.

    Args:
        value: Largest absolute value of an element.
        norm: Largest norm of all gradients together.
    """

    value: Limit | None = None
    norm: Limit | None = None


def clipper(clip: Clip | float | None) -> Callable[[list[nn.Parameter]], Any] | None:
    """What clips gradients; a number is a limit of the values.

    Raises:
        ConfigError: If both, or neither, of value and norm are given.
    """
    if clip is None:
        return None
    clip = clip if isinstance(clip, Clip) else Clip(value=clip)
    if clip.norm is not None and clip.value is None:
        return partial(nn.utils.clip_grad_norm_, max_norm=clip.norm)
    if clip.value is not None and clip.norm is None:
        return partial(nn.utils.clip_grad_value_, clip_value=clip.value)
    raise ConfigError.about("clip_gradient", "expected either a value or a norm, e.g. {norm: 1.0}")


class Updates:
    """Turns losses into steps of an optimizer.

    Args:
        module: The module that is trained.
        optimizer: Its optimizer, fresh.
        lr_schedule: The key of that name.
        clip: What clips the gradients, if anything.
        accumulate: Number of batches whose gradients make one step.
        scaler: Keeps the gradients of half-precision numbers from vanishing; ``None`` where there are none.
        configured: The optimizer's groups as configured, where the optimizer does not come from there.

    Raises:
        ConfigError: If the schedule is described wrongly.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: optim.Optimizer,
        lr_schedule: Any,
        clip: Callable[[list[nn.Parameter]], Any] | None,
        accumulate: int,
        scaler: torch.amp.GradScaler | None,
        configured: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self._module = module
        self._parameters = list(learnable(module).values())
        self.optimizer = optimizer
        # Before the schedule, which may begin by changing the rates; what it notes about them is configured, too.
        configured = optimizer_state(optimizer, module)["groups"] if configured is None else configured
        self.schedule = Schedule(lr_schedule, optimizer)
        self._configured = [
            {**wanted, **first_rates(group)} for wanted, group in zip(configured, optimizer.param_groups, strict=True)
        ]
        self._rates = Rates(optimizer)
        self._clip = clip
        self._accumulate = accumulate
        self._scaler = scaler
        self._pending = 0
        self._steps = 0
        self._largest: _Weight = 0.0
        self._total: _Weight = 0.0

    def __call__(self, loss: torch.Tensor, weight: _Weight, between: Callable[[], None] | None = None) -> None:
        """Learn from one batch.

        A step follows the mean over all batches since the last one, ``Σ W·loss / Σ W``. As ``Σ W`` is known at its end
        only, gradients are summed up as ``W / (n · largest W so far) · gradient``, which no sum exceeds, and brought to
        scale then. So batches of one weight are divided by ``n``, the number of batches in a step, and by nothing else.

        Args:
            loss: The batch's mean loss.
            weight: ``W``, what the batch counts among others.
            between: Called between the backward pass and the step.
        """
        if self._accumulate > 1:
            largest = _larger(weight, self._largest)
            if self._pending:
                self._scale_gradients(_ratio(self._largest, largest))
            loss = loss * (_ratio(weight, largest) / self._accumulate)
            self._largest, self._total = largest, self._total + weight
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        if between is not None:
            between()
        self._pending += 1
        if self._pending == self._accumulate:
            self._step()

    def end_epoch(self) -> None:
        """Learn from what is left of the batches that would have made one step."""
        if self._pending:
            self._step()
        self.schedule.end_epoch()

    def get_rate(self, name: str) -> float:
        """The learning rate, apart from its warm-up.

        Raises:
            MissingVariableError: If it is another name.
        """
        return self._rates.get(name)

    def set_rate(self, name: str, value: float) -> None:
        """Set the learning rate; other groups and the schedule go on in proportion.

        Raises:
            MissingVariableError: If it is another name.
        """
        self.schedule.scale(self._rates.set(name, value))

    def state_dict(self) -> StateTree:
        """Everything but the parameters themselves."""
        named = learnable(self._module)
        pending = {name: to_plain(p.grad) for name, p in named.items() if p.grad is not None} if self._pending else {}
        return {
            "optimizer": optimizer_state(self.optimizer, self._module),
            "configured": self._configured,
            "schedule": self.schedule.state_dict(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "steps": self._steps,
            "accumulated": {
                "batches": self._pending,
                "gradients": pending,
                "weights": [w if isinstance(w, float) else to_plain(w) for w in (self._total, self._largest)],
            },
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            StateError: If the state is of another optimizer or model.
        """
        named = learnable(self._module)
        gradients = state["accumulated"]["gradients"]
        if not gradients.keys() <= named.keys():
            raise StateError("the state holds gradients of parameters that are not trained here")
        load_optimizer(self.optimizer, self._module, state["optimizer"], self._configured, state["configured"])
        self.schedule.load_state_dict(state["schedule"])
        if self._scaler is not None and state["scaler"] is not None:
            self._scaler.load_state_dict(state["scaler"])
        self._steps = state["steps"]
        self._pending = state["accumulated"]["batches"]
        device = self._parameters[0].device
        self._total, self._largest = (
            w if isinstance(w, float) else to_tensor(w).to(device) for w in state["accumulated"]["weights"]
        )
        for name, parameter in named.items():
            parameter.grad = to_tensor(gradients[name]).to(parameter.device) if name in gradients else None

    def _step(self) -> None:
        if self._accumulate > 1:
            self._scale_gradients(_ratio(self._accumulate * self._largest, self._total))
            self._largest = self._total = 0.0
        with self.schedule.warmed_up():
            if self._scaler is None:
                if self._clip is not None:
                    self._clip(self._parameters)
                self.optimizer.step()
            else:
                if self._clip is not None:
                    self._scaler.unscale_(self.optimizer)
                    self._clip(self._parameters)
                self._scaler.step(self.optimizer)
                self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.after_step()
        self._pending = 0
        self._steps += 1

    def _scale_gradients(self, factor: _Weight) -> None:
        # A tensor's value is left to the device.
        if isinstance(factor, torch.Tensor) or factor != 1.0:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)


def _larger(one: _Weight, other: _Weight) -> _Weight:
    if isinstance(one, torch.Tensor):
        return torch.maximum(one, torch.as_tensor(other, dtype=one.dtype, device=one.device))
    return max(one, float(other))


def _ratio(part: _Weight, whole: _Weight) -> _Weight:
    """A part of a whole; of nothing, all of it."""
    if isinstance(whole, torch.Tensor):
        return torch.where(whole > 0, part / whole, 1.0)
    return part / whole if whole else 1.0
