"""Models that are known to draw no random numbers, so that generators need not be swapped around their batches.

A class of PyTorch's is known by its name, one's own by the names in its code: where all of them mean what draws
nothing, whatever the code does with them, nothing is drawn.
"""

from __future__ import annotations

import builtins
import dis
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn, optim
from torch.nn import functional
from torch.nn.modules import module as globally
from torch.optim import optimizer as of_all

from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._programs.views import FORWARD, PREDICT
from emloop_torch._training.learners import Learner

__all__ = ["Watched", "watched"]

Watched = Sequence[Mapping[Any, Any]]
"""Tables of hooks, of which anyone may draw: nothing is drawn while they all are empty."""

_LAYERS = """
    Linear Bilinear Identity Embedding Flatten Unflatten Sequential ModuleList ModuleDict
    Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
    MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d
    AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d
    BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm GroupNorm RMSNorm
    ReLU ReLU6 LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Sigmoid Tanh Softplus Softmax LogSoftmax Hardtanh
    Hardswish Hardsigmoid Upsample PixelShuffle ZeroPad1d ZeroPad2d ZeroPad3d
"""
_LOSSES = """
    CrossEntropyLoss NLLLoss BCELoss BCEWithLogitsLoss MSELoss L1Loss SmoothL1Loss HuberLoss KLDivLoss PoissonNLLLoss
    MultiMarginLoss SoftMarginLoss
"""
_SILENT = frozenset(getattr(nn, name) for name in (_LAYERS + _LOSSES).split())
"""Classes whose own code draws nothing, however they are configured; a class derived from one may."""
_CALLED = """
    abs add all any arange argmax argmin argsort bmm bool cat chunk clamp clone contiguous cos cumsum detach device diff
    div double dtype einsum eq exp expand expand_as flatten flip float full full_like functional gather ge gt half
    index_select isnan le log log1p log2 logical_and logical_not logical_or logsumexp long lt masked_fill matmul max
    maximum mean min minimum mm mul ndim ne neg new_full new_ones new_zeros nn norm numel ones ones_like permute pi pow
    prod reciprocal repeat reshape roll round rsqrt scatter shape sign sin size sort split sqrt square squeeze stack std
    sub sum t tanh tensor to topk transpose tril triu type_as unbind unflatten unsqueeze var view view_as where zeros
    zeros_like float16 float32 float64 bfloat16 int int8 int16 int32 int64 uint8 log_softmax softmax sigmoid relu relu6
    leaky_relu elu selu gelu silu mish softplus logsigmoid hardtanh linear conv1d conv2d conv3d embedding pad
    interpolate one_hot normalize layer_norm group_norm rms_norm avg_pool1d avg_pool2d max_pool1d max_pool2d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d cosine_similarity cross_entropy
    nll_loss binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss smooth_l1_loss huber_loss kl_div
    append dict enumerate get isinstance items keys len list range super tuple update values zip
"""
_NAMES = frozenset(_CALLED.split())
"""What tensors, PyTorch and Python have that draws nothing, whichever of them is asked for it."""
_METHODS = (FORWARD, PREDICT)
_MODULES = (torch, nn, functional, math)
_CONSTANTS = (bool, int, float, str, type(None), torch.dtype)
_PLAIN_ACCESS = {name: getattr(nn.Module, name) for name in ("__call__", "__getattr__", "__getattribute__")}
_OF_MODULES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def watched(module: nn.Module, view: str, learners: Sequence[Learner]) -> Watched | None:
    """What to look at before each batch of a module, as long as nobody changes it; ``None``: it may draw.

    Args:
        module: The module.
        view: What of it a batch runs: ``train``, ``eval`` or ``predict``.
        learners: What trains it in these batches.
    """
    if isinstance(module, ProgramModule):
        parts: list[nn.Module] = [module]
        draws = module.draws(view, unknown=True)
    else:
        parts = list(module.modules())
        draws = not _Reading(parts).is_silent(PREDICT if view == PREDICT else FORWARD)
    if draws:
        return None
    optimizers = [learner.optimizer for learner in learners]
    parameters = chain.from_iterable(learner.parameters for learner in learners)
    is_stock = all(getattr(optim, type(one).__name__, None) is type(one) for one in optimizers)
    if not is_stock or not all(learner.schedule.is_stock for learner in learners):
        return None
    if any(parameter._backward_hooks or parameter._post_accumulate_grad_hooks for parameter in parameters):
        return None
    return [
        *(getattr(part, name) for part in parts for name in _OF_MODULES),
        *(getattr(globally, f"_global{name}") for name in _OF_MODULES),
        *(getattr(one, f"_optimizer_step_{when}_hooks") for one in optimizers for when in ("pre", "post")),
        *(getattr(of_all, f"_global_optimizer_{when}_hooks") for when in ("pre", "post")),
    ]


class _Reading:
    """What the code of modules draws.

    Args:
        parts: A module and all that it consists of.
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        self._parts = parts
        self._classes = {cls for part in parts for cls in type(part).__mro__} - {object}
        self._read: set[CodeType] = set()

    def is_silent(self, method: str) -> bool:
        """Whether nothing is drawn when a method of the first part is called, and others do what they do in it."""
        return all(map(self._is_known, self._parts)) and self._is_silent_attribute(method)

    def _is_known(self, part: nn.Module) -> bool:
        own = type(part)
        if "forward" in vars(part):
            return False
        if own in _SILENT or vars(own).get("draws_nothing", False):
            return True
        is_plain = all(getattr(own, name) is method for name, method in _PLAIN_ACCESS.items())
        return is_plain and self._is_silent_code(own.forward)

    def _is_silent_code(self, function: Any) -> bool:
        if type(function) is not FunctionType:
            return False
        code = function.__code__
        if code in self._read:
            return True
        self._read.add(code)
        closed = zip(code.co_freevars, function.__closure__ or (), strict=True)
        held = [cell.cell_contents for name, cell in closed if name != "__class__"]
        held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        return all(isinstance(one, _CONSTANTS) for one in held) and all(
            self._is_silent_global(name, function.__globals__) if is_global else self._is_silent_attribute(name)
            for is_global, name in _names(code)
        )

    def _is_silent_global(self, name: str, known: Mapping[str, Any]) -> bool:
        if name not in known:
            return name in _NAMES
        value = known[name]
        if isinstance(value, _CONSTANTS) or any(value is one for one in _MODULES):
            return True
        is_theirs = any(value is getattr(one, name, None) for one in (*_MODULES, builtins))
        return name in _NAMES if is_theirs else self._is_silent_code(value)

    def _is_silent_attribute(self, name: str) -> bool:
        """Whether an attribute draws nothing, whatever has it."""
        found = [name in _NAMES]
        for part in self._parts:
            if name in vars(part):
                found.append(isinstance(vars(part)[name], _CONSTANTS))
            elif any(name in vars(part)[kind] for kind in ("_modules", "_parameters", "_buffers")):
                found.append(True)
        for cls in self._classes:
            if name in vars(cls):
                value = vars(cls)[name]
                is_theirs = cls.__module__.partition(".")[0] == "torch" or vars(cls).get("draws_nothing", False)
                may_be = name in (*_METHODS, *_NAMES) if is_theirs else self._is_silent_code(value)
                found.append(may_be or isinstance(value, _CONSTANTS))
        return all(found[1:]) and any(found)


def _names(code: CodeType) -> Iterator[tuple[bool, str]]:
    """All names in code, and whether they are global ones; the others are attributes, or imported."""
    for instruction in dis.get_instructions(code):
        if instruction.opcode in dis.hasname:
            yield instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"), instruction.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
