"""What a run knows of its data, to tell whether what it reads later is the same.

Everything is taken in passing, from batches that the loop reads anyway: the digest of each stream's first batch, and at
a commit that of the batch consumed last. Files are those that a dataset names by ``self.reads(path)``.
``data.json`` keeps it; what was consumed last stands in the commit.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from emloop._streams import StreamWrapper, digest
from emloop._support.files import atomic_write, read_small
from emloop.constants import EL_DATA_FILE
from emloop.types import Batch

__all__ = ["Difference", "Fingerprint", "Watch", "consumed_at"]

logger = logging.getLogger(__name__)

_FORMAT = 1
_ENOUGH = 2
"""How often the first batch of an evaluation has to be the same before it is known that it always is."""

_AGAIN = 3
"""How often another batch is read once more, in case that it is another one each time."""


class Difference(NamedTuple):
    """Something that is not as the run knows it.

    Args:
        what: The difference, in words.
        found: The digest found; empty if there is none.
        certain: Whether the run knows that it is the same each time it is read.
    """

    what: str
    found: str = ""
    certain: bool = True


class _Judge(Protocol):
    def __call__(self, found: Iterable[Difference], /) -> None: ...


class Fingerprint:
    """The data of a run.

    Args:
        directory: The run directory; its ``data.json`` is what earlier attempts have left.
        dataset: The dataset.
        arguments: What the data follow from: section of the configuration, seed. Nothing is compared where it differs.
        root: Names of files are relative to this directory, where they lie in it.
        origin: The run whose data these have to be; by default the run itself.
    """

    def __init__(
        self, directory: Path, dataset: object, arguments: Mapping[str, Any], root: str, origin: Path | None = None
    ) -> None:
        self._file = directory / EL_DATA_FILE
        self._dataset = dataset
        self._root = root
        self._in_place: set[str] = set()
        self._seen: dict[tuple[str, bool], int] = {}
        self.arguments = digest(arguments)
        """Digest of the arguments."""
        known = _read((origin or directory) / EL_DATA_FILE)
        same_arguments = known.get("arguments") == self.arguments
        self._streams: dict[str, dict[str, Any]] = known.get("streams", {}) if same_arguments else {}
        self._known_files: dict[str, Any] = known.get("files", {})
        self._checked_files: set[str] = set()
        source = _source_of(dataset, root)
        self.changed_source = sorted(name for name, sha in known.get("source", {}).items() if source.get(name) != sha)
        """Source files of the dataset that have changed since."""
        self._written: Mapping[str, Any] = {} if origin else copy.deepcopy(known)
        self._data: dict[str, Any] = {
            "format": _FORMAT,
            "arguments": self.arguments,
            "source": source,
            "streams": {} if origin else copy.deepcopy(self._streams),
            "files": {} if origin else dict(self._known_files),
            "accepted": [] if origin else list(known.get("accepted", [])),
        }

    def watch(self, stream: StreamWrapper, judge: _Judge) -> Watch | None:
        """What looks at the first batch that is read now; ``None`` if there is nothing left to learn from it.

        Args:
            stream: A stream that is about to be read.
            judge: Called with what differs.
        """
        times = self._seen.get((str(stream.name), stream.training), 0)
        at_start = stream.cursor == (0, 0)
        if times >= (1 if stream.training else _ENOUGH) or not (stream.training or at_start):
            return None
        return Watch(self, stream, judge, is_first=at_start)

    def saw_first(self, stream: StreamWrapper, found: str) -> Difference | None:
        """Note the first batch of a stream.

        Returns:
            What differs from what the run knows.
        """
        name, purpose = str(stream.name), "training" if stream.training else "evaluation"
        times = self._seen[name, stream.training] = self._seen.get((name, stream.training), 0) + 1
        now = {"first": found, "batches": stream.length, "random": stream.draws_globally, "times": 1}
        known, own = self._streams.get(name, {}).get(purpose), self._data["streams"].setdefault(name, {})
        before = own.get(purpose)
        same = before is not None and _same(before, now)
        if same:
            own[purpose] = before | {"times": before["times"] + 1}
        elif before is None or not before.get("varies"):
            own[purpose] = now | ({"varies": True} if before is not None and times > 1 else {})
        if known is None or times > 1 or _same(known, now) or known.get("varies") or found in self._accepted():
            return None
        confirmed = not stream.training and known["times"] >= _ENOUGH
        if not confirmed and (known["random"] or now["random"]):
            return None
        text = (
            f"the first batch of its {purpose} is another one"
            if known["first"] != found
            else f"it has {now['batches']} batches, and had {known['batches']}"
        )
        return Difference(f"stream {name!r}: {text}", found, stream.training or confirmed)

    def changes_in_place(self, stream: StreamWrapper) -> None:
        """Note that the model changes the batches of a stream, so that they are not comparable afterwards."""
        self._in_place.add(str(stream.name))

    def consumed(self, streams: Mapping[str, StreamWrapper], before: Mapping[str, Any]) -> dict[str, Any]:
        """What a commit keeps: the batch that each training stream handed out last.

        Args:
            streams: The streams that train the model.
            before: What the last commit kept, for streams of which nothing was read since.
        """
        last = dict(before.get("last", {})) if before.get("arguments") == self.arguments else {}
        for name, stream in streams.items():
            consumed = stream.consumed
            if consumed is not None:
                last.pop(name, None)
                # Any other stream would have to be read from its start.
                comparable = stream.length is not None and not stream.draws_globally and name not in self._in_place
                if comparable:
                    last[name] = [consumed.pass_index, consumed.number, digest(consumed.batch)]
        return {"arguments": self.arguments, "last": last}

    def compare(self, streams: Mapping[str, StreamWrapper], committed: Mapping[str, Any]) -> list[Difference]:
        """Read one batch of each training stream again, and look at the files.

        It is the batch consumed last where the stream can go there, else the first one of all.

        Args:
            streams: The streams that train the model; their positions do not change.
            committed: What :meth:`consumed` returned at the commit; empty if nothing is known.
        """
        found = self.compare_files()
        if not committed or committed["arguments"] != self.arguments:
            return found
        for name, stream in streams.items():
            first = self._streams.get(name, {}).get("training")
            candidates = [committed["last"][name]] if name in committed["last"] else []
            if first is not None and not (first["random"] or first.get("varies")):
                candidates.append([0, 0, first["first"]])
            for pass_index, index, expected in candidates:
                now = stream.digest_again(pass_index, index)
                if now is not None:
                    found += self._compared(stream, pass_index, index, expected, now)
                    break
        return found

    def compare_files(self) -> list[Difference]:
        """Compare files that the dataset has named since the last call."""
        found = []
        for path, now in getattr(self._dataset, "named_files", {}).items():
            name = _relative(path, self._root)
            if name in self._checked_files:
                continue
            self._checked_files.add(name)
            known = self._known_files.get(name)
            self._data["files"][name] = now
            if known is not None and (known["bytes"], known["digest"]) != (now["bytes"], now["digest"]):
                sizes = f"{now['bytes']} bytes, {known['bytes']} before"
                when = datetime.fromtimestamp(now["modified"] / 1e9, UTC).isoformat(" ", "seconds")
                found.append(Difference(f"{name} has changed: {sizes}; modified {when}"))
        return found

    def accept(self, differences: Iterable[Difference]) -> None:
        """Take what was found for the run's own from now on."""
        entry = {
            "time": datetime.now(UTC).isoformat(),
            "differences": [difference.what for difference in differences],
            "digests": [difference.found for difference in differences if difference.found],
        }
        self._data["accepted"].append(entry)
        for name, known in self._data["streams"].items():
            if (name, False) not in self._seen:
                known.pop("evaluation", None)  # of the data before
        self.write()

    def write(self) -> None:
        """Write ``data.json`` if there is something new; an error is only logged, since no run depends on it."""
        if self._data == self._written:
            return
        text = json.dumps(self._data, indent=2) + "\n"
        try:
            atomic_write(self._file, text)
        except OSError as error:
            logger.warning("%s could not be written: %s", self._file, error)
        self._written = json.loads(text)

    def _compared(
        self, stream: StreamWrapper, pass_index: int, index: int, expected: str, now: str
    ) -> Iterable[Difference]:
        if now == expected or now in self._accepted():
            return
        if now == "":
            text = f"stream {stream.name!r}: there is no batch {index} in pass {pass_index} any more"
            yield Difference(text, "none")
        elif all(stream.digest_again(pass_index, index) == now for _ in range(_AGAIN)):
            text = f"stream {stream.name!r}: batch {index} of pass {pass_index} is another one when it is read again"
            yield Difference(text, now)
        else:
            logger.warning(
                "Stream %s gives other batches each time it is read, so nobody can tell whether they are the run's; "
                "draw its random numbers from self.rng(%r)",
                stream.name,
                stream.name,
            )

    def _accepted(self) -> set[str]:
        return {found for entry in self._data["accepted"] for found in entry["digests"]}


class Watch:
    """Looks at one batch, before and after the model has run on it.

    Args:
        fingerprint: What learns from it.
        stream: The batch's stream.
        judge: Called with what differs.
        is_first: Whether it is the first batch of the stream.
    """

    def __init__(self, fingerprint: Fingerprint, stream: StreamWrapper, judge: _Judge, *, is_first: bool) -> None:
        self._fingerprint = fingerprint
        self._stream = stream
        self._judge = judge
        self._is_first = is_first
        self._digest = ""

    def before(self, batch: Batch) -> None:
        """Note the batch as it was read."""
        self._digest = digest(batch)
        if self._is_first and self._stream.cursor.batches == 1:  # not one after others that were skipped
            difference = self._fingerprint.saw_first(self._stream, self._digest)
            if difference is not None:
                self._judge([difference])

    def after(self, batch: Batch) -> None:
        """Learn whether the model has changed it."""
        if self._stream.training and digest(batch) != self._digest:
            self._fingerprint.changes_in_place(self._stream)


def consumed_at(data: Any) -> dict[str, Any]:
    """What a commit says to have kept of :meth:`Fingerprint.consumed`; empty if it has another form."""
    known = _has(data, {"arguments": object, "last": dict}) and all(
        isinstance(last, list) and list(map(type, last)) == [int, int, str] for last in data["last"].values()
    )
    return dict(data) if known else {}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    both = one["batches"], other["batches"]
    return bool(one["first"] == other["first"]) and (None in both or both[0] == both[1])


def _read(path: Path) -> dict[str, Any]:
    """What ``data.json`` says; nothing if it is missing, damaged, or written by a newer emloop."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(read_small(path))
        if isinstance(found, dict) and found.get("format") == _FORMAT and _is_whole(found):
            return found
    return {}


def _is_whole(data: Mapping[str, Any]) -> bool:
    """Whether all parts have the form in which they are written; a stranger's file may have any."""
    tables = [data.get(name, {}) for name in ("streams", "files", "source")]
    accepted = data.get("accepted", [])
    if not (all(isinstance(table, dict) for table in tables) and isinstance(accepted, list)):
        return False
    streams, files, source = tables
    purposes = [
        known for stream in streams.values() for known in (stream.values() if isinstance(stream, dict) else [0])
    ]
    kinds = {"first": str, "batches": int | None, "random": bool, "times": int}
    return (
        all(_has(known, kinds) for known in purposes)
        and all(_has(known, {"bytes": int, "digest": str}) for known in files.values())
        and all(isinstance(digest, str) for digest in source.values())
        and all(_has(entry, {"digests": list}) for entry in accepted)
        and all(isinstance(word, str) for entry in accepted for word in entry["digests"])
    )


def _has(part: Any, kinds: Mapping[str, Any]) -> bool:
    return isinstance(part, dict) and all(key in part and isinstance(part[key], kind) for key, kind in kinds.items())


def _source_of(dataset: object, root: str) -> dict[str, str]:
    """Hashes of the files that define the dataset's class and its bases, those of emloop and Python left out."""
    found = {}
    for cls in type(dataset).__mro__:
        with suppress(OSError, TypeError):
            file = inspect.getsourcefile(cls)
            if file is not None and cls.__module__.partition(".")[0] not in {"emloop", *sys.stdlib_module_names}:
                found[_relative(file, root)] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return found


def _relative(path: str, root: str) -> str:
    """The path as seen from a directory, if it lies in it."""
    path = os.path.abspath(path)  # noqa: PTH100 - links stay as they are named
    return os.path.relpath(path, root) if path.startswith(f"{root.rstrip(os.sep)}{os.sep}") else path
