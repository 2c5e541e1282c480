"""Making graphs of a live module: exported ones, and a traced one that computes gradients itself.

Exporting follows ``forward`` operation by operation. What an operation does on the way back is PyTorch's own then, so a
gradient that a module defines for itself is lost; tracing the way back keeps it, at a price: the graph holds the very
kernels of one precision and one kind of device. Neither sees what Python does between the operations. That is why
nothing that is made here counts before ``verifying`` has compared it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from io import StringIO
from typing import Any

import torch
from torch import nn
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx

from .archive import pack
from .program_module import LOSS, PREFIX

__all__ = ["View", "export_view", "trace_view"]

Tensors = Mapping[str, torch.Tensor]


class View(nn.Module):
    """One view of a module, as a function of tensors in a fixed order to tensors in a fixed order.

    Args:
        net: The module.
        method: ``forward`` or ``predict``.
        inputs: Names of what it takes.
        outputs: Names of what to return of its outputs.
    """

    def __init__(self, net: nn.Module, method: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        setattr(self, PREFIX, net)
        self._method = method
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs for the inputs."""
        net = getattr(self, PREFIX)
        outputs = getattr(net, self._method)(**dict(zip(self._inputs, tensors, strict=True)))
        return tuple(outputs[name] for name in self._outputs)

    def loss_of(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """The loss among the outputs."""
        return outputs[self._outputs.index(LOSS)]


def export_view(view: View, example: Tensors, varying: Mapping[str, Collection[int]], *, train: bool) -> bytes:
    """A view as an exported graph.

    Args:
        view: The view, of a copy of the module that nothing else uses.
        example: Inputs to follow it with; they do not end up in the graph.
        varying: Input → axes beside the first whose size differs between batches.
        train: Whether in training mode.
    """
    view.train(train)
    shapes = tuple(_sizes(varying.get(name, ())) for name in example)
    with _quiet(), torch.set_grad_enabled(train):
        exported = torch.export.export(view, tuple(example.values()), dynamic_shapes=(shapes,), strict=False)
        return pack(exported)


def trace_view(
    view: View,
    example: Tensors,
    varying: Mapping[str, Collection[int]],
    precision: AbstractContextManager[Any],
    *,
    gradients: Sequence[str],
    train: bool,
) -> bytes:
    """A view as a traced graph: parameters, buffers and inputs → outputs, gradients and new buffers.

    Args:
        view: The view, of a copy of the module that nothing else uses.
        example: As for :func:`export_view`.
        varying: As for :func:`export_view`.
        precision: Around the forward pass.
        gradients: Names of the parameters whose gradients are wanted; every one must have one.
        train: Whether in training mode.
    """
    view.train(train)
    parameters, buffers = dict(view.named_parameters()), dict(view.named_buffers())
    trained = [f"{PREFIX}.{name}" for name in gradients]
    counts = (len(parameters), len(buffers))

    def step(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given, rest = tensors[: counts[0]], tensors[counts[0] :]
        leaves = {
            name: value.detach().requires_grad_(parameters[name].requires_grad)
            for name, value in zip(parameters, given, strict=True)
        }
        # Buffers are changed in place, and the originals must not be.
        held = {name: value.clone() for name, value in zip(buffers, rest[: counts[1]], strict=True)}
        with precision:
            found = torch.func.functional_call(view, {**leaves, **held}, tuple(rest[counts[1] :]))
        found_gradients = (
            torch.autograd.grad(view.loss_of(found).mean(), [leaves[name] for name in trained]) if trained else ()
        )
        return (*(output.detach() for output in found), *found_gradients, *held.values())

    flat = [value.detach() for value in (*parameters.values(), *buffers.values(), *example.values())]
    with _quiet(), torch.set_grad_enabled(train):
        graph = make_fx(step, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*flat)
        fixed: tuple[Any, ...] = (None,) * sum(counts)
        shapes = (*fixed, *(_sizes(varying.get(name, ())) for name in example))
        exported = torch.export.export(_Traced(graph), tuple(flat), dynamic_shapes=(shapes,), strict=False)
        return pack(exported)


class _Traced(nn.Module):
    """A traced graph as a module of its own."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *tensors: torch.Tensor) -> Any:
        """What the graph computes."""
        return self.graph(*tensors)


def _sizes(varying: Collection[int]) -> dict[int, Any]:
    return {0: Dim.DYNAMIC, **dict.fromkeys(varying, Dim.AUTO)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporting warns of what only its developers can change, and shows graphs where it fails; the reason is told."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
