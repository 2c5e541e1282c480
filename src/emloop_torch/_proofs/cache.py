"""Programs of earlier runs, in the user's cache directory, for modules of the same architecture.

A program is found by a digest of all that its graphs were recorded from: every function and value that the module can
reach, its parameters, buffers and inputs, and the versions. It is never trusted, but read as any other program, and
verified in full against the live module; whatever is damaged or does not fit is as good as not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import nn

import emloop
from emloop.errors import SavedModelError, UntrustedError
from emloop.saved_models import cache_directory
from emloop_torch._programs.program import FORMAT, Program

from .surroundings import Surroundings

__all__ = ["ProgramCache", "digest"]

_MOST_BYTES = 256 << 20
_FOLDER = "programs"


class ProgramCache:
    """At most 256 MiB of programs; those go first that were not used for longest.

    Args:
        key: What the program is found by; ``None`` finds and keeps nothing.
    """

    def __init__(self, key: str | None) -> None:
        directory = None if key is None else cache_directory()
        self._path = None if directory is None or key is None else Path(directory, _FOLDER, key)

    def get(self) -> Program | None:
        """The program, not verified yet."""
        if self._path is None:
            return None
        with suppress(OSError, SavedModelError, UntrustedError):
            program = Program.read(self._path)
            os.utime(self._path)
            return program
        return None

    def put(self, program: Program) -> None:
        """Keep a program that has been verified."""
        if self._path is None:
            return
        with suppress(OSError):  # a cache that cannot be written is none
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=self._path.parent, prefix=".new-"))
            try:
                program.write(scratch)
                self.drop()
                scratch.rename(self._path)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            _make_room(self._path.parent)

    def drop(self) -> None:
        """Forget the program, which has turned out to be wrong."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)


def digest(module: nn.Module, described: dict[str, Any]) -> str | None:
    """What tells one architecture from another.

    Args:
        module: The module.
        described: What else its program depends on.

    Returns:
        ``None`` if the module reaches too much for all of it to be looked at.
    """
    found = Surroundings(module)
    if not found.is_whole:
        return None
    entries = {
        "versions": [FORMAT, emloop.__version__, _own_source(), sys.version],
        "torch": [torch.__version__, np.__version__],
        "described": described,
        "state": [
            [name, str(tensor.dtype), list(tensor.shape), str(tensor.layout), tensor.device.type]
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        ],
        "values": found.values,
        "code": [[function.__qualname__, _code(function.__code__)] for function in found.functions],
    }
    return hashlib.sha256(json.dumps(entries, sort_keys=True, default=repr).encode()).hexdigest()


@cache
def _own_source() -> str:
    """A digest of the code that makes programs: what one version of it could not make, a change may have mended."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _code(code: CodeType) -> list[Any]:
    constants = [_code(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, constants]


def _make_room(directory: Path) -> None:
    """Remove what was not used for longest, and what interrupted processes have left."""
    sizes = {
        entry: (entry.stat().st_mtime, sum(file.stat().st_size for file in entry.iterdir()))
        for entry in directory.iterdir()
    }
    total = 0
    for entry, (_, size) in sorted(sizes.items(), key=lambda item: -item[1][0]):
        total += size
        if total > _MOST_BYTES:
            shutil.rmtree(entry, ignore_errors=True)
