"""From a section of the configuration to an object.

:func:`check` looks at everything before anything is built, so that all mistakes come at once; the ``build_*``
functions build. A class that cannot be found while restoring is replaced by the backend's fallback.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from emloop import saved_models
from emloop._config.arguments import Accepted, accepted_by, problems
from emloop._contracts import AbstractDataset, AbstractHook, AbstractModel
from emloop._registry import DATASET, HOOK, MODEL, Kind, find_class, full_name
from emloop._support import yaml
from emloop.errors import ConfigError, Place, Problem, SavedModelError, UnknownClassError

logger = logging.getLogger(__name__)

_INJECTED: dict[Kind, tuple[str, ...]] = {
    DATASET: ("output_dir",),
    MODEL: ("dataset", "log_dir", "restore_from"),
    HOOK: ("model", "dataset", "output_dir"),
}
_RESERVED: dict[Kind, tuple[str, ...]] = {
    DATASET: ("class",),
    MODEL: ("class", "name", "restore_fallback"),
    HOOK: ("name",),
}


class Entry(NamedTuple):
    """One object that a configuration describes.

    Args:
        kind: What it is.
        name: Its class as written.
        arguments: What the configuration gives to the constructor.
        path: Where the arguments stand, as keys from the top.
        label: The same for people, e.g. ``hooks[0].StopAfter``.
        given_name: What the configuration calls it, if it does.
    """

    kind: Kind
    name: str
    arguments: dict[str, Any]
    path: tuple[str | int, ...]
    label: str
    given_name: str | None = None


def check(config: Mapping[str, Any], main_loop: type, *, restoring: bool = False) -> None:
    """Look at every class and argument of a configuration without building anything.

    Args:
        config: The configuration.
        main_loop: Class that takes the section ``main_loop``.
        restoring: Whether a fallback may stand in for a model class that cannot be found.

    Raises:
        ConfigError: With every mistake that was found.
    """
    found: list[Problem] = []
    strict = _policy(config) == "error"
    entries = [_dataset_entry(config), _model_entry(config), *hook_entries(config)]
    for entry in entries:
        try:
            cls = find_class(entry.name, entry.kind)
        except UnknownClassError as error:
            if not (restoring and entry.kind is MODEL):
                found += _placed(error, config, entry)
            continue
        found += _mistakes(cls, entry, config, strict=strict)
    section = config.get("main_loop") or {}
    loop = Entry(MODEL, "main_loop", dict(section), ("main_loop",), "main_loop")
    accepted = replace(accepted_by(main_loop), open=not strict)
    found += problems(
        "main_loop",
        accepted,
        section,
        injected=("model", "dataset", "hooks"),
        path="main_loop",
        place=_places(config, loop),
    )
    if found:
        raise ConfigError(found)


def build_dataset(config: Mapping[str, Any], output_dir: str | None = None) -> AbstractDataset:
    """Build the dataset from the section ``dataset``.

    Raises:
        ConfigError: If the section is wrong.
    """
    entry = _dataset_entry(config)
    cls = _find(entry, config)
    text = yaml.dump({"output_dir": output_dir, **_known(cls, entry, config)})
    dataset: AbstractDataset = _call(lambda: cls(text), entry, config)
    return dataset


def build_model(
    config: Mapping[str, Any],
    output_dir: str | None = None,
    dataset: object = None,
    restore_from: str | None = None,
    state_from: str | None = None,
) -> AbstractModel:
    """Build the model from the section ``model``.

    Args:
        config: The configuration.
        output_dir: The run directory.
        dataset: The run's dataset.
        restore_from: Where the model shall restore itself from.
        state_from: Where a fallback class shall restore from, where the model itself will be given its state later.

    Raises:
        ConfigError: If the section is wrong.
    """
    entry = _model_entry(config)
    try:
        cls = _find(entry, config)
    except UnknownClassError as missing:
        restore_from = restore_from or state_from
        if restore_from is None:
            raise
        cls, entry = _fallback(entry, missing, config["model"].get("restore_fallback"), restore_from)
    injected = {"dataset": dataset, "log_dir": output_dir, "restore_from": restore_from}
    model: AbstractModel = _construct(cls, injected, entry, config)
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
    fallback = getattr(model, "restore_fallback", None)
    if callable(fallback) and not isinstance(fallback, type):
        fallback = fallback()
    return full_name(fallback) if isinstance(fallback, type) else fallback


def hook_entries(config: Mapping[str, Any]) -> list[Entry]:
    """The entries of the section ``hooks``.

    Raises:
        ConfigError: If the section, or an entry, has an impossible form.
    """
    section = config.get("hooks") or []
    if not isinstance(section, list):
        raise ConfigError(Problem(f"expected a list of hooks, got a {type(section).__name__}", "hooks"))
    return [_hook_entry(item, index) for index, item in enumerate(section)]


def _hook_entry(item: Any, index: int) -> Entry:
    if isinstance(item, str):
        return Entry(HOOK, item, {}, ("hooks", index), f"hooks[{index}].{item}")
    if not isinstance(item, Mapping) or len(item) != 1:
        raise ConfigError(
            Problem(
                f"expected a hook's name, or one name with its arguments, got {item!r}",
                f"hooks[{index}]",
                hints=("indent a hook's arguments below its name",),
            )
        )
    (name, arguments), path = next(iter(item.items())), ("hooks", index)
    if arguments is None:
        logger.warning("\t\t Empty config of `%s` hook", name)
    if not isinstance(arguments or {}, Mapping):
        raise ConfigError(
            Problem(f"expected the arguments of {name} as a mapping, got {arguments!r}", f"hooks[{index}]")
        )
    given = copy.deepcopy(dict(arguments or {}))
    return Entry(HOOK, name, given, (*path, name), f"hooks[{index}].{name}", given.pop("name", None))


def _dataset_entry(config: Mapping[str, Any]) -> Entry:
    return _section_entry(config, "dataset", DATASET)


def _model_entry(config: Mapping[str, Any]) -> Entry:
    return _section_entry(config, "model", MODEL)


def _section_entry(config: Mapping[str, Any], section: str, kind: Kind) -> Entry:
    content = config.get(section)
    if not isinstance(content, Mapping) or not isinstance(content.get("class"), str):
        raise ConfigError(Problem(f"the section {section!r} needs a `class`, such as my_package.MyClass", section))
    arguments = {key: value for key, value in content.items() if key not in _RESERVED[kind]}
    return Entry(kind, content["class"], copy.deepcopy(arguments), (section,), section)


def _find(entry: Entry, config: Mapping[str, Any]) -> type[Any]:
    try:
        return find_class(entry.name, entry.kind)
    except UnknownClassError as error:
        raise UnknownClassError(_placed(error, config, entry)) from error.__cause__


def _construct(cls: type[Any], injected: Mapping[str, Any], entry: Entry, config: Mapping[str, Any]) -> Any:
    accepted = accepted_by(cls)
    arguments = {name: value for name, value in injected.items() if accepted.takes(name)}
    if injected.get("restore_from") is not None and "restore_from" not in arguments:
        raise ConfigError(Problem(f"{cls.__name__} cannot restore: its constructor takes no restore_from", entry.label))
    arguments |= _known(cls, entry, config)
    return _call(lambda: cls(**arguments), entry, config)


def _known(cls: type, entry: Entry, config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an entry, less the unknown ones where these are to be ignored.

    Raises:
        ConfigError: If arguments are wrong.
    """
    policy = _policy(config)
    mistakes = _mistakes(cls, entry, config, strict=policy == "error")
    if mistakes:
        raise ConfigError(mistakes)
    accepted = _accepted(cls, entry.kind)
    known = {name: value for name, value in entry.arguments.items() if accepted.open or name in accepted.hints}
    unknown = sorted(set(entry.arguments) - set(known))
    if unknown and policy == "warn":
        logger.warning("%s does not take %s; going on without", cls.__name__, ", ".join(map(repr, unknown)))
    return known


def _mistakes(cls: type, entry: Entry, config: Mapping[str, Any], *, strict: bool) -> list[Problem]:
    accepted = _accepted(cls, entry.kind)
    if entry.kind is DATASET and not hasattr(cls, "forwards_config_to"):
        return []  # it parses its own text
    if not strict:
        accepted = replace(accepted, open=True)
    return problems(
        cls.__name__,
        accepted,
        entry.arguments,
        injected=_INJECTED[entry.kind],
        path=entry.label,
        place=_places(config, entry),
    )


def _accepted(cls: type, kind: Kind) -> Accepted:
    return accepted_by(cls, constructor=kind is not DATASET)


def _call(build: Callable[[], Any], entry: Entry, config: Mapping[str, Any]) -> Any:
    """Call a constructor; its complaints about arguments are told where these stand."""
    try:
        return build()
    except ConfigError as error:
        raise type(error)(_placed(error, config, entry)) from error.__cause__


def _fallback(
    entry: Entry, missing: UnknownClassError, configured: str | None, restore_from: str
) -> tuple[type[Any], Entry]:
    name = configured
    if name is None:
        try:
            name = saved_models.find_saved(restore_from).manifest.get("restore_fallback")
        except SavedModelError:
            name = None
    if name is None:
        raise UnknownClassError(
            [
                *missing.problems,
                Problem(
                    "and nothing else can restore the model: neither the configuration nor the saved model names a "
                    "restore_fallback",
                    "model",
                    hints=("make the model's source importable, or save it with a backend that restores without it",),
                ),
            ]
        ) from missing
    cls = find_class(name, MODEL)
    logger.warning("%s is restored as %s: %s", entry.name, name, missing.problems[0].message)
    accepted = accepted_by(cls)
    kept = {key: value for key, value in entry.arguments.items() if key in accepted.hints}
    dropped = sorted(set(entry.arguments) - set(kept))
    if dropped:
        logger.info("Arguments that only the missing class takes are left out: %s", ", ".join(dropped))
    return cls, entry._replace(arguments=kept)


def _policy(config: Mapping[str, Any]) -> str:
    return str((config.get("main_loop") or {}).get("on_incorrect_config", "error"))


def _places(config: Mapping[str, Any], entry: Entry) -> Callable[[str | None, bool], Place | None]:
    """Where an argument of an entry stands; ``None`` asks for the entry itself."""
    place = getattr(config, "place", None)

    def find(argument: str | None, value: bool) -> Place | None:
        if place is None:
            return None
        if argument is not None:
            found: Place | None = place((*entry.path, argument), value=value)
            return found
        if entry.kind is HOOK or entry.name == "main_loop":
            found = place(entry.path)
        else:
            found = place((*entry.path, "class"), value=True)
        return found

    return find


def _placed(error: ConfigError, config: Mapping[str, Any], entry: Entry) -> Sequence[Problem]:
    """An error's problems, with the place of the argument that each is about."""
    find = _places(config, entry)
    return [_place_one(problem, entry, find) for problem in error.problems]


def _place_one(problem: Problem, entry: Entry, find: Callable[[str | None, bool], Place | None]) -> Problem:
    if problem.place is not None:
        return problem
    argument = next((name for name in entry.arguments if problem.message.startswith(f"{name}:")), None)
    if argument is not None:
        message = problem.message.removeprefix(f"{argument}:").strip()
        return replace(problem, message=message, path=f"{entry.label}.{argument}", place=find(argument, True))
    unknown = next((name for name in entry.arguments if problem.message == f"unknown argument {name!r}"), None)
    return replace(problem, path=entry.label, place=find(unknown, False))
