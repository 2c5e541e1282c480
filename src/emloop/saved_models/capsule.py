"""The source capsule: the texts of a project's own modules, as hashed data beside a model.

It holds what a model's classes reach by imports and no package brings along; of packages, only the versions. A run
keeps one, which its checkpoints use, and every saved model a copy. Nothing here runs any of it.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from emloop._state.strict_json import dump, parse
from emloop._support.files import atomic_write
from emloop.errors import SavedModelError, UntrustedError

__all__ = ["CAPSULE", "Capsule", "path_of"]

CAPSULE = "capsule"
_FORMAT = 1
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Capsule:
    """The texts of modules.

    Args:
        modules: Module → its path relative to its project, and its text.
        packages: Distribution that they import → its version.
        left_out: Module that they import → why its text is not here.
        python: The version of Python.
    """

    modules: Mapping[str, tuple[str, str]]
    packages: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    python: str = platform.python_version()

    def __iter__(self) -> Iterator[str]:
        """Describe each text, for whoever is asked to trust it: path, hash and length."""
        for _, (path, text) in sorted(self.modules.items()):
            yield f"{path}  sha256 {_sha256(text)}  {len(text.splitlines())} lines"

    def content(self) -> bytes:
        """The file; equal capsules give equal bytes."""
        described = {
            "kind": CAPSULE,
            "format": _FORMAT,
            "python": self.python,
            "packages": dict(sorted(self.packages.items())),
            "left_out": dict(sorted(self.left_out.items())),
            "modules": {
                name: {"path": path, "sha256": _sha256(text), "text": text}
                for name, (path, text) in sorted(self.modules.items())
            },
        }
        return dump({**described, "sha256": hashlib.sha256(dump(described)).hexdigest()}, indent=1)

    def write(self, directory: Path) -> None:
        """Keep it in a run directory, unless it is there already."""
        path, content = directory / f"{CAPSULE}.json", self.content()
        if not path.is_file() or path.read_bytes() != content:
            atomic_write(path, content)

    @classmethod
    def parse(cls, content: bytes, name: str) -> Self:
        """Read what :meth:`content` gave.

        Args:
            content: The file.
            name: Its name in messages.

        Raises:
            UntrustedError: If a text is not the one that was hashed, or a module has the name of another library's.
            SavedModelError: If it is no capsule.
        """
        try:
            described = dict(parse(content).items())
            digest = described.pop("sha256")
            found = described["kind"], described["format"]
            texts = {str(key): (str(v["path"]), str(v["text"]), v["sha256"]) for key, v in described["modules"].items()}
            tables = [{str(k): str(v) for k, v in described[part].items()} for part in ("packages", "left_out")]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SavedModelError(f"{name} is no {CAPSULE}: {type(error).__name__}: {error}") from error
        if found != (CAPSULE, _FORMAT):
            raise SavedModelError(
                f"{name}: expected a {CAPSULE} of format {_FORMAT}, got {found[0]} of format {found[1]}"
            )
        for module, (path, text, sha256) in texts.items():
            if not _NAME.fullmatch(module) or path not in (
                path_of(module, is_package=is_package) for is_package in (False, True)
            ):
                raise UntrustedError(f"{name}: {path!r} is no place for a module {module!r}")
            if module.partition(".")[0] in {*sys.stdlib_module_names, *sys.builtin_module_names, "emloop", "__main__"}:
                raise UntrustedError(f"{name}: {module!r} would take the place of a module that is no project's own")
            if _sha256(text) != sha256:
                raise UntrustedError(f"{name}: the text of {module!r} has been changed: it is not what was hashed")
        if digest != hashlib.sha256(dump(described)).hexdigest():
            raise UntrustedError(f"{name} has been changed: it is not what was hashed")
        modules = {module: (path, text) for module, (path, text, _) in texts.items()}
        return cls(modules, packages=tables[0], left_out=tables[1], python=str(described["python"]))


def path_of(module: str, *, is_package: bool) -> str:
    """Path of a module's text, relative to its project."""
    return module.replace(".", "/") + ("/__init__.py" if is_package else ".py")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
