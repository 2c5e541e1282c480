"""The files of a program in ``program/``: graphs and a description.

``program.json`` lists parameters, buffers and which are tied, inputs and outputs of each view, the rung that was
reached and why not a higher one, and the hashes of each graph and of itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emloop.errors import SavedModelError, UntrustedError

from .archive import check
from .sizes import require_condition

__all__ = ["FOLDER", "FORMAT", "Program"]

logger = logging.getLogger(__name__)

FOLDER = "program"
FORMAT = 1

_DESCRIPTION = "program.json"
_GRAPH_SUFFIX = ".pt2"
_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Program:
    """A model as data.

    Args:
        description: Content of ``program.json``.
        graphs: View (``train``, ``eval``, ``predict``) → archive.
    """

    description: Mapping[str, Any]
    graphs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def rung(self) -> str:
        """How much works without the source: ``exported``, ``traced``, ``inference`` or ``weights``."""
        return str(self.description["rung"])

    @property
    def reason(self) -> str | None:
        """Why not more."""
        reason: str | None = self.description["reason"]
        return reason

    @property
    def frozen(self) -> list[str]:
        """Names of parameters that only the configuration excluded from training."""
        return [entry["name"] for entry in self.description.get("parameters", ()) if entry["frozen"]]

    @property
    def summary(self) -> dict[str, Any]:
        """Entries for a saved model's manifest: tied names, and whether the program equals the original to the bit, and
        what made it.
        """
        made_with = {"versions": {"torch": made}} if (made := self.description.get("torch")) else {}
        return {"tied": self.description.get("tied", []), "exact": self.description.get("exact"), **made_with}

    @classmethod
    def none(cls, reason: str) -> Program:
        """An empty program that says why there is none."""
        return cls({"format": FORMAT, "rung": "weights", "reason": reason, "views": {}})

    def fallen(self, rung: str, reason: str) -> Program:
        """What is left of it on a lower rung; it will not rise again in its run unless ``shadow`` is trusted."""
        kept = {"inference": {"eval", "predict"}, "weights": set()}[rung]
        views = {view: entry for view, entry in self.description["views"].items() if view in kept}
        described = {**self.description, "rung": rung, "reason": reason, "fallen": ["shadow", reason], "views": views}
        return Program(described, {view: self.graphs[view] for view in views})

    def write(self, directory: Path) -> None:
        """Write the files, each atomically and the description last, and remove those of another program.

        Files that are already there are not written again; another model of the run may have written its own meanwhile.
        """
        contents = {f"{view}{_GRAPH_SUFFIX}": content for view, content in self.graphs.items()}
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        described = {**self.description, "graphs": hashes}
        description = json.dumps({**described, "sha256": _digest(described)}, indent=1).encode()
        files = {**contents, _DESCRIPTION: description}
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = directory / name
            if not path.is_file() or path.read_bytes() != content:
                _replace(path, content)
        for path in [*directory.glob(f"*{_GRAPH_SUFFIX}"), *directory.glob(f"{_TEMPORARY}*")]:
            if path.name not in contents:
                path.unlink()

    @classmethod
    def read_if_sound(cls, directory: Path) -> Program | None:
        """Read the program in a directory; ``None`` if there is none, or an unusable one."""
        try:
            return cls.read(directory) if directory.is_dir() else None
        except (SavedModelError, UntrustedError) as error:
            logger.warning("The program in the run is made anew: %s", error)
            return None

    @classmethod
    def read(cls, directory: Path) -> Program:
        """Read and verify the program in a directory.

        Raises:
            SavedModelError: If a file is missing, damaged or of another format; names it.
            UntrustedError: If a graph holds anything but data.
        """
        path = directory / _DESCRIPTION
        try:
            description = json.loads(path.read_bytes())
            digest, found, hashes = description.pop("sha256"), description["format"], description.pop("graphs")
            names = {view: f"{view}{_GRAPH_SUFFIX}" for view in description["views"]}
            expected = {view: hashes[name] for view, name in names.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SavedModelError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
        if digest != _digest({**description, "graphs": hashes}):
            raise SavedModelError(f"{path} is damaged: its content is not what was written")
        if found != FORMAT:
            raise SavedModelError(f"{path}: expected a program of format {FORMAT}, got {found}")
        graphs = {}
        for view, digest in expected.items():
            file = directory / names[view]
            try:
                graphs[view] = file.read_bytes()
            except OSError as error:
                raise SavedModelError(f"{file} cannot be read: {error}") from error
            if hashlib.sha256(graphs[view]).hexdigest() != digest:
                raise SavedModelError(f"{file} is damaged: its content is not what {_DESCRIPTION} recorded")
            check(graphs[view], str(file))
            for condition in description["views"][view].get("sizes", ()):
                require_condition(condition, description["views"][view]["inputs"])
        return cls(description, graphs)


def _digest(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """Write a file atomically; durability is up to the saved model that it is copied into."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
