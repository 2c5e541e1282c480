"""The form in which the names, classes and functions of a Python file are kept: plain data that JSON can hold.

An :data:`Expression` is one of

==============================  ======================================================
``"package.name"``              a name, maybe dotted
``["value", 3]``                a constant
``["of", base, *arguments]``    ``base[arguments]``
``["or", left, right]``         ``left | right``
``["list", *items]``            a list; ``tuple`` and ``set`` alike
``["call", function, {...}]``   a call, with its arguments: by position ``"0"``, ``"1"``, then by keyword
``["?"]``                       anything else
==============================  ======================================================
"""

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

__all__ = ["Argument", "ClassSummary", "Expression", "Function", "Import", "ModuleSummary", "Pass"]

Expression: TypeAlias = Any

Argument: TypeAlias = tuple[str, Literal["positional", "named"], Expression | None, Expression | None]
"""Name, how it can be given, default (``None``: there is none) and annotation (``None``: there is none)."""

Import: TypeAlias = tuple[int, str, str | None]
"""Leading dots, module, and the name that is taken from it (``None``: the module itself)."""

Pass: TypeAlias = tuple[str, Expression, str, int, list[str]]
"""What a function does with its ``**kwargs``: ``super``, ``self`` or ``class`` is called with them, or an object of a
class is made of them (``new``); on, or of, which class (for ``class`` and ``new``); which method; with how many
positional arguments before; and with which others by name. ``takes``: one argument is taken out of them, whose name
stands for the method's, and 1 for the number if it has to be there. ``open``: who knows, and 1 for the number if
something may be added to them."""


class Function(TypedDict):
    """A method.

    ``arguments`` leave out ``self``; ``rest`` tells whether there is a ``**kwargs``, ``passes`` where they go.
    """

    arguments: list[Argument]
    rest: NotRequired[bool]
    passes: NotRequired[list[Pass]]
    decorators: NotRequired[list[Expression]]


class ClassSummary(TypedDict):
    """A class.

    ``values`` are what is assigned in its body, ``fields`` the names with annotations, in order, with their defaults;
    ``own`` the attributes of objects that its methods assign, as far as they may be streams. ``unsure`` are names that
    are bound in more than one way. ``dynamic``: it may have attributes that cannot be seen here.
    """

    bases: list[Expression]
    methods: dict[str, Function]
    values: NotRequired[dict[str, Expression]]
    fields: NotRequired[list[tuple[str, Expression, Expression | None]]]
    classes: NotRequired[dict[str, "ClassSummary"]]
    own: NotRequired[list[str]]
    unsure: NotRequired[list[str]]
    decorators: NotRequired[list[Expression]]
    metaclass: NotRequired[Expression]
    dynamic: NotRequired[bool]


class ModuleSummary(TypedDict):
    """A file.

    ``typing`` are names that are only imported for type checkers; ``needs`` the packages without which the file cannot
    be imported.
    """

    classes: dict[str, ClassSummary]
    functions: list[str]
    imports: dict[str, Import]
    stars: list[Import]
    values: dict[str, Expression]
    typing: dict[str, Import]
    unsure: list[str]
    needs: list[str]
    dynamic: bool
