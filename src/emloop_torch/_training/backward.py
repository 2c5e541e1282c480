"""The backward pass, without what surrounds it in Python, which takes longer than that of a small network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import has_torch_function_unary

from .deferring import RELEASE

__all__ = ["back_propagate"]

_GRAPH_LOG = logging.getLogger("torch.autograd.graph")
_OWN = torch.Tensor.backward, torch.autograd.backward
_ENGINE: Any = torch.autograd.Variable._execution_engine
_IS_KNOWN = torch.__version__.startswith(RELEASE)


def back_propagate(loss: torch.Tensor, parameters: Sequence[nn.Parameter] | None, *, keeps_graph: bool) -> None:
    """Do what ``loss.backward`` does; where somebody looks or has put something in its place, nothing is left out.

    Args:
        loss: One number, or those whose mean is meant: 32-bit or 64-bit, on the host.
        parameters: What the gradient reaches; ``None``: whatever the loss depends on.
        keeps_graph: Whether there is another pass to come.
    """
    if (
        _IS_KNOWN
        and loss.is_cpu  # others are computed in threads of their own, which take over the context
        and loss.requires_grad
        and parameters is None
        and (torch.Tensor.backward, torch.autograd.backward) == _OWN
        and not has_torch_function_unary(loss)
        and not torch._C._are_functorch_transforms_active()
        and not _GRAPH_LOG.isEnabledFor(logging.DEBUG)
    ):
        # Made anew, since a function of one's own may write to the gradient that it is given.
        share = loss.new_full(loss.shape, 1.0 / loss.numel())
        _ENGINE.run_backward((loss,), (share,), keeps_graph, False, (), allow_unreachable=True, accumulate_grad=True)
    else:
        (loss.mean() if loss.ndim else loss).backward(retain_graph=keeps_graph, inputs=parameters)
