"""Whether the processes of a training are made of the same: configuration, code, versions, data."""

from __future__ import annotations

import hashlib
import inspect
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emloop.errors import ConfigError

__all__ = ["description", "require_agreement"]

_SHOWN = 5


def description(
    config: Mapping[str, Any], version: str, parts: Iterable[object], lengths: Mapping[str, int | None]
) -> Mapping[str, Any]:
    """What a process is made of.

    Args:
        config: Its configuration, as it has read it.
        version: That of emloop.
        parts: Dataset and model.
        lengths: Stream → its number of batches, where known.
    """
    code = {}
    for part in parts:
        with suppress(OSError, TypeError):
            file = Path(str(inspect.getsourcefile(type(part))))
            code[f"the code of {type(part).__module__}"] = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return {
        **dict(_leaves(config)),
        "the version of emloop": version,
        "the version of Python": platform.python_version(),
        **code,
        **{f"the number of batches of stream {name!r}": length for name, length in lengths.items()},
    }


def require_agreement(found: Sequence[Mapping[str, Any]]) -> None:
    """Compare what all processes have told.

    Raises:
        ConfigError: If one is made of something else than rank 0; names it and the differences.
    """
    first = found[0]
    different = [
        f"on rank {rank}, {name} is {_shown(other, name)}, and {_shown(first, name)} on rank 0"
        for rank, other in enumerate(found)
        for name in (*first, *(each for each in other if each not in first))
        if other.get(name) != first.get(name) or (name in other) != (name in first)
    ]
    if different:
        more = f"; {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        told = "; ".join(different[:_SHOWN]) + more
        hint = "start all with one command line, config and code"
        raise ConfigError(f"the processes are not made of the same: {told}; {hint}")


def _shown(description: Mapping[str, Any], name: str) -> str:
    return repr(description[name]) if name in description else "missing"


def _leaves(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, Mapping) else None
    if items is None or not value:
        yield path, value
        return
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))
