"""The streams that a dataset's class offers, and those that a configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from emloop._source.signatures import Ancestry
from emloop.constants import EL_DEFAULT_TRAIN_STREAM
from emloop.errors import Problem

from .arguments import Placer
from .entries import Entry
from .source import Config
from .unknown import no_stream

__all__ = ["Epoch", "epoch_of", "stream_problems", "streams_of", "unknown_streams"]

_ENDING = "_stream"


class Epoch(NamedTuple):
    """The streams that an epoch reads.

    Args:
        streams: Their names; ``None`` where the configuration is too wrong to tell.
        paths: Name → where the configuration asks for it.
        is_evaluation: Whether nothing is trained.
    """

    streams: tuple[str, ...] | None
    paths: Mapping[str, tuple[Any, ...]]
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
    paths: dict[str, tuple[Any, ...]] = {train: ("main_loop", "train_stream_name")}
    paths.update((name, ("main_loop", "extra_streams", index)) for index, name in enumerate(extra))
    return Epoch((train, *extra), paths, is_evaluation=False)


def _evaluation(config: Mapping[str, Any], target: str) -> Epoch:
    sections = config.get("eval")
    section = sections.get(target) if isinstance(sections, Mapping) else None
    names = section.get("stream_names") if isinstance(section, Mapping) else None
    if not names:
        return Epoch((target,), {target: ("eval", target)}, is_evaluation=True)
    if not _is_name_list(names):
        return Epoch(None, {}, is_evaluation=True)
    paths = {name: ("eval", target, "stream_names", index) for index, name in enumerate(names)}
    return Epoch(tuple(names), paths, is_evaluation=True)


def streams_of(dataset: Ancestry) -> list[str] | None:
    """Names of the streams of a dataset, sorted; ``None`` if objects may have others."""
    if not dataset.is_plain:
        return None
    names = (name for name in dataset.names() if name.endswith(_ENDING) and not name.startswith("_"))
    return sorted(name.removesuffix(_ENDING) for name in names)


def stream_problems(config: Config, epoch: Epoch, owner: str, there: list[str]) -> list[Problem]:
    """Streams that are read and that the dataset does not have, or that are named twice.

    Args:
        config: The configuration.
        epoch: What is read.
        owner: Name of the dataset's class.
        there: The streams that it has.
    """
    found = []
    for name in dict.fromkeys(epoch.streams or ()):
        path = epoch.paths[name]
        if name not in there:
            is_key = path == ("eval", name)
            place = config.place(path, value=not is_key) or config.place(("dataset", "class"), value=True)
            found.append(no_stream(owner, name, there, path[0], place))
    names = epoch.streams or ()
    if not epoch.is_evaluation:
        for index, name in enumerate(names[1:]):
            if name in names[: index + 1]:
                message = f"stream {name!r} is named twice, or is the training stream"
                place = config.place(("main_loop", "extra_streams", index), value=True)
                found.append(Problem(message, f"main_loop.extra_streams[{index}]", place))
    return found


def unknown_streams(entry: Entry, place: Placer, owner: str, there: list[str]) -> list[Problem]:
    """The streams that a hook is restricted to and that the dataset does not have."""
    names = entry.arguments.get("streams")
    return [
        no_stream(owner, name, there, f"{entry.label}.streams", place(("streams", index), True))
        for index, name in enumerate(names if isinstance(names, list) else ())
        if isinstance(name, str) and name not in there
    ]


def _is_name_list(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
