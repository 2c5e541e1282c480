"""Models that are known to draw no random numbers, so that generators need not be swapped around their batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from torch import nn, optim
from torch.nn.modules import module as globally
from torch.optim import optimizer as of_all

from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._training.learners import Learner

__all__ = ["Watched", "watched"]

Watched = Sequence[Mapping[Any, Any]]
"""Tables of hooks, of which anyone may draw: nothing is drawn while they all are empty."""

_LAYERS = """
    Linear Bilinear Identity Embedding Flatten Unflatten Sequential
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
_OF_MODULES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def watched(module: nn.Module, view: str, learners: Sequence[Learner]) -> Watched | None:
    """What to look at before each batch of a module, as long as nobody changes it; ``None``: it may draw.

    Args:
        module: The module.
        view: What of it a batch runs: ``train``, ``eval`` or ``predict``.
        learners: What trains it in these batches.
    """
    parts = [module] if isinstance(module, ProgramModule) else list(module.modules())
    if module.draws(view, unknown=True) if isinstance(module, ProgramModule) else not all(map(_is_silent, parts)):
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


def _is_silent(part: nn.Module) -> bool:
    own = type(part)
    return (own in _SILENT or vars(own).get("draws_nothing", False)) and "forward" not in vars(part)
