"""Changes to a configuration from the command line.

==============================  =======================================================================
``model.lr=1e-3``               sets a key; all but the last part of its path must exist
``model.layers.0.units=32``     the items of a list are counted from 0
``hooks.StopAfter.epochs=20``   a hook goes by its class or its ``name:``, or is counted: ``hooks.0.epochs``
``hooks+=SaveLatest``           appends to a list; ``hooks+='StopAfter: {epochs: 3}'``
``~hooks.LogProfile``           removes an item or a key, as does ``~model.dropout``
==============================  =======================================================================

Values are YAML. What is changed is the text as written, before aliases and merge keys are followed: a change of
something anchored reaches everybody who refers to it, a change of a merged key only the mapping that merges it.
"""

import re
from typing import Any, Literal, NamedTuple

from emloop._yaml.documents import construct, parse
from emloop._yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode, Text, resolve
from emloop.errors import ConfigError, Problem, dotted

from .paths import Quoted, Spot, is_hook_list, locate, missing

__all__ = ["Override", "apply_override", "parse_arg", "read_override"]

_HINT = (
    "a configuration is changed by KEY=VALUE (model.lr=0.1), LIST+=VALUE (hooks+=SaveLatest) or ~KEY (~model.dropout)"
)

_KEY = r"""(?:(?<![^.~])(?:"[^"]*"|'[^']*')|[^=])*"""
"""All up to the first ``=`` that is not in a quoted part of the path."""
_PART = r"""(?:"([^"]*)"|'([^']*)'|([^.]*))\."""
_COMMENT = r"(?:^|\s)#"
_YAML = tuple("\"'[{&*!|>")
"""How values begin that are more than a word."""


class Override(NamedTuple):
    """One change, as the user typed it.

    Args:
        number: Which of the arguments it is, from 1.
        action: What to do.
        path: The parts of the path between dots; quotes keep a key with dots together: ``model."a.b".c``.
        value: The new value; for a removal, nothing.
        text: The argument, for messages.
    """

    number: int
    action: Literal["set", "append", "remove"]
    path: tuple[str, ...]
    value: Node
    text: Text

    def key(self, key: Any) -> ScalarNode:
        """The node of the last key of the path."""
        written = self.text.text.partition("=")[0]
        start = max(written.rfind(str(key)), 0)
        return ScalarNode(self.text, start, start + len(str(key)) if written.startswith(str(key), start) else 0, key)

    def error(self, message: str, *hints: str) -> ConfigError:
        """What is wrong with the change."""
        return ConfigError(Problem(message, place=self.text.place(0, 0), hints=hints))


def apply_override(root: MappingNode, override: Override) -> None:
    """Make one change.

    Raises:
        ConfigError: If its path leads nowhere; names the argument and what is there.
    """
    try:
        spot = locate(root, override.path, override.text)
        if override.action == "set":
            spot.put(override.value, override.key(spot.key))
        elif override.action == "append":
            _append(spot, override)
        elif spot.node is None:
            raise missing(spot)
        else:
            (spot.whole or spot).remove()
    except ConfigError as error:
        place = override.text.place(0, 0)
        raise ConfigError([problem._replace(place=problem.place or place) for problem in error.problems]) from None


def _append(spot: Spot, override: Override) -> None:
    items = resolve(spot.node) if spot.node else None
    if items is None and not is_hook_list(spot.where):
        raise missing(spot)
    if items is None or (isinstance(items, ScalarNode) and items.value is None):
        items = SequenceNode(override.text, 0, 0)
        spot.put(items, override.key(spot.key))
    if not isinstance(items, SequenceNode):
        raise override.error(f"{dotted(spot.where)!r} is no list; only lists can be appended to")
    items.items.append(override.value)


def parse_arg(arg: str) -> tuple[str, Any]:
    """Split ``key=value``; the key comes back as it is, the value is read as YAML.

    Raises:
        ConfigError: If there is no ``=``, or the value is not YAML.
    """
    key, value = _split(arg, "argument")
    return key, construct(value)


def read_override(number: int, argument: str) -> Override:
    """Read the ``number``-th override of a command line.

    Raises:
        ConfigError: If it is none.
    """
    origin = f"argument {number}"
    text = Text(origin, argument, argument)
    if argument.startswith("~"):
        override = Override(number, "remove", _parts(argument[1:]), ScalarNode(text, 0, 0, None), text)
        if re.match(_KEY, argument)[0] != argument:  # type: ignore[index]  # it always matches
            raise override.error("a removal takes no value", _HINT)
    else:
        written, value = _split(argument, origin)
        key = written.strip()
        action: Literal["set", "append"] = "append" if key.endswith("+") else "set"
        override = Override(number, action, _parts(key.removesuffix("+").rstrip()), value, text)
    if not all(override.path) or argument.startswith("-"):
        raise override.error(f"{'.'.join(override.path)!r} is no path to a key", _HINT)
    return override


def _parts(path: str) -> tuple[str, ...]:
    return tuple(
        match[3] if match[3] is not None else Quoted(match[1] or match[2] or "")
        for match in re.finditer(_PART, f"{path}.")
    )


def _split(argument: str, origin: str) -> tuple[str, Node]:
    key: str = re.match(_KEY, argument)[0]  # type: ignore[index]  # it always matches
    value = argument[len(key) + 1 :]
    if key == argument:
        raise ConfigError(
            Problem("there is no '='", place=Text(origin, argument, argument).place(0, 0), hints=(_HINT,))
        )
    node, word = parse(value, origin, argument), value.strip()
    if re.search(_COMMENT, word) and "\n" not in value and not word.startswith(_YAML):
        # Nobody types comments there; the shell has taken the quotes away: color='#ff0000'.
        start = value.index(word)
        if not isinstance(node, ScalarNode):
            hint = "text with ' #' in it needs quotes, also from the shell: \"'…'\""
            raise ConfigError(Problem("' #' would begin a comment", place=node.place, hints=(hint,)))
        node = ScalarNode(Text(origin, value, argument), start, start + len(word), word)
    return key, node
