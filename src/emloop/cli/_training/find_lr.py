"""``emloop find-lr``: find the learning rate to begin with.

Examples:
    emloop find-lr config.yaml
    emloop find-lr config.yaml model.hidden=64 --to 1 --steps 60
    emloop find-lr config.yaml --json
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from emloop._support.printable import columns
from emloop.errors import UsageError

from .. import render
from .._runs.curve import curve
from ..args import CONFIG, add_json, add_overrides, at_least_one, overrides
from .running import rehearsal

_RATE = "learning_rate"
_SMOOTHING = 0.9
_DIVERGED = 4.0
"""How many times its smallest value so far the smoothed loss has when it counts as diverged."""
_TRIED = 24
"""Batches by which a rate is tried from the state at the beginning."""


@dataclass(frozen=True)
class Found:
    """What a learning-rate range test has found.

    Args:
        rates: The rates of the sweep, each of one batch, as far as it came.
        losses: The losses at these, smoothed.
        edge: The smallest rate of the grid that diverges; ``None`` if none does.
        suggested: The rate to begin with.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    edge: float | None
    suggested: float


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("config_file", metavar="CONFIG", help=CONFIG)
    add_overrides(parser)
    parser.add_argument("--from", type=_rate, default=1e-6, metavar="RATE", dest="low", help="the first rate; 1e-6")
    parser.add_argument("--to", type=_rate, default=10.0, metavar="RATE", dest="high", help="the last rate; 10")
    parser.add_argument("--steps", type=at_least_one, default=100, metavar="N", help="number of rates; 100")
    add_json(parser, "rates, losses, the edge of divergence and the rate to begin with")


def run(arguments: Namespace) -> int:
    """Run the command."""
    if arguments.low >= arguments.high or arguments.steps < 2:
        raise UsageError("find-lr: expected --from below --to, and at least 2 steps")
    factor = (arguments.high / arguments.low) ** (1 / (arguments.steps - 1))
    grid = [arguments.low * factor**step for step in range(arguments.steps)]
    found = find_lr(arguments.config_file, overrides(arguments.words), grid)
    if arguments.json:
        render.say_json(asdict(found))
    else:
        render.say(_told(found))
    return 0


def find_lr(config_path: str, cl_arguments: Sequence[str], grid: Sequence[float]) -> Found:
    """Train with a learning rate that grows from batch to batch, in a temporary directory, until the loss diverges.

    This is the range test of L. N. Smith, *Cyclical Learning Rates for Training Neural Networks* (WACV 2017). What has
    shrunk at small rates takes a while to be seen growing, so the edge of divergence is looked for once more, by
    bisection: a rate is beyond it if the loss has grown after some batches from the state at the beginning. That takes
    a model with ``state_dict``; of others, the edge is where the smoothed loss begins to rise for good.

    Args:
        config_path: Config file, or a directory with one.
        cl_arguments: Overrides.
        grid: The rates, ascending.

    Raises:
        UsageError: If the model's learning rate cannot be set, or it has no output ``loss``.
    """
    from emloop._contracts import AbstractHook, Stateful, Steerable, bind_run
    from emloop._state.tree import copy_tree
    from emloop.types import Batch, TrainingTerminated

    settings: dict[str, Any] = {"epochs_count": None, "extra_streams": [], "skip_zeroth_epoch": True, "workers": 0}
    with rehearsal("find-lr", config_path, cl_arguments, **settings, evaluate_every=None) as rehearsed:
        model = rehearsed.model
        if not isinstance(rehearsed.model, Steerable):
            raise UsageError(
                f"find-lr: {type(model).__name__} has no learning rate that could be set: it takes get_variable and "
                "set_variable, as the models of PyTorch have them"
            )
        model.get_variable(_RATE)
        beginning = copy_tree(model.state_dict()) if isinstance(model, Stateful) else None
        batches: list[Batch] = []
        losses: list[float] = []

        class Sweep(AbstractHook):
            stateless = True

            def before_training(self) -> None:
                model.set_variable(_RATE, grid[0])

            def after_batch(self, stream_name: str, batch_data: Batch) -> None:  # noqa: ARG002 - an event
                if len(batches) < _TRIED:
                    batches.append({name: batch_data[name] for name in batch_data if name not in model.output_names})
                losses.append(_mean_loss(batch_data))
                if len(losses) == len(grid) or _has_diverged(losses):
                    raise TrainingTerminated("the sweep is over")
                model.set_variable(_RATE, grid[len(losses)])

        rehearsed.main_loop([Sweep()]).run_training()
        if not losses:
            raise UsageError("find-lr: the training stream has no batch")
        smooth = _smoothed(losses)
        if beginning is None:
            edge = min(range(len(smooth)), key=smooth.__getitem__) + 1
            edge = edge if _has_diverged(losses) else len(grid)
        else:
            run_model = bind_run(model)

            def diverges(rate: float) -> bool:
                model.load_state_dict(copy_tree(beginning))
                model.set_variable(_RATE, rate)
                tried = [_mean_loss(run_model(batch=batch, train=True, stream=None)) for batch in batches]
                last = tried[-max(len(tried) // 6, 1) :]
                return not all(map(math.isfinite, tried)) or sum(last) / len(last) > tried[0]

            edge = _first(diverges, grid)
    return _concluded(grid[: len(losses)], smooth, grid[edge] if edge < len(grid) else None)


def _first(holds: Callable[[float], bool], grid: Sequence[float]) -> int:
    """Index of the first value from which something holds, by bisection; the number of values if it never does."""
    low, high = 0, len(grid)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(grid[middle]) else (middle + 1, high)
    return low


def _concluded(rates: Sequence[float], smooth: Sequence[float], edge: float | None) -> Found:
    below = [index for index, rate in enumerate(rates) if edge is None or rate < edge]
    falls = [(smooth[later] - smooth[first], rates[first]) for first, later in pairwise(below)]
    steepest = min(falls, default=(0.0, rates[0]))[1]
    # Near the edge, another batch or a later state may diverge.
    return Found(rates, smooth, edge, steepest if edge is None else min(steepest, edge / 4))


def _mean_loss(outputs: Mapping[str, Any]) -> float:
    import numpy as np

    if "loss" not in outputs:
        raise UsageError(f"find-lr: the model has no output 'loss', only {', '.join(map(repr, outputs))}")
    loss: Any = outputs["loss"]
    return float(np.mean([float(value) for value in loss])) if np.ndim(loss) else float(loss)


def _smoothed(losses: Sequence[float]) -> list[float]:
    """The exponential moving average, freed of the bias towards its beginning."""
    average, found = 0.0, []
    for step, loss in enumerate(losses, 1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        found.append(average / (1 - _SMOOTHING**step))
    return found


def _has_diverged(losses: Sequence[float]) -> bool:
    if not math.isfinite(losses[-1]):
        return True
    smooth = _smoothed(losses)
    return smooth[-1] > _DIVERGED * min(smooth) > 0


def _told(found: Found) -> str:
    first, last = found.rates[0], found.rates[-1]
    drawn = curve(list(found.losses), columns() - 2)
    edge = "no rate of the grid diverges" if found.edge is None else f"the loss diverges from {found.edge:.2g} on"
    lines = [f"smoothed loss, learning rate {first:.2g} to {last:.2g} (logarithmic)", *(f"  {line}" for line in drawn)]
    return "\n".join([*lines, "", f"Edge: {edge}", f"Learning rate to begin with: {found.suggested:.2g}"])


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return rate
