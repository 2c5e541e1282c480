"""What a stranger's configuration may ask for: classes of installed backends, and no path that leads elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from emloop._settings.hints import Kind
from emloop._settings.kinds import HOOK
from emloop._settings.plugins import registered
from emloop._support.trust import is_untrusted, is_vouched, vouch
from emloop.errors import ConfigError, UntrustedError, dotted

from ._composing.foreign import is_foreign
from ._composing.source import Config
from .entries import dataset_entry, hook_entries

__all__ = ["foreign_class", "review"]

_BESIDE_US = Path(__file__).parents[2]


def foreign_class(name: str, kind: Kind | None = None) -> str | None:
    """What to say about a class of neither emloop nor an installed backend; ``None`` if it may be imported.

    Args:
        name: ``package.module.Class``; a short name is one of ours.
        kind: What it is wanted for; a family of a framework may come from there.
    """
    if is_vouched(name) or "." not in name:
        return None
    backends = registered("emloop.backends")
    roots = {"emloop", *(point.module.partition(".")[0] for point in backends)}
    if kind is not None and not kind.is_ours:
        roots.update(point.name for point in backends)  # which is that of the framework's module
        roots.update({kind.base.partition(".")[0]} - {""})  # as of Keras: all that is found extends it
    first, *rest = name.split(".")
    if first.startswith("emloop_") and (_BESIDE_US / first).is_dir():
        roots.add(first)  # it came with emloop, and runs what was exported
    if first in roots and not any(part.startswith("__") for part in rest):
        return None
    return f"{name} is no class of emloop or an installed backend, and is not imported for an untrusted run"


def review(config: Config, *, classes: bool = True) -> None:
    """Refuse what a stranger's configuration must not ask for; without ``--untrusted``, nothing.

    Args:
        config: The configuration.
        classes: Whether its dataset and hooks are needed. Of a model, the saved program may do.

    Raises:
        UntrustedError: With everything that is refused, and how the user says that he wants it.
    """
    if not is_untrusted():
        return
    texts = list(_texts(config, ()))
    foreign = [(keys, text) for keys, text in texts if _is_foreign(config, keys)]
    vouch({text for _, text in texts}.difference(text for _, text in foreign))
    found = [
        f"{_place(config, keys)}{dotted(keys)}: {text!r} leads out of an untrusted run; "
        f"if it is meant: {dotted(keys)}=PATH"
        for keys, text in foreign
        if _leads_away(text)
    ]
    with suppress(ConfigError):  # the check says what is wrong
        for entry in [dataset_entry(config), *hook_entries(config)] if classes else []:
            if why := foreign_class(entry.name, entry.kind):
                is_hook = entry.kind is HOOK
                hook = entry.name.rpartition(".")[2]
                way = f"~hooks.{hook} goes on without it" if is_hook else f"if it is meant: dataset.class={entry.name}"
                keys = entry.keys if is_hook else (*entry.keys, "class")
                found.append(f"{_place(config, keys)}{entry.label}: {why}; {way}")
    if found:
        raise UntrustedError("\n".join(found))


def _texts(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every text in a configuration, that of a hook without arguments too, and the keys that lead to it."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*keys, key))
            if isinstance(key, str) and "." in key:
                yield (*keys, key), key
    elif isinstance(value, list | tuple | set):
        for index, item in enumerate(value):
            yield from _texts(item, (*keys, index))


def _is_foreign(config: Config, keys: Sequence[Any]) -> bool:
    place = config.place(keys, value=True)
    return place is None or (place.line > 0 and is_foreign(place.origin))


def _place(config: Config, keys: Sequence[Any]) -> str:
    place = config.place(keys, value=True)
    return "" if place is None else f"{place}: "


def _leads_away(text: str) -> bool:
    return text.startswith(("/", "~")) or "://" in text or "\0" in text or ".." in PurePath(text).parts
