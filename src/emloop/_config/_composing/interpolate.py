"""``${section.key}`` and ``${env:NAME,default}``: values that are taken from elsewhere.

===========================  =======================================================================================
``${model.rate}``            what stands there, written like the path of an override: ``${hooks.StopAfter.epochs}``
``${env:DATA}``              the environment variable, read as YAML reads a word: ``12`` is a number, ``a: b`` text
``${env:DATA,/data}``        the same, with a value for when it is not set
``$${``                      a plain ``${``
===========================  =======================================================================================

A value that is nothing else keeps its type, be it a mapping; inside of text the value is inserted as text. This is done
last, when the file's bases, the overrides and the evaluation's section are in place. Keys are left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from emloop._support.suggest import did_you_mean
from emloop._yaml import documents as yaml
from emloop._yaml.nodes import (
    MAX_CHARACTERS,
    AliasNode,
    Anchor,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    Text,
    resolve,
)
from emloop._yaml.scalars import plain_value
from emloop.errors import ConfigError, Problem

from .foreign import is_foreign
from .paths import look_up

__all__ = ["interpolate", "written"]

MAX_STEPS = 50
"""How many values may refer one to the next."""

_PART = r"\$\$\{|\$\{(?P<expression>[^{}]*)\}|\$\{"
_ENVIRONMENT = r"(?s)\s*env:\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*(?:,(?P<default>.*))?"
_FORMS = "written are ${section.key}, ${env:NAME} and ${env:NAME,default}; $${ stands for a plain ${"


def interpolate(root: MappingNode) -> frozenset[Any]:
    """Replace every reference in a configuration by what it stands for.

    Returns:
        The sections that are referred to; an environment variable counts as one without a name.

    Raises:
        ConfigError: With every reference that leads nowhere, or to itself; says where it is written.
    """
    interpolation = _Interpolation(root)
    interpolation.replace_all()
    return frozenset(interpolation.found)


def written(data: Mapping[str, Any]) -> str:
    """A configuration as YAML that is read back as the same: its texts hold no references."""
    text = yaml.dump(data)
    return yaml.dump(_escaped(data)) if "${" in text else text


def _escaped(data: Any) -> Any:
    if isinstance(data, str):
        return data.replace("${", "$${")
    if isinstance(data, Mapping):
        return {key: _escaped(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_escaped(item) for item in data]
    return data


class _Interpolation:
    def __init__(self, root: MappingNode) -> None:
        self.found: set[Any] = set()
        self._root = root
        self._problems: dict[Problem, None] = {}
        self._results: dict[int, tuple[Node, Node]] = {}
        """Node → what takes its place; the node itself is kept, too, so that its identity is not used again."""
        self._pending: dict[int, ScalarNode] = {}
        """The nodes whose values are being looked up, each for the one before."""
        self._circles: dict[int, ConfigError] = {}
        self._characters = 0

    def replace_all(self) -> None:
        seen: set[int] = set()
        waiting: list[Node] = [self._root]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, SequenceNode):
                node.items = [self._replaced(item) for item in node.items]
                waiting += map(resolve, node.items)
            elif isinstance(node, MappingNode):
                node.own = {key: (name, self._replaced(value)) for key, (name, value) in node.own.items()}
                waiting += [resolve(value) for _, value in node.own.values()]
                waiting += [resolve(node.merge)] if node.merge else []
        if self._problems:
            raise ConfigError(sorted(self._problems, key=_position))

    def _replaced(self, holds: Node) -> Node:
        """What a mapping or list shall hold from now on."""
        node = resolve(holds)
        try:
            new = self._value(node)
        except ConfigError as error:
            self._problems |= dict.fromkeys(error.problems)
            return holds
        if new is node:
            return holds
        if node.anchor is not None:
            node.anchor.node = new
        return new if holds is node else holds

    def _value(self, node: Node) -> Node:
        """What takes a node's place, which mostly is the node itself."""
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str) or "${" not in node.value:
            return node
        if id(node) in self._circles:
            raise self._circles[id(node)]
        if id(node) not in self._results:
            if id(node) in self._pending:
                raise self._circle(node)
            if len(self._pending) >= MAX_STEPS:
                raise _error(node, f"too many values refer one to the next; at most {MAX_STEPS} are followed")
            self.found.add(None)
            self._pending[id(node)] = node
            try:
                self._results[id(node)] = node, self._evaluate(node, node.value)
            finally:
                del self._pending[id(node)]
        return self._results[id(node)][1]

    def _circle(self, node: ScalarNode) -> ConfigError:
        """The complaint about nodes that refer to one another, the same for each of them."""
        known = list(self._pending)
        members = [self._pending[member] for member in known[known.index(id(node)) :]]
        error = _error(node, f"refers to itself: {' → '.join(str(member.value) for member in [*members, node])}")
        self._circles |= dict.fromkeys(map(id, members), error)
        return error

    def _evaluate(self, node: ScalarNode, text: str) -> Node:
        whole = re.fullmatch(_PART, text)
        if whole is not None and whole["expression"] is not None:
            return _alias(node, self._referred(node, whole["expression"]))
        parts: list[str] = []
        end = 0
        for match in re.finditer(_PART, text):
            parts.append(text[end : match.start()])
            end = match.end()
            parts.append("${" if match[0] == "$${" else self._inserted(node, match["expression"]))
        parts.append(text[end:])
        self._characters += sum(map(len, parts))
        if self._characters > MAX_CHARACTERS:
            raise _error(node, f"what is inserted into text grows to more than {MAX_CHARACTERS:,} characters")
        return ScalarNode(node.text, node.start, node.end, "".join(parts))

    def _inserted(self, node: ScalarNode, expression: str | None) -> str:
        if expression is None:
            raise _error(node, "'${' begins a reference that does not end", _FORMS)
        referred = self._referred(node, expression)
        if not isinstance(referred, ScalarNode):
            what = "a list" if isinstance(referred, SequenceNode) else "a mapping"
            raise _error(node, f"${{{expression}}} is {what}, which cannot be inserted into text")
        value = referred.value
        if isinstance(value, str | float):
            return str(value)
        return yaml.dump(value).rstrip("\n")

    def _referred(self, node: ScalarNode, expression: str) -> Node:
        """The node that an expression stands for."""
        environment = re.fullmatch(_ENVIRONMENT, expression)
        if environment is not None:
            return _from_environment(node, environment["name"], environment["default"])
        path = expression.strip().split(".")
        self.found.add(path[0])
        if not all(path) or path[0].startswith("env:"):
            raise _error(node, f"${{{expression}}} is no reference", _FORMS)
        try:
            return look_up(self._root, path, lambda found: resolve(self._value(found)))
        except ConfigError as error:
            if any(problem.place is not None for problem in error.problems):
                raise  # about what is referred to
            raise ConfigError(
                [Problem(f"${{{expression}}}: {p.message}", place=node.place, hints=p.hints) for p in error.problems]
            ) from None


def _from_environment(node: ScalarNode, name: str, default: str | None) -> ScalarNode:
    if node.text.argument is None and is_foreign(node.text.origin):
        hint = "its config.yaml holds what was found in the environment of the run"
        raise _error(node, "a configuration in a run directory cannot ask for environment variables", hint)
    word = os.environ.get(name)
    try:
        if word is not None:
            text = Text(f"environment variable {name}", word, word)
            return ScalarNode(text, 0, len(word), plain_value(word))
        if default is not None:
            return ScalarNode(node.text, node.start, node.end, plain_value(default.strip()))
    except ValueError as error:
        raise _error(node, f"${{env:{name}}}: {error}") from None
    similar = did_you_mean(name, os.environ)
    raise _error(node, f"there is no environment variable {name!r}", *similar, f"${{env:{name},VALUE}} does without it")


def _alias(node: Node, target: Node) -> Node:
    anchor = Anchor()
    anchor.node = target
    return AliasNode(node.text, node.start, node.end, anchor)


def _position(problem: Problem) -> tuple[str, int, int]:
    place = problem.place
    return (place.origin, place.line, place.column) if place else ("", 0, 0)


def _error(node: Node, message: str, *hints: str) -> ConfigError:
    return ConfigError(Problem(message, place=node.place, hints=hints))
