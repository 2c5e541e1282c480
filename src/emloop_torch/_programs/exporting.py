"""Make graphs of a live module: exported ones, and a traced one that computes gradients itself.

Exporting records ``forward`` operation by operation and leaves the backward pass to PyTorch, so it loses gradients that
a module defines itself. Tracing the backward pass keeps them, but binds the graph to the kernels of one precision and
one kind of device. Neither sees what Python does between operations, so no graph counts before ``verifying`` has
compared it with the module.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, suppress
from io import StringIO
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.runtime_assert import insert_deferred_runtime_asserts
from torch.utils import _pytree as pytree

from emloop.errors import UntrustedError
from emloop.interrupting import uninterrupted
from emloop_torch._tensors.means import weighted_mean

from .archive import pack, quiet, unpacked
from .program_module import PREFIX
from .sizes import conditions_of_export, conditions_of_some, conditions_of_trace
from .traceable import decided_by_buffers, recorded_whole, registered_operators, traceable, traced_as_it_runs

__all__ = ["Made", "View", "dynamic_sizes", "export_view", "narrow_view", "trace_view"]

Tensors = Mapping[str, torch.Tensor]


class View(nn.Module):
    """A view of a module: a function from tensors to tensors, both in a fixed order.

    Args:
        net: The module.
        method: ``forward`` or ``predict``.
        inputs: Names of its inputs.
        outputs: Names of the outputs to return.
        withheld: Inputs that are not for the module, such as what only weighs its loss.
        weights: Output → the output or input that weighs it.
    """

    def __init__(
        self,
        net: nn.Module,
        method: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        withheld: Collection[str] = (),
        weights: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        setattr(self, PREFIX, net)
        self._method = method
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._withheld = frozenset(withheld)
        self._weights = weights or {}

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the outputs."""
        net = getattr(self, PREFIX)
        given = zip(self._inputs, tensors, strict=True)
        outputs = getattr(net, self._method)(**{name: t for name, t in given if name not in self._withheld})
        return tuple(outputs[name] for name in self._outputs)

    def switch(self, train: bool) -> None:
        """Set the mode as a training does, which leaves parts alone that have been set otherwise since."""
        if self._modules[PREFIX].training is not train:  # type: ignore[union-attr]
            self.train(train)

    def mean_loss(self, loss: str, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """The weighted mean of a loss among the outputs."""
        named = {**dict(zip(self._inputs, inputs, strict=True)), **dict(zip(self._outputs, outputs, strict=True))}
        return weighted_mean(named[loss], named[self._weights[loss]] if loss in self._weights else None)


class Made(NamedTuple):
    """A graph, and when it holds.

    Args:
        graph: The archive.
        sizes: Conditions on the sizes of inputs.
        decided: Buffers that a branch depends on, which has to go on as it went when the graph was made.
    """

    graph: bytes
    sizes: list[str]
    decided: list[str]


def export_view(view: View, example: Tensors, varying: Mapping[str, Collection[int]], *, train: bool) -> Made:
    """Export a view.

    Args:
        view: View of the module, whose Python code runs once.
        example: Inputs to record it with; they do not end up in the graph.
        varying: Input → axes other than the first whose size differs between batches.
        train: Whether to export it in training mode.
    """
    view.switch(train)
    shapes = tuple(dynamic_sizes(varying.get(name, ())) for name in example)
    arguments: dict[str, Any] = {"args": tuple(example.values()), "dynamic_shapes": (shapes,)}
    with _quietly(), torch.set_grad_enabled(train), traceable(view):
        try:
            with traced_as_it_runs(view), recorded_whole(view), decided_by_buffers(view) as decided:
                return _made(view, torch.export.export(view, **arguments, strict=False), example, decided)
        except (UntrustedError, _Unwanted):
            raise  # of a graph that was made, and would be made again
        except Exception:
            # Slower, but it reads the code itself: it keeps ``int`` of a size, and more of what data decide, open.
            with suppress(Exception):
                return _made(view, torch.export.export(view, **arguments, strict=True), example, ())
            raise


def _made(view: View, exported: ExportedProgram, example: Tensors, decided: Collection[str]) -> Made:
    named = {parameter.data_ptr(): name for name, parameter in view.named_parameters() if parameter.numel()}
    for constant in exported.constants.values():
        if isinstance(constant, torch.Tensor) and constant.data_ptr() in named:
            name = named[constant.data_ptr()].removeprefix(f"{PREFIX}.")
            raise ValueError(f"the code holds the parameter {name!r} itself, which a graph takes for a constant")
    if exported.graph_signature.parameters_to_mutate:
        name = next(iter(exported.graph_signature.parameters_to_mutate.values()))
        raise _Unwanted(f"the forward pass writes to the parameter {name.removeprefix(PREFIX + '.')!r}")
    conditions = conditions_of_export(exported._guards_code, list(example))
    return Made(pack(exported), conditions, _own_names(decided))


def narrow_view(
    content: bytes, name: str, described: Mapping[str, Any], inputs: Collection[str], outputs: Sequence[str]
) -> Made:
    """Make the view that computes some outputs of an exported one from some of its inputs.

    Args:
        content: Archive of the other view.
        name: Name of the archive.
        described: What the program says of the other view.
        inputs: Names of the inputs; they keep their order.
        outputs: Names of the outputs.

    Raises:
        ValueError: If they cannot be computed from these inputs alone.
    """
    exported, constants = unpacked(content, name)
    module, signature = copy.deepcopy(exported.graph_module), exported.graph_signature
    graph: Any = module.graph
    specs = dict(zip(graph.find_nodes(op="placeholder"), signature.input_specs, strict=True))
    places = [place for place, spec in specs.items() if spec.kind is InputKind.USER_INPUT]
    given = dict(zip(described["inputs"], places, strict=True))
    dropped = {own: place for own, place in given.items() if own not in inputs}
    # Which of equal sizes a graph looks at, or a condition names, is up to chance.
    sizes = {
        str(size): (own, axis)
        for own in inputs
        for axis, size in enumerate(given[own].meta["val"].shape)
        if isinstance(size, torch.SymInt)
    }
    equal = {
        (own, axis): sizes[str(size)]
        for own, place in dropped.items()
        for axis, size in enumerate(place.meta["val"].shape)
        if str(size) in sizes
    }
    for own, place in dropped.items():
        for user in list(place.users):
            if user.target is torch.ops.aten.sym_size.int and (own, user.args[1]) in equal:
                other, axis = equal[own, user.args[1]]
                user.args = (given[other], axis)
    end = graph.output_node()
    results = dict(zip(described["outputs"], end.args[0], strict=True))
    end.args = (tuple(results[output] for output in outputs),)
    end.meta["val"] = tuple(results[output].meta["val"] for output in outputs)
    _remove(graph, dropped.values())
    (entry, *_), kept = exported.module_call_graph, [place for place in places if place not in dropped.values()]
    narrowed = ExportedProgram(
        module,
        graph,
        ExportGraphSignature(
            [spec for place, spec in specs.items() if place not in dropped.values()],
            [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None) for node in end.args[0]],
        ),
        dict(exported.state_dict),
        exported.range_constraints,
        [ModuleCallEntry(entry.fqn, _called([place.name for place in kept], len(outputs)))],
        constants=dict(constants),
        verifiers=exported.verifiers,
    )
    with _quietly():
        return Made(pack(narrowed), conditions_of_some(described["sizes"], equal, inputs), [])


def _remove(graph: torch.fx.Graph, places: Iterable[torch.fx.Node]) -> None:
    """Remove inputs, and all that is computed with them.

    Raises:
        ValueError: If a result depends on them, or something is done that no result depends on, such as to check
            numbers or to draw random ones: it may belong to the rest of the graph.
    """
    tainted = dict.fromkeys(places)
    for node in graph.nodes:
        if node.op != "output" and any(used in tainted for used in node.all_input_nodes):
            tainted[node] = None
    for node in reversed(tainted):
        if node.users:
            raise ValueError(f"a result depends on {node.name!r}")
        graph.erase_node(node)
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default):
        graph.erase_node(node)
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if not node.users and node.op == "call_function" and node.is_impure():
            raise ValueError(f"no result depends on {node.name!r}")


def _called(names: list[str], outputs: int) -> ModuleCallSignature:
    """How a function from tensors to tensors is called."""
    spec = pytree.tree_structure(((0,) * len(names), {}))
    return ModuleCallSignature([], [], spec, pytree.tree_structure((0,) * outputs), names)


class _Unwanted(ValueError):
    """A graph can be made, but does what none must do."""


def _own_names(names: Collection[str]) -> list[str]:
    return sorted(name.removeprefix(f"{PREFIX}.") for name in names)


def trace_view(
    view: View,
    example: Tensors,
    varying: Mapping[str, Collection[int]],
    precision: AbstractContextManager[Any],
    *,
    gradients: Mapping[str, Sequence[str]],
    train: bool,
) -> Made:
    """Trace a view as a graph: parameters, buffers and inputs → outputs, gradients and new buffers.

    Args:
        view: As for :func:`export_view`.
        example: As for :func:`export_view`.
        varying: As for :func:`export_view`.
        precision: Entered around the forward pass.
        gradients: Loss → names of the parameters whose gradients to return; each must have one.
        train: Whether to trace it in training mode.
    """
    view.switch(train)
    parameters, buffers = dict(view.named_parameters()), dict(view.named_buffers())
    counts = (len(parameters), len(buffers))

    def step(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given, rest = tensors[: counts[0]], tensors[counts[0] :]
        leaves = {
            name: value.detach().requires_grad_(parameters[name].requires_grad)
            for name, value in zip(parameters, given, strict=True)
        }
        # Modules change buffers in place; the originals must stay.
        held = {name: value.clone() for name, value in zip(buffers, rest[: counts[1]], strict=True)}
        with precision:
            found = torch.func.functional_call(view, {**leaves, **held}, tuple(rest[counts[1] :]))
        found_gradients: list[torch.Tensor] = []
        for number, (loss, names) in enumerate(gradients.items(), 1):
            mean, own = view.mean_loss(loss, rest[counts[1] :], found), [leaves[f"{PREFIX}.{name}"] for name in names]
            found_gradients += torch.autograd.grad(mean, own, retain_graph=number < len(gradients))
        return (*(output.detach() for output in found), *found_gradients, *held.values())

    flat = [value.detach() for value in (*parameters.values(), *buffers.values(), *example.values())]
    with _quietly(), torch.set_grad_enabled(train), traceable(view):
        with traced_as_it_runs(view), decided_by_buffers(view) as decided:
            traced = make_fx(step, registered_operators(), "symbolic", _allow_non_fake_inputs=True)
            graph: Any = traced(*flat)
            if decided:
                insert_deferred_runtime_asserts(graph, graph.shape_env, "traced", export=True)
        fixed: tuple[Any, ...] = (None,) * sum(counts)
        shapes = (*fixed, *(dynamic_sizes(varying.get(name, ())) for name in example))
        exported = torch.export.export(_Traced(graph), tuple(flat), dynamic_shapes=(shapes,), strict=False)
        return Made(pack(exported), conditions_of_trace(graph, list(example)), _own_names(decided))


class _Traced(nn.Module):
    """A traced graph as a module."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Run the graph."""
        return self.graph(*tensors)


def dynamic_sizes(varying: Collection[int]) -> dict[int, Any]:
    """Axes of an input that may have any size: the first, and those that vary."""
    return {0: Dim.DYNAMIC, **dict.fromkeys(varying, Dim.AUTO)}


@uninterrupted
@contextmanager
def _quietly() -> Iterator[None]:
    # Where exporting fails, PyTorch shows whole graphs; the reason is reported without them.
    with quiet(logging.CRITICAL, "torch"), redirect_stderr(StringIO()):
        yield
