"""The streams that a dataset's class offers, and those that a configuration asks for."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from emloop._settings.flows import UnclearError, declared
from emloop._source.ancestry import Ancestry
from emloop._support.problems import no_stream
from emloop.constants import EL_DEFAULT_TRAIN_STREAM
from emloop.declare import Streams
from emloop.errors import Problem

from .entries import Entry

__all__ = ["Epoch", "epoch_of", "stream_problems", "streams_of", "unknown_streams"]

_ENDING = "_stream"


class Epoch(NamedTuple):
    """The streams that an epoch reads.

    Args:
        streams: Their names; ``None`` where the configuration is too wrong to tell.
        keys: Name → where the configuration asks for it.
        is_evaluation: Whether nothing is trained.
    """

    streams: tuple[str, ...] | None
    keys: Mapping[str, tuple[Any, ...]]
    is_evaluation: bool


def epoch_of(config: Mapping[str, Any], target: str | None) -> Epoch:
    """What an epoch of a training reads, or of the evaluation of a target."""
    if target is not None:
        return _evaluation(config, target)
    section = config.get("main_loop") or {}
    section = section if isinstance(section, Mapping) else {}
    train, extra = section.get("train_stream_name", EL_DEFAULT_TRAIN_STREAM), section.get("extra_streams") or []
    if not isinstance(train, str) or not _is_name_list(extra):
        return Epoch(None, {}, is_evaluation=False)
    keys: dict[str, tuple[Any, ...]] = {train: ("main_loop", "train_stream_name")}
    keys.update((name, ("main_loop", "extra_streams", index)) for index, name in enumerate(extra))
    return Epoch((train, *extra), keys, is_evaluation=False)


def _evaluation(config: Mapping[str, Any], target: str) -> Epoch:
    sections = config.get("eval")
    section = sections.get(target) if isinstance(sections, Mapping) else None
    names = section.get("stream_names") if isinstance(section, Mapping) else None
    if not names:
        return Epoch((target,), {target: ("eval", target)}, is_evaluation=True)
    if not _is_name_list(names):
        return Epoch(None, {}, is_evaluation=True)
    keys = {name: ("eval", target, "stream_names", index) for index, name in enumerate(names)}
    return Epoch(tuple(names), keys, is_evaluation=True)


def streams_of(dataset: Ancestry, arguments: Mapping[str, Any]) -> list[str] | None:
    """Names of the streams of a dataset, sorted; ``None`` if objects may have others.

    Args:
        dataset: Its class.
        arguments: What the configuration gives it, from which those in its ``streams_from`` follow.
    """
    if not dataset.is_plain:
        return None
    found = {name.removesuffix(_ENDING) for name in dataset.names() if _is_stream(name)}
    value = dataset.value("streams_from")
    try:
        for word in () if value is None else declared(dataset.library, value, {"Streams": Streams}):
            found.update(map(str, word.of(arguments)))
    except UnclearError:
        return None
    return sorted(found)


def stream_problems(config: Mapping[str, Any], epoch: Epoch, owner: str, there: list[str]) -> Iterator[Problem]:
    """Streams that are read and that the dataset does not have, or that are named twice.

    Args:
        config: The configuration.
        epoch: What is read.
        owner: Name of the dataset's class.
        there: The streams that it has.
    """
    names = epoch.streams or ()
    for name in dict.fromkeys(names):
        if name not in there:
            keys = epoch.keys[name]
            is_key = keys == ("eval", name)
            written = is_key or len(keys) > 2 or "train_stream_name" in (config.get("main_loop") or {})
            problem = no_stream(owner, name, there, keys if written else ("dataset", "class"))
            yield problem._replace(path=str(keys[0]), on_key=is_key)
    if not epoch.is_evaluation:
        for index, name in enumerate(names[1:]):
            if name in names[: index + 1]:
                keys = ("main_loop", "extra_streams", index)
                message = f"stream {name!r} is named twice, or is the training stream"
                yield Problem(message, kind="repeated", keys=keys)


def unknown_streams(entry: Entry, owner: str, there: list[str]) -> Iterator[Problem]:
    """The streams that a hook is restricted to and that the dataset does not have."""
    names = entry.arguments.get("streams")
    for index, name in enumerate(names if isinstance(names, list) else ()):
        if isinstance(name, str) and name not in there:
            problem = no_stream(owner, name, there, (*entry.keys, "streams", index))
            yield problem._replace(path=f"{entry.label}.streams")


def _is_stream(name: str) -> bool:
    return name.endswith(_ENDING) and not name.startswith("_")


def _is_name_list(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
