"""What a live class accepts, by ``inspect`` and its type hints."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NewType, Union, get_args, get_origin, get_type_hints

from emloop.declare import Component, Family, Limits

from .hints import ANYTHING, CONTAINERS, NOTHING, PLAIN, Accepted, Field, Hint, Kind, as_key, union

__all__ = ["accepted_by", "fields_of", "hint_of", "kind_of"]

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def accepted_by(cls: Callable[..., Any], *, constructor: bool = True) -> Accepted:
    """The arguments of a function, or of a class, including those of base classes that ``**kwargs`` is passed on to,
    and of the methods named in the class's ``forwards_config_to``.

    Args:
        cls: The class.
        constructor: Whether the configuration reaches the constructor at all; a dataset's only gets text.
    """
    functions = [] if not constructor else _constructors(cls) if isinstance(cls, type) else [cls]
    first = functions[:1]
    hints: dict[str, Hint] = {}
    required: set[str] = set()
    is_open = False
    for function in functions:
        _collect(function, hints, required if function in first else set(), is_method=isinstance(cls, type))
        if not _is_variable(function):
            break
        is_open = is_open or not _ours(function)
    # What stands around a constructor may take more than it hands on.
    is_open = is_open or any(hasattr(one, "__wrapped__") and _is_variable(one, itself=True) for one in first)
    for field in fields_of(getattr(cls, "settings_class", None)):
        hints.setdefault(field.name, field.hint)
        required.update([field.name] if field.required else ())
    for name in getattr(cls, "forwards_config_to", ()):
        methods = [vars(base)[name] for base in getattr(cls, "__mro__", ()) if name in vars(base)]
        for method in methods:
            _collect(method, hints, required if method is methods[0] else set())
            is_open = is_open or (_is_variable(method) and not _ours(method))
            if not (_is_variable(method) and _ours(method)):
                break
    return Accepted(cls.__name__, hints, frozenset(required), is_open, any(map(_is_variable, first)))


def hint_of(found: Any) -> Hint:
    """What a live type hint says."""
    if get_origin(found) is not None:
        return _hint_of_generic(get_origin(found), get_args(found))
    if found is None:
        return NOTHING
    if isinstance(found, NewType):
        return hint_of(found.__supertype__)
    return _hint_of_class(found) if isinstance(found, type) else ANYTHING._replace(name=getattr(found, "__name__", ""))


def _hint_of_generic(origin: Any, arguments: tuple[Any, ...]) -> Hint:
    if origin in (Union, types.UnionType):
        return union(map(hint_of, arguments))
    if origin is Annotated:
        hint = hint_of(arguments[0])
        # The outermost comes last, where one Annotated is put around another.
        own = [item for item in arguments[1:] if isinstance(item, Limits)]
        return hint._replace(limits=own[-1] if own else hint.limits)
    if origin is Component:
        return Hint("component", name=arguments[0].__name__, component=kind_of(arguments[0]))
    if origin is Literal:
        plain = all(isinstance(value, (str, int, bool, type(None))) for value in arguments)
        return Hint("literal", values=arguments) if plain else ANYTHING
    return _hint_of_container(origin, arguments)


def _hint_of_container(origin: Any, arguments: tuple[Any, ...]) -> Hint:
    known = CONTAINERS.get(_name(origin), ANYTHING)
    if origin is tuple and arguments[-1:] != (...,):
        return Hint("tuple", tuple(map(hint_of, arguments)))
    if len(known.parts) == len(arguments) - (origin is tuple):
        return known._replace(parts=tuple(hint_of(argument) for argument in arguments[: len(known.parts)]))
    return known


def _hint_of_class(cls: type) -> Hint:
    name = _name(cls)
    if name in PLAIN or name in CONTAINERS:
        return PLAIN.get(name) or CONTAINERS[name]
    if issubclass(cls, enum.Enum):
        members = list(cls)
        return Hint("enum", values=(*(m.name for m in members), *(m.value for m in members)), name=cls.__name__)
    if dataclasses.is_dataclass(cls):
        return Hint("fields", fields=fields_of(cls), name=cls.__name__)
    return ANYTHING._replace(name=cls.__name__)


def fields_of(cls: Any) -> tuple[Field, ...]:
    """The fields of a data class; none of anything else."""
    if not dataclasses.is_dataclass(cls):
        return ()
    hints = _type_hints(cls)
    absent = dataclasses.MISSING
    return tuple(
        Field(
            as_key(field.name),
            hint_of(hints.get(field.name, Any)),
            field.default is field.default_factory is absent,
            None if field.default is absent else (field.default,),
        )
        for field in dataclasses.fields(cls)
        if field.init
    )


def kind_of(family: type[Family]) -> Kind:
    """What a family declares."""
    hints = _type_hints(family)
    fields = [
        Field(
            name,
            hint_of(hints[name]),
            not hasattr(family, name),
            (getattr(family, name),) if hasattr(family, name) else None,
        )
        for cls in reversed(family.__mro__)
        if cls is not Family
        for name in inspect.get_annotations(cls)
        if ClassVar not in (hints[name], get_origin(hints[name]))
    ]
    return Kind(
        family.word or family.__name__.lower(),
        family.home,
        tuple(family.methods),
        injected=tuple(family.given),
        base=family.base,
        names=family.names,
        refused=family.refused,
        variants={key: fields_of(beside) for key, beside in family.variants.items()},
        old_names=family.old_names,
        shared=family.shared,
        nested=family.nested,
        fields=tuple(fields),
        needs_class=family.needs_class,
        functions=family.functions,
        called=family.called,
    )


def _name(cls: Any) -> str:
    # Python 3.13 defines the paths in a private module.
    return f"{cls.__module__.removesuffix('._local')}.{cls.__qualname__}"


def _constructors(cls: type) -> list[Callable[..., Any]]:
    maker = next((base for base in cls.__mro__ if {"__init__", "__new__"} & set(vars(base))), object)
    if "__init__" not in vars(maker) and isinstance(made_by := vars(maker)["__new__"], staticmethod):
        return [made_by.__func__]
    return [vars(base)["__init__"] for base in cls.__mro__ if base is not object and "__init__" in vars(base)]


def _collect(
    function: Callable[..., Any], hints: dict[str, Hint], required: set[str], *, is_method: bool = True
) -> None:
    """Add a function's arguments to ``hints`` and ``required``; what is known already stays."""
    known = _type_hints(function)
    for parameter in list(inspect.signature(function).parameters.values())[is_method:]:
        if parameter.kind in _NAMED:
            hints.setdefault(parameter.name, hint_of(known.get(parameter.name, Any)))
            if parameter.default is parameter.empty:
                required.add(parameter.name)


def _type_hints(owner: Any) -> dict[str, Any]:
    try:
        return get_type_hints(owner, include_extras=True)
    except Exception:  # noqa: BLE001 - a hint that cannot be evaluated is one that accepts everything
        return {}


def _is_variable(function: Callable[..., Any], *, itself: bool = False) -> bool:
    signature = inspect.signature(function, follow_wrapped=not itself)
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


def _ours(function: Callable[..., Any]) -> bool:
    """Whether a function is known to refuse, by name, what it does not know."""
    return str(getattr(function, "__module__", "")).partition(".")[0].startswith("emloop")
