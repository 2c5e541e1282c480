"""Averages that follow a training: of a part of a module by another one, as of a teacher, or of the whole module.

.. code-block:: yaml

    ema: {from: student, to: teacher, decay: 0.99}
    ema: {decay: 0.9999}
    swa: {start: 75}

After every step of an optimizer, ``to = decay · to + (1 - decay) · from``; that of ``swa`` is of the ends of all epochs
since ``start``, which count equally. The average of the whole is what evaluations compute with; the training goes on
with the parameters themselves.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import torch
from torch import nn

from emloop.declare import Limits, Positive
from emloop.errors import ConfigError, StateError
from emloop.saved_models import check_state
from emloop.suggest import did_you_mean
from emloop.types import StateTree
from emloop_torch._tensors.arrays import laid_out, local, to_plain, to_tensor

__all__ = ["Averages", "Ema", "Ramp", "Swa", "averages_of"]

logger = logging.getLogger(__name__)

_Share: TypeAlias = Annotated[float, Limits(minimum=0, maximum=1)]
_Tensors: TypeAlias = dict[str, Any]
"""What holds tensors by name: parameters or buffers of a module, or an average."""


@dataclass(frozen=True)
class Ramp:
    """A decay that changes along half a cosine.

    Args:
        start: Its first value.
        end: Its value after so many steps, and from there on.
        steps: Steps of the optimizers from one to the other.
    """

    start: _Share
    end: _Share
    steps: Positive

    def __call__(self, step: int) -> float:
        """The decay of a step, counted from 0."""
        passed = min(step / self.steps, 1.0)
        return self.end - (self.end - self.start) * (math.cos(math.pi * passed) + 1) / 2


@dataclass(frozen=True)
class Ema:
    """The key ``ema``, or one item of it.

    Args:
        decay: What of the average stays in a step.
        from_: Name of the part that is averaged; with ``to``.
        to: Name of the part that is the average; its parameters are not trained. Without both, the whole is averaged.
        buffers: What becomes of statistics and other buffers: they are those of ``from``, or averaged as well, or those
            that ``to`` itself keeps.
    """

    decay: _Share | Ramp = 0.999
    from_: str | None = None
    to: str | None = None
    buffers: Literal["copy", "average", "keep"] = "copy"


@dataclass(frozen=True)
class Swa:
    """The key ``swa``: stochastic weight averaging.

    Args:
        start: Number of the first epoch, counted from 1, at whose end weights are averaged.
        buffers: What becomes of statistics and other buffers: they are averaged as well, or those of the training.
    """

    start: Positive
    buffers: Literal["average", "copy"] = "average"


def averages_of(module: nn.Module, ema: Ema | Sequence[Ema] | None, swa: Swa | int | None) -> Averages | None:
    """What the keys ``ema`` and ``swa`` describe; parameters that are averages are no longer trained.

    Raises:
        ConfigError: If a part is missing, or two do not fit each other.
    """
    several = [] if ema is None or isinstance(ema, Ema) else ema
    items = [(("ema",), ema)] if isinstance(ema, Ema) else [(("ema", n), each) for n, each in enumerate(several)]
    equal = Swa(swa) if isinstance(swa, int) else swa
    return Averages(module, items, equal) if items or equal else None


class Averages:
    """All averages of a module.

    Args:
        module: The module, on its device.
        items: Where the configuration describes each, and how.
        swa: The equal average of the whole, if there is one.

    Raises:
        ConfigError: If a part is missing, or two do not fit each other.
    """

    def __init__(self, module: nn.Module, items: Sequence[tuple[tuple[Any, ...], Ema]], swa: Swa | None = None) -> None:
        self._own: _Tensors = {}
        self._live: list[tuple[_Tensors, str, str]] = []
        self._followers: list[_Follower] = []
        self.names: frozenset[str] = frozenset()
        """Names of the parameters that are averages, and so not trained."""
        for keys, item in items:
            if item.from_ is not None and item.to is not None:
                self.names |= _freeze(module, keys, item.from_, item.to)
                pairs = list(_pairs(module.get_submodule(item.from_), module.get_submodule(item.to)))
            elif item.from_ is None and item.to is None:
                if item.buffers == "keep":
                    message = "the average of the whole model has no buffers of its own to keep: 'copy' or 'average'"
                    raise ConfigError.about((*keys, "buffers"), message)
                self._follow_all(module, keys, item.buffers)
                self._own = {name: of[key].detach().clone() for of, key, name in self._live}
                pairs = [(of, self._own, key, name) for of, key, name in self._live]
            else:
                raise ConfigError.about(keys, "'from' and 'to' belong together; without both, the whole is averaged")
            self._followers.append(_Follower(item, pairs))
        self._swa, self._averaged = swa, 0
        if swa is not None:
            self._follow_all(module, ("swa",), swa.buffers)

    def end_epoch(self, epoch: int) -> None:
        """Called at the end of every training epoch, with its number, counted from 1."""
        if self._swa is None or epoch < self._swa.start:
            return
        values = {name: of[key].detach() for of, key, name in self._live}
        if self._averaged:
            own = list(map(local, self._own.values()))
            torch._foreach_lerp_(own, list(map(local, values.values())), 1 / (self._averaged + 1))
        else:
            self._own = {name: value.clone() for name, value in values.items()}
        self._averaged += 1

    def follow(self, step: int) -> None:
        """Called after every step of the optimizers, with the number of those before."""
        with torch.no_grad():
            for follower in self._followers:
                follower.follow(step)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Around an evaluation: the module has the values of its average, if all of it is averaged."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> StateTree:
        """The average of the whole, which is no part of the module."""
        averaged = {} if self._swa is None else {"averaged": self._averaged}
        own = {"average": {name: to_plain(value) for name, value in self._own.items()}} if self._own else {}
        return {**own, **averaged}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from a model's state; from the parameters in it, where it has no average.

        Raises:
            StateError: If it holds the average of another module.
        """
        found = state.get("average")
        if self._swa is not None:
            check_state("average", {"averaged": state.get("averaged", 0)}, {"averaged": int})
            self._averaged = state.get("averaged", 0)
            # A run that had another average until now begins this one anew.
            self._own = {name: of[key].detach().clone() for of, key, name in self._live} if self._averaged else {}
        if not self._own:
            return
        if found is None and self._swa is None:
            logger.info("ema: the average of the whole model begins with the restored parameters")
            self._own.update({name: of[key].detach().clone() for of, key, name in self._live})
        elif not isinstance(found, Mapping) or found.keys() != self._own.keys():
            raise StateError(f"the state has no average of the {len(self._own)} tensors of the model")
        else:
            values = {name: to_tensor(value) for name, value in found.items()}
            for name, value in values.items():
                if (value.shape, value.dtype) != (self._own[name].shape, self._own[name].dtype):
                    raise StateError(f"the average of {name} in the state is of another shape or dtype")
            self._own.update({name: laid_out(value, self._own[name]) for name, value in values.items()})

    def _follow_all(self, module: nn.Module, keys: tuple[Any, ...], buffers: str) -> None:
        if self._live:
            raise ConfigError.about(keys, "there is another average of the whole model")
        kinds = ("_parameters", "_buffers") if buffers == "average" else ("_parameters",)
        held = [(f"{path}.{key}".lstrip("."), vars(part)[kind], key) for path, part in module.named_modules()
                for kind in kinds for key in vars(part)[kind]]  # fmt: skip
        self._live = [(of, key, name) for name, of, key in held if of[key] is not None and _is_averaged(of[key])]

    def _exchange(self) -> None:
        if self._own:
            live = [local(of[key].data) for of, key, _ in self._live]
            own, kept = list(map(local, self._own.values())), [tensor.clone() for tensor in live]
            # Values, not memory, which others may know by its address.
            torch._foreach_copy_(live, own)
            torch._foreach_copy_(own, kept)


class _Follower:
    """One average, and what it follows: where each of its tensors comes from and lies."""

    def __init__(self, item: Ema, pairs: Sequence[tuple[_Tensors, _Tensors, str, str]]) -> None:
        self._decay = item.decay
        self._averages_buffers = item.buffers == "average"
        self._pairs = [pair for pair in pairs if item.buffers != "keep" or isinstance(pair[0][pair[2]], nn.Parameter)]

    def follow(self, step: int) -> None:
        targets: list[torch.Tensor] = []
        sources: list[torch.Tensor] = []
        for of, to, key, own in self._pairs:
            value, average = of[key], to[own]
            if value is None or average is None or value.shape != average.shape or value.dtype != average.dtype:
                to[own] = None if value is None else value.detach().clone()  # a buffer that comes, goes or grows
            elif _is_averaged(value) and (self._averages_buffers or isinstance(value, nn.Parameter)):
                targets.append(local(average))
                sources.append(local(value.detach()))
            else:
                average.copy_(value)
        if targets:
            decay = self._decay(step) if isinstance(self._decay, Ramp) else self._decay
            torch._foreach_lerp_(targets, sources, 1 - decay)


def _freeze(module: nn.Module, keys: tuple[Any, ...], source: str, target: str) -> frozenset[str]:
    parts = dict(module.named_modules())
    for key, name in (("from", source), ("to", target)):
        if name not in parts:
            hints = (*did_you_mean(name, parts), f"its parts: {', '.join(list(parts)[1:13])}")
            raise ConfigError.about((*keys, key), f"the module has no part {name!r}", *hints)
    values, averages = (dict(parts[name].named_parameters()) for name in (source, target))
    for name in sorted(values.keys() | averages.keys()):
        one, other = values.get(name), averages.get(name)
        if one is None or other is None:
            has, lacks = (target, source) if one is None else (source, target)
            raise ConfigError.about((*keys, "to"), f"{has!r} has a parameter {name!r}, and {lacks!r} has none")
        if one.shape != other.shape or one.dtype != other.dtype:
            kinds = [f"{str(p.dtype).removeprefix('torch.')} {list(p.shape)}" for p in (other, one)]
            message = f"{name!r} of {target!r} is {kinds[0]}, and that of {source!r} {kinds[1]}"
            raise ConfigError.about((*keys, "to"), message)
    inside = f"{target}." if target else ""
    outside = {id(p): n for n, p in module.named_parameters(remove_duplicate=False) if not n.startswith(inside)}
    for name, parameter in averages.items():
        if id(parameter) in outside:
            message = f"{name!r} of {target!r} is {outside[id(parameter)]!r} itself, so it cannot be its average"
            raise ConfigError.about((*keys, "to"), message, "copy.deepcopy makes a part that is")
        parameter.requires_grad_(False)
    return frozenset(f"{inside}{name}" for name in averages)


def _pairs(source: nn.Module, target: nn.Module) -> Iterator[tuple[_Tensors, _Tensors, str, str]]:
    parts = dict(target.named_modules())
    for path, part in source.named_modules():
        for kind in ("_parameters", "_buffers") if path in parts else ():
            of, to = vars(part)[kind], vars(parts[path])[kind]
            yield from ((of, to, key, key) for key in of if key in to and (of[key] is not None or kind == "_buffers"))


def _is_averaged(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
