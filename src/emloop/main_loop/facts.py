"""What a person should know of a run when it begins: where it is, what it is made of, what it reads."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from emloop._contracts import AbstractModel, Described
from emloop._reporter.bar import announced_total
from emloop._reporter.reporter import Facts
from emloop._run_dir.config import read_config
from emloop._run_dir.info import read_metrics
from emloop._run_dir.provenance import code_facts
from emloop._run_dir.run import Run
from emloop.constants import EL_PREDICT_STREAM, EL_STEPS_FILE
from emloop.errors import MissingStreamError

from .commit_policy import CommitPolicy
from .events import HookEvents
from .streams import Streams, stream_names

__all__ = ["ShownLoop", "facts_of_loop", "facts_of_run"]


class ShownLoop(Protocol):
    """What is told of a main loop."""

    model: AbstractModel
    dataset: object
    events: HookEvents
    streams: Streams
    commit_policy: CommitPolicy
    train_stream_name: str
    extra_streams: list[str]
    fixed_epoch_size: int | None
    epochs_count: int | None


def facts_of_loop(loop: ShownLoop) -> Facts:
    """What a loop without a run directory can say."""
    values = dict.fromkeys(monitored._replace(saved_as="") for monitored in loop.events.monitored)
    return Facts(paragraphs=[_model(loop.model)], monitored=list(values))


def facts_of_run(run: Run, loop: ShownLoop, facts: Facts, said: Sequence[Sequence[str]]) -> Facts:
    """What a run can say.

    Args:
        run: The run.
        loop: Its loop.
        facts: What the loop says.
        said: What is known of the state that it goes on from.
    """
    evaluates = run.info.kind == "evaluation"
    code = code_facts(run.directory)
    first = [f"seed {run.info.seed}"]
    if "commit" in code:
        changes = ", with uncommitted changes" if code["uncommitted changes"] else ""
        first.append(f"git {code['commit'][:8]}{changes}")
    origin = [f"evaluates {(run.info.parent or {}).get('path')}"] if evaluates and run.info.parent else []
    streams = [] if evaluates else list(_streams(run, loop))
    return replace(
        facts,
        directory=run.directory,
        paragraphs=[*said, [*origin, *first, *_model(loop.model)], streams],
        history=_history(run.directory, loop) if run.attempt > 1 else (),
        evaluates=evaluates,
        next_commands=lambda status: [] if evaluates else _next_commands(run.directory, loop, status),
    )


def _history(directory: Path, loop: ShownLoop) -> Iterator[Mapping[str, Any]]:
    """What was measured at the ends of epochs and in evaluations inside them, not the means of ``LogEvery``."""
    yield from read_metrics(directory)
    for line in read_metrics(directory, EL_STEPS_FILE):
        yield {name: value for name, value in line.items() if name in ("batches", *loop.extra_streams)}


def _model(model: AbstractModel) -> list[str]:
    facts = list(model.model_facts()) if isinstance(model, Described) else []
    return [type(model).__name__, *map(str, facts)]


def _streams(run: Run, loop: ShownLoop) -> Iterator[str]:
    """Streams with their lengths, as far as these are known before they are read, and how exactly each resumes."""
    levels: Mapping[str, Any] = run.trace.streams or {}
    for name in [loop.train_stream_name, *loop.extra_streams]:
        length, trains = None, name == loop.train_stream_name
        with suppress(MissingStreamError):  # a program may run other streams
            length = loop.streams.get(name, training=trains).length
        length = announced_total(loop.dataset, name) if length is None else length
        cut = f", {loop.fixed_epoch_size} an epoch" if trains and loop.fixed_epoch_size else ""
        level = f", {levels[name].partition(':')[0]}" if name in levels else ""
        yield f"{name}{'' if length is None else f': {length} batches'}{cut}{level}"


def _next_commands(directory: Path, loop: ShownLoop, status: str) -> list[str]:
    """What one would type next: go on; evaluate as the configuration says, or what was not seen; predict."""
    path = shlex.quote(str(directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory))
    if status == "stopped":
        return [f"emloop resume {path}"]
    if status != "done" or not any(directory.glob("model_*")):
        return []
    seen = {loop.train_stream_name, *loop.extra_streams, EL_PREDICT_STREAM}
    targets = _eval_targets(directory) or [name for name in stream_names(loop.dataset) if name not in seen]
    more = [] if loop.epochs_count is None else [f"main_loop.epochs_count={2 * loop.epochs_count}"]
    predict = [f"emloop predict {path} data.npz -o predictions.csv"] * any(directory.glob("model_*/manifest.json"))
    return [
        *(f"emloop eval {name} {path}" for name in targets[:2]),
        *predict,
        shlex.join(["emloop", "resume", path, *more]),
    ]


def _eval_targets(directory: Path) -> list[str]:
    section = read_config(directory).settings.get("eval")
    return [shlex.quote(name) for name in section] if isinstance(section, dict) else []
