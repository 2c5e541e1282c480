"""The options of the commands that look at configurations."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["add_config", "add_diff", "add_new", "add_schema"]

MakeCommand: TypeAlias = Callable[[str, str, str], argparse.ArgumentParser]
"""Makes the parser of a command from its name, what it does, and examples."""

_CONFIG_OR_RUN = "config file, run directory, beginning of a run's name, or @ for the latest training"


def add_config(make: MakeCommand) -> None:
    """``emloop config show``."""
    command = make(
        "config",
        "show a config as it will be used, and where every value comes from",
        """
emloop config show config.yaml
emloop config show config.yaml model model.rate=0.3
emloop config show @ hooks.StopAfter --defaults
emloop config show config.yaml --resolved > whole.yaml""",
    )
    command.add_argument("action", metavar="show", choices=["show"], help="what to do: show")
    command.add_argument("config_file", metavar="CONFIG | RUN", help=_CONFIG_OR_RUN)
    command.add_argument("--resolved", action="store_true", help="plain YAML, to be used as a config")
    command.add_argument("--defaults", action="store_true", help="also what the classes take by default")
    command.add_argument("--json", action="store_true", help="as JSON")


def add_diff(make: MakeCommand) -> None:
    """``emloop diff``."""
    command = make(
        "diff",
        "show what is different between two configs or runs",
        """
emloop diff config.yaml other.yaml
emloop diff log/first log/second
emloop diff config.yaml @ --json""",
    )
    command.add_argument("first", metavar="A", help=_CONFIG_OR_RUN)
    command.add_argument("second", metavar="B", help="the same")
    command.add_argument("--json", action="store_true", help="as JSON")


def add_schema(make: MakeCommand) -> None:
    """``emloop schema``."""
    command = make(
        "schema",
        "write a JSON Schema of configs, for completion and checks in an editor",
        """
emloop schema > .vscode/emloop.schema.json
emloop schema config.yaml > .vscode/emloop.schema.json     (covers the classes that the config names, too)""",
    )
    command.add_argument("config_file", metavar="CONFIG", nargs="?", help=_CONFIG_OR_RUN)


def add_new(make: MakeCommand) -> None:
    """``emloop new``."""
    command = make(
        "new",
        "start a project: config, dataset, model and test that work, to be changed",
        """
emloop new spirals
emloop new spirals --backend sklearn""",
    )
    command.add_argument("directory", metavar="NAME", help="directory to make; its name is the project's")
    command.add_argument("--backend", metavar="NAME", help="backend to use, where several are installed")
