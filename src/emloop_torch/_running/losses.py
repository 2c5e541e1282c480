"""The losses of a batch: what weighs them, and their means, which the training follows.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._tensors.means import (
    OtherRows,
    check_loss,
    check_weight,
    is_plain,
    live_mean,
    require_weight,
    total_weight,
)

from .first_nan import FirstNaN

__all__ = ["Losses"]

_Tensors = Mapping[str, torch.Tensor]
_Weight = float | torch.Tensor


class Losses:
    """The losses of the batches that a module computes.

    Args:
        module: The module; a traced program computes the means itself.
        names: Names of the losses.
        weights: Loss → what weighs it, an output or a source.
        accumulates: Whether it matters how much a batch counts among others.
        together: What the whole batch is asked of where other processes have its other rows.
    """

    def __init__(
        self,
        module: nn.Module,
        names: Sequence[str],
        weights: Mapping[str, str],
        *,
        accumulates: bool,
        together: OtherRows | None = None,
    ) -> None:
        self.names = list(names)
        self.examples = 0
        """``B`` of the batch that is being computed."""
        self.nan = FirstNaN()
        self._program = module if isinstance(module, ProgramModule) else None
        self._weights = weights
        self._accumulates = accumulates or together is not None
        self._together = together
        self._weighed: Mapping[str, torch.Tensor | None] = {}
        self._followed: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def weigh(self, outputs: _Tensors, batch: _Tensors) -> None:
        """Note what weighs the losses of a batch that has been computed."""
        if self._weights:
            self._weighed = {loss: outputs.get(own, batch.get(own)) for loss, own in self._weights.items()}

    def means(
        self, losses: _Tensors, weight: torch.Tensor | None, *, plain: bool
    ) -> tuple[dict[str, torch.Tensor], dict[str, _Weight], dict[str, _Weight] | None]:
        """The mean of each loss, differentiable, and how much the batch counts among others.

        If other processes have rows of the batch, also by what these means are scaled, so that their mean over all
        processes is that of the whole batch.

        Args:
            losses: Values of each loss, of the batch computed last.
            weight: What weighs them instead of what the model itself says.
            plain: Whether losses that all count the same may stand for their mean.

        Raises:
            BatchError: If a loss or a weight is none.
            MissingVariableError: If neither module nor batch has the weight.
        """
        means, totals, weighed = dict[str, torch.Tensor](), dict[str, _Weight](), list[str]()
        for name, values in losses.items():
            own, called = weight, self._weights.get(name)
            if own is None and called is not None:
                own = require_weight(self._weighed.get(name), called)
            check_loss(values, own, called)
            if own is not None:
                check_weight(own, called or "weight")
                weighed.append(name)
            program = self._program
            if plain and program is None and is_plain(values, own):
                means[name] = values
            else:
                means[name] = mean = live_mean(values, own) if program is None else program.mean_loss(name, values, own)
                self._followed[name] = values, mean.detach()
            totals[name] = total_weight(values, own, self.examples) if self._accumulates else 1.0
        if self._together is None:
            return means, totals, None
        return means, *self._together.weigh(totals, weighed, self.examples)

    def per_example(self, outputs: _Tensors, *, train: bool) -> _Tensors:
        """The outputs with a value of each loss for every example; NaN is looked for on the way."""
        looked_at, followed, self._followed = list[tuple[torch.Tensor, torch.Tensor | None]](), self._followed, {}
        for name in self.names:
            loss = outputs.get(name)
            if not isinstance(loss, torch.Tensor):
                continue
            weight = self._weighed.get(name)
            if not train:
                check_loss(loss, weight, self._weights.get(name))
            # Of what has been learned from, the mean is known, and NaN where a loss that counts is.
            values, mean = followed.get(name, (None, loss))
            looked_at.append((mean, None) if values is loss else (loss, weight))
            if not loss.ndim:
                outputs = {**outputs, name: loss.detach().expand(self.examples)}
        self.nan.look(looked_at)
        return outputs
