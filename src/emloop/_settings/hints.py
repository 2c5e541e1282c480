"""What a value of a configuration must be: the common form of live type hints and of annotations read from source.

Only hints that say something about plain values are told apart; every other hint is ``ANYTHING``.
"""

from collections.abc import Collection, Iterable, Mapping
from keyword import iskeyword
from typing import Any, NamedTuple

from emloop.declare import Limits

__all__ = ["ANYTHING", "CONTAINERS", "NOTHING", "PLAIN", "Accepted", "Field", "Hint", "Kind", "as_key", "union"]


class Hint(NamedTuple):
    """What a value must be.

    Args:
        kind: ``any``, ``null``, ``bool``, ``int``, ``float``, ``str``, ``path``; ``list``, ``tuple`` or ``mapping`` of
            ``parts``; ``union``: one of ``parts``; ``literal``: one of ``values``; ``enum``: one of ``values``, first
            the names, then what they stand for; ``fields``: a mapping with these ``fields``; ``component``: a class
            with arguments.
        parts: Hints for the elements: one for a list, one each for a tuple, key and value for a mapping.
        values: The values of a literal or of an enumeration.
        fields: The fields of a data class.
        name: What the source calls it, e.g. ``Options`` or ``Any``.
        limits: What it must be beyond that.
        component: Which classes a component may name.
    """

    kind: str
    parts: tuple["Hint", ...] = ()
    values: tuple[Any, ...] = ()
    fields: tuple["Field", ...] = ()
    name: str = ""
    limits: Limits = Limits()
    component: "Kind | None" = None


class Field(NamedTuple):
    """One key of a section.

    Args:
        name: Its name.
        hint: What it accepts.
        required: Whether it has no default.
        default: The default, as the only item, if it is a plain value.
    """

    name: str
    hint: Hint
    required: bool
    default: tuple[Any] | None = None


class Kind(NamedTuple):
    """A kind of thing that a configuration names by class.

    Args:
        word: What to call it in a message.
        package: Module whose classes go by their short names; for our own kinds also the group of entry points that
            adds to them.
        methods: Methods that every class of this kind has.
        ending: How a method must end that a class needs to be of use.
        injected: Arguments that are not the configuration's to give.
        reserved: Keys of the section that are not the constructor's.
        base: Full name of the class that all extend, if there is one.
        names: What the configuration calls an argument → what the class calls it.
        refused: Classes and arguments that cannot be used → why.
        variants: Keys that hold lists of mappings with arguments of the class → the keys beside these.
        old_names: Whether the names of emloop 0.2 are understood.
        shared: Arguments that all take by ``**kwargs``; ``None`` where there may be any.
        nested: Whether arguments may be components of the same kind.
        fields: Keys beside the arguments of the class, and types of arguments that ``names`` has.
        is_ours: Whether plugins may register names.
        needs_class: Whether a mapping must name a class.
        functions: Whether a function that makes such an object may stand for a class.
        called: Key beside the arguments whose own keys are arguments → the method that takes them.
    """

    word: str
    package: str = ""
    methods: tuple[str, ...] = ()
    ending: str = ""
    injected: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    base: str = ""
    names: Mapping[str, str] = {}
    refused: Mapping[str, str] = {}
    variants: Mapping[str, tuple["Field", ...]] = {}
    old_names: bool = False
    shared: Collection[str] | None = None
    nested: bool = False
    fields: tuple["Field", ...] = ()
    is_ours: bool = False
    needs_class: bool = True
    functions: bool = False
    called: Mapping[str, str] = {}

    @property
    def beside(self) -> tuple[Field, ...]:
        """The keys that are no arguments of the class."""
        return tuple(field for field in self.fields if field.name not in self.names)

    def hints(self, found: "Accepted") -> dict[str, Hint]:
        """What the arguments of a class accept: the family's own word counts, where it says something."""
        own = {self.names[field.name]: field.hint for field in self.fields if field.name in self.names}
        return {name: own.get(name, hint) for name, hint in found.hints.items()}


class Accepted(NamedTuple):
    """The arguments that a class takes.

    Args:
        name: What to call the class.
        hints: Argument → what it must be, for all that are known by name, in order.
        required: Those without a default.
        open: Whether there may be others, because ``**kwargs`` goes where only the constructor knows.
        takes_any: Whether there is a ``**kwargs`` at all.
        called: Key beside the arguments → what takes the arguments below it; without those of which that is unclear.
    """

    name: str
    hints: Mapping[str, Hint]
    required: frozenset[str]
    open: bool = False
    takes_any: bool = False
    called: Mapping[str, "Accepted"] = {}

    def takes(self, name: str) -> bool:
        """Whether the constructor can be called with an argument of this name."""
        return name in self.hints or self.takes_any

    def without(self, names: Collection[str]) -> "Accepted":
        """The same but for some arguments."""
        hints = {name: hint for name, hint in self.hints.items() if name not in names}
        return self._replace(hints=hints, required=self.required - set(names))


def as_key(field: str) -> str:
    """What a configuration calls a field of a data class: ``from`` for ``from_``, since Python has its own ``from``."""
    return field[:-1] if field.endswith("_") and iskeyword(field[:-1]) else field


def union(parts: Iterable[Hint]) -> Hint:
    """What fits one of some hints; unions within are taken apart."""
    flat: list[Hint] = []
    for part in parts:
        flat += part.parts if part.kind == "union" and part.limits == Limits() else (part,)
    return Hint("union", tuple(flat))


ANYTHING = Hint("any")
NOTHING = Hint("null")

_LIST = Hint("list", (ANYTHING,))
_MAPPING = Hint("mapping", (ANYTHING, ANYTHING))

PLAIN: dict[str, Hint] = {
    "builtins.NoneType": NOTHING,
    "builtins.bool": Hint("bool"),
    "builtins.int": Hint("int"),
    "builtins.float": Hint("float"),
    "builtins.str": Hint("str"),
    "numbers.Integral": Hint("int"),
    "numbers.Real": Hint("float"),
    **{f"pathlib.{name}": Hint("path") for name in ("Path", "PurePath", "PosixPath", "PurePosixPath")},
}
"""Full name of a type → what it says."""

_ABSTRACT = ("collections.abc", "typing")

CONTAINERS: dict[str, Hint] = {
    **dict.fromkeys(("builtins.list", "builtins.set", "builtins.frozenset", "builtins.tuple"), _LIST),
    **dict.fromkeys(("typing.List", "typing.Tuple", "typing.FrozenSet", "typing.AbstractSet"), _LIST),
    **{
        f"{module}.{name}": _LIST
        for module in _ABSTRACT
        for name in ("Sequence", "MutableSequence", "Iterable", "Collection", "Set")
    },
    **dict.fromkeys(("builtins.dict", "typing.Dict"), _MAPPING),
    **{f"{module}.{name}": _MAPPING for module in _ABSTRACT for name in ("Mapping", "MutableMapping")},
}
"""Full name of a container type → what it says without the types of its elements."""
