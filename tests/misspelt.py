"""Arguments in which every key is misspelt, made from what a class declares."""

from __future__ import annotations

import importlib

from emloop._registry import LiveResolver
from emloop._settings.hints import Accepted
from emloop._settings.kinds import MODEL
from emloop._settings.live import accepted_by
from emloop.errors import ConfigError


def misspelt(name):
    """A word that is no key, and near to one."""
    return name[:2] + "q" + name[2:]


def unrefused(model, create, named=()):
    """How many keys were tried, and those whose misspelling the constructor did not refuse by name.

    Args:
        model: The class.
        create: Makes a model from a part of its section.
        named: Classes to try where a component goes by full names only; else all of its home are.
    """
    count, missed = 0, []
    for arguments, where, names in _misspellings_of(model, named):
        try:
            create(**arguments)
            found = {}
        except ConfigError as error:
            found = {problem.keys: str(problem) for problem in error.problems}
        for name in names:
            message = found.get((*where, misspelt(name)), "")
            if f"unknown argument {misspelt(name)!r}" not in message or " takes: " not in message:
                missed.append((*where, name))
        count += len(names)
    return count, missed


def _misspellings_of(model, named):
    """Arguments in which all keys of one mapping are misspelt, the keys that lead to it, and the ones meant."""
    hints = accepted_by(model).without(MODEL.injected).hints
    yield dict.fromkeys(map(misspelt, hints), 1), (), list(hints)
    for key, hint in hints.items():
        for keys, inner in _inside(hint, (key,)):
            if inner.kind == "fields":
                names = [field.name for field in inner.fields]
                yield _nested(keys, dict.fromkeys(map(misspelt, names), 1)), keys, names
            else:
                yield from _of_component(inner.component, keys, named)


def _of_component(kind, keys, named):
    beside = [*kind.variants, *(field.name for field in kind.fields)]
    if not kind.needs_class:
        yield _nested(keys, dict.fromkeys(map(misspelt, beside), 1)), keys, beside
    names = dir(importlib.import_module(kind.package)) if kind.package else named
    for name in names:
        found = LiveResolver().accepted(name, kind)
        if name in kind.refused or not isinstance(found, Accepted) or found.open:
            continue
        called = {own: name for name, own in kind.names.items()}
        meant = [called.get(key, key) for key in found.hints if key not in {*kind.injected, *kind.refused}]
        if not (meant or beside):
            continue
        content = {"class": name, **dict.fromkeys(map(misspelt, [*meant, *beside]), 1)}
        yield _nested(keys, content), keys, [*meant, *beside]
        for key, fields in kind.variants.items():
            own = [*meant, *(field.name for field in fields)]
            yield _nested(keys, {"class": name, key: [dict.fromkeys(map(misspelt, own), 1)]}), (*keys, key, 0), own


def _inside(hint, keys):
    """The data classes and families that a hint holds, with the keys that lead to a value of theirs."""
    if hint.kind in ("fields", "component"):
        yield keys, hint
    for part in hint.parts:
        yield from _inside(part, (*keys, 0) if hint.kind == "list" else keys)


def _nested(keys, value):
    for key in reversed(keys):
        value = [value] if key == 0 else {key: value}
    return value
