"""Run a program beside the training that it stands for, on some batches, and compare.

Before the forward pass of such a batch, inputs, buffers and PyTorch's random numbers are noted; between its backward
pass and the step of the optimizer the program computes the same from the live parameters. It changes none of what the
training uses: it has buffers of its own, its gradients are taken by ``torch.autograd.grad``, and the random generators
are put back.

Batches 1, 2, 4, 8 … after the first save are chosen, until they are so far apart that their share of the time is small
enough; from there on at that distance. No clock is asked, so that a repeated run compares the same batches: a batch is
computed once more, without a step, and comparing numbers that are equal takes next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import nn

from emloop.errors import BatchError
from emloop_torch._programs.program import Program
from emloop_torch._programs.program_module import ProgramModule

from .verifying import Difference, Results, agree

__all__ = ["Shadow"]

_VIEWS = {True: "train", False: "eval"}
_EXACT_COST, _INEXACT_COST = 4, 8
"""Batches of the training that take longer than one comparison does; one of rounded numbers looks at them often.

The smallest network takes 2; the rest is for the first batches, which are compared more often.
"""
_COMPILED = 1e-2
_INEXACT = 1e-4
"""What a program that rounds differently from the start may differ by while the weights move on."""


class Shadow:
    """The program of a module, in the shadow of its training.

    Args:
        module: The live module.
        program: Its program.
        precision: Makes the context of a forward pass.
        share: How much of the time the comparison may take.
        compiled: Whether the training runs a compiled module, which rounds, and draws random numbers, in its own way.
    """

    def __init__(
        self,
        module: nn.Module,
        program: Program,
        precision: Callable[[], AbstractContextManager[Any]],
        share: float,
        *,
        compiled: bool,
    ) -> None:
        self._module = module
        self._beside = ProgramModule(program, module)
        self._precision = precision
        self._share = share
        inexact = _COMPILED if compiled else 0.0 if program.description["exact"] else _INEXACT
        self._slack = program.description.get("noise", 0.0) + inexact
        self._views = {
            train: program.description["views"][view]
            for train, view in _VIEWS.items()
            if view in program.description["views"] and not (compiled and self._beside.draws(view, unknown=False))
        }
        self._written = {name for train in self._views for name in self._beside.writes(_VIEWS[train])}
        self._beside.own(self._written)
        self._trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
        self.batches = {True: 0, False: 0}
        """In training and in evaluation, since the program was made."""
        self._next = {True: 1, False: 1}
        cost = _EXACT_COST if program.description["exact"] else _INEXACT_COST
        self._farthest = ceil(cost / share) if share < 1 else 1
        # Now, since the save is expected to take a while, and a batch is not.
        for train in self._views:
            self._beside.prepare("train" if train else "eval")

    def due(self, train: bool) -> bool:
        """Count a batch, and tell whether to compare it."""
        if train not in self._views:
            return False
        self.batches[train] += 1
        return self.batches[train] == self._next[train]

    def begin(self, inputs: Mapping[str, torch.Tensor], train: bool) -> Comparison:
        """Note what the forward pass of a batch begins with."""
        return Comparison(self, inputs, train)

    def _passed(self, train: bool) -> None:
        """Choose the next batch."""
        batches = self.batches[train]
        self._next[train] = batches + min(batches, self._farthest)


class Comparison:
    """One batch, by the training and by the program."""

    def __init__(self, shadow: Shadow, inputs: Mapping[str, torch.Tensor], train: bool) -> None:
        self._shadow = shadow
        self.train = train
        self._outputs: Mapping[str, Any] | None = None
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        self._devices = sorted({tensor.device for tensor in inputs.values() if tensor.is_cuda}, key=str)
        self._host = torch.get_rng_state()
        self._generators = [torch.cuda.get_rng_state(device) for device in self._devices]
        self._buffers = {name: buffer.clone() for name, buffer in shadow._module.named_buffers()}
        self._gradients: dict[str, torch.Tensor] = {}
        self._parameters = {n: p for n, p in shadow._module.named_parameters() if p.requires_grad} if train else {}
        self._scales: dict[str, torch.Tensor] = {}
        self._reached: dict[str, dict[str, nn.Parameter]] = {}
        named = dict(shadow._module.named_parameters())
        self._written = {name: named[name].detach().clone() for name in shadow._written if name in named}
        self._others = {name: p.detach().clone() for name, p in named.items() if name not in self._written}
        self._changed: str | None = None
        self._listening: list[Any] = []

    def listen(self, means: Mapping[str, torch.Tensor], reached: Mapping[str, list[nn.Parameter] | None]) -> None:
        """Note, in the backward passes, by what the mean losses are scaled, and the batch's gradients.

        Args:
            means: The mean of each loss.
            reached: Loss → the parameters that its gradient reaches in this batch; ``None``: all.
        """
        for loss, parameters in reached.items():
            if loss not in means:
                return  # the training itself will say so
            own = None if parameters is None else set(map(id, parameters))
            self._reached[loss] = {n: p for n, p in self._parameters.items() if own is None or id(p) in own}
            self._listening.append(means[loss].register_hook(partial(self._note, loss)))
        self._parameters = {name: p for own in self._reached.values() for name, p in own.items()}
        for name, parameter in self._parameters.items():
            self._listening.append(parameter.register_hook(partial(self._gradients.__setitem__, name)))

    def _note(self, loss: str, scale: torch.Tensor) -> None:
        self._scales[loss] = scale.detach().clone()

    def take(self, outputs: Mapping[str, Any]) -> None:
        """Note the outputs of the live module, and what the forward pass has written to."""
        self._outputs = outputs
        others, self._others = self._others, {}
        for name, before in others.items():
            if not _equal(before, self._shadow._module.get_parameter(name)):
                self._changed = name

    def compare(self) -> None:
        """Compute the same by the program.

        Raises:
            Difference: If it is not the same; says how.
        """
        for handle in self._listening:
            handle.remove()
        if self._outputs is not None:
            self._compare(self._outputs)
        self._shadow._passed(self.train)

    def _compare(self, outputs: Mapping[str, Any]) -> None:
        shadow, train = self._shadow, self.train
        if train and shadow._trained != {n for n, p in shadow._module.named_parameters() if p.requires_grad}:
            return  # thawed or frozen since: the state says so, and the next save makes another program
        if self._changed is not None:
            raise Difference(f"the forward pass writes to the parameter {self._changed!r}, which the program does not")
        buffers = dict(shadow._module.named_buffers())
        expected: dict[str, Results] = {
            "output": {name: outputs[name].detach() for name in shadow._views[train]["outputs"]},
            "buffer": buffers,
            "parameter": {name: shadow._module.get_parameter(name).detach() for name in self._written},
        }
        if train:
            expected["gradient"] = {name: self._gradients.get(name) for name in self._parameters}
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._host)
            for device, state in zip(self._devices, self._generators, strict=True):
                torch.cuda.set_rng_state(state, device)
            try:
                found = self._of_program()
            except BatchError:
                return  # refused without source, and told why
            except Exception as error:
                raise Difference(f"it fails: {type(error).__name__}: {error}") from error
        agree(expected, found, shadow._slack)

    def _of_program(self) -> Mapping[str, Results]:
        beside, train = self._shadow._beside, self.train
        own = dict(beside.named_buffers())
        if {name: buffer.shape for name, buffer in own.items()} != {n: b.shape for n, b in self._buffers.items()}:
            raise Difference("buffers have come, gone or grown")
        with torch.no_grad():
            for name, buffer in own.items():
                buffer.copy_(self._buffers[name])
            for name, value in self._written.items():
                beside.get_parameter(name).copy_(value)
        beside.train(train)
        with torch.set_grad_enabled(train):
            with self._precision():
                computed = beside(**self._inputs)
            found: dict[str, Results] = {"output": {name: value.detach() for name, value in computed.items()}}
            if train:
                found["gradient"] = self._gradients_of(beside, computed)
        found["buffer"] = own
        found["parameter"] = {name: beside.get_parameter(name).detach() for name in self._written}
        return found

    def _gradients_of(self, beside: ProgramModule, computed: Mapping[str, torch.Tensor]) -> Results:
        found: dict[str, torch.Tensor | None] = {}
        for number, (loss, own) in enumerate(self._reached.items(), 1):
            weight = {**self._inputs, **computed}[beside.weights[loss]] if loss in beside.weights else None
            mean, more = beside.mean_loss(loss, computed[loss], weight), number < len(self._reached)
            wanted = [beside.get_parameter(name) for name in own]
            gradients = torch.autograd.grad(mean, wanted, self._scales[loss], retain_graph=more, allow_unused=True)
            found |= dict(zip(own, gradients, strict=True))
        return found

    @property
    def _precision(self) -> Callable[[], AbstractContextManager[Any]]:
        return self._shadow._precision


def _equal(before: torch.Tensor, after: torch.Tensor) -> bool:
    one, other = before.to_dense(), after.detach().to_dense()
    return torch.equal(one, other) or torch.equal(one.nan_to_num(), other.nan_to_num())
