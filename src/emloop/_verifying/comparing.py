"""Two runs that should be the same, and the first thing in which they are not.

What comes first in the course of a batch is named first: its sources, the outputs of the model, then what they have
changed. What is a time differs between any two runs and is left out: ``train.log``, and ``seconds`` in the state of a
hook.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emloop import constants
from emloop._run_dir.beginnings import is_mirror
from emloop._run_dir.layout import TEMPORARY
from emloop._state.commit import Commit
from emloop._state.manifest import MANIFEST
from emloop._state.tree import equal_trees
from emloop._support.files import sha256_of
from emloop.main_loop.stage import Stage, place_in
from emloop.types import StateTree

__all__ = ["OWN_STATE", "Difference", "compare_commits", "compare_files", "place_of", "result_files"]

OWN_STATE = "hooks/Shortened"
_SECONDS = "seconds"
_OF_THE_CORE = {
    constants.EL_RUN_FILE,
    constants.EL_ATTEMPTS_FILE,
    constants.EL_TRACE_FILE,
    constants.EL_STATUS_FILE,
    constants.EL_LOG_FILE,
    constants.EL_ENVIRONMENT_FILE,
    constants.EL_PATCH_FILE,
    constants.EL_DATA_FILE,
    "holder.json",
    ".lock",
}
_FOLDERS = {constants.EL_CHECKPOINTS_DIR, constants.EL_CONFIG_BASES_DIR, "discarded", "program"}


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was in the untouched run.

    Args:
        what: The thing, in words: a source of a stream, a tensor of the model, a line of a file.
        kind: Where it was found: ``source``, ``output``, ``stream``, ``model``, ``hook``, ``random``, ``loop``,
            ``file``, ``resume`` (which was refused) or ``commit`` (which is missing).
        where: After which batch or epoch.
        expected: How it was.
        found: How it is.
        name: Name of the stream, hook or file.
        causes: What may be behind it.
        also: What else is different there.
    """

    what: str
    kind: str
    where: str = ""
    expected: str = ""
    found: str = ""
    name: str = ""
    causes: tuple[str, ...] = ()
    also: tuple[str, ...] = field(default=())

    def text(self) -> str:
        """Everything, in lines."""
        values = f": {self.found}" if self.found else ""
        values += f", and was {self.expected}" if self.expected else ""
        lines = [f"{self.where}: {self.what}{values}" if self.where else f"{self.what}{values}"]
        lines += [f"also different: {', '.join(self.also)}"] if self.also else []
        return "\n  ".join([*lines, *self.causes])


def compare_commits(expected: Commit, found: Commit) -> list[Difference]:
    """What is different between two commits, in the order in which it comes about; nothing if they are the same."""
    one, other = dict(_components(expected)), dict(_components(found))
    unequal = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [
        *(difference for name in sorted(unequal, key=_rank) for difference in _in_component(name, expected, found)),
        *_in_appended(expected, found),
    ]


def place_of(commit: Commit) -> str:
    """After which batch or epoch a commit was made."""
    state = commit.load("loop")
    stage = state.get("stage")
    return place_in(state["training_epochs_done"], None if stage is None else Stage.restored(stage))


def result_files(run: Path, mirrors: set[str]) -> dict[str, str]:
    """Hashes of all that a run has written beside its commits and what the core keeps of it.

    Args:
        run: The run directory.
        mirrors: Names of files that the run can do without.
    """
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        folders = set(name.split("/")[:-1])
        is_own = name in _OF_THE_CORE or (name.startswith("config.") and "/" not in name) or bool(folders & _FOLDERS)
        # What a process was writing when it was killed at its very end stays, since nobody takes up a finished run.
        is_own |= path.name.startswith(TEMPORARY)
        if path.is_file() and not is_own and name not in mirrors and path.name != MANIFEST:
            found[name] = sha256_of(path)
    return found


def compare_files(expected: Mapping[str, str], found: Mapping[str, str]) -> list[Difference]:
    """What is different between the files of two runs, as :func:`result_files` returns them."""
    return [
        Difference(f"file {name}", "file", name=name, expected=_state_of(expected, name), found=_state_of(found, name))
        for name in sorted({**expected, **found})
        if expected.get(name) != found.get(name)
    ]


def _state_of(files: Mapping[str, str], name: str) -> str:
    return f"SHA-256 {files[name][:12]}…" if name in files else "missing"


def _components(commit: Commit) -> Iterator[tuple[str, list[str]]]:
    for name, files in commit.files.items():
        yield name, [file.sha256 for file in files if file is not None]


def _rank(component: str) -> tuple[int, str]:
    order = (OWN_STATE, "streams/", "evaluated", "model", "hooks/", "random", "loop")
    return next((number for number, start in enumerate(order) if component.startswith(start)), len(order)), component


def _in_component(component: str, expected: Commit, found: Commit) -> Iterator[Difference]:
    kind, _, name = component.partition("/")
    kind = {"streams": "stream", "hooks": "hook", "evaluated": "stream"}.get(kind, kind)
    for commit, verb in ((found, "is missing"), (expected, "was not there")):
        if component not in commit.components:
            yield Difference(f"the state of {_words(component)} {verb}", kind, name=name)
            return
    one, other = expected.load(component), found.load(component)
    leaf = _first_leaf(one, other)
    if leaf is None:
        return
    place, was, now = leaf
    if component != OWN_STATE:
        what = f"{_words(component)}, {'/'.join(place)}" if place else _words(component)
        yield _valued(Difference(what, kind, name=name), was, now)
    elif place[0] == "seen" and len(place) > 3:
        _, part, stream, variable = place
        if part == "sources":
            yield Difference(f"stream {stream!r}, source {variable!r}", "source", name=stream)
        else:
            yield Difference(f"model, output {variable!r} for stream {stream!r}", "output", name=variable)
    else:
        yield _valued(Difference("the batches run so far", "loop"), was, now)


def _words(component: str) -> str:
    kind, _, name = component.partition("/")
    words = {"streams": f"position in stream {name!r}", "hooks": f"hook {name}", "random": "global random numbers"}
    return words.get(
        kind, {"evaluated": "position in the stream that is evaluated", "loop": "main loop"}.get(kind, kind)
    )


def _first_leaf(
    one: StateTree, other: StateTree, place: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], Any, Any] | None:
    """Where two state trees part first; ``None`` if they differ in nothing but times."""
    if place and place[-1] == _SECONDS and isinstance(one, float) and isinstance(other, float):
        return None
    both = one, other
    if all(isinstance(tree, dict) for tree in both) and list(one) == list(other):
        pairs = [(key, one[key], other[key]) for key in one]
    elif all(isinstance(tree, list) for tree in both) and len(one) == len(other):
        pairs = [(str(index), was, now) for index, (was, now) in enumerate(zip(one, other, strict=True))]
    else:
        return None if equal_trees(one, other) else (place, one, other)
    return next(filter(None, (_first_leaf(was, now, (*place, key)) for key, was, now in pairs)), None)


def _valued(difference: Difference, was: Any, now: Any) -> Difference:
    if (
        isinstance(was, np.ndarray)
        and isinstance(now, np.ndarray)
        and was.shape == now.shape
        and was.dtype == now.dtype
    ):
        return replace(difference, found=_how_much(was, now))
    return replace(difference, expected=_short(was), found=_short(now))


def _how_much(was: np.ndarray[Any, Any], now: np.ndarray[Any, Any]) -> str:
    differing = int(np.sum(was != now))
    text = f"{differing} of {was.size} numbers differ"
    if was.dtype.kind in "iuf" and differing:
        with np.errstate(all="ignore"):
            text += f", by up to {float(np.max(np.abs(was.astype(float) - now.astype(float)))):.3g}"
    return text


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _in_appended(expected: Commit, found: Commit) -> Iterator[Difference]:
    one, other = (
        {
            record["name"]: (record["bytes"], record["crc32"])
            for record in commit.info["appended"]
            if record["name"] != constants.EL_LOG_FILE and not is_mirror(record)
        }
        for commit in (expected, found)
    )
    for name in sorted({**one, **other}):
        if name not in one or name not in other:
            yield Difference(f"file {name} {'was not there' if name in other else 'is missing'}", "file", name=name)
        elif one[name] != other[name]:
            lines = [
                (commit.path.parents[1] / name).read_bytes()[:size].decode(errors="replace").splitlines()
                for commit, (size, _) in ((expected, one[name]), (found, other[name]))
            ]
            yield _first_line(name, *lines)


def _first_line(name: str, was: list[str], now: list[str]) -> Difference:
    number = next(
        (index for index, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now))
    )
    old, new = (lines[number] if number < len(lines) else None for lines in (was, now))
    what = f"file {name}, line {number + 1}"
    if old is None or new is None:
        return Difference(f"{what} {'is missing' if new is None else 'was not there'}", "file", name=name)
    with suppress(ValueError):
        leaf = _first_leaf(json.loads(old), json.loads(new))
        if leaf is not None and leaf[0]:
            return _valued(Difference(f"{what}, {'/'.join(leaf[0])}", "file", name=name), *leaf[1:])
    return _valued(Difference(what, "file", name=name), old, new)
