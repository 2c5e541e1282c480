r"""What trains parameters: an optimizer, with the loss that it follows, its schedule and its clipping.

.. code-block:: yaml

    optimizers:
      - {name: generator, match: 'generator\..*', loss: generator_loss, class: Adam, learning_rate: 1e-4, every: 5}
      - {name: critic, match: 'critic\..*', loss: critic_loss, class: Adam, learning_rate: 4e-4}

One forward pass gives all losses. The gradient of each reaches the parameters that its optimizers match, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn, optim

from emloop.arguments import Chosen, read_component
from emloop.declare import Component, Count, Names, Positive
from emloop.errors import ConfigError
from emloop.parameters import Clip, Limit
from emloop.saved_models import check_state
from emloop.types import StateTree
from emloop_torch._programs.program_module import LOSS

from .optimizers import (
    Optimizers,
    first_rates,
    forget_gradients,
    learnable,
    load_optimizer,
    make_optimizer,
    optimizer_state,
    rebuild_optimizer,
    selected,
    take_step,
)
from .schedules import Schedule, Schedules

__all__ = ["Learner", "Several", "build_learners", "clipper", "rebuild_learner"]

_Clipper: TypeAlias = Callable[[list[nn.Parameter]], Any] | None

_SHOWN = 6


class Several(Optimizers):
    """An item of the key ``optimizers``.

    Attributes:
        match: Regular expressions; it trains the parameters whose whole name matches one of them.
        ndim: Numbers of axes; it trains the parameters that have as many. Without both it trains the rest.
        name: What it is called, in the state and by hooks: ``<name>/learning_rate``; by default as its class.
        loss: Output of the module that it minimises.
        every: Number of steps from one of its own to the next; batches in between do not count for it.
        lr_schedule: Its own schedule; by default the model's ``lr_schedule``.
        clip_gradient: Its own limit, of its own gradients; by default the model's ``clip_gradient``.
    """

    word = "named optimizer"

    match: str | Names | None = None
    ndim: Count | Sequence[Count] | None = None
    name: str = ""
    loss: str = "loss"
    every: Positive = 1
    lr_schedule: Component[Schedules] | None = None
    clip_gradient: Limit | Clip | None = None


class Learner:
    """An optimizer, and what surrounds it.

    Args:
        module: The module that is trained.
        optimizer: Its optimizer, fresh.
        lr_schedule: The key of that name.
        clip: What clips the gradients, if anything.
        name: What it is called; empty for the only one.
        loss: Name of the loss that it follows.
        every: Number of steps from one of its own to the next.
        keys: Where the configuration describes it; empty for the only one.
        configured: The optimizer's groups as configured, where the optimizer does not come from there.

    Raises:
        ConfigError: If the schedule is described wrongly.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: optim.Optimizer,
        lr_schedule: Any = None,
        clip: _Clipper = None,
        *,
        name: str = "",
        loss: str = LOSS,
        every: int = 1,
        keys: tuple[Any, ...] = (),
        configured: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.name, self.loss, self.every = name, loss, every
        own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        # The only one clips whatever has a gradient, also what ``create_optimizer`` has left to another.
        self.named = {n: p for n, p in learnable(module).items() if not name or id(p) in own}
        self.parameters = list(self.named.values())
        self._module = module
        # Before the schedule, which may begin by changing the rates; what it notes about them is configured, too.
        configured = optimizer_state(optimizer, module)["groups"] if configured is None else configured
        self.schedule = Schedule(lr_schedule, optimizer, (*keys, "lr_schedule"))
        self._configured = [
            {**wanted, **first_rates(group)} for wanted, group in zip(configured, optimizer.param_groups, strict=True)
        ]
        self._clip = clip

    @property
    def rate(self) -> float:
        """The learning rate of the last group, apart from a warm-up."""
        return float(self.optimizer.param_groups[-1]["lr"])

    def set_rate(self, value: float) -> None:
        """Set the learning rate of the last group; other groups and the schedule go on in proportion."""
        groups, before = self.optimizer.param_groups, self.rate
        factor = value / before if before else None
        for group in groups:
            group["lr"] = value if factor is None else group["lr"] * factor
        groups[-1]["lr"] = value
        self.schedule.scale(factor)

    def step(self, scaler: torch.amp.GradScaler | None) -> bool:
        """Take a step with the gradients that are there, and forget them; return whether the scaler has seen any."""
        has_gradients = scaler is not None and any(parameter.grad is not None for parameter in self.parameters)
        with self.schedule.warmed_up():
            if scaler is None:
                if self._clip is not None:
                    self._clip(self.parameters)
                take_step(self.optimizer)
            elif has_gradients:
                if self._clip is not None:
                    scaler.unscale_(self.optimizer)
                    self._clip(self.parameters)
                scaler.step(self.optimizer)
        forget_gradients(self.optimizer)
        self.schedule.after_step()
        return has_gradients

    def state_dict(self) -> StateTree:
        """Everything but the parameters themselves; of one of several, also what it is for."""
        return {
            "optimizer": optimizer_state(self.optimizer, self._module),
            "configured": self._configured,
            "schedule": self.schedule.state_dict(),
            **({"loss": self.loss, "every": self.every} if self.name else {}),
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            StateError: If the state is of another optimizer, or of other parameters.
        """
        kind = {"optimizer": {str: object}, "configured": [{str: object}, ...], "schedule": {str: object}}
        check_state("training", state, {**dict.fromkeys(state, object), **kind})
        load_optimizer(
            self.optimizer, self._module, self.named, state["optimizer"], self._configured, state["configured"]
        )
        self.schedule.load_state_dict(state["schedule"])


def build_learners(
    descriptions: Sequence[Any], module: nn.Module, lr_schedule: Any, clip: Clip | float | None, frozen: Collection[str]
) -> list[Learner]:
    """What the key ``optimizers`` describes.

    Args:
        descriptions: The items.
        module: The module.
        lr_schedule: The schedule of those that have none of their own.
        clip: The limit of the gradients of those that have none of their own.
        frozen: Names of parameters that the configuration excludes from training.

    Raises:
        ConfigError: If an item is wrong, or a trained parameter belongs to none or to several; names them.
    """
    if not descriptions:
        raise ConfigError.about("optimizers", "there is no item", "leave it out, for one AdamW")
    named, made = learnable(module), list[Learner]()
    items = [read_component(Several, each, ("optimizers", index)) for index, each in enumerate(descriptions)]
    names = [str(item.beside.get("name") or getattr(item.cls, "__name__", "")) for item in items]
    owners = _shared_out(items, names, named)
    for index, (chosen, name) in enumerate(zip(items, names, strict=True)):
        keys, beside = ("optimizers", index), chosen.beside
        own = {one: parameter for one, parameter in named.items() if owners.get(one) == name}
        optimizer = make_optimizer(chosen, own, keys, among=named)
        limit = clipper(beside.get("clip_gradient") or clip, keys)
        schedule = beside.get("lr_schedule") or lr_schedule
        meant = {key: beside[key] for key in ("loss", "every") if key in beside}
        made.append(Learner(module, optimizer, schedule, limit, name=name, keys=keys, **meant))
    left = [n for n, p in named.items() if p.requires_grad and n not in owners and n not in frozen]
    if left:
        shown = ", ".join(left[:_SHOWN]) + (" …" if len(left) > _SHOWN else "")
        hint = "add them to the match of one, or to frozen if nobody is to train them"
        rest = "an item without match and ndim takes the rest"
        raise ConfigError.about("optimizers", f"none of them matches {shown}", hint, rest)
    return made


def rebuild_learner(module: nn.Module, name: str, state: StateTree, lr_schedule: Any, clip: _Clipper) -> Learner:
    """One as it was once configured, where only the model's source, or a configuration that is gone, described it.

    Args:
        module: The module.
        name: What it is called; empty for the only one.
        state: What its ``state_dict`` returned.
        lr_schedule: The key of that name.
        clip: What clips the gradients, if anything.

    Raises:
        StateError: If the class is none that PyTorch has, or the groups are not of the module's parameters.
    """
    configured = state["configured"]
    optimizer = rebuild_optimizer(state["optimizer"]["class"], configured, module)
    meant = {key: state[key] for key in ("loss", "every") if key in state}
    return Learner(module, optimizer, lr_schedule, clip, name=name, configured=configured, **meant)


def clipper(clip: Clip | float | None, keys: tuple[Any, ...] = ()) -> _Clipper:
    """What clips gradients; a number is a limit of the values.

    Raises:
        ConfigError: If both, or neither, of value and norm are given.
    """
    limits = Clip.of(clip, *keys)
    if limits is not None and limits.norm is not None:
        return partial(nn.utils.clip_grad_norm_, max_norm=limits.norm)
    if limits is not None and limits.value is not None:
        return partial(nn.utils.clip_grad_value_, clip_value=limits.value)
    return None


def _shared_out(items: Sequence[Chosen], names: Sequence[str], named: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Name of a parameter → that of the item that trains it.

    Raises:
        ConfigError: If two items have one name, or want the same parameter; or one finds none.
    """
    owners: dict[str, str] = {}
    rest: list[int] = []
    for index, (item, name) in enumerate(zip(items, names, strict=True)):
        keys = ("optimizers", index)
        if name in names[:index]:
            raise ConfigError.about((*keys, "name"), f"there are two of the name {name!r}", "give each its own name")
        found = selected(item.beside, named, keys)
        if found is None:
            rest.append(index)
        twice = [one for one in found or () if one in owners]
        if twice:
            at = (*keys, "match" if "match" in item.beside else "ndim")
            hint = "each parameter belongs to one: narrow a pattern, e.g. by (?!…)"
            raise ConfigError.about(at, f"{twice[0]!r} is matched by {owners[twice[0]]!r}, too", hint)
        owners.update(dict.fromkeys(found or (), name))
    left = [one for one in named if one not in owners]
    for index in rest:
        if not left or index != rest[0]:
            message = "the others take all parameters" if not left else "another one takes the rest already"
            raise ConfigError.about(("optimizers", index), message, "say what it trains by match or ndim, or drop it")
        owners.update(dict.fromkeys(left, names[index]))
    return owners
