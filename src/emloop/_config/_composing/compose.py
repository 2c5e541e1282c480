"""From files, the part of the section ``eval`` that is asked for, and the command line to one configuration.

What comes later wins: bases, file, ``eval`` section, command line. All of it happens to nodes, before aliases and merge
keys are followed; references, ``${section.key}``, are replaced last.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from emloop._support.problems import unknown_key
from emloop._yaml.nodes import AliasNode, Key, MappingNode, ScalarNode, SequenceNode, check_expansion, entries, resolve
from emloop.errors import ConfigError, Problem

from .extends import EXTENDS, read_composed
from .interpolate import interpolate
from .merging import merged, referred
from .overrides import Override, apply_override, read_override
from .source import Config

__all__ = ["EVALUATION_KEYS", "compose", "load_config"]

EVALUATION_KEYS = ("dataset", "model", "main_loop", "hooks", "stream_names")
"""What the section of an evaluation may change."""


def load_config(
    config_file: str | os.PathLike[str], additional_args: Sequence[str] = (), override_stream: str | None = None
) -> Config:
    """Read a configuration.

    Args:
        config_file: Its file, or a directory with a ``config.yaml``.
        additional_args: Changes from the command line; see :mod:`emloop._config._composing.overrides`.
        override_stream: The part of the section ``eval`` to merge in, if it is there: mappings are merged deeply, lists
            and ``hooks`` replaced. Changes of the section ``eval`` itself come before that.

    Raises:
        ConfigFileError: If the file, or one that it extends, cannot be read.
        ConfigError: If it is no valid YAML, or changes or references lead nowhere; all wrong changes are named at once,
            then all wrong references.
    """
    config, wrong = compose(config_file, additional_args, override_stream)
    if wrong:
        raise ConfigError(wrong)
    return config


def compose(
    config_file: str | os.PathLike[str],
    additional_args: Sequence[str] = (),
    override_stream: str | None = None,
    *,
    of_training: bool = False,
) -> tuple[Config, list[Problem]]:
    """Read a configuration as :func:`load_config` does, but go on without the changes and references that are wrong.

    Args:
        config_file: Its file, or a directory with a ``config.yaml``.
        additional_args: Changes from the command line.
        override_stream: The part of the section ``eval`` to merge in.
        of_training: Whether the changes are those of a training, to be evaluated later: all come before that.

    Returns:
        The configuration, and all that was wrong.

    Raises:
        ConfigFileError: If a file cannot be read.
        ConfigError: If there is no configuration to go on with.
    """
    others: list[Problem] = []
    root, origin, source, bases = read_composed(config_file, others)
    referenced = _anchored_for_others(root)
    wrong: dict[int, Sequence[Problem]] = {}
    overrides = _read(additional_args, wrong)
    if override_stream is not None:
        _apply(root, [override for override in overrides if of_training or override.path[0] == "eval"], wrong)
        try:
            _merge_evaluation(root, override_stream)
        except ConfigError as error:
            others += error.problems
        overrides = [override for override in overrides if not of_training and override.path[0] != "eval"]
    _apply(root, overrides, wrong)
    try:
        names = interpolate(root)
    except ConfigError as error:
        others += error.problems
        names = frozenset(map(str, entries(root)))
    if additional_args or override_stream is not None or names:
        check_expansion(root)
    problems = [problem for number in sorted(wrong) for problem in wrong[number]] + others
    return Config(root, origin, source, override_stream, bases, referenced | names), problems


def _read(arguments: Sequence[str], wrong: dict[int, Sequence[Problem]]) -> list[Override]:
    overrides: list[Override] = []
    for number, argument in enumerate(arguments, start=1):
        try:
            override = read_override(number, argument)
            if override.path[0] == EXTENDS:
                raise override.error("only a file can extend others", "put 'extends:' at the top of the config")
            overrides.append(override)
        except ConfigError as error:
            wrong[number] = error.problems
    return overrides


def _apply(root: MappingNode, overrides: Sequence[Override], wrong: dict[int, Sequence[Problem]]) -> None:
    for override in overrides:
        try:
            apply_override(root, override)
        except ConfigError as error:
            wrong[override.number] = error.problems


def _merge_evaluation(root: MappingNode, target: str) -> None:
    evaluations = _mapping_at(root, "eval", "eval")
    chosen = evaluations and _mapping_at(evaluations, target, f"eval.{target}")
    if not chosen:
        return
    for name, (key, value) in entries(chosen).items():
        if name not in EVALUATION_KEYS:
            problem = unknown_key(f"eval.{target}", name, EVALUATION_KEYS, ("eval", target))
            raise ConfigError(problem._replace(place=key.place))
        if name == "hooks":
            root.own[name] = key, referred(value)
        elif name != "stream_names" and (over := _mapping_at(chosen, name, f"eval.{target}.{name}")):
            base = _mapping_at(root, name, name) or MappingNode(over.text, over.start, over.end)
            written, _ = entries(root).get(name, (key, None))
            root.own[name] = written, merged(base, over)


def _anchored_for_others(root: MappingNode) -> frozenset[Any]:
    """The sections with an anchor that another section uses."""
    homes: dict[int, Any] = {}
    uses: dict[Any, set[int]] = {}
    for key, (_, section) in root.own.items():
        waiting = [section]
        while waiting:
            node = waiting.pop()
            if node.anchor is not None:
                homes[id(node.anchor)] = key
            if isinstance(node, AliasNode):
                uses.setdefault(key, set()).add(id(node.target))
            elif isinstance(node, SequenceNode):
                waiting += node.items
            elif isinstance(node, MappingNode):
                waiting += [part for entry in node.own.values() for part in entry]
                waiting += [node.merge] if node.merge is not None else []
    return frozenset(homes[anchor] for key, used in uses.items() for anchor in used if homes.get(anchor, key) != key)


def _mapping_at(mapping: MappingNode, key: Key, path: str) -> MappingNode | None:
    """The mapping below a key; ``None`` if it is missing or null."""
    if key not in (found := entries(mapping)):
        return None
    node = resolve(found[key][1])
    if isinstance(node, ScalarNode) and node.value is None:
        return None
    if not isinstance(node, MappingNode) or node.is_set:
        raise ConfigError(Problem("expected a mapping", path, node.place))
    return node
