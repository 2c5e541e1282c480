"""Where the code of a configuration is: its directory, then the working directory of the start.

A run records both as its *home*, so that it can be resumed and evaluated from anywhere. ``EMLOOP_HOME`` (on the command
line: ``--home``) stands for the working directory of a project that has moved since.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from emloop._source.finder import ModuleFinder
from emloop._support.files import has_above, read_small
from emloop._support.trust import is_untrusted
from emloop.constants import EL_ATTEMPTS_FILE, EL_HOME_VARIABLE, EL_RUN_FILE
from emloop.errors import UsageError

from ._composing.foreign import is_foreign, is_in_run, is_shipped

__all__ = ["Home", "came_with_run", "home_of", "import_path", "shadows", "use_home"]

_foreign: set[str] = set()
"""Directories of configurations that came with a run or a saved model: whatever else lies there is data as well."""


class Home(NamedTuple):
    """Where code is.

    Args:
        directory: The working directory, absolute.
        config: The directory of the configuration, relative to it; ``None`` if there is no code beside the file.
    """

    directory: str
    config: str | None = None

    @property
    def places(self) -> list[str]:
        """Where modules are looked for, in this order."""
        inner = () if self.config is None else (os.path.normpath(os.path.join(self.directory, self.config)),)
        return [*inner, self.directory]


def home_of(config_file: str | None) -> Home:
    """The home of a configuration: of a run, where its code was, also as a later attempt was told.

    What lies beside a saved model is no code, since models are shipped so.

    Raises:
        UsageError: If the directory that was named for a project that has moved is not there.
    """
    given = os.environ.get(EL_HOME_VARIABLE)
    if given and not os.path.isdir(given):
        message = f"--home or {EL_HOME_VARIABLE}: there is no directory {given!r}; name that of the project"
        raise UsageError(message)
    directory = os.path.abspath(given or "")
    if config_file is None or (is_untrusted() and is_foreign(config_file)):
        return Home(directory)  # where a stranger's code was is his business
    folder = os.path.dirname(os.path.abspath(config_file))
    if is_in_run(config_file):
        known = _recorded(folder) or Home(directory)
        return known._replace(directory=directory) if given else known
    if _holds_model(folder):
        return Home(directory)
    return Home(directory, os.path.relpath(folder, directory))


def import_path(config_file: str | None) -> list[str]:
    """``sys.path`` with the home of a configuration: after all others, before the present working directory.

    A directory that is in a run is left out: what came with a run is data.
    """
    path = list(sys.path)
    at = len(path) - (path[-1:] == [os.getcwd()])
    for place in home_of(config_file).places:
        if place not in path and os.path.isdir(place) and not has_above(place, EL_RUN_FILE):
            path.insert(at, place)
            at += 1
    return path


def use_home(config_file: str | None) -> Home:
    """Let modules be imported from the home of a configuration, and none from a run around it."""
    if config_file is not None and (is_in_run(config_file) or is_shipped(config_file)):
        _foreign.add(os.path.join(os.path.realpath(os.path.dirname(config_file)), ""))
    sys.path[:] = import_path(config_file)
    return home_of(config_file)


def came_with_run(module: str) -> str | None:
    """Where a module would be imported from, if it, or a package around it, lies in a run directory."""
    finder, parts = ModuleFinder(), module.split(".")
    for end in range(1, len(parts) + 1):
        found = finder.find(".".join(parts[:end]))
        if found is None:
            break
        for place in (found.file,) if found.file else found.folders or ():
            folder = place if found.file is None else os.path.dirname(place)
            if has_above(folder, EL_RUN_FILE) or os.path.join(os.path.realpath(folder), "").startswith((*_foreign,)):
                return place
    return None


def shadows(modules: Iterable[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Of the packages that some modules belong to, those that hide others of the same name further on in ``sys.path``.

    Yields:
        The name, the file that it was read from, and those that are hidden.
    """
    for first in sorted({module.partition(".")[0] for module in modules} - {"emloop", "builtins"}):
        file = getattr(sys.modules.get(first), "__file__", None)
        places = dict.fromkeys(os.path.abspath(place) for place in sys.path)
        names = (os.path.join(place, name) for place in places for name in (f"{first}.py", f"{first}/__init__.py"))
        hidden = [name for name in names if os.path.isfile(name) and file and not os.path.samefile(name, file)]
        if file and hidden:
            yield first, file, hidden


def _recorded(run: str) -> Home | None:
    """What a run says, the newest attempt first."""
    with suppress(OSError, ValueError, RecursionError):
        lines = [line for line in read_small(Path(run, EL_ATTEMPTS_FILE)).splitlines() if b'"home"' in line]
        for line in reversed(lines):
            if (found := _parsed(json.loads(line))) is not None:
                return found
    with suppress(OSError, ValueError, RecursionError):
        return _parsed(json.loads(read_small(Path(run, EL_RUN_FILE))))
    return None


def _parsed(record: Any) -> Home | None:
    home = record.get("home") if isinstance(record, dict) else None
    if not isinstance(home, Mapping) or not os.path.isabs(str(home.get("directory"))):
        return None
    config = home.get("config")
    return Home(str(home["directory"]), config if isinstance(config, str) else None)


def _holds_model(folder: str) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return any(os.path.isfile(os.path.join(entry.path, "manifest.json")) for entry in entries if entry.is_dir())
    return False
