"""What a run says of itself: ``run.json``, ``attempts.jsonl``, and YAML files with a JSON copy.

``run.json`` is written once, before anything else, so that whatever follows is known to be ours. ``attempts.jsonl`` has
a line per start and end of a process, and is never cut back: what a resumed run undoes has happened all the same.

A YAML file is for people, and the truth; its JSON copy spares listings the parser. The copy counts only while it holds
the hash of the YAML file as it is, so that neither an edit nor a kill between the two writes can make it lie.
"""

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from uuid import uuid4

from emloop import __version__, _yaml
from emloop._support.files import atomic_write, fsync_dir, open_inside, read_small, sync, write_all
from emloop._support.printable import printable
from emloop.constants import EL_ATTEMPTS_FILE, EL_CONFIG_FILE, EL_METRICS_FILE, EL_RUN_FILE
from emloop.errors import RunDirError

FORMAT = 1
"""Version of the layout of run directories; a reader refuses a larger one."""

Kind = Literal["training", "evaluation"]

T = TypeVar("T")

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunInfo:
    """What is settled when a run is created.

    Args:
        kind: Whether the run trains or evaluates.
        seed: The run's only seed.
        command: The command line that created it.
        parent: Origin of its state, for a fork, a run whose model was restored, or an evaluation: ``run_id``, ``path``
            and ``commit``, as far as known. The path is a hint for people: runs may be moved.
        config: Name of the file with the configuration as resolved.
        config_source: Name of the file with the configuration as written, if there was a file.
        home: Where its code is: ``directory`` and ``config``; see ``emloop._config.home``.
        hash_seed: What texts were hashed with; ``random``: the order of a set repeats in no other process.
        run_id: Tells this run from all others, wherever it is copied.
        created: Moment of creation, in UTC.
        format: Version of the directory's layout.
        emloop: Version of emloop.
    """

    kind: Kind
    seed: int
    command: tuple[str, ...] = ()
    parent: Mapping[str, Any] | None = None
    config: str = EL_CONFIG_FILE
    config_source: str | None = None
    home: Mapping[str, Any] | None = None
    hash_seed: str | None = None
    run_id: str = field(default_factory=lambda: uuid4().hex)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    format: int = FORMAT
    emloop: str = __version__


def write_info(directory: Path, info: RunInfo) -> None:
    """Write ``run.json``, whole or not at all."""
    description = asdict(info) | {"created": info.created.isoformat()}
    atomic_write(directory / EL_RUN_FILE, json.dumps(description, indent=2) + "\n")


def read_info(directory: Path | str) -> RunInfo:
    """Read ``run.json``.

    Raises:
        RunDirError: If it is missing, damaged, or written by a newer emloop.
    """
    path = f"{directory}/{EL_RUN_FILE}"
    try:
        description = json.loads(read_small(path))
        return _parse(description)
    except OSError as error:
        raise RunDirError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise RunDirError(f"{path}: does not describe a run: {error}") from error


def _parse(description: Any) -> RunInfo:
    if not isinstance(description, dict):
        raise TypeError(f"expected a mapping, got {type(description).__name__}")

    def typed(key: str, kind: type[T]) -> T:
        value = description.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{key!r} is {value!r:.100}")
        return value

    version, kind, parent = typed("format", int), typed("kind", str), description.get("parent")
    if version > FORMAT:
        raise ValueError(f"its format is {version}, this emloop knows {FORMAT}; a newer emloop can read it")
    if kind not in get_args(Kind):
        raise ValueError(f"its kind is {kind!r:.100}")
    config, source = typed("config", str), description.get("config_source")
    for name in (config, source):
        # A copied directory must not make its reader open a file outside of it.
        if name is not None and not _FILE_NAME.fullmatch(str(name)):
            raise ValueError(f"{name!r:.100} is no name of a file in it")
    home, hash_seed = description.get("home"), description.get("hash_seed")
    created = datetime.fromisoformat(typed("created", str))
    return RunInfo(
        kind=kind,  # type: ignore[arg-type]  # one of the words, as was checked above
        seed=typed("seed", int),
        command=tuple(map(str, typed("command", list))),
        parent=parent if isinstance(parent, dict) else None,
        config=config,
        config_source=None if source is None else str(source),
        home=home if isinstance(home, dict) else None,
        hash_seed=None if hash_seed is None else str(hash_seed),
        run_id=typed("run_id", str),
        created=created if created.tzinfo else created.replace(tzinfo=UTC),
        format=version,
        emloop=typed("emloop", str),
    )


def lost_origin(info: RunInfo, directory: Path | str) -> str | None:
    """Why a training without a commit cannot begin anew, and the way out: it began with what others had learned."""
    if info.kind != "training" or info.parent is None:
        return None
    path, commit = (printable(str(info.parent.get(key))) for key in ("path", "commit"))
    if info.parent.get("commit") is None:
        again = f"emloop resume {directory}/{info.config} {path}"
        return f"its model was restored from {path}, which no commit of its own holds; restore it again: {again}"
    again = f"emloop resume {path} --fork"
    return f"it was to go on from commit {commit} of {path}, which it has no copy of; fork again: {again}"


def append_attempt(directory: Path, record: Mapping[str, Any]) -> None:
    """Add a line to ``attempts.jsonl``, and return when it is durable.

    Args:
        directory: The run directory.
        record: At least ``attempt`` (its number, from 1) and ``event`` (``start`` or ``end``).

    Raises:
        OSError: If it cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(directory / EL_ATTEMPTS_FILE, flags, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        # A crash may have torn the last line; this one must not be joined to it.
        is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        write_all(descriptor, b"\n" * is_torn + to_line(record).encode())
        sync(descriptor)
    finally:
        os.close(descriptor)
    if not size:
        fsync_dir(directory)


def read_attempts(directory: Path | str) -> list[dict[str, Any]]:
    """All whole records of ``attempts.jsonl``, oldest first; none if the file is missing or cannot be read."""
    records = []
    with contextlib.suppress(OSError):
        for line in read_small(f"{directory}/{EL_ATTEMPTS_FILE}").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("attempt"), int):
                    records.append(record)
    return records


def lost_commits(directory: Path | str) -> str | None:
    """Why a run without a commit must not begin anew in its place, and the way out: it had commits, and results."""
    if not any(line.get("commit") or line.get("status") == "done" for line in read_attempts(directory)):
        return None
    config = f"{directory}/{EL_CONFIG_FILE}"
    ways = f"emloop train {config}, or with its model: emloop resume {config} {directory}"
    return f"those that it had are gone, and its results would be written over; begin another run: {ways}"


def read_metrics(directory: Path, name: str = EL_METRICS_FILE) -> Iterator[dict[str, Any]]:
    """The whole lines of ``metrics.jsonl``, or of ``steps.jsonl``; none if the file is missing or cannot be read."""
    with contextlib.suppress(OSError), os.fdopen(open_inside(directory, name), "rb") as file:
        for line in file:
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    yield record


def to_line(record: Mapping[str, Any]) -> str:
    """A record as one line of strict JSON, with its line end.

    What JSON has no number for is written as text that ``float`` reads: ``"nan"``, ``"inf"``, ``"-inf"``.

    Args:
        record: Nested mappings and lists of ``None``, ``bool``, ``int``, ``float``, ``str`` and NumPy's scalars.

    Raises:
        TypeError: If the record holds anything else.
    """
    return json.dumps(_plain(record), ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case None | bool() | int() | str():
            return value
    scalar = getattr(value, "item", None)
    if scalar is None:
        raise TypeError(f"a line of JSON cannot hold {value!r}")
    return _plain(scalar())


def write_yaml(path: Path, text: str, copy: str, data: Any) -> None:
    """Write a YAML file, then its JSON copy.

    Args:
        path: The file.
        text: Its content.
        copy: Name of the copy, in the same directory.
        data: What the text says; a copy that JSON cannot hold exactly is left out.

    Raises:
        OSError: If a file cannot be written.
    """
    atomic_write(path, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    try:
        written = json.dumps({"of": path.name, "sha256": digest, "data": data}, indent=2, allow_nan=False)
        is_exact = json.loads(written)["data"] == data
    except (TypeError, ValueError):
        is_exact = False
    if is_exact:
        atomic_write(path.with_name(copy), written + "\n")
    else:
        path.with_name(copy).unlink(missing_ok=True)


def read_yaml(directory: Path | str, name: str, copy: str) -> Any:
    """What a YAML file of a run says, read from its JSON copy where that is up to date.

    Raises:
        OSError: If the YAML file cannot be read.
        ConfigError: If it is not YAML that we accept.
    """
    return parse_yaml(*read_both(directory, name, copy), f"{directory}/{name}")


def read_both(directory: Path | str, name: str, copy: str) -> tuple[bytes, bytes]:
    """The contents of a YAML file and of its JSON copy, empty where that cannot be read.

    Raises:
        OSError: If the YAML file cannot be read.
    """
    text = read_small(f"{directory}/{name}")
    try:
        return text, read_small(f"{directory}/{copy}")
    except OSError:
        return text, b""


def parse_yaml(text: bytes, copy: bytes, path: str) -> Any:
    """What the content of a YAML file says, taken from that of its copy where that is up to date.

    Raises:
        ConfigError: If it is not YAML that we accept; names the path.
    """
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        found = json.loads(copy.decode())
        if found["sha256"] == hashlib.sha256(text).hexdigest():
            return found["data"]
    return _yaml.load(text, path)
