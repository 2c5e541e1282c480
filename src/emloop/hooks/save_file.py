"""Keep copies of files with the run that uses them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from emloop import constants
from emloop._contracts import AbstractHook
from emloop._state.kinds import check_state
from emloop._support.files import atomic_write
from emloop._support.trust import is_vouched
from emloop.declare import File
from emloop.errors import ConfigError, Problem, UntrustedError
from emloop.types import StateTree

from ._checks.arguments import name_list

__all__ = ["SaveFile"]

_TAKEN = {
    value for name, value in vars(constants).items() if name.startswith("EL_") and name.endswith(("_FILE", "_DIR"))
}
"""What the run itself writes."""


class SaveFile(AbstractHook):
    """Copy files into the run directory before the training begins.

    .. code-block:: yaml

        hooks:
          - SaveFile:
              files: [model.py, vocabulary.txt]

    A resumed run keeps the copies with which it began, even where the files have changed or gone since.

    Args:
        files: Paths of the files; no two of the same base name.
        output_dir: The run directory.
    """

    reads = ()
    writes = (File("{files}"),)

    def __init__(self, files: Iterable[str | os.PathLike[str]], output_dir: str) -> None:
        super().__init__()
        self._folder = Path(output_dir)
        self._sources: dict[str, Path] = {}
        self._saved: set[str] = set()
        for source in map(Path, _paths(files)):
            name = source.name.casefold()  # macOS takes A and a for one file
            if name in _TAKEN:
                raise ConfigError.about(
                    "files", f"{source} would replace the run's own {name}; copy a file of another name"
                )
            if name in self._sources:
                raise ConfigError.about(
                    "files",
                    f"{self._sources[name]} and {source} would have one copy, {source.name}; rename one of them",
                )
            self._sources[name] = source

    def before_training(self) -> None:
        """Copy the files, once in a run.

        Raises:
            ConfigError: If any is missing or no file; then nothing is copied.
            OSError: If one cannot be read or written.
            UntrustedError: If a stranger's run asks for it.
        """
        for name in map(str, self._sources.values()):
            if not is_vouched(name):
                raise UntrustedError(f"SaveFile: {name!r} is a file of yours, which an untrusted run must not copy")
        unsaved = {name: source for name, source in self._sources.items() if name not in self._saved}
        problems = []
        for source in unsaved.values():
            if not source.is_file():
                what = "is no file" if source.exists() else "does not exist"
                problems.append(Problem(f"{source.absolute()} {what}", path="SaveFile.files"))
        if problems:
            raise ConfigError(problems)
        for name, source in unsaved.items():
            atomic_write(self._folder / source.name, source.read_bytes())
            self._saved.add(name)

    def state_dict(self) -> StateTree:
        """Names of the copies the run has."""
        return {"saved": sorted(self._saved)}

    def load_state_dict(self, state: StateTree) -> None:
        """Leave the copies of an earlier attempt alone.

        Raises:
            StateError: If the state is not one of this class.
        """
        self._saved = set(check_state(self, state, {"saved": [str, ...]})["saved"])


def _paths(files: Any) -> list[str]:
    if isinstance(files, (list, tuple)):
        files = [os.fspath(file) if isinstance(file, os.PathLike) else file for file in files]
    return name_list("files", files)
