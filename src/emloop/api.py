"""Create a training from Python: what the command line does, step by step or in one go.

.. code-block:: python

    config = load_config("config.yaml")
    training = create_emloop_training(config, output_root="log")
    training.main_loop.run_training()
"""

from __future__ import annotations

import copy
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from emloop import __version__, _build
from emloop._config import written
from emloop._config.entries import hook_entries
from emloop._config.home import home_of, shadows, use_home
from emloop._contracts import AbstractDataset, AbstractHook, AbstractModel, Prefetching
from emloop._contracts.ranks import Ranks, current_ranks
from emloop._ranks import Channel, Leader, follow, lead
from emloop._ranks.agreement import description, require_agreement
from emloop._registry import find_class
from emloop._reporter.choosing import reporter_of_run
from emloop._reporter.page import run_html
from emloop._run_dir.beginnings import copy_files
from emloop._run_dir.config import write_config
from emloop._run_dir.info import lost_commits, lost_origin, read_info, read_metrics
from emloop._run_dir.layout import create_run_dir, current_config
from emloop._run_dir.log import logged_later
from emloop._run_dir.run import Run
from emloop._run_dir.trace import read_trace
from emloop._settings.kinds import HOOK
from emloop._state.commit import Commit, newest_commit, write_commit
from emloop._state.random import seed_everything, use_seed
from emloop._state.retention import clean_leftovers
from emloop._support.files import atomic_write
from emloop._support.interrupting import interruptible
from emloop._yaml import documents as yaml
from emloop.constants import (
    EL_CHECKPOINTS_DIR,
    EL_CONFIG_FILE,
    EL_DATA_FILE,
    EL_HOME_VARIABLE,
    EL_LOSSES_FILE,
    EL_RUN_FILE,
)
from emloop.errors import CannotResumeError, MissingStreamError
from emloop.main_loop import MainLoop, RunRecord, log_failure, outcome
from emloop.main_loop.fingerprint import Fingerprint
from emloop.main_loop.model_files import restoring_from, saved_files, saved_path
from emloop.main_loop.streams import Buffer, Streams
from emloop.models import members
from emloop.saved_models import evaluating

__all__ = [
    "EmloopTraining",
    "create_dataset",
    "create_emloop_training",
    "create_hooks",
    "create_main_loop",
    "create_model",
    "create_output_dir",
    "delete_output_dir",
    "follow_emloop_training",
    "fork_emloop_training",
    "resume_emloop_training",
]

logger = logging.getLogger(__name__)


class EmloopTraining(NamedTuple):
    """All objects of a training.

    Attributes:
        output_dir: The run directory.
        dataset: The dataset.
        model: The model.
        hooks: The hooks, in order.
        main_loop: The main loop.
    """

    output_dir: str
    dataset: AbstractDataset
    model: AbstractModel
    hooks: list[AbstractHook]
    main_loop: MainLoop

    def _repr_html_(self) -> str:
        """What a notebook shows: facts, and a curve of every mean."""
        directory, trace = Path(self.output_dir), read_trace(Path(self.output_dir))
        facts = {
            "run": self.output_dir,
            "status": f"{trace.status}, {trace.reason}" if trace.reason else trace.status,
            "epochs": trace.epochs_done,
            "seed": self.main_loop.seed,
            "model": type(self.model).__name__,
        }
        return run_html(facts, read_metrics(directory))


def create_output_dir(
    config: Mapping[str, Any],
    output_root: str | Path,
    default_model_name: str = "Unnamed",
    output_dir_name: str | None = None,
) -> str:
    """Create a new output directory with a ``config.yaml`` in it.

    Args:
        config: The configuration; ``model.name`` becomes part of the directory's name.
        output_root: Where to create it; created with its parents if missing.
        default_model_name: What to use if the model has no name.
        output_dir_name: Name of the directory, instead of a generated one.

    Returns:
        ``output_root`` joined with the name.

    Raises:
        RunDirError: If the directory cannot be created, or exists and is not empty.
    """
    directory = _make_directory(config, output_root, output_dir_name, default_model_name)
    atomic_write(directory / EL_CONFIG_FILE, written(config))
    return str(directory)


def create_dataset(config: Mapping[str, Any], output_dir: str | None = None) -> AbstractDataset:
    """Create the dataset described by the section ``dataset``.

    Args:
        config: The configuration.
        output_dir: The run directory, or ``None``.

    Raises:
        ConfigError: If the section is wrong.
    """
    return _build.build_dataset(config, output_dir)


def create_model(
    config: Mapping[str, Any],
    output_dir: str | None = None,
    dataset: object = None,
    restore_from: str | None = None,
    *,
    trust_source: bool = False,
) -> AbstractModel:
    """Create the model described by the section ``model``.

    Args:
        config: The configuration.
        output_dir: The run directory, where the model saves itself.
        dataset: The dataset.
        restore_from: Saved model, run or checkpoint to restore from. If the model's class cannot be found, the
            ``restore_fallback`` of the configuration, or of the saved model, takes its place.
        trust_source: Whether the source capsule in it may be imported, where the source is not there.

    Raises:
        ConfigError: If the section is wrong.
        UntrustedError: If the capsule has been changed, or another module here has one of its names.
    """
    if trust_source and restore_from is not None:
        members.trust_source(config, restore_from)
    with members.trusting_members(trust_source):
        return _build.build_model(config, output_dir, dataset, restore_from)


def create_hooks(
    config: Mapping[str, Any], model: object = None, dataset: object = None, output_dir: str | None = None
) -> list[AbstractHook]:
    """Create the hooks listed in the section ``hooks``, in that order.

    Given an output directory, a ``TrainingTrace`` is added at the end if the configuration names none.

    Raises:
        ConfigError: With every mistake found.
    """
    hooks = _build.build_hooks(config, model, dataset, output_dir)
    trace = find_class("TrainingTrace", HOOK)
    if output_dir is not None and not any(isinstance(hook, trace) for hook in hooks):
        hooks.append(trace(output_dir=output_dir))
    return hooks


@logged_later()
def create_emloop_training(
    config: Mapping[str, Any],
    output_root: str | Path,
    restore_from: str | None = None,
    output_dir_name: str | None = None,
    *,
    accept_data: bool = False,
    trust_source: bool = False,
) -> EmloopTraining:
    """Create a run directory and everything that a training, or an evaluation, needs.

    Args:
        config: The configuration; not modified.
        output_root: Where run directories live.
        restore_from: What the model restores itself from; epochs are counted from 0 all the same.
        output_dir_name: Name of the run directory, instead of a generated one.
        accept_data: Whether an evaluation may read other data than the run it restores, without a warning.
        trust_source: Whether the source capsule of what is restored may be imported, where the source is not there.

    Raises:
        ConfigError: With every mistake found; no directory is created then.
        RunDirError: If the directory cannot be created.
    """
    where = use_home(getattr(config, "origin", None))
    if trust_source and restore_from is not None:
        members.trust_source(config, restore_from)
    _build.check(config, MainLoop, restore_from)
    evaluates = getattr(config, "evaluates", None)
    config = copy.deepcopy(config) if evaluates is None else _without_steering_hooks(config)
    origin, parent, home = None, None, None
    if restore_from is not None:
        path = Path(restore_from)
        runs = (place for place in (path, path.parent, path.parent.parent) if (place / EL_RUN_FILE).is_file())
        home = next(runs, None)
        origin = None if home is None else read_info(home)
        parent = {"run_id": origin.run_id if origin else None, "path": restore_from, "commit": None}
    seed = (config.get("main_loop") or {}).get("seed")
    if seed is None and evaluates is not None and origin is not None:
        seed = origin.seed  # an evaluation splits and shuffles as its training did
    run = Run.create(
        _make_directory(config, output_root, output_dir_name),
        kind="training" if evaluates is None else "evaluation",
        seed=secrets.randbits(32) if seed is None else seed,
        parent=parent,
        home=where._asdict(),
        **_written(config),
    )
    flags: dict[str, Any] = {"accept_data": accept_data, "trust_source": trust_source}
    return _assemble(config, run, restore_from, evaluated=home if evaluates else None, **flags)


@logged_later()
def resume_emloop_training(
    config: Mapping[str, Any],
    run_dir: str | Path,
    *,
    only_finish: bool = False,
    accept_data: bool = False,
    trust_source: bool = False,
) -> EmloopTraining:
    """Create everything needed to go on with a run, exactly where its last commit left it.

    Args:
        config: The run's configuration, possibly with overrides; not modified.
        run_dir: The run directory.
        only_finish: Whether the training ended with its last commit, so that only the end is missing.
        accept_data: Whether to go on with other data, which are the run's own from then on.
        trust_source: Whether the run's source capsule may be imported, where the source is not there.

    Raises:
        ConfigError: With every mistake found; nothing is written then.
        RunLockedError: If another process works on the run.
        CannotResumeError: If something does not take its state back, or the data are others. Of the latter, the main
            loop raises it when it runs.
    """
    config = copy.deepcopy(config)
    where = use_home(str(Path(run_dir) / EL_CONFIG_FILE))
    checkpoints = Path(run_dir) / EL_CHECKPOINTS_DIR
    if trust_source:
        begun, _ = newest_commit(checkpoints, set_aside=False)
        members.trust_source(config, run_dir if begun is None else begun.path)
    _build.check(config, MainLoop, str(run_dir))
    commit: Commit | None = None

    def newest() -> tuple[int | None, Iterable[Mapping[str, Any]]]:
        nonlocal commit
        commit, rejected = newest_commit(checkpoints, set_aside=True)
        clean_leftovers(checkpoints, commit.seq if commit else 0)
        for name, reason in rejected:
            logger.warning("Commit %s cannot be used and is set aside: %s", name, reason)
        if commit is None:
            if why := lost_origin(read_info(run_dir), run_dir) or lost_commits(run_dir):
                raise CannotResumeError(f"{run_dir} has no commit: {why}")
            logger.warning("%s has no commit: it begins anew", run_dir)
        return (commit.seq, commit.entry("appended", list)) if commit else (None, ())

    moved = where._asdict() if os.environ.get(EL_HOME_VARIABLE) else None
    run = Run.reopen(run_dir, config_text=written(config), command=sys.argv, home=moved, prepare=newest)
    flags: dict[str, Any] = {"accept_data": accept_data, "trust_source": trust_source}
    return _assemble(config, run, None, commit, only_finish=only_finish, **flags)


@logged_later()
def fork_emloop_training(
    config: Mapping[str, Any],
    commit: Commit,
    output_root: str | Path,
    output_dir_name: str | None = None,
    *,
    accept_data: bool = False,
    trust_source: bool = False,
) -> EmloopTraining:
    """Create a new run that goes on from a commit of another, with its full state and its numbering.

    The new directory starts with copies of the commit, of the append-only files at their length back then, and of the
    saved models.

    Args:
        config: The configuration of the new run.
        commit: Where to go on from.
        output_root: Where run directories live.
        output_dir_name: Name of the run directory, instead of a generated one.
        accept_data: Whether to go on with other data, which are the new run's own.
        trust_source: Whether the run's source capsule may be imported, where the source is not there.

    Raises:
        ConfigError: With every mistake found; no directory is created then.
        RunDirError: If the directory cannot be created.
        CannotResumeError: If something does not take its state back.
    """
    config = copy.deepcopy(config)
    origin = commit.path.parent.parent
    where = use_home(str(origin / EL_CONFIG_FILE))
    if trust_source:
        members.trust_source(config, commit.path)
    _build.check(config, MainLoop, str(commit.path))
    info = read_info(origin)
    directory = _make_directory(config, output_root, output_dir_name)

    def copied() -> tuple[int, Iterable[Mapping[str, Any]]]:
        appended = commit.entry("appended", list)
        components = commit.states()
        data = [name for name in (EL_DATA_FILE, EL_LOSSES_FILE) if (origin / name).is_file()]
        copy_files(appended, origin, directory, [*saved_files(components.get("model")), *data])
        write_commit(directory / EL_CHECKPOINTS_DIR, commit.seq, components, commit.info)
        return commit.seq, appended

    run = Run.create(
        directory,
        kind="training",
        seed=info.seed,
        parent={"run_id": info.run_id, "path": str(origin), "commit": commit.seq},
        home=where._asdict(),
        prepare=copied,
        **_written(config),
    )
    return _assemble(config, run, None, commit, accept_data=accept_data, trust_source=trust_source)


def create_main_loop(config: Mapping[str, Any], output_root: str | Path, restore_from: str | None = None) -> MainLoop:
    """The main loop of a new training; see :func:`create_emloop_training`.

    .. code-block:: python

        with create_main_loop(config, "log") as main_loop:
            main_loop.epoch(train_streams=["train"], valid_streams=["valid"])
    """
    return create_emloop_training(config, output_root, restore_from).main_loop


def delete_output_dir(output_dir: str | Path) -> None:
    """Remove a directory with all its contents; a missing one is fine."""
    if Path(output_dir).exists():
        logger.info("Removing output directory %s", output_dir)
        shutil.rmtree(output_dir)


def _assemble(
    config: Mapping[str, Any],
    run: Run,
    restore_from: str | None,
    commit: Commit | None = None,
    *,
    only_finish: bool = False,
    evaluated: Path | None = None,
    accept_data: bool = False,
    trust_source: bool = False,
) -> EmloopTraining:
    """Build all objects; a failure ends the attempt."""
    output_dir, seed = str(run.directory), run.info.seed
    with ExitStack() as started, _failing(run), interruptible("importing and building"), use_seed(seed):
        own = state_from = None
        if commit is not None:
            # What a model saved by itself is named in a state without arrays; others need not be read twice.
            has_arrays = commit.files.get("model", (None, None))[1] is not None
            own = None if has_arrays else saved_path(commit.load("model"), run.directory)
            restore_from, state_from = (str(own), None) if own is not None else (None, str(commit.path))
        evaluates = run.info.kind == "evaluation"
        plan = _Plan(config, output_dir, seed, restore_from, state_from, own, evaluates, trust_source)
        ranks = current_ranks()
        if ranks is not None:
            Channel(ranks).tell("build", plan.told())
        workers, dataset, model = _build_parts(plan, started)
        _write_fallback(config, run, model)
        leader: Leader | None = None
        if ranks is not None:
            model = leader = lead(model, ranks, MainLoop.hear)
        hooks = create_hooks(config, model, dataset, output_dir)
        arguments = {**(config.get("main_loop") or {}), "seed": seed}
        main_loop = MainLoop(model=model, dataset=dataset, hooks=hooks, **arguments)
        main_loop.streams.workers = workers
        main_loop.streams.sharing = None if leader is None else leader.sharing
        for first, file, hidden in shadows(type(part).__module__ for part in (dataset, model, *hooks)):
            logger.warning("Module %s is read from %s, which hides %s", first, file, ", ".join(hidden))
        if not evaluates:
            _check_streams(main_loop, config)
        if leader is not None:
            names = [] if evaluates else [main_loop.train_stream_name]
            described = partial(_described, config, dataset, main_loop.streams)
            require_agreement(leader.describe(described(names), names))
            for name in names:
                leader.require_rows(main_loop.streams.get(name, training=True))
        data = {"dataset": config["dataset"], "seed": seed}
        root = home_of(str(run.directory / EL_CONFIG_FILE)).directory
        fingerprint = Fingerprint(run.directory, dataset, data, root, evaluated)
        record = RunRecord(run, main_loop, fingerprint, commit, only_finish=only_finish, accept_data=accept_data)
        main_loop.attach(record)
        main_loop.reporter = reporter_of_run()
        started.pop_all()
    return EmloopTraining(output_dir, dataset, model, hooks, main_loop)


class _Plan(NamedTuple):
    """What dataset and model are made of, in every process that trains them.

    Args:
        config: The configuration.
        output_dir: The run directory.
        seed: The run's seed.
        restore_from: Where the model restores itself from.
        state_from: Where its state will come from.
        own: What it has saved by itself.
        evaluates: Whether this is an evaluation.
        trust_source: Whether a source capsule may be imported.
    """

    config: Mapping[str, Any]
    output_dir: str
    seed: int
    restore_from: str | None
    state_from: str | None
    own: Path | None
    evaluates: bool
    trust_source: bool

    def told(self) -> tuple[Any, ...]:
        """For the other processes."""
        return tuple(self._replace(config=yaml.dump(dict(self.config)), own=self.own and str(self.own)))  # type: ignore[arg-type]

    @classmethod
    def heard(cls, told: Iterable[Any]) -> Self:
        """What :meth:`told` has told."""
        plan = cls(*told)
        return plan._replace(config=yaml.load(str(plan.config), "the configuration"), own=plan.own and Path(plan.own))


def _build_parts(plan: _Plan, started: ExitStack) -> tuple[Any, AbstractDataset, AbstractModel]:
    """Workers, dataset and model."""
    config, output_dir, seed = plan.config, plan.output_dir, plan.seed
    workers = _build.start_workers((config.get("main_loop") or {}).get("workers", 0), config, output_dir, seed)
    if workers is not None:
        started.callback(workers.close)
    seed_everything(seed)
    dataset = _build.build_dataset(config, output_dir)
    with restoring_from(plan.own), evaluating(plan.evaluates), members.trusting_members(plan.trust_source):
        model = _build.build_model(config, output_dir, dataset, plan.restore_from, plan.state_from)
    return workers, dataset, model


def _described(config: Mapping[str, Any], dataset: object, streams: Streams, names: Iterable[str]) -> Mapping[str, Any]:
    lengths = {}
    for name in names:
        stream = streams.get(name, training=True)
        stream.open()
        lengths[name] = stream.length
    own = {section: config[section] for section in ("dataset", "model", "main_loop") if section in config}
    return description(own, __version__, [dataset], lengths)


def follow_emloop_training(config: Mapping[str, Any], ranks: Ranks) -> int:
    """Take part in a training, or an evaluation, that rank 0 leads, until that ends.

    Args:
        config: The configuration as this process has read it.
        ranks: The processes.

    Returns:
        The exit code of rank 0.

    Raises:
        RankError: If another process has failed or is gone.
    """
    kind, told = Channel(ranks).hear()
    if kind == "end":
        return int(told)
    plan = _Plan.heard(told)
    use_home(str(Path(plan.output_dir) / EL_CONFIG_FILE))
    with ExitStack() as started, use_seed(plan.seed):
        workers, dataset, model = _build_parts(plan, started)
        arguments = plan.config.get("main_loop") or {}
        streams = Streams(
            dataset,
            Buffer.parse(arguments.get("buffer", 0)),
            lambda _name: -1,
            model.prefetch if isinstance(model, Prefetching) else None,
            workers,
            first=None if plan.evaluates else arguments.get("overfit"),
        )
        return follow(model, streams, ranks, partial(_described, config, dataset, streams))


def _written(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a new run keeps of the configuration and the command line."""
    return {
        "config_text": written(config),
        "source": getattr(config, "source", None),
        "bases": getattr(config, "bases", ()),
        "command": sys.argv,
    }


def _make_directory(
    config: Mapping[str, Any], output_root: str | Path, name: str | None, default_model_name: str = "Unnamed"
) -> Path:
    model_name = config["model"].get("name") if name is None else default_model_name
    if model_name is None:
        logger.warning("model.name is not set, using %r in the name of the output directory", default_model_name)
        model_name = default_model_name
    return create_run_dir(output_root, name=name, model_name=str(model_name))


@contextmanager
def _failing(run: Run) -> Generator[None]:
    """End the attempt as failed if the block fails, as stopped if a signal ends it."""
    try:
        yield
    except BaseException as error:
        home = (run.info.home or {}).get("directory")
        if isinstance(error, FileNotFoundError) and home not in (None, str(Path.cwd())):
            error.add_note(f"A relative path starts at the working directory; this run was begun in {home}")
        log_failure(error)
        status, reason, code = outcome(error)
        run.end(status, reason, exit_status=code)
        raise


def _write_fallback(config: Mapping[str, Any], run: Run, model: object) -> None:
    """Write ``model.restore_fallback`` into the run's configuration, so that it can be restored without its source."""
    fallback = _build.fallback_name(model)
    if fallback is not None and config["model"].get("restore_fallback") != fallback:
        described = {**config, "model": {**config["model"], "restore_fallback": fallback}}
        write_config(current_config(run.directory), written(described))


def _check_streams(main_loop: MainLoop, config: Mapping[str, Any]) -> None:
    try:
        main_loop.look_up_streams()
    except MissingStreamError as error:
        place = getattr(config, "place", lambda *_, **__: None)
        keys = ("extra_streams", "train_stream_name")
        where = next(filter(None, (place(("main_loop", key), value=True) for key in keys)), None)
        raise MissingStreamError([p._replace(path="main_loop", place=where) for p in error.problems]) from None


def _without_steering_hooks(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A copy for an evaluation: hooks that save, steer or stop step aside, unless the evaluation names its own."""
    config = copy.deepcopy(config)
    target = (config.get("eval") or {}).get(config.evaluates) or {}  # type: ignore[attr-defined]
    if "hooks" in target:
        return config
    names = [entry.name for entry in hook_entries(config)]
    aside = [name for name in names if getattr(find_class(name, HOOK), "steers_training", False)]
    if aside:
        logger.info("Hooks that save, steer or stop step aside in an evaluation: %s", ", ".join(aside))
    hooks = zip(names, config.get("hooks") or [], strict=True)
    config["hooks"] = [item for name, item in hooks if name not in aside]  # type: ignore[index]
    return config
