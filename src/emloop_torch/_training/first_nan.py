"""Which batch's loss was not a number first, found on the device without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["FirstNaN"]

_TOGETHER = 64
"""Batches looked at in one go, so that each costs one small kernel, its sum."""

_NEVER = 2**62


class FirstNaN:
    """Remembers the first of many losses that had a NaN."""

    def __init__(self) -> None:
        self._forget()

    def look(self, losses: Sequence[torch.Tensor]) -> None:
        """Take the losses of one batch, of any shape; one without does not count."""
        found = [loss.detach() if loss.requires_grad else loss for loss in losses if loss.is_floating_point()]
        sums = [loss.sum() if loss.ndim else loss for loss in found]
        if sums:
            # Of several without their signs, since infinities of two signs make NaN.
            self._sums.append(sums[0] if len(sums) == 1 else torch.stack([each.abs().float() for each in sums]).sum())
            if len(self._sums) == _TOGETHER:
                self._reduce()

    def take(self) -> torch.Tensor | None:
        """Number of the first batch since the last call, from 1, or 0; ``None`` if there was no loss."""
        if self._sums:
            self._reduce()
        first = None if self._first is None else self._first % _NEVER
        self._forget()
        return first

    def _forget(self) -> None:
        self._sums: list[torch.Tensor] = []
        self._before = 0
        self._first: torch.Tensor | None = None

    def _reduce(self) -> None:
        sums = torch.stack(self._sums)
        numbers = torch.arange(self._before + 1, self._before + 1 + len(sums), device=sums.device)
        first = torch.where(sums.isnan(), numbers, _NEVER).min()
        self._first = first if self._first is None else torch.minimum(self._first, first)
        self._before += len(sums)
        self._sums = []
