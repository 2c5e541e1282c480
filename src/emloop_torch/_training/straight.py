"""The usual training step as a straight line of code, built once.

What a general step asks for every batch, such as whether there is a scaler, has been answered by then. A batch that is
not like most, or that is compared with a program, takes the general way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from emloop.types import Batch
from emloop_torch._programs.program_module import LOSS
from emloop_torch._programs.views import FORWARD, loss_among, require_outputs
from emloop_torch._tensors.feeding import Feed
from emloop_torch._tensors.generators import Generators
from emloop_torch._tensors.means import check_loss, check_weight, require_weight, weighted_mean

from .first_nan import FirstNaN
from .updates import Updates

if TYPE_CHECKING:
    from emloop.datasets.stream_wrapper import StreamWrapper

__all__ = ["Step", "straight_step"]

Step = Callable[[Batch, "StreamWrapper | None"], "Batch | None"]

_ALONE: AbstractContextManager[None] = nullcontext()
_WHOLE: Mapping[str, float | torch.Tensor] = {LOSS: 1.0}


def straight_step(
    call: Callable[..., Any],
    *,
    feed: Feed,
    generators: Generators,
    forward: AbstractContextManager[None],
    asking: AbstractContextManager[Any],
    updates: Updates,
    weight: str | None,
    nan: FirstNaN,
    names: Sequence[str],
    begin: Callable[[], bool],
    explain: Callable[[Exception, Mapping[str, torch.Tensor]], None],
    remember: Callable[[Batch, Mapping[str, torch.Tensor], Batch], None],
) -> Step:
    """A step that follows the mean of ``loss``, on the host, with one update for every batch.

    Args:
        call: Computes the outputs.
        feed: Turns a batch to tensors, and outputs to arrays.
        generators: The random numbers that the module draws.
        forward: Around a forward pass.
        asking: Around a forward pass: which outputs are asked for.
        updates: Turns the mean loss into a step.
        weight: Name of the output that weighs the loss; ``None``: all examples count the same.
        nan: Is shown the mean losses.
        names: Names of the outputs to return.
        begin: Called before the forward pass; returns whether the batch may take this way.
        explain: Adds to an exception what is known about it, given the inputs.
        remember: Called with batch, inputs and arrays.

    Returns:
        The step, which returns ``None``, and has done nothing, where a batch has to take the general way.
    """

    def step(batch: Batch, stream: StreamWrapper | None) -> Batch | None:
        inputs = feed.usual_inputs(batch)
        if inputs is None or not begin():
            return None
        with _ALONE if stream is None else stream.allow_buffering:
            arrays = compute(inputs)
        remember(batch, inputs, arrays)
        return arrays

    def compute(inputs: Mapping[str, torch.Tensor]) -> Batch:
        outer = generators.begin("training")
        try:
            try:
                with forward, asking:
                    outputs = call(**inputs)
                if type(outputs) is not dict:
                    outputs = require_outputs(FORWARD, outputs)
                loss, own = loss_among(outputs), None
                if weight is not None:
                    own = require_weight(outputs.get(weight, inputs.get(weight)), weight)
                check_loss(loss, own, weight)
                if own is not None:
                    check_weight(own, weight or "weight")
                mean = weighted_mean(loss, own)
                updates({LOSS: mean}, _WHOLE)
            except Exception as error:
                explain(error, inputs)
                raise
            nan.look([mean])
            examples = next(iter(inputs.values())).shape[0]
            if not loss.ndim:
                outputs = {**outputs, LOSS: loss.expand(examples)}
            return feed.outputs(outputs, names, examples, None)
        finally:
            generators.end("training", outer)

    return step
