"""Imports the modules of a source capsule, from memory, once its user has said that they may run.

Only names in the capsule are found, and only where nothing else has them: a module that is there with another text
would run among the others without having been saved with them, so then the capsule is refused.
"""

from __future__ import annotations

import linecache
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType

from emloop._support.trust import is_untrusted
from emloop.errors import UntrustedError

from .capsule import Capsule, path_of
from .collecting import spec_of
from .finding import find_saved
from .versions import other_versions

__all__ = ["trust_source_of", "use_capsule"]

logger = logging.getLogger(__name__)


def trust_source_of(restore_from: str | Path) -> None:
    """Let the modules in the capsule of a saved model, a checkpoint or a run be imported, where they are not there.

    Raises:
        SavedModelError: If there is nothing to restore, or it is damaged.
        UntrustedError: If the capsule has been changed, another module here has one of its names, or the run is
            untrusted.
    """
    if is_untrusted():
        raise UntrustedError(
            f"{restore_from}: source of an untrusted run is not to be trusted; leave out one of the two"
        )
    found = find_saved(restore_from).capsule()
    if found is None:
        logger.warning("There is no source capsule in %s to be trusted", restore_from)
    else:
        use_capsule(*found)


def use_capsule(capsule: Capsule, origin: Path) -> None:
    """Let the modules of a capsule be imported where they are not there; say which, with their hashes, first.

    Args:
        capsule: The capsule.
        origin: Its file, which tracebacks name.

    Raises:
        UntrustedError: If another module here has one of their names. Nothing can be imported then.
    """
    here = {name: found for name in capsule.modules if (found := _here(name)) is not None}
    missing = capsule.modules.keys() - here.keys()
    if not missing:
        logger.info("The source is here, so the capsule of %s is not used", origin.parent)
        return
    for name, found in sorted(here.items()):
        if found != capsule.modules[name]:
            spec = spec_of(name)
            raise UntrustedError(
                f"{origin}: its module {name!r} is another than the one here, {spec.origin if spec else 'in memory'}, "
                "and the two cannot be mixed; run it where there is no other module of that name"
            )
    logger.warning("The source in %s is trusted, and will be imported:\n  %s", origin, "\n  ".join(capsule))
    for other in other_versions({"python": capsule.python, **capsule.packages}):
        logger.warning("It was saved with %s", other)
    sys.meta_path.insert(0, _Finder({name: capsule.modules[name] for name in missing}, capsule.left_out, origin))


def _here(name: str) -> tuple[str, str | None] | None:
    """Path and text of a module that is there without the capsule; ``None`` if there is none."""
    spec = spec_of(name)
    if name not in sys.modules and (spec is None or not spec.has_location):
        return None  # a directory that happens to have the name is no module
    text = None
    with suppress(ImportError, OSError, SyntaxError, ValueError, AttributeError):
        text = spec.loader.get_source(name)  # type: ignore[union-attr]
    is_package = spec is not None and spec.submodule_search_locations is not None
    return path_of(name, is_package=is_package), text


class _Finder(MetaPathFinder, ExecutionLoader):
    """Finds and loads the modules that only a capsule has.

    Args:
        modules: Module → path and text.
        left_out: Module → why it is not among them.
        origin: File of the capsule.
    """

    def __init__(self, modules: Mapping[str, tuple[str, str]], left_out: Mapping[str, str], origin: Path) -> None:
        self._modules = modules
        self._left_out = left_out
        self._origin = origin.absolute()
        self._folders = {name[:at] for name in modules for at, letter in enumerate(name) if letter == "."}
        for name, (_, text) in modules.items():
            # The entries of files without a time stay, and are not looked for on the disk.
            file = self.get_filename(name)
            linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file

    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None, /) -> ModuleSpec | None:
        """The module, if the capsule has it."""
        if name in self._modules:
            spec = spec_from_loader(name, self, origin=self.get_filename(name), is_package=self.is_package(name))
            if spec is not None:
                spec.has_location = True
            return spec
        if name in self._folders and not self._is_elsewhere(name, path):
            return ModuleSpec(name, None, is_package=True)
        if name in self._left_out and not self._is_elsewhere(name, path):
            raise ImportError(f"{name} is not in the source capsule: {self._left_out[name]}", name=name)
        return None

    def get_filename(self, name: str) -> str:
        """A name for the text, below that of the capsule's file, where there is nothing on the disk."""
        return str(self._origin / self._modules[name][0])

    def get_source(self, name: str) -> str:
        """The text."""
        return self._modules[name][1]

    def is_package(self, name: str) -> bool:
        """Whether it is the text of a package."""
        return self._modules[name][0].endswith("/__init__.py")

    def _is_elsewhere(self, name: str, path: Sequence[str] | None) -> bool:
        others = (finder for finder in sys.meta_path if not isinstance(finder, _Finder))
        return any(finder.find_spec(name, path) is not None for finder in others)
