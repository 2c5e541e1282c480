"""A module made from data: the original's parameters and buffers under their names, and graphs that use them.

Each view (``train``, ``eval``, ``predict``) is a graph; all share one set of parameters. An *exported* graph computes
outputs, and gradients flow through it as through any module. A *traced* graph computes outputs and gradients at once;
only the mean losses of the batch, from ``mean_loss``, can then be back-propagated.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.export.passes import move_to_device_pass
from torch.utils.checkpoint import checkpoint

from emloop.errors import BatchError, SavedModelError
from emloop_torch._tensors.arrays import dtype_name
from emloop_torch._tensors.means import weighted_mean

from .archive import RECOMPUTED, unpack, unpacked
from .program import Program
from .sizes import violated
from .straight import straight, without_copies
from .writes import written

__all__ = ["LOSS", "PREFIX", "ProgramModule"]

LOSS = "loss"
PREFIX = "net"
"""Name of the original inside an exported graph."""

_Tensors: TypeAlias = Mapping[str, torch.Tensor]
_Step: TypeAlias = Callable[[_Tensors], dict[str, torch.Tensor]]
_REGION = re.compile(rf"({RECOMPUTED}\d+)_")
_MOST = 1024
"""Layouts of batches to remember."""
_NAMESPACES = ("aten", "prim", "prims")
"""Of PyTorch's own operators, whose tags tell the truth."""


class ProgramModule(nn.Module):
    """Stand-in for a module whose source is gone; zeros until its state is loaded.

    Args:
        program: The program.
        beside: A live module whose parameters to use; buffers begin with copies of its own.
        compiled: Whether a compiler is going to read the graphs, which it knows better than functions made of them.
    """

    program: Program
    hint = ""
    _graphs: dict[str, nn.Module]
    _steps: dict[str, _Step]
    _operators: dict[str, list[torch._ops.OpOverload]]
    _compiled: bool
    _means: Mapping[str, torch.Tensor]

    def __init__(self, program: Program, beside: nn.Module | None = None, *, compiled: bool = False) -> None:
        super().__init__()
        self.__dict__["_compiled"] = compiled
        self.__dict__["program"] = program
        self.__dict__["_graphs"] = {}
        self.__dict__["_steps"] = {}
        self.__dict__["_operators"] = {}
        self.__dict__["_means"] = {}
        description = program.description
        # Not by setattr, since a name may clash with an attribute of nn.Module.
        for entry in description["parameters"]:
            owner, leaf = _owner(self, entry["name"])
            own = None if beside is None else beside.get_parameter(entry["name"])
            owner._parameters[leaf] = nn.Parameter(_zeros(entry), entry["trainable"]) if own is None else own
        for entry in description["buffers"]:
            owner, leaf = _owner(self, entry["name"])
            owner._buffers[leaf] = _zeros(entry) if beside is None else beside.get_buffer(entry["name"]).clone()

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the outputs of a batch, in training or evaluation mode.

        Raises:
            BatchError: If the batch is not of the kind the program was made for.
            SavedModelError: If the program has no such view, or holds the other side of a branch on buffers.
        """
        return self._run("train" if self.training else "eval", inputs)

    def predict(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the outputs that need no labels.

        Raises:
            BatchError, SavedModelError: As :meth:`forward`.
        """
        return self._run("predict", inputs)

    def mean_loss(self, name: str, loss: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """The differentiable mean of a loss that :meth:`forward` returned last, with its weights."""
        return self._means[name] if name in self._means else weighted_mean(loss, weight)

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of ``forward``."""
        return list(self._view("eval")["outputs"])

    @property
    def is_traced(self) -> bool:
        """Whether the mean loss is a part of the program."""
        return bool(self.program.description["views"].get("train", {}).get("kind") == "traced")

    @property
    def losses(self) -> Mapping[str, Sequence[str]] | None:
        """Loss → parameters that its gradient reaches, in the training that it comes from; ``None``: one for all."""
        losses: Mapping[str, Sequence[str]] | None = self.program.description.get("losses")
        return losses

    @property
    def weights(self) -> Mapping[str, str]:
        """Output → what weighs it, in the training that the program comes from."""
        weights: Mapping[str, str] = self.program.description.get("weights", {})
        return weights

    def inputs_of(self, method: str) -> list[str] | None:
        """Inputs of ``forward`` or ``predict``; ``None`` if there is no such view."""
        views = self.program.description["views"]
        view = views.get("eval" if method == "forward" else method)
        return None if view is None else list(view["inputs"])

    def graph(self, view: str) -> nn.Module:
        """The graph of a view; it shares this module's parameters and buffers or, if traced, takes them as inputs.

        Raises:
            SavedModelError: If there is no such view.
        """
        if view not in self._graphs:
            self._graphs[view] = self._load(view)
        return self._graphs[view]

    def writes(self, view: str) -> list[str]:
        """Names of the parameters that a view may write to.

        Raises:
            SavedModelError: If there is no such view.
        """
        graph: Any = self.graph(view)
        named = {id(parameter): name for name, parameter in self.named_parameters()}
        if self._view(view)["kind"] == "exported":
            held = dict(graph.named_parameters(remove_duplicate=False))
            owned = {node: held[node.target] for node in graph.graph.find_nodes(op="get_attr") if node.target in held}
        else:
            owned = dict(zip(graph.graph.find_nodes(op="placeholder"), self.parameters(), strict=False))
        changed = written(graph, {node: named[id(tensor)] for node, tensor in owned.items()})
        return [name for name in named.values() if name in changed]

    def draws(self, view: str, *, unknown: bool) -> bool:
        """Whether a view draws random numbers.

        Args:
            view: Name of the view.
            unknown: What is assumed of operators that are not PyTorch's own.

        Raises:
            SavedModelError: If there is no such view.
        """
        if view not in self._operators:
            graphs = [part.graph for part in self.graph(view).modules() if isinstance(part, torch.fx.GraphModule)]
            targets = {node.target for graph in graphs for node in graph.nodes}
            self._operators[view] = [one for one in targets if isinstance(one, torch._ops.OpOverload)]
        return any(
            torch.Tag.nondeterministic_seeded in one.tags or (unknown and one.namespace not in _NAMESPACES)
            for one in self._operators[view]
        )

    def own(self, names: Collection[str]) -> None:
        """Go on with copies of some parameters, whoever shares them."""
        for name in names:
            owner, leaf = _owner(self, name)
            shared = self.get_parameter(name)
            owner._parameters[leaf] = nn.Parameter(shared.detach().clone(), shared.requires_grad)
        if names:
            self._graphs.clear()
            self._steps.clear()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        # Moving to a device replaces buffers, and the constants in graphs have to move as well.
        super()._apply(fn, recurse)
        self._graphs.clear()
        self._steps.clear()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # What is made of the parameters of this module is not for a copy.
        return {**self.__dict__, "_graphs": {}, "_steps": {}}

    def prepare(self, view: str) -> _Step:
        """Make what computes a view, which otherwise the first batch does.

        Raises:
            SavedModelError: If there is no such view.
        """
        if view not in self._steps:
            self._steps[view] = self._step(view)
        return self._steps[view]

    def _run(self, view: str, inputs: _Tensors) -> dict[str, torch.Tensor]:
        return self.prepare(view)(inputs)

    def _step(self, view: str) -> _Step:
        """What computes a view; a layout of batches is checked once."""
        described, graph = self._view(view), self.graph(view)
        names, outputs = tuple(described["inputs"]), tuple(described["outputs"])
        is_traced = described["kind"] == "traced"
        held = (*self.parameters(), *self.buffers()) if is_traced else ()
        compute = self._traced(view, described, graph) if is_traced else self._straight(graph)
        if "decided" in described:
            compute = _of_one_side(compute, described["decided"])
        known: set[tuple[Any, ...]] = set()

        def checked(inputs: _Tensors) -> dict[str, torch.Tensor]:
            _check(view, described, inputs)
            return dict(zip(outputs, compute(*[inputs[name] for name in names]), strict=True))

        def step(inputs: _Tensors) -> dict[str, torch.Tensor]:
            layout = tuple([(name, tensor.shape, tensor.dtype) for name, tensor in inputs.items()])
            given = [inputs[name] for name in names] if layout in known else examined(layout, inputs)
            return dict(zip(outputs, compute(*given), strict=True))

        def examined(layout: tuple[Any, ...], inputs: _Tensors) -> list[torch.Tensor]:
            _check(view, described, inputs)
            given = [inputs[name] for name in names]
            # What the exporter itself has found out about sizes.
            for check in graph._forward_pre_hooks.values():
                check(graph, (*held, *given), {})
            if len(known) < _MOST:
                known.add(layout)
            return given

        return checked if self._compiled else step

    def _straight(self, graph: Any) -> Callable[..., Any]:
        return graph if self._compiled else straight(graph)

    def _traced(self, view: str, described: Mapping[str, Any], graph: Any) -> Callable[..., Any]:
        named, buffers = dict(self.named_parameters()), list(self.buffers())
        first, last = len(named), len(named) + len(buffers)
        without_copies(graph, range(first, last))
        places = graph.graph.find_nodes(op="placeholder")[first:last]
        (results,) = graph.graph.output_node().args
        ends = [len(described["outputs"]), len(described["outputs"]) + len(described["gradients"])]
        moved = [
            (buffer, number)
            for number, (buffer, place) in enumerate(zip(buffers, places, strict=True), ends[1])
            if results[number] is not place
        ]
        run, held = self._straight(graph), [*named.values(), *buffers]

        @torch.no_grad()
        def compute(*inputs: torch.Tensor) -> tuple[Any, Any]:
            """Outputs and gradients."""
            found = run(*held, *inputs)
            for buffer, number in moved:
                buffer.copy_(found[number])
            return found[: ends[0]], found[ends[0] : ends[1]]

        if view != "train":
            return lambda *inputs: compute(*inputs)[0]
        trained = [named[name] for name in described["gradients"]]
        losses = {LOSS: described["gradients"]} if self.losses is None else self.losses
        weights = {loss: self.weights.get(loss) for loss in losses}
        owners = [next(n for n, loss in enumerate(losses) if own in losses[loss]) for own in described["gradients"]]

        def train(*inputs: torch.Tensor) -> Any:
            found = _Traced.apply(compute, described, weights, owners, inputs, *trained)
            self.__dict__["_means"] = dict(zip(losses, found, strict=False))
            return found[len(losses) :]

        return train

    def _view(self, view: str) -> Mapping[str, Any]:
        views = self.program.description["views"]
        if view not in views:
            raise SavedModelError(
                f"without its source this model has no {view!r} view, only {', '.join(map(repr, views)) or 'weights'}: "
                f"{self.program.reason}{self.hint and f'; {self.hint}'}"
            )
        described: Mapping[str, Any] = views[view]
        return described

    def _load(self, view: str) -> nn.Module:
        described, name, content = self._view(view), f"{view}.pt2", self.program.graphs[view]
        device = next(iter(self.parameters()), torch.empty(0)).device
        if device.type == self.program.description["device"]:
            exported, constants = unpacked(content, name)
            exported.constants.update({key: _twin(value) for key, value in constants.items()})
        else:
            exported = move_to_device_pass(unpack(content, name), str(device))
        graph = exported.module(check_guards=False)
        if described["kind"] == "exported":
            self._share(graph)
            _recompute(graph)
        return graph

    def _share(self, graph: nn.Module) -> None:
        """Replace the hollow parameters and buffers of a graph by this module's."""
        alias = {name: names[0] for names in self.program.description["tied"] for name in names}
        parameters, buffers = dict(self.named_parameters()), dict(self.named_buffers())
        for own_name, part in graph.named_modules():
            for leaf in part._parameters:
                name = _original(own_name, leaf)
                part._parameters[leaf] = parameters[alias.get(name, name)]
            for leaf in part._buffers:
                name = _original(own_name, leaf)
                # What is not a buffer here is a constant of the graph.
                part._buffers[leaf] = buffers.get(alias.get(name, name), part._buffers[leaf])


def _twin(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _of_one_side(compute: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    """Tell what it means where a graph finds that a branch on buffers goes to the side that it does not hold."""

    def told(*inputs: torch.Tensor) -> Any:
        try:
            return compute(*inputs)
        except RuntimeError as error:
            if "Runtime assertion failed" not in str(error):
                raise
            shown = ", ".join(map(repr, names))
            raise SavedModelError(
                f"a branch depends on the buffers {shown}: the program holds one side, and now the other is needed"
            ) from error

    return told


def _recompute(graph: Any) -> None:
    """Put each checkpoint of the original into a module that computes again in the backward pass, as it did."""
    regions: dict[str, dict[torch.fx.Node, None]] = {}
    nodes = list(graph.graph.nodes)
    for node in nodes:
        found = _REGION.match(node.name)
        if found:
            regions.setdefault(found[1], {})[node] = None
    for name, region in regions.items():
        first, last = nodes.index(next(iter(region))), nodes.index(next(reversed(region)))
        if any(node not in region for node in nodes[first : last + 1]):
            continue
        part, known = torch.fx.Graph(), {}
        for given in dict.fromkeys(given for node in region for given in node.all_input_nodes if given not in region):
            known[given] = part.placeholder(given.name)
        arguments = tuple(known)
        for node in region:
            known[node] = part.node_copy(node, known.__getitem__)
        results = [node for node in region if any(user not in region for user in node.users)]
        part.output(tuple(known[node] for node in results))
        graph.add_submodule(name, _Recomputed(torch.fx.GraphModule(nn.Module(), part)))
        with graph.graph.inserting_after(nodes[last]):
            call = graph.graph.call_module(name, arguments)
        for index, node in enumerate(results):
            with graph.graph.inserting_after(call):
                result = graph.graph.call_function(operator.getitem, (call, index))
            node.replace_all_uses_with(result)
        for node in reversed(region):
            graph.graph.erase_node(node)
    graph.recompile()


class _Recomputed(nn.Module):
    """A part of a graph whose activations are not kept for the backward pass."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, *values: Any) -> Any:
        """Run it; with gradients, twice."""
        if not torch.is_grad_enabled():
            return self.part(*values)
        # By closure, since arguments must not be changed in place, as statistics are.
        return checkpoint(lambda: self.part(*values), use_reentrant=False)


class _Traced(torch.autograd.Function):
    """A graph that computes gradients, as a node of autograd; only the mean losses are differentiable."""

    @staticmethod
    def forward(
        ctx: Any,
        compute: Any,
        described: Mapping[str, Any],
        weights: Mapping[str, str | None],
        owners: Sequence[int],
        *rest: Any,
    ) -> Any:
        outputs, ctx.gradients = compute(*rest[0])
        ctx.owners, ctx.losses = owners, len(weights)
        ctx.mark_non_differentiable(*outputs)
        if len(weights) > 1:
            ctx.set_materialize_grads(False)
        named = {
            **dict(zip(described["inputs"], rest[0], strict=True)),
            **dict(zip(described["outputs"], outputs, strict=True)),
        }
        means = [weighted_mean(named[loss], None if own is None else named[own]) for loss, own in weights.items()]
        return *means, *outputs

    @staticmethod
    def backward(ctx: Any, *scales: torch.Tensor | None) -> Any:
        # Of one, nobody else holds the gradients, so they need not be copied.
        factors = [None if scale is None else 1 if _is_one(scale) else scale for scale in scales[: ctx.losses]]
        given = [(gradient, factors[owner]) for gradient, owner in zip(ctx.gradients, ctx.owners, strict=True)]
        gradients = [
            None if by is None else gradient if isinstance(by, int) else gradient * by for gradient, by in given
        ]
        # Those of the other losses wait for their turn.
        ctx.gradients = [gradient if by is None else None for gradient, by in given]
        return None, None, None, None, None, *gradients


def _is_one(scale: torch.Tensor) -> bool:
    """Whether a scale changes nothing, as far as that is known without waiting for a device."""
    return not torch.compiler.is_compiling() and scale.device.type == "cpu" and scale.item() == 1.0


def _check(view: str, described: Mapping[str, Any], inputs: _Tensors) -> None:
    """Refuse a batch whose names, shapes or dtypes are not those that the graph was made for."""
    wanted = described["inputs"]
    if inputs.keys() != wanted.keys():
        raise BatchError(f"the {view} view takes {', '.join(wanted)}, got {', '.join(inputs)}")
    sizes: dict[int, str] = {}
    for name, expected in wanted.items():
        tensor = inputs[name]
        shape, found = expected["shape"], list(tensor.shape)
        fits = len(shape) == len(found) and all(a is None or a == b for a, b in zip(shape, found, strict=True))
        if not fits or dtype_name(tensor.dtype) != expected["dtype"]:
            kind = f"{dtype_name(tensor.dtype)} {found}"
            raise BatchError(f"{name}: the saved program was made for {expected['dtype']} {_shown(shape)}, got {kind}")
        sizes[found[0]] = name
    if len(sizes) > 1:
        raise BatchError(f"the inputs hold different numbers of examples: {', '.join(map(str, sizes))}")
    condition = violated(described.get("sizes", ()), {name: tensor.shape for name, tensor in inputs.items()})
    if condition is not None:
        shown = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())
        raise BatchError(f"the saved program holds where {condition}; other batches need the source: {shown}")


def _shown(shape: list[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _original(own_name: str, leaf: str) -> str:
    """Name that a parameter of a graph has in the original."""
    return ".".join(filter(None, [own_name, leaf])).removeprefix(f"{PREFIX}.")


def _zeros(entry: Mapping[str, Any]) -> torch.Tensor:
    dtype = getattr(torch, entry["dtype"], None)
    if not isinstance(dtype, torch.dtype):
        raise SavedModelError(f"{entry['name']}: PyTorch {torch.__version__} has no dtype {entry['dtype']!r}")
    if "strides" in entry:
        return torch.empty_strided(entry["shape"], entry["strides"], dtype=dtype).zero_()
    return torch.zeros(entry["shape"], dtype=dtype)


def _owner(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The submodule that a name leads to, created if missing, and the last part of the name."""
    *path, leaf = name.split(".")
    owner = root
    for part in path:
        child = owner._modules.get(part)
        if child is None:
            child = owner._modules[part] = nn.Module()
        owner = child
    return owner, leaf
