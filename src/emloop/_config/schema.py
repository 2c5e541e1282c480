"""A JSON Schema of configurations, so that an editor completes keys, explains them and marks mistakes.

It covers the built-in hooks, the arguments of the main loop, and the classes that a given configuration names. What
their source does not tell is left open. A file that extends others need not be complete.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from emloop import __version__
from emloop._settings.fitting import describe
from emloop._settings.hints import Accepted, Hint, Kind
from emloop._settings.kinds import DATASET, HOOK, MAIN_LOOP, MODEL
from emloop._settings.naming import SourceResolver, known_names
from emloop._settings.signatures import Parameter, accepted_by_source, parameters_of, settings_of
from emloop._source.ancestry import Ancestry
from emloop._source.docstrings import Described, described
from emloop._source.library import Library
from emloop.declare import Limits

from ._composing.compose import EVALUATION_KEYS
from ._composing.extends import EXTENDS
from .changes import parts
from .check import new_library
from .defaults import class_of, default_of
from .entries import policy
from .sections import SECTIONS

__all__ = ["config_schema"]

Schema: TypeAlias = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{"}
"""A value that is taken from elsewhere, which may stand in place of any other."""

_OBJECTS = {"dataset": DATASET, "model": MODEL}
_PLAIN = {"null": "null", "bool": "boolean", "int": "integer", "float": "number", "str": "string", "path": "string"}
_TEXTS = {
    EXTENDS: "Configs that this one builds upon, relative to this file; later ones win, this file over all.",
    "dataset": "The data: a class, and the arguments of its _configure_dataset.",
    "model": "The model: a class, and the arguments of its constructor.",
    "hooks": "Observers of the training, in the order in which events reach them.",
    "main_loop": "Arguments of the main loop.",
    "eval": "What is different in an evaluation: name of the stream, or of the target → what to lay over.",
    "class": "Full name of the class: package.module.Class.",
    "name": "What it is called: in the name of the run directory, in overrides, in the state.",
    "restore_fallback": "Class that restores saved models without the model's source.",
    "stream_names": "Streams to evaluate; by default the one that is called like the target.",
}


class _Class(NamedTuple):
    """A class of which the schema tells.

    Args:
        accepted: Its arguments.
        parameters: The same with their defaults.
        words: What is said about them.
    """

    accepted: Accepted
    parameters: Mapping[str, Parameter]
    words: Described


def config_schema(config: Mapping[str, Any], more: Sequence[str] = ()) -> Schema:
    """The schema of a configuration.

    Args:
        config: The configuration whose classes to cover; may be empty.
        more: Directories to look for classes in, beside ``sys.path``.

    Returns:
        A schema of draft 2020-12, as plain data.
    """
    return _Writer(new_library([*sys.path, *more]), config).whole()


class _Writer:
    def __init__(self, library: Library, config: Mapping[str, Any]) -> None:
        self._library = library
        self._resolver = SourceResolver(library)
        self._families: dict[str, Schema] = {}
        self._is_strict = policy(config) == "error"
        self._own = [key for key in getattr(config, "referenced", ()) if key and key not in SECTIONS]
        self._names: dict[str, list[str]] = {section: [] for section in ("dataset", "model", "hooks", "main_loop")}
        for part in parts(config):
            if part.cls and part.cls not in self._names.setdefault(part.section, []):
                self._names[part.section].append(part.cls)

    def whole(self) -> Schema:
        sections = {name: {"$ref": f"#/$defs/{name}"} for name in self._names if name in _TEXTS}
        laid_over = {
            **sections,
            **{name: _optional(_described({"type": "object"}, name)) for name in _OBJECTS},
            "stream_names": _described(_optional(_list_of({"type": "string"})), "stream_names"),
        }
        evaluation = _optional(_object({name: laid_over[name] for name in EVALUATION_KEYS}))
        bases = {"anyOf": [{"type": "string"}, {**_list_of({"type": "string"}), "minItems": 1}]}
        made = {
            **{name: self._section(name, kind) for name, kind in _OBJECTS.items()},
            "hooks": _described(_optional(_list_of(self._hook())), "hooks"),
            "main_loop": _described(_optional(self._arguments("", MAIN_LOOP) or {"type": "object"}), "main_loop"),
        }
        complete = {name: self._complete(name) for name in _OBJECTS}
        return {
            "$schema": _DIALECT,
            "title": f"Configuration of emloop {__version__}",
            "type": "object",
            "properties": {
                EXTENDS: _described(bases, EXTENDS),
                **sections,
                "eval": _described(_optional({"type": "object", "additionalProperties": evaluation}), "eval"),
                **{name: {} for name in self._own},
            },
            "if": {"required": [EXTENDS]},
            "else": {"required": list(_OBJECTS), "properties": complete},
            "patternProperties": {"^x-": {}},
            **({"additionalProperties": False} if self._is_strict else {}),
            "$defs": {**made, **self._families},
        }

    def _section(self, name: str, kind: Kind) -> Schema:
        """The section ``dataset`` or ``model``: of a class that is known, only the arguments that it takes."""
        names = self._names[name]
        cls = _described({"type": "string", **({"examples": names} if names else {})}, "class")
        schema = _described(_or_reference({"type": "object", "properties": {"class": cls}}), name)
        arguments = {cls_name: self._arguments(cls_name, kind) for cls_name in names}
        conditions = [
            {"if": _is_class(cls_name), "then": {key: value for key, value in then.items() if key != "required"}}
            for cls_name, then in arguments.items()
            if then is not None
        ]
        return {**schema, **({"allOf": conditions} if conditions else {})}

    def _complete(self, name: str) -> Schema:
        """What a section needs where nothing is extended."""
        arguments = {cls_name: self._arguments(cls_name, _OBJECTS[name]) for cls_name in self._names[name]}
        conditions = [
            {"if": _is_class(cls_name), "then": {"required": then["required"]}}
            for cls_name, then in arguments.items()
            if then is not None and "required" in then
        ]
        return {"required": ["class"], **({"allOf": conditions} if conditions else {})}

    def _hook(self) -> Schema:
        """One entry of the section ``hooks``."""
        known = {}
        for name in dict.fromkeys([*known_names(self._library, HOOK), *self._names["hooks"]]):
            arguments = self._arguments(name, HOOK)
            if arguments is not None:
                known[name] = arguments
        bare = [
            {"const": name, "description": schema["description"]} if "description" in schema else {"const": name}
            for name, schema in known.items()
            if "required" not in schema
        ]
        named = {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {name: s if "required" in s else _optional(s) for name, s in known.items()},
            "patternProperties": {r"\.": {}},
            "additionalProperties": False,
        }
        return {"anyOf": [*bare, {"type": "string", "pattern": r"\."}, _REFERENCE, named]}

    def _arguments(self, name: str, kind: Kind) -> Schema | None:
        """What may be written about an object of a class; ``None`` if that cannot be told."""
        found = self._class(name, kind)
        if found is None:
            return None
        properties = {key: _described({"type": "string"}, key) for key in kind.reserved}
        for argument, hint in found.accepted.hints.items():
            if argument not in kind.injected:
                schema = self._schema_of(hint)
                if argument in found.words.arguments:
                    schema["description"] = found.words.arguments[argument]
                properties[argument] = schema | self._default(found.parameters.get(argument))
        schema = _object(properties, is_open=found.accepted.open or not self._is_strict)
        required = sorted(found.accepted.required - set(kind.injected))
        if found.words.summary:
            schema["description"] = found.words.summary
        return schema | ({"required": required} if required else {})

    def _class(self, name: str, kind: Kind) -> _Class | None:
        cls = class_of(self._library, name, kind)
        if cls is None:
            return None
        ancestry = Ancestry(self._library, cls)
        accepted = accepted_by_source(ancestry, constructor=kind is not DATASET)
        read = parameters_of(ancestry, constructor=kind is not DATASET)
        if accepted is None or read is None:
            return None
        words, settings = described(self._library, cls), settings_of(ancestry)
        if settings is not None:
            words = words._replace(arguments=described(self._library, settings).arguments | words.arguments)
        return _Class(accepted, read[0], words)

    def _default(self, parameter: Parameter | None) -> Schema:
        value = default_of(self._library, parameter)
        return {} if value is None else {"default": value[0]}

    def _schema_of(self, hint: Hint) -> Schema:
        """What fits a hint, or is a reference to it; editors word what does not as ``emloop check`` does."""
        schema = self._fitting(hint)
        message = {"errorMessage": f"expected {describe(hint)}"}
        if "anyOf" in schema:
            options = [message | option if _is_value(option) else option for option in schema["anyOf"]]
            return {**schema, "anyOf": options, **message}
        return schema | message if _is_value(schema) else schema

    def _fitting(self, hint: Hint) -> Schema:
        schema = self._plain_schema(hint)
        if "anyOf" in schema:
            takes_text = any(option == {"type": "string"} or not option for option in schema["anyOf"])
            return schema if takes_text else {**schema, "anyOf": [*schema["anyOf"], _REFERENCE]}
        return _or_reference(schema) if schema.get("type", "string") != "string" else schema

    def _plain_schema(self, hint: Hint) -> Schema:
        if hint.component is not None:
            return {"anyOf": [{"$ref": f"#/$defs/{self._family(hint.component)}"}]}
        if hint.kind in _PLAIN:
            return {"type": _PLAIN[hint.kind], **_limits(hint)}
        write = _CONTAINERS.get(hint.kind)
        return write(self, hint) if write else {}

    def _tuple(self, hint: Hint) -> Schema:
        items = [self._schema_of(part) for part in hint.parts]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}

    def _fields(self, hint: Hint) -> Schema:
        fields = _object({field.name: self._schema_of(field.hint) for field in hint.fields})
        return {**fields, "required": [field.name for field in hint.fields if field.required]}

    def _family(self, kind: Kind) -> str:
        """The definition of all components of a family; what a full name leads to is left open."""
        key = kind.word.replace(" ", "-")
        if key in self._families:
            return key
        self._families[key] = {}  # so that components may nest
        names = [name for name in known_names(self._library, kind) if name not in kind.refused]
        accepted = {name: found for name in names if isinstance(found := self._resolver.accepted(name, kind), Accepted)}
        beside = {field.name: self._schema_of(field.hint) for field in kind.beside}
        of_name = [
            {"if": _is_class(name), "then": self._component(found, kind, beside)} for name, found in accepted.items()
        ]
        bare = [name for name in names if not (name in accepted and self._required(accepted[name], kind))]
        listed: Schema = {"enum": bare} if kind.package else {}
        cls = {"anyOf": [*([{"enum": names}] if kind.package else []), {"type": "string", "pattern": r"\."}]}
        described = {"type": "object", "properties": {"class": cls}, **({"allOf": of_name} if of_name else {})}
        if kind.needs_class:
            described["required"] = ["class"]
        else:
            alone = _object({**beside, "class": cls})
            described |= {"if": {"not": {"required": ["class"]}}, "then": alone}
        dotted = {"type": "string", "pattern": r"\."}
        self._families[key] = {"anyOf": [*([listed] if listed else []), dotted, _REFERENCE, described]}
        return key

    def _component(self, found: Accepted, kind: Kind, beside: Mapping[str, Schema]) -> Schema:
        called = {own: name for name, own in kind.names.items()}
        nested: Schema = {"$ref": f"#/$defs/{kind.word.replace(' ', '-')}"} if kind.nested else {}
        hidden = {*kind.injected, *kind.refused}
        properties: dict[str, Schema] = {"class": {}}
        for name, hint in kind.hints(found).items():
            if name not in hidden:
                schema = self._schema_of(_loose(hint))
                properties[called.get(name, name)] = {"anyOf": [schema, nested]} if nested and schema else schema
        for key, fields in kind.variants.items():
            own = {field.name: self._schema_of(field.hint) for field in fields}
            variant = _object({**properties, **own}, is_open=found.open)
            properties[key] = _list_of({**variant, "required": [field.name for field in fields if field.required]})
        required = self._required(found, kind)
        return {**_object({**properties, **beside}, is_open=found.open), **({"required": required} if required else {})}

    @staticmethod
    def _required(found: Accepted, kind: Kind) -> list[str]:
        called = {own: name for name, own in kind.names.items()}
        own = {called.get(name, name) for name in found.required - {*kind.injected, *kind.refused}}
        return sorted(own.union(field.name for field in kind.beside if field.required))


def _loose(hint: Hint) -> Hint:
    """A hint of a class that was not made for emloop: numbers of any type do for one another."""
    if hint.kind in ("int", "float", "bool"):
        return Hint("union", (Hint("float"), Hint("bool")), limits=Limits(words=describe(hint)))
    return hint._replace(parts=tuple(map(_loose, hint.parts)))


def _is_value(schema: Schema) -> bool:
    """Whether a value as a whole fits or not, as opposed to the keys inside of it."""
    return bool(schema) and not {"$ref", "properties"} & set(schema)


def _limits(hint: Hint) -> Schema:
    limits = hint.limits
    found: Schema = {"minimum": limits.minimum} if limits.minimum is not None else {}
    found |= {"exclusiveMinimum": limits.above} if limits.above is not None else {}
    found |= {"maximum": limits.maximum} if limits.maximum is not None else {}
    return found | ({"pattern": rf"^({limits.pattern})$|\$\{{"} if limits.pattern and hint.kind == "str" else {})


def _union_schema(writer: _Writer, hint: Hint) -> Schema:
    parts = [part._replace(limits=hint.limits) for part in hint.parts] if hint.limits.pattern else hint.parts
    options = map(writer._plain_schema, parts)
    return {"anyOf": [inner for option in options for inner in option.get("anyOf", [option])]}


def _choice_schema(_: _Writer, hint: Hint) -> Schema:
    return {"anyOf": [{"enum": list(dict.fromkeys(filter(_is_plain, hint.values)))}]}


def _list_schema(writer: _Writer, hint: Hint) -> Schema:
    return _list_of(writer._schema_of(hint.parts[0])) | ({"uniqueItems": True} if hint.limits.unique else {})


_CONTAINERS: dict[str, Callable[[_Writer, Hint], Schema]] = {
    "list": _list_schema,
    "tuple": _Writer._tuple,
    "mapping": lambda writer, hint: {"type": "object", "additionalProperties": writer._schema_of(hint.parts[1])},
    "fields": _Writer._fields,
    "union": _union_schema,
    "literal": _choice_schema,
    "enum": _choice_schema,
}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _or_reference(schema: Schema) -> Schema:
    """The schema of something that is no text, or a reference to it."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "string"], "pattern": _REFERENCE["pattern"]}


def _optional(schema: Schema) -> Schema:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}


def _object(properties: Mapping[str, Schema], *, is_open: bool = False) -> Schema:
    return {"type": "object", "properties": dict(properties), **({} if is_open else {"additionalProperties": False})}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _is_class(name: str) -> Schema:
    return {"properties": {"class": {"const": name}}, "required": ["class"]}


def _described(schema: Schema, key: str) -> Schema:
    return {**schema, "description": _TEXTS[key]} if key in _TEXTS else schema
