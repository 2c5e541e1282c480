"""A module made from data: the original's parameters and buffers under their names, and graphs that use them.

Each view (``train``, ``eval``, ``predict``) is a graph; all share one set of parameters. An *exported* graph computes
outputs, and gradients flow through it as through any module. A *traced* graph computes outputs and gradients at once;
only the mean loss of the batch, from ``mean_loss``, can then be back-propagated.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.export.passes import move_to_device_pass
from torch.utils.checkpoint import checkpoint

from emloop.errors import BatchError, SavedModelError
from emloop_torch._tensors.arrays import dtype_name
from emloop_torch._tensors.means import weighted_mean

from .archive import RECOMPUTED, unpack
from .program import Program
from .sizes import violated

__all__ = ["LOSS", "PREFIX", "ProgramModule"]

LOSS = "loss"
PREFIX = "net"
"""Name of the original inside an exported graph."""

_Graph = Callable[..., Any]
_REGION = re.compile(rf"({RECOMPUTED}\d+)_")


class ProgramModule(nn.Module):
    """Stand-in for a module whose source is gone; zeros until its state is loaded.

    Args:
        program: The program.
        beside: A live module whose parameters to use; buffers begin with copies of its own.
    """

    program: Program
    _graphs: dict[str, nn.Module]
    _mean: torch.Tensor | None

    def __init__(self, program: Program, beside: nn.Module | None = None) -> None:
        super().__init__()
        self.__dict__["program"] = program
        self.__dict__["_graphs"] = {}
        self.__dict__["_mean"] = None
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
            SavedModelError: If the program has no such view.
        """
        return self._run("train" if self.training else "eval", inputs)

    def predict(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the outputs that need no labels.

        Raises:
            BatchError, SavedModelError: As :meth:`forward`.
        """
        return self._run("predict", inputs)

    def mean_loss(self, loss: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """The differentiable mean of the losses that :meth:`forward` returned last, with their weights."""
        return weighted_mean(loss, weight) if self._mean is None else self._mean

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of ``forward``."""
        return list(self._view("eval")["outputs"])

    @property
    def is_traced(self) -> bool:
        """Whether the mean loss is a part of the program."""
        return bool(self.program.description["views"].get("train", {}).get("kind") == "traced")

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

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        # Moving to a device replaces buffers, and the constants in graphs have to move as well.
        super()._apply(fn, recurse)
        self._graphs.clear()
        return self

    def _run(self, view: str, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        described = self._view(view)
        ordered = _ordered(view, described["inputs"], inputs)
        # Few graphs have any.
        if described.get("sizes"):
            condition = violated(described["sizes"], {name: tensor.shape for name, tensor in inputs.items()})
            if condition is not None:
                shown = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())
                raise BatchError(f"the saved program holds where {condition}; other batches need the source: {shown}")
        if described["kind"] == "exported":
            outputs = self.graph(view)(*ordered)
        else:
            outputs = self._run_traced(view, described, ordered)
        return dict(zip(described["outputs"], outputs, strict=True))

    def _run_traced(self, view: str, described: Mapping[str, Any], ordered: list[torch.Tensor]) -> Iterable[Any]:
        named = dict(self.named_parameters())
        held: tuple[list[torch.Tensor], list[torch.Tensor]] = (list(named.values()), list(self.buffers()))
        if view != "train":
            return _run_graph(self.graph(view), described, *held, ordered)[0]
        trained = [named[name] for name in described["gradients"]]
        mean, *outputs = _Traced.apply(self.graph(view), described, self.weights.get(LOSS), *held, ordered, *trained)
        self.__dict__["_mean"] = mean
        return outputs

    def _view(self, view: str) -> Mapping[str, Any]:
        views = self.program.description["views"]
        if view not in views:
            raise SavedModelError(
                f"without its source this model has no {view!r} view, only {', '.join(map(repr, views)) or 'weights'}: "
                f"{self.program.reason}"
            )
        described: Mapping[str, Any] = views[view]
        return described

    def _load(self, view: str) -> nn.Module:
        described = self._view(view)
        exported = unpack(self.program.graphs[view], f"{view}.pt2")
        device = next(iter(self.parameters()), torch.empty(0)).device
        if device.type != self.program.description["device"]:
            exported = move_to_device_pass(exported, str(device))
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
    """A graph that computes gradients, as a node of autograd; only the mean loss is differentiable."""

    @staticmethod
    def forward(ctx: Any, graph: _Graph, described: Mapping[str, Any], weight: str | None, *rest: Any) -> Any:
        outputs, ctx.gradients = _run_graph(graph, described, *rest[:3])
        ctx.mark_non_differentiable(*outputs)
        named = {
            **dict(zip(described["inputs"], rest[2], strict=True)),
            **dict(zip(described["outputs"], outputs, strict=True)),
        }
        return weighted_mean(named[LOSS], None if weight is None else named[weight]), *outputs

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor, *_: Any) -> Any:
        return None, None, None, None, None, None, *(gradient * scale for gradient in ctx.gradients)


def _run_graph(
    graph: _Graph,
    described: Mapping[str, Any],
    parameters: list[torch.Tensor],
    buffers: list[torch.Tensor],
    inputs: list[torch.Tensor],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Outputs and gradients of a traced graph; buffers are updated in place, as by the original."""
    outputs, rest = _split(graph(*parameters, *buffers, *inputs), len(described["outputs"]))
    gradients, changed = _split(rest, len(described["gradients"]))
    for buffer, new in zip(buffers, changed, strict=True):
        buffer.copy_(new)
    return outputs, gradients


def _split(values: Iterable[Any], count: int) -> tuple[list[Any], list[Any]]:
    listed = list(values)
    return listed[:count], listed[count:]


def _ordered(
    view: str, described: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, torch.Tensor]
) -> list[torch.Tensor]:
    """The inputs in the order of the graph, their shapes and dtypes checked."""
    if inputs.keys() != described.keys():
        raise BatchError(f"the {view} view takes {', '.join(described)}, got {', '.join(inputs)}")
    sizes: dict[int, str] = {}
    for name, expected in described.items():
        tensor = inputs[name]
        shape, found = expected["shape"], list(tensor.shape)
        fits = len(shape) == len(found) and all(a is None or a == b for a, b in zip(shape, found, strict=True))
        if not fits or dtype_name(tensor.dtype) != expected["dtype"]:
            kind = f"{dtype_name(tensor.dtype)} {found}"
            raise BatchError(f"{name}: the saved program was made for {expected['dtype']} {_shown(shape)}, got {kind}")
        sizes[found[0]] = name
    if len(sizes) > 1:
        raise BatchError(f"the inputs hold different numbers of examples: {', '.join(map(str, sizes))}")
    return [inputs[name] for name in described]


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
