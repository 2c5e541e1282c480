"""Rewrites the text of a config of emloop 0.2, or of cxflow, by the table of names that have moved.

Only the spans of the nodes concerned are replaced, so comments, quotes, anchors and order stay. The result is read
again and compared with the data that it should hold; a text for which that fails is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from emloop._support import moved
from emloop._yaml.documents import construct, load, parse
from emloop._yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode, resolve
from emloop.errors import ConfigError, Problem, dotted

__all__ = ["Migrated", "migrate"]

_CLASSES = ("class", "restore_fallback")


class Migrated(NamedTuple):
    """A config as it is written today.

    Args:
        text: Its text.
        left: What is to be done by hand.
    """

    text: str
    left: list[Problem]


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def migrate(text: str, origin: str) -> Migrated:
    """Rewrite a config.

    Args:
        text: Its text.
        origin: What to call it in messages.

    Raises:
        ConfigError: If it is not YAML that we accept.
    """
    root = parse(text, origin)
    if not isinstance(root, MappingNode):
        return Migrated(text, [])
    mark, body = text[: len(text) - len(root.text.text)], root.text.text
    names = [key for key in root.own if isinstance(key, str) and moved.replaced("section", key)]
    finder = _Finder(body)
    finder.visit(root, ())
    body = _edited(body, finder.edits)
    if not _means(body, origin, construct(root)):
        return Migrated(text, [Problem("its names can only be changed by hand", place=root.place)])
    left = list(finder.left)
    for name in names:
        section, _, part = str(moved.replaced("section", name)).partition(".")
        shifted = _moved(body, origin, name, section, part)
        if shifted is None:
            hints = moved.hints("section", name)[:1]
            left.append(
                Problem(f"move it to {section}.{part}", place=root.own[name][0].place, hints=hints, keys=(name,))
            )
        body = shifted or body
    return Migrated(mark + body, left)


class _Finder:
    """Finds what to replace, and what to leave to people; the nodes then say what the new text has to mean.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self.edits: dict[int, _Edit] = {}
        self.left: list[Problem] = []
        self._text = text

    def visit(self, node: Node, path: tuple[Any, ...]) -> None:
        """Look at a node and all that it holds; what an alias stands for is looked at where it is written."""
        if isinstance(node, SequenceNode):
            hooks = list(node.items) if path[-1:] == ("hooks",) else ()
            node.items = [item for item in node.items if not (hooks and self._hook(hooks, item))]
            for index, item in enumerate(node.items):
                self.visit(item, (*path, index))
        elif isinstance(node, MappingNode):
            if path[-1:] == ("optimizer",):
                self._optimizer(node, path)
            for key, (key_node, value) in list(node.own.items()):
                if key in _CLASSES and isinstance(value, ScalarNode) and isinstance(value.value, str):
                    self._rename(value)
                self._argument(key, key_node, path)
                self.visit(value, (*path, key))
                if key == "hooks" and isinstance(value, SequenceNode) and not (value.items or _is_flow(value)):
                    node.own[key] = key_node, ScalarNode(node.text, value.start, value.start, None)

    def _hook(self, hooks: list[Node], item: Node) -> bool:
        """Rename a hook, or remove it; says whether it is gone."""
        is_mapping = isinstance(item, MappingNode) and len(item.own) == 1
        named = next(iter(item.own.values()))[0] if isinstance(item, MappingNode) and is_mapping else item
        if not isinstance(named, ScalarNode) or not isinstance(named.value, str):
            return False
        if moved.replaced("class", named.value) == "":
            edit = self._without(hooks, hooks.index(item))
            self.edits[edit.start] = edit
            return True
        self._rename(named)
        if isinstance(item, MappingNode):
            (entry,) = item.own.values()
            item.own = {named.value: entry}
        return False

    def _optimizer(self, node: MappingNode, path: tuple[Any, ...]) -> None:
        """Rename the arguments of an optimizer that has its name of then."""
        named = node.own.get("class")
        if named is None or not isinstance(named[1], ScalarNode) or not moved.replaced("class", str(named[1].value)):
            return
        renamed = {}
        for key, (key_node, value) in node.own.items():
            new = moved.replaced("optimizer argument", str(key))
            if new == "":
                told = moved.hints("optimizer argument", str(key))
                self.left.append(Problem("is no argument any more", dotted((*path, key)), key_node.place, told))
            renamed[new or key] = key_node, value
            if new and isinstance(key_node, ScalarNode):
                self._replace(key_node, new)
        node.own = renamed

    def _rename(self, node: ScalarNode) -> None:
        if new := moved.replaced("class", str(node.value)):
            self._replace(node, new)

    def _replace(self, node: ScalarNode, new: str) -> None:
        # An anchor or a tag stands before the name, quotes around it.
        start = self._text.rindex(str(node.value), node.start, node.end)
        self.edits[start] = _Edit(start, start + len(str(node.value)), new)
        node.value = new

    def _argument(self, key: Any, node: Node, path: tuple[Any, ...]) -> None:
        kind = "model argument" if path[-1:] == ("model",) else "hook argument" if path[-3:-2] == ("hooks",) else ""
        if told := moved.hints(kind, str(key), ("device", "profile", "frozen"), gone=True):
            self.left.append(Problem("is no argument any more", dotted((*path, key)), node.place, told))

    def _without(self, items: list[Node], index: int) -> _Edit:
        item, text = items[index], self._text
        line = text.rfind("\n", 0, item.start) + 1
        if text[line : item.start].strip() != "-":  # between brackets
            if index + 1 < len(items):
                return _Edit(item.start, items[index + 1].start, "")
            return _Edit(_end(items[index - 1]) if index else item.start, _end(item), "")
        line_end = text.find("\n", _end(item))
        line_end = len(text) if line_end < 0 else line_end + 1
        comment = text[_end(item) : line_end].strip()
        indent = text[line : item.start].partition("-")[0]
        return _Edit(line, line_end, f"{indent}{comment}\n" if comment.startswith("#") else "")


def _end(node: Node) -> int:
    """Where a node's own text ends: that of a block only with the token that follows it, past comments."""
    if isinstance(node, MappingNode) and node.own and not _is_flow(node):
        return max(_end(part) for entry in node.own.values() for part in entry)
    if isinstance(node, SequenceNode) and node.items and not _is_flow(node):
        return max(map(_end, node.items))
    return node.start + len(node.text.text[node.start : node.end].rstrip())


def _is_flow(node: Node) -> bool:
    """Whether a list or mapping is written in brackets; an anchor or a tag may stand before them."""
    return re.match(r"(?:[&!]\S*\s+)*[\[{]", node.text.text[node.start : node.end]) is not None


def _edited(text: str, edits: Mapping[int, _Edit]) -> str:
    for start in sorted(edits, reverse=True):
        edit = edits[start]
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _moved(text: str, origin: str, name: str, section: str, part: str) -> str | None:
    """The text with a section as a part of another one; ``None`` if that cannot be written by moving lines."""
    root = parse(text, origin)
    data = construct(root)
    if not isinstance(root, MappingNode) or text.lstrip().startswith("{") or part in (data.get(section) or {}):
        return None
    block, around = _block(root, text, name), root.own.get(section)
    lines = text[block.start : block.end]
    step, at = "  ", block.start
    if around is None:
        new = f"{section}:\n{_indented(lines, step, name, part)}"
    else:
        target = resolve(around[1])
        if isinstance(target, MappingNode) and target.own:
            first = min(key.start for key, _ in target.own.values())
            step = text[text.rfind("\n", 0, first) + 1 : first]
        at = _block(root, text, section).end
        new = _indented(lines, step, name, part)
        if at == len(text) and not text.endswith("\n"):
            new = f"\n{new}"
    cut = text[: block.start] + text[block.end :]
    at -= len(lines) if at >= block.end else 0
    result = cut[:at] + new + cut[at:]
    wanted = {key: value for key, value in data.items() if key != name}
    wanted[section] = {**(data.get(section) or {}), part: data[name]}
    return result if not step.strip() and _means(result, origin, wanted) else None


def _means(text: str, origin: str, data: Any) -> bool:
    try:
        return bool(load(text, origin) == data)
    except ConfigError:
        return False


def _block(root: MappingNode, text: str, key: str) -> _Edit:
    """The lines of a section, with the comments between and behind its own, but not those before the next section."""
    start = root.own[key][0].start
    start = text.rfind("\n", 0, start) + 1
    later = [node.start for node, _ in root.own.values() if node.start > start and node is not root.own[key][0]]
    end = text.rfind("\n", 0, min(later)) + 1 if later else len(text)
    body = text[start:end]
    kept = re.sub(r"(?:^(?:#.*|\s*|---|\.\.\.)\n?)+\Z", "", body, flags=re.MULTILINE)
    return _Edit(start, start + len(kept), "")


def _indented(lines: str, step: str, name: str, part: str) -> str:
    moved_lines = re.sub(r"^(?=.)", step, lines, flags=re.MULTILINE)
    renamed = moved_lines.replace(name, part, 1)
    return renamed if renamed.endswith("\n") else f"{renamed}\n"
