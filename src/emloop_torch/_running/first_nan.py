"""Which batch's loss was not a number first, found on the device without waiting for it; on the host, at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from emloop_torch._tensors.means import counted

__all__ = ["FirstNaN"]

_TOGETHER = 64
"""Batches looked at in one go, so that each costs one small kernel, its sum."""

_NEVER = 2**62
_USUAL = frozenset({torch.float32, torch.float64})


class FirstNaN:
    """Remembers the first of many losses that had a NaN."""

    _first: Any  # a number, or still on its way

    def __init__(self) -> None:
        self._forget()

    def look(self, losses: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> None:
        """Take the losses of one batch, of any shape, each with its weight, if any; one without does not count."""
        losses = [pair for pair in losses if pair[0].is_floating_point()]
        if not losses:
            return
        if losses[0][0].is_cpu:
            if self._sums:
                self._reduce()
            self._before += 1
            if self._first in (None, _NEVER):
                self._first = self._before if any(_has_nan(*pair) for pair in losses) else _NEVER
            return
        found = [counted(loss.detach(), weight) for loss, weight in losses]
        sums = [loss.sum() if loss.ndim else loss for loss in found]
        # Of several without their signs, since infinities of two signs make NaN.
        self._sums.append(sums[0] if len(sums) == 1 else torch.stack([each.abs().float() for each in sums]).sum())
        if len(self._sums) == _TOGETHER:
            self._reduce()

    def take(self) -> torch.Tensor | int | None:
        """Number of the first batch since the last call, from 1, or 0; ``None`` if there was no loss."""
        if self._sums:
            self._reduce()
        first = None if self._first is None else self._first % _NEVER
        self._forget()
        return first

    def _forget(self) -> None:
        self._sums: list[torch.Tensor] = []
        self._before = 0
        self._first = None

    def _reduce(self) -> None:
        sums = torch.stack(self._sums)
        numbers = torch.arange(self._before + 1, self._before + 1 + len(sums), device=sums.device)
        first = torch.where(sums.isnan(), numbers, _NEVER).min()
        self._first = first if self._first is None else first.clamp_max(self._first)
        self._before += len(sums)
        self._sums = []


def _has_nan(loss: torch.Tensor, weight: torch.Tensor | None) -> bool:
    """Whether a loss on the host has a NaN that counts."""
    if not loss.ndim:
        value = loss.item()
        return value != value  # noqa: PLR0124 - NaN is unequal to itself
    if loss.dtype in _USUAL and loss.numel() and not loss.is_neg():
        array = (loss.detach() if loss.requires_grad else loss).numpy()
        largest = array.item(array.argmax())  # the first NaN, if any: a tenth of what asking every value takes
        if largest == largest:  # noqa: PLR0124
            return False
    return bool(counted(loss.detach(), weight).isnan().any())
