"""What training asks of the other processes that have rows of the same batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import torch

__all__ = ["OtherRows", "Weight"]

Weight: TypeAlias = float | torch.Tensor


class OtherRows(Protocol):
    """The other processes."""

    def weigh(
        self, totals: Mapping[str, Weight], weighed: Sequence[str], examples: int
    ) -> tuple[dict[str, Weight], dict[str, Weight]]:
        """What the whole batch counts, and by what the mean over this process's rows is scaled."""

    def spread_buffers(self) -> None:
        """Give the module the buffers of rank 0."""

    def reduce(self) -> None:
        """Average the gradients over all processes."""
