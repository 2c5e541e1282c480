"""From a section of the configuration to an object.

:func:`check` looks at everything before anything is built, so that all mistakes come at once; the ``build_*``
functions build. A class that cannot be found while restoring is replaced by the backend's fallback, and one that could
not read what was exported by the class that can.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from emloop import saved_models
from emloop._config import load_config
from emloop._config.entries import Entry, dataset_entry, hook_entries, main_loop_entry, model_entry, placed, policy
from emloop._config.home import use_home
from emloop._contracts import AbstractDataset, AbstractHook, AbstractModel
from emloop._contracts import Restorable as RestorableModel
from emloop._contracts.ranks import current_ranks
from emloop._registry import LiveResolver, find_class, full_name, import_backends_in_use
from emloop._run_dir.finding import Restorable, find_restorable
from emloop._settings.fitting import argument_problems
from emloop._settings.hints import Accepted, Kind
from emloop._settings.kinds import DATASET, MAIN_LOOP, MODEL
from emloop._settings.live import accepted_by
from emloop._support.interrupting import interruptible
from emloop._support.problems import broken_module, reserved
from emloop._support.trust import is_untrusted
from emloop._yaml import documents as yaml
from emloop.errors import ConfigError, Problem, SavedModelError, UnknownClassError, UntrustedError, UsageError

if TYPE_CHECKING:
    from emloop._streams.workers import Workers

logger = logging.getLogger(__name__)

_WORKER = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from emloop._build import build_in_worker, import_backends_in_use
from emloop._streams.serving import serve
serve(build_in_worker, import_backends_in_use)
"""

_NAMES = ("inputs", "outputs")
"""Arguments of all models that take them: what an exported one obeys of a configuration made for another class."""


@interruptible("importing and checking")
def check(config: Mapping[str, Any], main_loop: type, restore_from: str | None = None) -> None:
    """Look at every class and argument of a configuration without building anything.

    Args:
        config: The configuration.
        main_loop: Class that takes the section ``main_loop``.
        restore_from: What the model will be restored from, so that a fallback may stand in for its class.

    Raises:
        ConfigError: With every mistake that was found.
    """
    found: list[Problem] = []
    strict = policy(config) == "error"
    entries = [dataset_entry(config), model_entry(config), *hook_entries(config)]
    for entry in entries:
        try:
            cls, reason = _find_or_replace(entry, config, restore_from if entry.kind is MODEL else None)
        except UnknownClassError as error:
            found += error.problems
            continue
        found += _mistakes(cls, entry, config, strict=strict) if reason is None else ()
    found += _mistakes(main_loop, main_loop_entry(config), config, strict=strict)
    if found:
        raise ConfigError(found)


def model_class(config: Mapping[str, Any], restore_from: str | None = None) -> type[Any]:
    """The class of the model, or that which stands in for it where it is restored without its source."""
    return _find_or_replace(model_entry(config), config, restore_from)[0]


def build_dataset(config: Mapping[str, Any], output_dir: str | None = None) -> AbstractDataset:
    """Build the dataset from the section ``dataset``.

    Raises:
        ConfigError: If the section is wrong.
    """
    entry = dataset_entry(config)
    cls = _find(entry, config)
    import_backends_in_use()
    text = yaml.dump({"output_dir": output_dir, **_known(cls, entry, config)})
    dataset: AbstractDataset = _call(lambda: cls(text), entry, config)
    return dataset


def start_workers(number: int, config: Mapping[str, Any], output_dir: str | None, seed: int) -> Workers | None:
    """Start processes that make the dataset as :func:`build_dataset` does, and load its batches.

    Args:
        number: How many; for a stranger's run, there are none.
        config: The configuration.
        output_dir: The run directory.
        seed: The run's seed.
    """
    if not number or is_untrusted():
        return None
    from emloop._streams.workers import Workers  # noqa: PLC0415 - it starts processes, and few runs want any

    text = yaml.dump({"dataset": config["dataset"], "main_loop": {"on_incorrect_config": policy(config)}})
    ranks = current_ranks()
    share = None if ranks is None else [ranks.rank, ranks.size]
    return Workers(number, _WORKER, {"config": text, "output_dir": output_dir, "seed": seed, "share": share})


def build_in_worker(setup: Mapping[str, Any]) -> AbstractDataset:
    """Build the dataset of which :func:`start_workers` tells a process."""
    config: Mapping[str, Any] = yaml.load(setup["config"], "the configuration")
    return build_dataset(config, setup["output_dir"])


def build_model(
    config: Mapping[str, Any],
    output_dir: str | None = None,
    dataset: object = None,
    restore_from: str | None = None,
    state_from: str | None = None,
    *,
    kind: Kind = MODEL,
) -> AbstractModel:
    """Build the model from the section ``model``.

    Args:
        config: The configuration.
        output_dir: The run directory.
        dataset: The run's dataset.
        restore_from: Where the model shall restore itself from.
        state_from: Where a fallback class shall restore from, where the model itself will be given its state later, and
            is built without what only a fresh one needs.
        kind: What the model's class must be.

    Raises:
        ConfigError: If the section is wrong.
    """
    entry = model_entry(config)._replace(kind=kind)
    runtime = None if restore_from is None else saved_models.class_of_export(restore_from)
    offer = ""
    if runtime is not None:
        cls = find_class(runtime, kind)
    else:
        cls, reason = _find_or_replace(entry, config, restore_from or state_from)
        if reason is not None:
            offer = _offer(restore_from or state_from)
            logger.warning("%s%s", reason, offer and f"; {offer}")
            entry, restore_from = _for_fallback(entry, cls), restore_from or state_from
    if restore_from is None and state_from is not None:
        unneeded = getattr(cls, "only_when_fresh", ())
        entry = entry._replace(arguments={name: v for name, v in entry.arguments.items() if name not in unneeded})
    if runtime is not None and runtime != entry.name:
        entry = _for_export(entry, runtime, str(restore_from))
    injected = {"dataset": dataset, "log_dir": output_dir, "restore_from": restore_from}
    try:
        try:
            model: AbstractModel = _construct(cls, injected, entry, config)
        except ConfigError as error:
            # What it would be made from is gone, such as a directory of pretrained weights; it will get its own.
            origin = restore_from or state_from
            if origin is None or not isinstance(error.__cause__, (ImportError, OSError)):
                raise
            fallback = find_class(_fallback_name(UnknownClassError(error.problems), config, origin), kind)
            if fallback is cls:
                raise
            problem = error.problems[0]
            logger.warning("%s is restored as %s: %s", entry.name, full_name(fallback), problem.message)
            model = _construct(fallback, {**injected, "restore_from": origin}, _for_fallback(entry, fallback), config)
    except SavedModelError as error:
        if offer:
            raise SavedModelError(f"{error}; {offer}") from error
        raise
    return model


def config_of(origin: Restorable, overrides: Sequence[str] = ()) -> Mapping[str, Any]:
    """The configuration of something to restore; its home can be imported from.

    An exported model tells itself, since what is beside it is that of the training, and so does a saved model that has
    nothing beside it.

    Args:
        origin: What :func:`find_restorable` found.
        overrides: Changes, as on the command line.

    Raises:
        SavedModelError: If there is neither a configuration nor a class that could restore it.
        UsageError: If there is none to override.
    """
    if origin.config is not None and not saved_models.class_of_export(origin.path):
        use_home(str(origin.config))
        return load_config(str(origin.config), overrides)
    saved = saved_models.find_saved(origin.path)
    fallback = saved.manifest.get("restore_fallback")
    if fallback is None:
        raise SavedModelError(f"{origin.path}: has no config beside it, and names no class that could restore it")
    if overrides:
        raise UsageError(f"{origin.path}: has no config that {overrides[0]} could change")
    names = {key: list(saved.manifest[key]) for key in _NAMES if key in saved.manifest}
    return {"model": {"class": fallback, **names}}


def build_fallback(config: Mapping[str, Any], dataset: object, restore_from: str) -> AbstractModel:
    """Build what restores a saved model without its source, whether its source is there or not.

    Raises:
        ConfigError: If the class is not there, or the section does not fit it.
        SavedModelError: If the source is needed.
    """
    entry = model_entry(config)
    cls = find_class(_fallback_name(UnknownClassError(()), config, restore_from), MODEL)
    injected = {"dataset": dataset, "log_dir": None, "restore_from": restore_from}
    model: AbstractModel = _construct(cls, injected, _for_fallback(entry, cls), config)
    return model


def build_hooks(
    config: Mapping[str, Any], model: object = None, dataset: object = None, output_dir: str | None = None
) -> list[AbstractHook]:
    """Build the hooks from the section ``hooks``, in its order.

    Raises:
        ConfigError: With every mistake that was found.
    """
    injected = {"model": model, "dataset": dataset, "output_dir": output_dir}
    hooks: list[AbstractHook] = []
    errors: list[ConfigError] = []
    for entry in hook_entries(config):
        if isinstance(config["hooks"][entry.keys[1]], Mapping) and not entry.arguments and entry.given_name is None:
            logger.warning("\t\t Empty config of `%s` hook", entry.name)
        try:
            hook: AbstractHook = _construct(_find(entry, config), injected, entry, config)
        except ConfigError as error:
            errors.append(error)
            continue
        hook.hook_name = entry.given_name
        hooks.append(hook)
    if len(errors) > 1:
        raise ConfigError([problem for error in errors for problem in error.problems]) from errors[0]
    if errors:
        raise errors[0]
    return hooks


def fallback_name(model: object) -> str | None:
    """Full name of the class that can restore the saved models of a model, if it names one."""
    fallback: Any = model.restore_fallback if isinstance(model, RestorableModel) else None
    if callable(fallback) and not isinstance(fallback, type):
        fallback = fallback()
    return full_name(fallback) if isinstance(fallback, type) else fallback or None


def _find(entry: Entry, config: Mapping[str, Any]) -> type[Any]:
    try:
        found: type[Any] = find_class(entry.name, entry.kind)
    except UnknownClassError as error:
        raise UnknownClassError(_misnamed(error.problems, config, entry)) from error.__cause__
    return found


def _find_or_replace(entry: Entry, config: Mapping[str, Any], restore_from: str | None) -> tuple[type[Any], str | None]:
    """The class of an entry; or, where a model is restored whose class cannot be imported, its fallback, and why, in
    words.

    Raises:
        UnknownClassError: If there is neither.
    """
    try:
        return _find_whole(entry, config, restore_from)
    except UnknownClassError as error:
        missing = error
    except UntrustedError as error:
        if restore_from is None:
            raise
        missing = UnknownClassError(_misnamed([Problem(str(error), kind="unknown-class")], config, entry))
        missing.__cause__ = error
    except Exception as error:
        if restore_from is None:
            raise
        reason = f"{type(error).__name__}: {error}"
        missing = UnknownClassError(_misnamed([broken_module(entry.name.rpartition(".")[0], reason)], config, entry))
        missing.__cause__ = error
    if restore_from is None:
        raise missing
    try:
        name = _fallback_name(missing, config, restore_from)
    except UnknownClassError as error:
        if isinstance(missing.__cause__, UntrustedError):
            raise UntrustedError(str(error)) from error
        raise
    try:
        return find_class(name, MODEL), f"{entry.name} is restored as {name}: {missing.problems[0].message}"
    except UnknownClassError as error:
        unfit = (problem._replace(path="model.restore_fallback") for problem in error.problems)
        raise UnknownClassError([*missing.problems, *unfit]) from error


def _find_whole(entry: Entry, config: Mapping[str, Any], restore_from: str | None) -> tuple[type[Any], str | None]:
    """The class of an entry; or, where a model is restored for which arguments name what cannot be imported, a fallback
    that does without them, and why.
    """
    cls = _find(entry, config)
    gone = [] if restore_from is None else _unknown(cls, entry, config)
    if gone:
        with suppress(UnknownClassError):
            name = _fallback_name(UnknownClassError(gone), config, str(restore_from))
            fallback = find_class(name, MODEL)
            if not _unknown(fallback, entry._replace(arguments=_kept(entry, fallback)), config):
                return fallback, f"{entry.name} is restored as {name}: {gone[0].message}"
    return cls, None


def _unknown(cls: type[Any], entry: Entry, config: Mapping[str, Any]) -> list[Problem]:
    return [problem for problem in _mistakes(cls, entry, config, strict=False) if problem.kind == "unknown-class"]


def _construct(cls: type[Any], injected: Mapping[str, Any], entry: Entry, config: Mapping[str, Any]) -> Any:
    accepted = accepted_by(cls)
    arguments = {name: value for name, value in injected.items() if accepted.takes(name)}
    if injected.get("restore_from") is not None and "restore_from" not in arguments:
        raise ConfigError(
            Problem(f"{cls.__name__} cannot restore: its constructor takes no restore_from", keys=entry.keys)
        )
    arguments |= _known(cls, entry, config)
    return _call(lambda: cls(**arguments), entry, config)


def _known(cls: type, entry: Entry, config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an entry, less the unknown ones where these are to be ignored.

    Raises:
        ConfigError: If arguments are wrong.
    """
    action = policy(config)
    mistakes = _mistakes(cls, entry, config, strict=action == "error")
    if mistakes:
        raise ConfigError(mistakes)
    accepted = _accepted(cls, entry.kind)
    kept = {name: value for name, value in entry.arguments.items() if accepted.open or name in accepted.hints}
    unknown = sorted(set(entry.arguments) - set(kept))
    if unknown and action == "warn":
        logger.warning("%s does not take %s; going on without", cls.__name__, ", ".join(map(repr, unknown)))
    return deepcopy(kept)  # objects may change what they are given; the configuration stays as it was read


def _mistakes(cls: type, entry: Entry, config: Mapping[str, Any], *, strict: bool) -> list[Problem]:
    kind = entry.kind
    accepted = _accepted(cls, kind).without(kind.injected)
    if kind is MAIN_LOOP:
        accepted = accepted._replace(name="main_loop")
    if not strict:
        accepted = accepted._replace(open=True)
    found = [reserved(name, kind.word, entry.keys) for name in kind.injected if name in entry.arguments]
    found += argument_problems(accepted, entry.given, LiveResolver(), entry.keys)
    return [placed(config, problem) for problem in found]


def _accepted(cls: type, kind: Kind) -> Accepted:
    accepted = accepted_by(cls, constructor=kind is not DATASET)
    if kind is DATASET and not hasattr(cls, "forwards_config_to"):
        # It gets the text and looks for what it needs itself.
        return accepted._replace(open=True)
    return accepted


def _call(build: Callable[[], Any], entry: Entry, config: Mapping[str, Any]) -> Any:
    """Call a constructor; its complaints about arguments are told where these stand."""
    try:
        return build()
    except ConfigError as error:
        raise type(error)(
            [placed(config, problem.under(*entry.keys)) for problem in error.problems]
        ) from error.__cause__


def _fallback_name(missing: UnknownClassError, config: Mapping[str, Any], restore_from: str) -> str:
    """The class that restores a model whose own cannot be imported: as the configuration, that of what is restored, or
    the saved model itself says.
    """
    name = config["model"].get("restore_fallback")
    if not name and (own := find_restorable(restore_from).config) is not None:
        with suppress(ConfigError):
            section = load_config(own).get("model")
            name = section.get("restore_fallback") if isinstance(section, Mapping) else None
    if not name:
        with suppress(SavedModelError):
            name = saved_models.find_saved(restore_from).manifest.get("restore_fallback")
    if not name:
        raise UnknownClassError(
            [
                *missing.problems,
                Problem(
                    "and nothing else can restore the model: neither the configuration nor the saved model names a "
                    "restore_fallback",
                    "model",
                    hints=(
                        _offer(restore_from)
                        or "make the model's source importable, or save it with a backend that restores without it",
                    ),
                ),
            ]
        ) from missing
    return str(name)


def _offer(restore_from: str | None) -> str:
    with suppress(SavedModelError):
        return "" if restore_from is None else saved_models.find_saved(restore_from).offer
    return ""


def _for_fallback(entry: Entry, cls: type[Any]) -> Entry:
    """What a configuration that was made for another class says to the one that stands in for it."""
    kept = _kept(entry, cls)
    dropped = sorted(set(entry.arguments) - set(kept))
    if dropped:
        logger.info("Arguments that only the missing class takes are left out: %s", ", ".join(dropped))
    return entry._replace(arguments=kept)


def _kept(entry: Entry, cls: type[Any]) -> dict[str, Any]:
    hints = accepted_by(cls).hints
    return {key: value for key, value in entry.arguments.items() if key in hints}


def _for_export(entry: Entry, runtime: str, restore_from: str) -> Entry:
    """What a configuration that was made for the class of the original says to the one that runs an exported model.

    What only the original takes and gives, labels and losses, is left out.
    """
    logger.info("It was exported from %s, and is run by %s", entry.name, runtime)
    manifest, arguments = saved_models.find_saved(restore_from).manifest, {}
    for key in _NAMES:
        named = [name for name in entry.arguments.get(key) or () if name in manifest[key]]
        missing = [name for name in entry.arguments.get(key) or () if name not in manifest[key]]
        if missing:
            verb = "takes" if key == "inputs" else "gives"
            told = ", ".join(map(repr, missing)), ", ".join(map(repr, manifest[key]))
            logger.warning("What was exported %s no %s; it %s %s", verb, told[0], verb, told[1])
        if named:
            arguments[key] = named
    return entry._replace(arguments=arguments)


def _misnamed(problems: Iterable[Problem], config: Mapping[str, Any], entry: Entry) -> Sequence[Problem]:
    return [placed(config, entry.misnamed(problem)) for problem in problems]
