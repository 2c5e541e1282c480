"""``emloop profile``: train a few hundred batches, say where their time goes, and what to change first.

Examples:
    emloop profile config.yaml
    emloop profile config.yaml --batches 1000 model.compile=true
    emloop profile config.yaml --json
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import wraps
from math import ceil
from statistics import fmean
from time import perf_counter
from typing import Any

from emloop.constants import EXIT_DONE

from .. import render
from ..args import CONFIG, add_overrides, at_least_one, overrides
from .running import Rehearsal, rehearsal

_WARM_UP = 0.1
"""Share of the batches that does not count: caches, first layouts and clocks of the processor."""
_WORTHWHILE = 0.05
"""Share of the time that a change has to save to be named."""
_AHEAD = 8


@dataclass(frozen=True)
class Change:
    """A setting to change.

    Args:
        setting: An override, or what to do.
        why: What it changes.
        saves: Seconds of every batch that it can save at best.
    """

    setting: str
    why: str
    saves: float


@dataclass(frozen=True)
class Profile:
    """Mean seconds of a training batch.

    Args:
        batches: How many were measured.
        total: From the end of one to the end of the next.
        waiting: Until the stream hands a batch over.
        loading: What the stream takes for a batch if nothing else happens meanwhile.
        model: In ``model.run``.
        hooks: In ``after_batch`` of each hook that has one, by its name.
        commit: To copy the state of the model for a commit; 0 where it has none.
        commits: Commits for every batch.
        undivided: Why ``main_loop.workers`` cannot share in loading; empty where they can.
    """

    batches: int
    total: float
    waiting: float
    loading: float
    model: float
    hooks: Mapping[str, float]
    commit: float
    commits: float
    undivided: str = ""

    @property
    def loop(self) -> float:
        """What is left for the loop itself."""
        return max(self.total - self.waiting - self.model - sum(self.hooks.values()), 0.0)

    @property
    def ideal(self) -> float:
        """What a batch takes if the next one is loaded meanwhile."""
        return max(self.loading, self.total - self.waiting)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("config_file", metavar="CONFIG", help=CONFIG)
    add_overrides(parser)
    parser.add_argument(
        "--batches", type=at_least_one, default=300, metavar="N", help="training batches (default: 300)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, in seconds")


def run(arguments: Namespace) -> int:
    """Run the command."""
    changes = overrides(arguments.words)
    with rehearsal("profile", arguments.config_file, changes, epochs_count=None, skip_zeroth_epoch=True) as rehearsed:
        profile = measure(rehearsed, arguments.batches)
        change = first_change(profile, rehearsed)
    if arguments.json:
        first = None if change is None else asdict(change)
        render.say_json({**asdict(profile), "loop": profile.loop, "ideal": profile.ideal, "change": first})
    else:
        render.say(_told(profile, change))
    return EXIT_DONE


def measure(rehearsed: Rehearsal, batches: int) -> Profile:
    """Train some batches, and look at the clock around all that happens.

    Args:
        rehearsed: What to train.
        batches: How many batches; fewer, where a hook ends the training.

    Raises:
        UsageError: If there are too few to tell anything.
    """
    from emloop._contracts import Stateful
    from emloop.errors import UsageError

    clocks = _Clocks(rehearsed, batches)
    loop = _watched(rehearsed, clocks)
    measured = clocks.ends[ceil(_WARM_UP * len(clocks.ends)) :]
    if len(measured) < 2:
        raise UsageError(f"the training ended after {len(clocks.ends)} batches, which are too few to tell anything")

    def mean(seconds: Sequence[float]) -> float:
        return fmean(seconds[1 - len(measured) :])

    copied = 0.0
    if isinstance(rehearsed.model, Stateful):
        began = perf_counter()
        rehearsed.model.state_dict()
        copied = perf_counter() - began
    waiting, hooks = mean(clocks.waits), {name: mean(seconds) for name, seconds in clocks.hooks.items()}
    every = loop.commit_policy.every
    return Profile(
        batches=len(measured) - 1,
        total=(measured[-1] - measured[0]) / (len(measured) - 1),
        waiting=waiting,
        loading=_loading(rehearsed, len(clocks.ends)) if _reads_ahead(rehearsed) else waiting,
        model=mean(clocks.runs),
        hooks=hooks,
        commit=copied,
        commits=1 / every.amount if every is not None and every.unit == "batches" else 0.0,
        undivided=loop.streams.get(loop.train_stream_name, training=True).undivided,
    )


def first_change(profile: Profile, rehearsed: Rehearsal) -> Change | None:
    """The change that promises most; ``None`` if none is worth while."""
    own = profile.total - profile.waiting
    changes = [
        Change(
            f"hooks.{name}: give it a longer interval, or leave it out: ~hooks.{name}",
            f"{name} works for {_time(seconds)} after every batch",
            seconds,
        )
        for name, seconds in profile.hooks.items()
    ]
    if profile.commits:
        cost = profile.commit * profile.commits
        changes.append(Change("main_loop.commit.every=auto", "commits take at most 1 % of the time then", cost))
    workers = rehearsed.arguments.get("workers") or 0
    if not _reads_ahead(rehearsed):
        also = "" if profile.undivided else "; also try main_loop.workers=2"
        why = f"batches are loaded while the model computes, in a thread{also}"
        changes.append(Change(f"main_loop.buffer={_AHEAD}", why, profile.total - profile.ideal))
    elif profile.undivided:
        setting = f"dataset: return an IndexStream, or another sequence of batches, from {_stream_of(rehearsed)}_stream"
        why = f"main_loop.workers share the loading then, and cannot now: {profile.undivided}"
        changes.append(Change(setting, why, profile.waiting))
    elif workers:
        why = "loading keeps the model waiting; make it cheaper, or let more processes share it"
        changes.append(Change(f"main_loop.workers={workers + 1}", why, profile.waiting))
    else:
        number = min(ceil(profile.loading / own) if own > 0 else 1, max((os.cpu_count() or 2) - 1, 1))
        why = f"a batch takes {_time(profile.loading)} to load, the rest {_time(own)}; processes share the loading"
        changes.append(Change(f"main_loop.workers={number}", why, profile.waiting))
    settings = getattr(rehearsed.model, "settings_class", None)
    can_compile = is_dataclass(settings) and "compile" in (field.name for field in fields(settings))
    if can_compile and not (rehearsed.config.get("model") or {}).get("compile"):
        # How much faster is known to nobody; no more than what keeps the model from being the larger part.
        why = "the model takes most of the time; compiled, it may take less"
        changes.append(Change("model.compile=true", why, max(profile.model - profile.total / 2, 0.0) / 4))
    best = max(changes, key=lambda change: change.saves)
    return best if best.saves > _WORTHWHILE * profile.total else None


class _Clocks:
    """Looks at the clock around reading, model and hooks, and ends the training after enough batches."""

    def __init__(self, rehearsed: Rehearsal, batches: int) -> None:
        from emloop._contracts import AbstractHook
        from emloop.main_loop.events import HookEvents

        self._batches = batches
        self._stream = _stream_of(rehearsed)
        self.ends: list[float] = []
        self.waits: list[float] = []
        self.runs: list[float] = []
        self.hooks: dict[str, list[float]] = {}
        for name, hook in HookEvents(rehearsed.hooks).by_name.items():
            idle = AbstractHook.after_batch, *hook.idle_events
            if getattr(hook.after_batch, "__func__", None) not in idle:
                self.hooks[name] = []
                hook.after_batch = _around(hook.after_batch, self.hooks[name])  # type: ignore[method-assign]
        run = _around(rehearsed.model.run, self.runs)

        @wraps(run)  # the loop asks the signature whether the model takes the stream
        def run_after_waiting(*args: Any, **kwargs: Any) -> Any:
            if self.ends:
                self.waits.append(perf_counter() - self.ends[-1])
            return run(*args, **kwargs)

        rehearsed.model.run = run_after_waiting

    def after_batch(self, stream_name: str) -> None:
        """Called after all hooks."""
        from emloop.types import TrainingTerminated

        self.ends.append(perf_counter())
        if stream_name != self._stream or len(self.ends) == self._batches:
            raise TrainingTerminated("the profile has seen enough batches")


def _around(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(perf_counter() - began)

    return timed


def _watched(rehearsed: Rehearsal, clocks: _Clocks) -> Any:
    """The main loop, after it has run, with a hook that sees every batch last."""
    from emloop._contracts import AbstractHook

    class Last(AbstractHook):
        stateless = True

        def after_batch(self, stream_name: str, batch_data: Mapping[str, Any]) -> None:  # noqa: ARG002 - an event
            clocks.after_batch(stream_name)

    loop = rehearsed.main_loop([*rehearsed.hooks, Last()])
    loop.run_training()
    return loop


def _stream_of(rehearsed: Rehearsal) -> str:
    return str(rehearsed.arguments.get("train_stream_name", "train"))


def _reads_ahead(rehearsed: Rehearsal) -> bool:
    return bool(rehearsed.arguments.get("buffer") or rehearsed.arguments.get("workers"))


def _loading(rehearsed: Rehearsal, batches: int) -> float:
    """Seconds that a batch takes to load where nothing else happens."""
    from emloop._contracts import AbstractModel

    class Idle(AbstractModel):
        """Takes the batches, and does nothing."""

        input_names, output_names = rehearsed.model.input_names, ()

        def __init__(self) -> None:
            super().__init__(None, None)

        def run(self, batch: Any, train: bool, stream: Any = None) -> Mapping[str, Any]:  # noqa: ARG002
            return {}

        def save(self, name_suffix: str) -> str:
            return name_suffix

    arguments = {**rehearsed.arguments, "buffer": 0, "workers": 0}
    alone = replace(rehearsed, arguments=arguments, model=Idle(), hooks=[])
    clocks = _Clocks(alone, batches)
    _watched(alone, clocks)
    return fmean(clocks.waits) if clocks.waits else 0.0


def _told(profile: Profile, change: Change | None) -> str:
    parts = {
        "waiting for data": profile.waiting,
        "model": profile.model,
        **{f"hook {name}": seconds for name, seconds in profile.hooks.items()},
        "loop": profile.loop,
    }
    rows = [(name, _time(seconds), f"{100 * seconds / profile.total:.0f} %") for name, seconds in parts.items()]
    lines = [
        f"{profile.batches} training batches, {_time(profile.total)} each ({1 / profile.total:,.0f} batches/s):",
        "",
        render.aligned(rows),
        "",
        f"Loading takes {_time(profile.loading)}, all else {_time(profile.total - profile.waiting)}.",
        f"A batch that is loaded meanwhile could take {_time(profile.ideal)}.",
    ]
    if profile.commit:
        lines.append(f"A commit stops the loop for about {_time(profile.commit)}, to copy the state of the model.")
    said = "Nothing stands out." if change is None else f"First change:\n  {change.setting}\n  {change.why}"
    return "\n".join([*lines, "", said])


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
