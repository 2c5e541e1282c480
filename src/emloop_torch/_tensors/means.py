"""The mean that training follows: a sum of weighted losses over the sum of the weights.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import optim

from emloop.errors import BatchError, MissingVariableError

from .arrays import dtype_name

__all__ = [
    "OtherRows",
    "check_loss",
    "check_weight",
    "counted",
    "is_plain",
    "live_mean",
    "require_weight",
    "total_weight",
    "weighted_mean",
]

Weight: TypeAlias = float | torch.Tensor


class OtherRows(Protocol):
    """The other processes."""

    def weigh(
        self, totals: Mapping[str, Weight], weighed: Sequence[str], examples: int
    ) -> tuple[dict[str, Weight], dict[str, Weight]]:
        """What the whole batch counts, and by what the mean over this process's rows is scaled."""

    def check(self, optimizers: Sequence[optim.Optimizer], *, is_simple: bool) -> None:
        """Refuse what cannot train the module; ``is_simple``: by one loss, at every step."""

    def mean_gradients(self, own: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The gradients with which this process goes on, of those that it had before a step, on the host."""

    def spread_buffers(self) -> None:
        """Give the module the buffers of rank 0."""

    def reduce(self) -> None:
        """Average the gradients over all processes."""


_TINY = {dtype: torch.finfo(dtype).tiny for dtype in (torch.float32, torch.float64)}
_EXACT = 1 << 24
"""As many ones have that sum in single precision, too."""


def weighted_mean(loss: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """``Σ w·l / Σ w``, differentiable in the loss; 0 where all weights are 0.

    Weights are divided by their sum first, and 16-bit losses widened, so nothing overflows. What has no weight counts
    nothing, not even where it is NaN; a gradient that an operation before makes NaN of 0 stays NaN.

    Args:
        loss: Any shape; a scalar is a mean already.
        weight: The same shape, any dtype; with further axes, a loss counts for the sum over them. ``None``: all equal.
    """
    if weight is None or not loss.ndim:
        return loss.mean()
    values = loss if loss.dtype is torch.float64 else loss.float()
    weight = _of_losses(weight, loss)
    number = weight.to(values.dtype)
    nothing = _is_nothing(weight if weight.dtype is torch.bool else number)
    share = number / number.sum().clamp_min(_TINY[values.dtype])
    return (values.masked_fill(nothing, 0.0) * share).sum()


def live_mean(loss: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """:func:`weighted_mean`, to the bit, by fewer operations where the values allow; no graph can hold that choice."""
    if not loss.ndim:
        return loss
    if weight is not None and is_plain(loss, weight):
        return (loss * (1.0 / loss.numel())).sum()
    return weighted_mean(loss, weight)


def is_plain(loss: torch.Tensor, weight: torch.Tensor | None) -> bool:
    """Whether ``n`` losses on the host count the same, so that the mean's gradient is ``1 / n`` of each, to the bit."""
    return (
        loss.ndim > 0
        and loss.is_cpu
        and loss.dtype in _TINY
        and 0 < (number := loss.numel()) <= _EXACT
        and (
            weight is None
            or (
                weight.dtype is torch.bool
                and weight.is_cpu
                and weight.shape == loss.shape
                and np.count_nonzero(weight.numpy()) == number
            )
        )
    )


def counted(loss: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """The losses, but 0 for those of no weight."""
    if weight is None or not loss.ndim:
        return loss
    return loss.masked_fill(_is_nothing(_of_losses(weight, loss)), 0.0)


def _is_nothing(weight: torch.Tensor) -> torch.Tensor:
    return weight.logical_not() if weight.dtype is torch.bool else weight == 0


def _of_losses(weight: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    weight = weight.detach()
    return weight if weight.ndim == loss.ndim else weight.float().flatten(loss.ndim).sum(-1)


def total_weight(loss: torch.Tensor, weight: torch.Tensor | None, examples: int) -> float | torch.Tensor:
    """How much a batch counts among others: the sum of its weights, or its number of losses, or of examples.

    On the host it is a number; elsewhere it stays a tensor, so that nobody waits for it.

    Args:
        loss: The losses, or their mean.
        weight: Their weights, if any.
        examples: ``B``.
    """
    if weight is None:
        return float(loss.numel() if loss.ndim else examples)
    total = weight.detach().float().sum()
    return total.item() if total.device.type == "cpu" else total


def check_loss(loss: torch.Tensor, weight: torch.Tensor | None, name: str | None) -> None:
    """Refuse what is no loss.

    Args:
        loss: A scalar, or a value for every example; of more axes only if the weight has them, too, since ``[B, B]``
            is mostly a slip.
        weight: Its weight, if any.
        name: What the weight is called.

    Raises:
        BatchError: If shape or dtype are others; says how they come about.
    """
    if not isinstance(loss, torch.Tensor):
        raise BatchError(f"loss: expected a tensor, got {type(loss).__name__}")
    is_number = loss.is_floating_point()
    if weight is not None and is_number and loss.ndim and weight.shape[: loss.ndim] != loss.shape:
        raise BatchError(f"loss: its weight {name!r} has the shape {list(weight.shape)}, not {list(loss.shape)}")
    if is_number and (loss.ndim < 2 or weight is not None):
        return
    found = f"got {dtype_name(loss.dtype)} {list(loss.shape)}"
    if not is_number:
        raise BatchError(f"loss: expected a number for every example, {found}")
    hint = "take the mean of the other axes, or give every element its weight: model.weights={loss: …}"
    if loss.shape[1:] == (1,):
        hint = "loss.squeeze(1) has no such axis"
    elif loss.shape[:1] == loss.shape[1:]:
        hint = "[B, 1] and [B] broadcast to [B, B]: give prediction and target one shape, e.g. by squeeze(1)"
    raise BatchError(f"loss: expected a number for every example, or their mean, {found}; {hint}")


def require_weight(weight: torch.Tensor | None, name: str) -> torch.Tensor:
    """The weight of a loss.

    Raises:
        MissingVariableError: If there is none.
    """
    if weight is None:
        raise MissingVariableError(f"neither module nor batch has {name!r}, which weighs the loss")
    return weight


def check_weight(weight: torch.Tensor, name: str) -> None:
    """Refuse weights below 0, infinite or NaN, as far as they are on the host; hooks see the others.

    Raises:
        BatchError: If there is one.
    """
    if weight.device.type == "cpu" and weight.dtype is not torch.bool:
        weight = weight.detach().double()
        wrong = weight[~((weight >= 0) & (weight < torch.inf))]
        if wrong.numel():
            raise BatchError(f"weight {name!r}: expected numbers from 0 on, got {wrong[0].item():g}")
