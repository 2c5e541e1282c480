"""What PyTorch's exporter cannot see through although it is no obstacle, smoothed while a graph is made.

Nothing here changes what a module computes: lengths stay symbols, a buffer that is replaced is changed in place, the
arguments of distributions are not checked, a cumulative average takes its share from a tensor, and operators over
sequences are recorded as they are.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial, partialmethod
from typing import Any

import torch
from torch import nn
from torch._library.custom_ops import OPDEFS, CustomOpDef
from torch._ops import OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.distributions import Distribution
from torch.fx.experimental.proxy_tensor import get_proxy_mode, get_proxy_slot
from torch.fx.traceback import annotate, preserve_node_meta
from torch.nn import functional
from torch.nn.modules import transformer
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import PackedSequence
from torch.utils import checkpoint

from emloop.interrupting import uninterrupted

from .archive import RECOMPUTED
from .writes import written

__all__ = ["decided_by_buffers", "recorded_whole", "registered_operators", "traceable", "traced_as_it_runs"]

_VF: Any = torch._VF
_TRACED = (FakeTensor, FunctionalTensor)
_aten: Any = torch.ops.aten


@uninterrupted
@contextmanager
def traceable(module: nn.Module) -> Iterator[None]:
    """Do without checks of distributions, and let every submodule compute by tensors only, inside the block."""
    with ExitStack() as restored:
        _set(restored, Distribution, "_validate_args", False)
        for part in module.modules():
            if isinstance(part, _BatchNorm) and part.momentum is None and type(part).forward is _BatchNorm.forward:
                _set(restored, part, "forward", _Cumulative(part))
        yield


@uninterrupted
@contextmanager
def traced_as_it_runs(module: nn.Module) -> Iterator[None]:
    """Let Python's own operations, and changes through ``data``, leave a trace inside the block.

    For tracers that run code instead of reading it.
    """
    # It keeps a table of builtin functions, which has to hold the real ones.
    importlib.import_module("torch._dynamo")
    with ExitStack() as restored:
        _set(restored, builtins, "len", _length)
        _set(restored, nn.Module, "__setattr__", _assign)
        _set(restored, transformer, "_generate_square_subsequent_mask", _causal_mask)
        _set(restored, transformer, "_detect_is_causal_mask", _is_causal)
        _set(restored, torch.Tensor, "data", property(_data, _set_data))
        _set(restored, CustomOpDef, "__call__", partialmethod(_apart, CustomOpDef.__call__))
        _set(restored, OpOverloadPacket, "__call__", partialmethod(_apart, OpOverloadPacket.__call__))
        for name in {kind.__module__ for part in module.modules() for kind in type(part).__mro__}:
            if name.partition(".")[0] not in ("builtins", "torch"):
                _set(restored, sys.modules[name], "int", _Integer)
                _set(restored, sys.modules[name], "float", _Float)
        yield


@uninterrupted
@contextmanager
def recorded_whole(module: nn.Module) -> Iterator[None]:
    """Record some operators whole, and which part is a checkpoint, inside the block.

    For graphs that leave the backward pass to PyTorch; where gradients are in the graph, these operators have to be
    taken apart.
    """
    # Not all of it is public; where a version of PyTorch has moved it, packed sequences need the source, as before.
    fast: dict[Any, Any] = getattr(torch._subclasses.fake_impls, "FAST_OP_IMPLEMENTATIONS", {})
    regions = _Regions()
    with ExitStack() as restored:
        restored.enter_context(preserve_node_meta())
        _set(restored, checkpoint, "_checkpoint_without_reentrant_generator", regions.generator)
        _set(restored, checkpoint, "CheckpointFunction", regions)
        _set(restored, _VF, "_pack_padded_sequence", _pack)
        _set(restored, _VF, "_pad_packed_sequence", _pad)
        _update(restored, fast, {_aten._pack_padded_sequence.default: _packed})
        for operator, outcome in _OUTCOMES.items():
            keys = (torch._C.DispatchKey.CompositeImplicitAutograd, torch._C.DispatchKey.Autograd)
            restored.callback(operator._dispatch_cache.clear)
            _update(restored, operator.py_kernels, dict.fromkeys(keys, outcome))
            operator._dispatch_cache.clear()
        for part in module.modules():
            if isinstance(part, nn.RNNBase):
                # They compare the number of examples with what only the data tell.
                _set(restored, part, "check_forward_args", lambda *_: None)
                _set(restored, part, "forward", _Begun(part))
        yield


@uninterrupted
@contextmanager
def decided_by_buffers(module: nn.Module) -> Iterator[set[str]]:
    """Follow branches on values of buffers alone, inside the block, the way that they go now.

    A flag of what has been initialised, a counter of batches: the graph asserts that the branch goes the same way.

    Returns:
        The names of the buffers, which are added inside the block.
    """
    decided: set[str] = set()
    real = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}

    def item(tensor: torch.Tensor) -> Any:
        found: Any = _real_item(tensor)
        mode = get_proxy_mode()
        if mode is not None and isinstance(found, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            names, value = _of_buffers(mode.tracer, module, real, tensor)
            if value is not None:
                decided.update(names)
                for symbol in found.node.expr.free_symbols:
                    # A truth is known by its number.
                    found.node.shape_env.set_real_tensor_prop_unbacked_vals(symbol, value + 0)
        return found

    with ExitStack() as restored:
        _set(restored, torch.Tensor, "item", item)
        _set(restored, torch.Tensor, "__bool__", lambda tensor: bool(tensor.item()))
        yield decided


def _of_buffers(
    tracer: Any, module: nn.Module, real: Mapping[str, torch.Tensor], tensor: torch.Tensor
) -> tuple[Collection[str], Any]:
    """The buffers that a traced number is computed from, and the number, if it is computed from nothing else."""
    known = _nodes_of_buffers(tracer, module)
    asked: Any = get_proxy_slot(tensor, tracer, None)
    waiting, steps = [] if asked is None else [asked.proxy.node], dict[torch.fx.Node, None]()
    writers = written(tracer.graph, known)
    while waiting:
        node = waiting.pop()
        if node in known:
            waiting += (writer for writer in writers.get(known[node], ()) if writer not in steps)
        elif isinstance(node.target, torch._ops.OpOverload):
            waiting += (given for given in node.all_input_nodes if given not in steps)
        else:
            return (), None
        steps[node] = None
    if not steps:
        return (), None
    values: dict[torch.fx.Node, Any] = {}
    with torch.utils._python_dispatch._disable_current_modes(), torch.no_grad():
        for node in tracer.graph.nodes:
            if node in known:
                values[node] = real[known[node]].clone()
            elif node in steps:
                arguments, named = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*arguments, **named)
        return {known[node] for node in steps if node in known}, _real_item(values[asked.proxy.node])


def _nodes_of_buffers(tracer: Any, module: nn.Module) -> dict[torch.fx.Node, str]:
    """Where a graph takes each buffer from."""
    known: dict[torch.fx.Node, str] = {}
    for name, buffer in module.named_buffers():
        slot = get_proxy_slot(buffer, tracer, None)
        node = None if slot is None else slot.proxy.node
        while node is not None and node.op == "call_function":
            # What was changed in place is known by the change; its first argument is what it was before.
            node = next(iter(node.all_input_nodes), None)
        if node is not None:
            known[node] = name
    return known


class _Cumulative:
    """``forward`` of a normalisation whose statistics are the mean of all batches so far (``momentum: None``)."""

    def __init__(self, part: _BatchNorm) -> None:
        self._part = part

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        part = self._part
        part._check_input_dim(values)
        mean, var, count = part.running_mean, part.running_var, part.num_batches_tracked
        if not part.training or mean is None or var is None or count is None:
            batch = part.training or mean is None
            statistics = (None, None) if part.training else (mean, var)
            return functional.batch_norm(values, *statistics, part.weight, part.bias, batch, 0.0, part.eps)
        count.add_(1)
        # With a share of 1, what PyTorch leaves there is this batch's own.
        own_mean, own_var = torch.zeros_like(mean), torch.zeros_like(var)
        normed = functional.batch_norm(values, own_mean, own_var, part.weight, part.bias, True, 1.0, part.eps)
        share = 1.0 / count.double()
        for running, own in ((mean, own_mean), (var, own_var)):
            running.copy_(share * own.double() + (1.0 - share) * running.double())
        return normed


class _Regions:
    """Stands in for activation checkpointing, and marks what is computed there; the outermost counts."""

    def __init__(self) -> None:
        self._count = 0
        self._is_inside = False

    def apply(self, function: Callable[..., Any], _preserve: bool, *args: Any) -> Any:
        """In the place of a reentrant checkpoint."""
        with self._marked():
            return function(*args)

    def generator(self, *_: Any, **__: Any) -> Iterator[None]:
        """In the place of what surrounds any other."""
        with self._marked():
            yield

    @contextmanager
    def _marked(self) -> Iterator[None]:
        if self._is_inside:
            yield
            return
        self._count += 1
        self._is_inside = True
        try:
            with annotate({RECOMPUTED: self._count}):
                yield
        finally:
            self._is_inside = False


class _Symbolic(type):
    """Of types in whose place numbers that only data tell stay symbols; apart from that, they are what they are of."""

    def __call__(cls, *given: Any, **named: Any) -> Any:
        kind: Any = cls.__base__
        value = given[0] if len(given) == 1 else None
        if isinstance(value, _TRACED) and value.numel() == 1:
            value = value.item()
        if isinstance(value, (torch.SymInt, torch.SymFloat)):
            return torch.sym_int(value) if kind is int else torch.sym_float(value)
        return kind(*given, **named)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls.__base__)  # type: ignore[arg-type]

    def __subclasscheck__(cls, kind: Any) -> bool:
        return issubclass(kind, cls.__base__)  # type: ignore[arg-type]


class _Integer(int, metaclass=_Symbolic):
    pass


class _Float(float, metaclass=_Symbolic):
    pass


class _Begun:
    """``forward`` of a recurrent network that gets its zero state for as many examples as were packed."""

    def __init__(self, part: nn.RNNBase) -> None:
        self._part = part
        self._forward = part.forward

    def __call__(self, values: Any, hx: Any = None) -> Any:
        part = self._part
        examples = getattr(values.batch_sizes, "examples", None) if isinstance(values, PackedSequence) else None
        if hx is None and examples is not None:
            layers = part.num_layers * (2 if part.bidirectional else 1)
            hx = values.data.new_zeros(layers, examples, part.proj_size or part.hidden_size)
            if isinstance(part, nn.LSTM):
                hx = (hx, values.data.new_zeros(layers, examples, part.hidden_size))
        return self._forward(values, hx)


def _pack(values: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> Any:
    batch_sizes: Any
    data, batch_sizes = torch._C._VariableFunctions._pack_padded_sequence(values, lengths, batch_first)
    batch_sizes.examples = values.shape[0 if batch_first else 1]
    return data, batch_sizes


def _pad(data: torch.Tensor, batch_sizes: torch.Tensor, batch_first: bool, value: float, length: Any) -> Any:
    operator = torch._C._VariableFunctions._pad_packed_sequence
    if not isinstance(length, torch.SymInt):
        return operator(data, batch_sizes, batch_first, value, length)
    # The operator takes no symbol; by itself it pads to the longest.
    padded, lengths = operator(data, batch_sizes, batch_first, value, -1)
    examples = getattr(batch_sizes, "examples", None)
    if examples is not None:
        # As many as were packed, which the shape of the operator's result cannot tell.
        padded = padded.index_select(0 if batch_first else 1, torch.arange(examples, device=padded.device))
    # It imports SymPy, which no training waits for.
    shapes = importlib.import_module("torch.fx.experimental.symbolic_shapes")
    if not shapes.statically_known_true(length == batch_sizes.shape[0]):
        missing: Any = length - batch_sizes.shape[0]
        after = (0, 0) * (padded.ndim - (2 if batch_first else 1))
        padded = functional.pad(padded, (*after, 0, missing), value=value)
    return padded, lengths


def _packed(mode: Any, values: torch.Tensor, lengths: torch.Tensor, _batch_first: bool) -> Any:
    with mode:
        return values.new_empty((_some(mode), *values.shape[2:])), lengths.new_empty((_some(mode),))


def _padded(data: Any, batch_sizes: torch.Tensor, batch_first: bool, _value: float, length: int) -> Any:
    examples, longest = _some(data.fake_mode), length if length > 0 else batch_sizes.shape[0]
    shape = (examples, longest) if batch_first else (longest, examples)
    return data.new_empty((*shape, *data.shape[1:])), batch_sizes.new_empty((examples,))


def _some(mode: Any) -> Any:
    """A size that only the data tell."""
    size = mode.shape_env.create_unbacked_symint()
    torch._check(size >= 0)
    return size


def _recurrent(states_at: int, values: torch.Tensor, *arguments: Any) -> Any:
    states, bidirectional = arguments[states_at], arguments[states_at + 6]
    states = [states] if isinstance(states, torch.Tensor) else states
    width = states[0].shape[2] * (2 if bidirectional else 1)
    return values.new_empty((*values.shape[:-1], width)), *map(torch.empty_like, states)


def _ctc(scores: torch.Tensor, *arguments: Any) -> Any:
    _targets, _lengths, _target_lengths, _blank, reduction, *_ = (*arguments, 0, 1)
    return scores.new_empty(scores.shape[1:-1] if reduction == 0 else ())


def _like(values: torch.Tensor, *_: Any) -> Any:
    return torch.empty_like(values)


_RECURRENT = (_aten.lstm, _aten.gru, _aten.rnn_tanh, _aten.rnn_relu)
_OUTCOMES: Mapping[Any, Callable[..., Any]] = {
    **{kind.data: partial(_recurrent, 1) for kind in _RECURRENT},
    **{kind.input: partial(_recurrent, 0) for kind in _RECURRENT},
    _aten._pad_packed_sequence.default: _padded,
    _aten.ctc_loss.Tensor: _ctc,
    _aten.fake_quantize_per_tensor_affine.tensor_qparams: _like,
}
"""Operators that are recorded whole, and tensors of the shapes that they give.

PyTorch takes them apart while it traces, and then needs to know sizes that are data, or the number of time steps.
"""

_real_length, _real_mask = len, transformer._generate_square_subsequent_mask
_real_data: Any = torch.Tensor.data
_real_item = torch.Tensor.item
_real_assign = nn.Module.__setattr__


def _assign(module: nn.Module, name: str, value: Any) -> None:
    # A buffer that is replaced is lost to a tracer; one that is changed in place is not.
    held = module.__dict__.get("_buffers", {}).get(name)
    if isinstance(value, _TRACED) and held is not None and held.shape == value.shape and held.dtype == value.dtype:
        held.copy_(value.detach())
    else:
        _real_assign(module, name, value)


def _data(tensor: torch.Tensor) -> torch.Tensor:
    # The exporter loses sight of what is changed through ``data``, but not of what is detached.
    return tensor.detach() if isinstance(tensor, _TRACED) else _real_data.__get__(tensor)


def _set_data(tensor: torch.Tensor, value: torch.Tensor) -> None:
    if isinstance(tensor, _TRACED) and tensor.shape == value.shape and tensor.dtype == value.dtype:
        tensor.detach().copy_(value)
    else:
        _real_data.__set__(tensor, value)


def registered_operators() -> dict[Any, Callable[..., Any]]:
    """Operators that Python code has registered, and what they compute, which is all that a graph may hold."""
    return {definition._opoverload: definition._init_fn for definition in OPDEFS.values()}


def _apart(operator: Any, call: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
    # With a gradient of its own, it is for a graph that holds gradients.
    name = operator._qualname if isinstance(operator, CustomOpDef) else operator._qualified_op_name
    definition = OPDEFS.get(name)
    if definition is None or definition._backward_fn is not None:
        return call(operator, *args, **named)
    with torch.no_grad():
        return definition._init_fn(*args, **named)


def _causal_mask(*args: Any, **kwargs: Any) -> torch.Tensor:
    mask: Any = _real_mask(*args, **kwargs)
    mask.is_causal = True
    return mask


def _is_causal(mask: torch.Tensor | None, is_causal: bool | None = None, _size: int | None = None) -> bool:
    # Whether a mask is causal cannot be read from it; a wrong answer costs rounding at most.
    return getattr(mask, "is_causal", False) if is_causal is None else is_causal


def _length(value: Any) -> Any:
    return value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else _real_length(value)


def _set(restored: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until the end of a block."""
    held = vars(owner)
    if name in held:
        restored.callback(setattr, owner, name, held[name])
    else:
        restored.callback(delattr, owner, name)
    setattr(owner, name, value)


def _update(restored: ExitStack, entries: dict[Any, Any], new: Mapping[Any, Any]) -> None:
    """Change entries of a dictionary until the end of a block."""
    before = dict(entries)

    def restore() -> None:
        entries.clear()
        entries.update(before)

    restored.callback(restore)
    entries.update(new)
