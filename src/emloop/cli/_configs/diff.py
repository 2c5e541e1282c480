"""``emloop diff``: compare two configs or two runs.

Examples:
    emloop diff config.yaml other.yaml
    emloop diff log/first log/second
    emloop diff config.yaml @ --json
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emloop._config import load_config
from emloop._config.changes import ABSENT, changes, same
from emloop._config.defaults import Defaults
from emloop._run_dir.provenance import Facts, code_facts, environment_facts
from emloop._run_dir.summary import RunSummary, metrics_of
from emloop.constants import EXIT_DONE, EXIT_FAILED

from .. import render
from ..args import CONFIG_OR_RUN, add_json
from .named import named_config


def _metric_facts(run: Path) -> Facts:
    return dict(metrics_of(RunSummary(run).metrics))


_WRITTEN_BY_US = "model.restore_fallback"
_MARKS = {"added": "+", "removed": "-", "changed": "~"}
_ABOUT_RUNS: dict[str, Callable[[Path], Facts]] = {
    "code": code_facts,
    "environment": environment_facts,
    "metrics": _metric_facts,
}
"""What else is compared if both are runs."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("first", metavar="A", help=CONFIG_OR_RUN)
    parser.add_argument("second", metavar="B", help=CONFIG_OR_RUN)
    add_json(parser, "a list of differences")


def run(arguments: Namespace) -> int:
    """Run the command."""
    return diff(arguments.first, arguments.second, arguments.output_root, as_json=arguments.json)


class Difference(NamedTuple):
    """A value that differs.

    Args:
        about: ``config``, ``code``, ``environment`` or ``metrics``.
        key: Name of the value.
        old: The value on the first side; ``ABSENT`` if there is none.
        new: The value on the second side.
        defaults: Sides (``old``, ``new``) whose value is not written, but the default of a class.
    """

    about: str
    key: str
    old: Any
    new: Any
    defaults: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.old is ABSENT else "removed" if self.new is ABSENT else "changed"

    @property
    def sides(self) -> dict[str, Any]:
        """The values that are there."""
        return {side: value for side, value in (("old", self.old), ("new", self.new)) if value is not ABSENT}

    def as_data(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"about": self.about, "key": self.key, "kind": self.kind, **self.sides, "defaults": self.defaults}


def diff(first: str, second: str, output_root: str, *, as_json: bool = False) -> int:
    """Write the differences to standard output.

    Args:
        first: A config, or a run.
        second: Another one.
        output_root: Where runs are looked for.
        as_json: Whether to write JSON instead.

    Returns:
        The exit code: 1 if there is a difference.

    Raises:
        ConfigError: If a config cannot be read.
        RunDirError: If there is no such run.
    """
    old, new = named_config(first, output_root), named_config(second, output_root)
    found = list(differences(load_config(old.file), load_config(new.file)))
    if old.run is not None and new.run is not None:
        if all(difference.key != "main_loop.seed" for difference in found):
            infos = (RunSummary(run).info for run in (old.run, new.run))
            found += _in_facts("config", *({"main_loop.seed": info.seed if info else None} for info in infos))
        for about, facts in _ABOUT_RUNS.items():
            found += _in_facts(about, facts(old.run), facts(new.run))
    if as_json:
        render.say_json([difference.as_data() for difference in found])
    else:
        _write(found)
    return EXIT_FAILED if found else EXIT_DONE


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """Compare two configs; a key that is not written counts with the default of its class."""
    defaults = Defaults()
    for change in changes(old, new, old_defaults=defaults, new_defaults=defaults):
        if change.key == _WRITTEN_BY_US and ABSENT in (change.old, change.new):
            continue  # only a run has it
        which = [side for side, is_one in (("old", change.old_is_default), ("new", change.new_is_default)) if is_one]
        yield Difference("config", change.key, change.old, change.new, tuple(which))


def _in_facts(about: str, old: Facts, new: Facts) -> list[Difference]:
    """Compare two tables; an empty one compares equal to any."""
    if not (old and new):
        return []
    values = ((key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in {**old, **new})
    return [Difference(about, key, before, after) for key, before, after in values if not same(before, after)]


def _write(found: list[Difference]) -> None:
    if not found:
        render.say("no differences")
    for about in ("config", *_ABOUT_RUNS):
        if told := [it for it in found if it.about == about]:
            render.say(f"{about}:")
            render.say(render.aligned((f"  {mark}", key, values) for mark, key, values in rows(told)))


def rows(found: Iterable[Difference]) -> list[tuple[str, str, str]]:
    """Mark, key and values of differences."""
    return [(_MARKS[it.kind], it.key, _values(it)) for it in found]


def _values(difference: Difference) -> str:
    words = [
        f"{render.in_yaml(value)} (default)" if side in difference.defaults else render.in_yaml(value)
        for side, value in difference.sides.items()
    ]
    if difference.kind != "changed" and words == ["{}"]:
        return ""  # a hook without arguments
    return " → ".join(words)
