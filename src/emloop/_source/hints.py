"""What a type hint says about a value.

A :class:`Hint` is made from a live type or from the text of an annotation, both by the tables below. Only hints that
say something about plain values are told apart; every other hint is ``ANYTHING``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["ANYTHING", "CONTAINERS", "NOTHING", "PLAIN", "Accepted", "Field", "Hint"]


class Field(NamedTuple):
    """One field of a data class.

    Args:
        name: Its name.
        hint: What it accepts.
        required: Whether it has no default.
    """

    name: str
    hint: Hint
    required: bool


class Hint(NamedTuple):
    """What a value must be.

    Args:
        kind: ``any``, ``null``, ``bool``, ``int``, ``float``, ``str``, ``path``; ``list``, ``tuple`` or ``mapping`` of
            ``parts``; ``union``: one of ``parts``; ``literal``: one of ``values``; ``enum``: one of ``values``, first
            the names, then what they stand for; ``fields``: a mapping with these ``fields``.
        parts: Hints for the elements: one for a list, one each for a tuple, key and value for a mapping.
        values: The values of a literal or of an enumeration.
        fields: The fields of a data class.
        name: What the source calls it, e.g. ``Options`` or ``Any``.
    """

    kind: str
    parts: tuple[Hint, ...] = ()
    values: tuple[Any, ...] = ()
    fields: tuple[Field, ...] = ()
    name: str = ""


class Accepted(NamedTuple):
    """The arguments that a class takes.

    Args:
        hints: Argument → what it must be, for all that are known by name, in order.
        required: Those without a default.
        open: Whether there may be others, because ``**kwargs`` goes where only the constructor knows.
        takes_any: Whether there is a ``**kwargs`` at all.
    """

    hints: Mapping[str, Hint]
    required: frozenset[str]
    open: bool
    takes_any: bool

    def takes(self, name: str) -> bool:
        """Whether the constructor can be called with an argument of this name."""
        return name in self.hints or self.takes_any


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

CONTAINERS: dict[str, Hint] = {
    **dict.fromkeys(("builtins.list", "builtins.set", "builtins.frozenset", "builtins.tuple"), _LIST),
    **{
        f"{module}.{name}": _LIST
        for module in ("collections.abc", "typing")
        for name in ("Sequence", "MutableSequence", "Iterable", "Collection", "Set")
    },
    **dict.fromkeys(("typing.List", "typing.Tuple", "typing.FrozenSet", "typing.AbstractSet"), _LIST),
    **dict.fromkeys(("builtins.dict", "typing.Dict"), _MAPPING),
    **{
        f"{module}.{name}": _MAPPING
        for module in ("collections.abc", "typing")
        for name in ("Mapping", "MutableMapping")
    },
}
"""Full name of a type of containers → what it says without the types of its elements."""
