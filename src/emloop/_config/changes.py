"""What is different between two configurations, object by object, and what an owner of a key thinks of its change.

Keys are spelt as overrides are: ``model.rate``, ``hooks.StopAfter.epochs``. Hooks go by the names that their state has:
their own, or that of their class, numbered where there are several: ``StopAfter-2``. Mappings are compared key by key,
lists as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from emloop.errors import Place

from ._composing.source import Config

__all__ = ["ABSENT", "Change", "Part", "changes", "parts", "same"]

Path: TypeAlias = tuple[Any, ...]


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT: Any = _Absent()
"""What stands in place of a value that is not there."""


class Part(NamedTuple):
    """An object that a configuration describes, or another section of it.

    Args:
        name: ``dataset``, ``model``, ``main_loop``, ``hooks.StopAfter``, or the section's name.
        section: The section that it stands in.
        cls: Its class as written; empty where there is none.
        arguments: What stands in it, ``class`` and ``name`` included.
        path: Where the arguments stand.
    """

    name: str
    section: str
    cls: str
    arguments: Mapping[Any, Any]
    path: Path


class Change(NamedTuple):
    """One key that is different.

    Args:
        key: The key, as in an override; a hook that is new or gone as a whole goes by its name.
        old: The value; ``ABSENT`` if the key is new.
        new: The new value; ``ABSENT`` if the key is gone.
        part: The object whose key it is, as it is now; as it was, if it is gone.
        argument: The first key below the object, ``None`` if the object itself is new or gone, ``order`` for that of
            the hooks.
        place: Where the new value stands, or what is around the missing one.
        old_is_default: Whether the old value is not written, but the default of the class.
        new_is_default: The same of the new one.
    """

    key: str
    old: Any
    new: Any
    part: Part
    argument: Any = None
    place: Place | None = None
    old_is_default: bool = False
    new_is_default: bool = False

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        """Which of the two values is there."""
        if self.old is ABSENT:
            return "added"
        return "removed" if self.new is ABSENT else "changed"


Defaults: TypeAlias = Callable[[Part], Mapping[str, Any]]
"""The defaults of the arguments that a class takes, as far as they are known."""


def changes(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    *,
    old_defaults: Defaults = lambda part: {},  # noqa: ARG005 - nothing is known of any
    new_defaults: Defaults = lambda part: {},  # noqa: ARG005
) -> list[Change]:
    """All that is different, in the order of the old configuration; what is new comes last in its section.

    Args:
        old: A configuration.
        new: Another one.
        old_defaults: The defaults of its classes, which then count where a key is not written.
        new_defaults: The same of the other one.
    """
    before, after = ({part.name: part for part in parts(config)} for config in (old, new))
    found = list(_change_of_order(before, after, new))
    for name in dict.fromkeys([*before, *after]):
        if name not in before:
            part = after[name]
            found.append(Change(name, ABSENT, _whole(part), part, place=_place(new, part.path)))
        elif name not in after:
            found.append(Change(name, _whole(before[name]), ABSENT, before[name]))
        else:
            sides = (_Side(before[name], old_defaults), _Side(after[name], new_defaults))
            found += _changes_of_part(*sides, new)
    return found


def parts(config: Mapping[str, Any]) -> Iterator[Part]:
    """The objects that a configuration describes, and its other sections, in its order."""
    for section, content in config.items():
        if section == "hooks" and isinstance(content, list):
            yield from _hooks(content)
        elif isinstance(content, Mapping) or content is None:
            arguments = content or {}
            cls = arguments.get("class", "")
            yield Part(str(section), str(section), cls if isinstance(cls, str) else "", arguments, (section,))
        else:
            yield Part(str(section), str(section), "", {"": content}, (section,))


def same(old: Any, new: Any) -> bool:
    """Whether two values are the same: of one type, and not a number only where the other is none either."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, float) and isinstance(new, float) and math.isnan(old):
        return math.isnan(new)
    return type(old) is type(new) and bool(old == new)


def _change_of_order(before: Mapping[str, Part], after: Mapping[str, Part], new: Mapping[str, Any]) -> Iterator[Change]:
    """The change of the order in which the hooks stand that both have."""
    old_order, new_order = (
        [name.partition(".")[2] for name, part in these.items() if part.section == "hooks" and name in those]
        for these, those in ((before, after), (after, before))
    )
    if old_order != new_order:
        part = Part("hooks", "hooks", "", {}, ("hooks",))
        yield Change("hooks", old_order, new_order, part, "order", _place(new, ("hooks",)))


class _Side(NamedTuple):
    part: Part
    defaults_of: Defaults

    @property
    def defaults(self) -> Mapping[str, Any]:
        return self.defaults_of(self.part)


def _hooks(content: list[Any]) -> Iterator[Part]:
    taken: set[str] = set()
    for index, item in enumerate(content):
        path: Path = ("hooks", index)
        cls, arguments = item, None
        if isinstance(item, Mapping) and len(item) == 1:
            cls, arguments = next(iter(item.items()))
            path = (*path, cls)
        arguments = arguments if isinstance(arguments, Mapping) else {}
        base = str(arguments.get("name") or str(cls).rpartition(".")[2])
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        yield Part(f"hooks.{name}", "hooks", str(cls), arguments, path)


def _whole(part: Part) -> Any:
    if set(part.arguments) == {""}:
        return part.arguments[""]
    return dict(part.arguments)


def _changes_of_part(old: _Side, new: _Side, config: Mapping[str, Any]) -> Iterator[Change]:
    part = new.part
    if part.section == "hooks" and old.part.cls != part.cls:
        yield Change(f"{part.name}.class", old.part.cls, part.cls, part, "class", _place(config, part.path))
    old_values, new_values = dict(_leaves(old.part.arguments)), dict(_leaves(part.arguments))
    old_defaults, new_defaults = _unwritten(old), _unwritten(new)
    for where in dict.fromkeys([*old_values, *new_values, *old_defaults]):
        before = old_values.get(where, old_defaults.get(where, ABSENT))
        after = new_values.get(where, new_defaults.get(where, ABSENT))
        if (before is ABSENT and after is ABSENT) or same(before, after):
            continue
        if where not in old_values and where not in new_values and after is ABSENT:
            continue  # a default of an argument that the new class does not take
        inner = where if where != ("",) else ()
        yield Change(
            ".".join(map(str, (part.name, *inner))),
            before,
            after,
            part,
            where[0],
            _place(config, (*part.path, *inner)),
            where not in old_values and before is not ABSENT,
            where not in new_values and after is not ABSENT,
        )


def _leaves(value: Mapping[Any, Any], where: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, (*where, key))
        else:
            yield (*where, key), item


def _unwritten(side: _Side) -> dict[Path, Any]:
    """The defaults of the arguments that are not written."""
    return {(name,): value for name, value in side.defaults.items() if name not in side.part.arguments}


def _place(config: Mapping[str, Any], path: Path) -> Place | None:
    """Where something stands, or the innermost thing around it that stands somewhere."""
    if not isinstance(config, Config):
        return None
    for end in range(len(path), 0, -1):
        place = config.place(path[:end], value=True)
        if place is not None:
            return place
    return None
