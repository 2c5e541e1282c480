"""Collects the texts of the modules that classes need, as a source capsule.

Imports are followed as they stand in the texts, also those inside functions that have not run yet, and as they have
turned out in the modules. Nothing is imported to find out.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import distributions, packages_distributions, version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from emloop.constants import EL_HOME_VARIABLE
from emloop.errors import EmloopError

from .capsule import Capsule, path_of
from .reading import Saved

__all__ = ["advise_capsule", "capsule_for", "collect_capsule", "packages_of", "spec_of"]

logger = logging.getLogger(__name__)

_MOST_BYTES = 4 << 20
"""Of all texts together: nobody writes more by hand, and whoever trusts a capsule should be able to read it."""

_BESIDE = re.compile(r"\b__file__\b|\bimportlib\.resources\b|\bpkgutil\.get_data\b")
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_INSTALLED = {"site-packages", "dist-packages"}


class _UnreadableError(EmloopError):
    """A module whose text cannot be had, or is not the one that was imported; the message says why."""


def capsule_for(
    wanted: str | bool, classes: Iterable[type], arguments: Mapping[str, Any], without_source: Saved | None
) -> Capsule | None:
    """The capsule of a model, as its configuration asks for it.

    Args:
        wanted: The key ``capsule``: ``on`` or ``off``.
        classes: All that the model is made of.
        arguments: What the configuration gives to the model, where other classes may be named.
        without_source: What it was restored from, if that was without its source: then that capsule is handed on.
    """
    if wanted in ("off", False):
        return None
    if without_source is None:
        return collect_capsule(classes, arguments)
    found = without_source.capsule()
    return None if found is None else found[0]


def advise_capsule(wanted: str | bool) -> str:
    """How to have the source where it is needed, as the end of a sentence; empty if it goes along."""
    return "; saved_model: {capsule: on} takes it along, for those who trust it" if wanted in ("off", False) else ""


def collect_capsule(classes: Iterable[type], arguments: Mapping[str, Any]) -> Capsule | None:
    """Collect the modules that some classes need; ``None``, with a warning that says why, if there are none to have.

    Args:
        classes: All that a model is made of; those of installed packages add nothing but their versions.
        arguments: What the configuration gives to the model, where other classes may be named.
    """
    texts: dict[str, tuple[str, str]] = {}
    left_out: dict[str, str] = {}
    used: set[str] = set()
    waiting = {base.__module__ for cls in classes for base in cls.__mro__} | set(_modules_in(arguments))
    seen: set[str] = set()
    while waiting:
        seen.add(name := waiting.pop())
        if (packages := packages_of(name)) is not None:
            used.update(packages)
            continue
        try:
            read = _read(name)
        except _UnreadableError as error:
            left_out[name] = str(error)
            continue
        parents = {name[: dot.start()] for dot in re.finditer(r"\.", name)}
        if read is not None:
            texts[name] = read
            parents.update(_imports(name, *read))
        waiting |= parents - seen
    size = sum(len(text.encode()) for _, text in texts.values())
    if size > _MOST_BYTES:
        longest = max(texts, key=lambda name: len(texts[name][1]))
        reason = f"the project's modules have {size} bytes, more than {_MOST_BYTES}; the longest is {longest}"
    elif not texts:
        own = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        reason = own or "the model is made of installed packages only"
    else:
        for name, why in sorted(left_out.items()):
            logger.warning("The source capsule lacks %s: %s", name, why)
        beside = sorted(
            name for name, (_, text) in texts.items() if re.search(r"\b__file__\b|importlib\.resources", text)
        )
        if beside:
            logger.warning("%s may read files beside it, which the source capsule does not hold", ", ".join(beside))
        return Capsule(texts, {name: version(name) for name in used}, left_out)
    logger.warning("There is no source capsule: %s", reason)
    return None


def _modules_in(value: Any) -> Iterator[str]:
    """The modules of classes that a configuration names; it may be any string that looks like one."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        yield from (name for dot in re.finditer(r"\.", value) if spec_of(name := value[: dot.start()]) is not None)
    elif isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _modules_in(part)


def spec_of(name: str) -> ModuleSpec | None:
    """How a module was imported, or would be; ``None`` if there is no such module."""
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__spec__", None)
    parent, places = name.rpartition(".")[0], None
    if parent:
        spec = spec_of(parent)
        places = None if spec is None else spec.submodule_search_locations
        if places is None:
            return None
    for finder in sys.meta_path:
        with suppress(ImportError, AttributeError, ValueError):  # a broken finder, or none of today's kind
            if (found := finder.find_spec(name, places)) is not None:
                return found
    return None


def packages_of(name: str) -> Sequence[str] | None:
    """Distributions that bring a module along, none for the standard library; ``None`` if it is the project's own."""
    top = name.partition(".")[0]
    spec = spec_of(name)
    if top in sys.stdlib_module_names or (spec is None and name != "__main__"):
        return ()
    origin = None if spec is None else spec.origin
    files = [Path(place).absolute() for place in (spec and spec.submodule_search_locations) or filter(None, [origin])]
    if any(_INSTALLED & set(file.parts) for file in files):
        return _distributions().get(top, ())
    home = Path(os.environ.get(EL_HOME_VARIABLE) or "").absolute()
    for folder, distribution in _linked():
        elsewhere = distribution == "emloop" or not home.is_relative_to(folder)
        if elsewhere and files and all(file.is_relative_to(folder) for file in files):
            return (distribution,)
    return None


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    return packages_distributions()


@cache
def _linked() -> Sequence[tuple[Path, str]]:
    """Directories of packages that were installed by a link to their sources, and which they are."""
    found = [(Path(__file__).parents[2], "emloop")]
    for distribution in distributions():
        with suppress(ValueError, TypeError, LookupError):
            described = json.loads(distribution.read_text("direct_url.json") or "{}")
            if described["dir_info"]["editable"]:
                found.append((Path(url2pathname(urlsplit(described["url"]).path)), distribution.name))
    return found


def _read(name: str) -> tuple[str, str] | None:
    """Path and text of a module; ``None`` for a package that is nothing but a directory.

    Raises:
        _UnreadableError: If it has no text, or not the one that was imported.
    """
    spec = spec_of(name)
    if name == "__main__" or spec is None:
        raise _UnreadableError("a script cannot be imported; its classes have to be in a module")
    is_package = spec.submodule_search_locations is not None
    if is_package and not spec.has_location:
        return None
    get_source = getattr(spec.loader, "get_source", None)
    try:
        text = None if get_source is None else get_source(name)
        if text is None:
            raise _UnreadableError(f"{spec.origin or 'it'} is no source text")
        codes = set(_codes(compile(text, str(spec.origin), "exec", dont_inherit=True)))
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        raise _UnreadableError(f"its text cannot be read: {error}") from error
    module = sys.modules.get(name)
    if module is not None and not all(function.__code__ in codes for function in _functions(module)):
        raise _UnreadableError(f"{spec.origin} has changed since it was imported; start anew to have what it is now")
    return path_of(name, is_package=is_package), text


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods that the text of a module has made."""
    classes = (value for value in vars(module).values() if isinstance(value, type))
    for owner in (module, *(cls for cls in classes if cls.__module__ == module.__name__)):
        for value in vars(owner).values():
            if isinstance(value, FunctionType) and value.__code__.co_filename == module.__file__:
                yield value


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _imports(name: str, path: str, text: str) -> Iterator[str]:
    """Modules that a module imports anywhere in its text, or has come by otherwise."""
    package = name.split(".") if path.endswith("/__init__.py") else name.split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            targets = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        yield from (target for target in targets if target and spec_of(target) is not None)
    for value in list(vars(sys.modules[name]).values()) if name in sys.modules else ():
        if isinstance(value, ModuleType):
            yield value.__name__
        elif isinstance(value, (type, FunctionType)):
            yield value.__module__
