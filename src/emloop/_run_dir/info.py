"""``run.json``: what a run is. Written once, before anything else, so that whatever follows is known to be ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

from emloop import __version__
from emloop._support.files import atomic_write
from emloop.constants import EL_CONFIG_FILE, EL_RUN_FILE
from emloop.errors import RunDirError

from .reading import read_small

__all__ = ["FORMAT", "Kind", "RunInfo", "read_info", "write_info"]

FORMAT = 1
"""Version of the layout of run directories; a reader refuses a larger one."""

Kind = Literal["training", "evaluation"]

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunInfo:
    """What is settled when a run is created.

    Args:
        kind: Whether the run trains or evaluates.
        seed: The run's only seed.
        command: The command line that created it.
        parent: Where its state comes from, for a fork or an evaluation: ``run_id``, ``path`` and ``commit``, as far as
            they are known. The path is a hint for people: runs may be moved.
        config: Name of the file with the configuration as resolved.
        config_source: Name of the file with the configuration as written, if there was a file.
        run_id: Tells this run from all others, wherever it is copied.
        created: When, in UTC.
        format: Version of the directory's layout.
        emloop: Version of emloop.
    """

    kind: Kind
    seed: int
    command: tuple[str, ...] = ()
    parent: Mapping[str, Any] | None = None
    config: str = EL_CONFIG_FILE
    config_source: str | None = None
    run_id: str = field(default_factory=lambda: uuid4().hex)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    format: int = FORMAT
    emloop: str = __version__


def write_info(directory: Path, info: RunInfo) -> None:
    """Write ``run.json``, whole or not at all."""
    description = {
        "run_id": info.run_id,
        "kind": info.kind,
        "format": info.format,
        "emloop": info.emloop,
        "created": info.created.isoformat(),
        "command": list(info.command),
        "seed": info.seed,
        "parent": None if info.parent is None else dict(info.parent),
        "config": info.config,
        "config_source": info.config_source,
    }
    atomic_write(directory / EL_RUN_FILE, json.dumps(description, indent=2) + "\n")


def read_info(directory: Path) -> RunInfo:
    """Read ``run.json``.

    Raises:
        RunDirError: If it is missing, damaged, or written by a newer emloop.
    """
    path = directory / EL_RUN_FILE
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
    version = _typed(description, "format", int)
    if version > FORMAT:
        raise ValueError(f"its format is {version}, this emloop knows {FORMAT}; a newer emloop can read it")
    created = datetime.fromisoformat(_typed(description, "created", str))
    parent = description.get("parent")
    return RunInfo(
        kind=_kind(_typed(description, "kind", str)),
        seed=_typed(description, "seed", int),
        command=tuple(map(str, _typed(description, "command", list))),
        parent=parent if isinstance(parent, dict) else None,
        config=_file_name(_typed(description, "config", str)),
        config_source=None if description.get("config_source") is None else _file_name(description["config_source"]),
        run_id=_typed(description, "run_id", str),
        created=created if created.tzinfo else created.replace(tzinfo=UTC),
        format=version,
        emloop=_typed(description, "emloop", str),
    )


def _typed(description: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    value = description.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{key!r} is {value!r:.100}")
    return value


def _kind(word: str) -> Kind:
    for kind in get_args(Kind):
        if word == kind:
            return kind  # type: ignore[no-any-return]  # get_args loses the literal
    raise ValueError(f"its kind is {word!r:.100}")


def _file_name(name: Any) -> str:
    # A copied directory must not make its reader open a file outside of it.
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r:.100} is no name of a file in it")
    return name
