"""The options of the commands that look after many runs: list them, tidy them up, make a grid of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["MakeCommand", "add_ls"]

MakeCommand: TypeAlias = Callable[[str, str, str], argparse.ArgumentParser]
"""Makes the parser of a command from its name, what it does, and examples."""


def add_ls(make: MakeCommand) -> None:
    """``emloop ls``."""
    command = make(
        "ls",
        "list runs",
        """
emloop ls
emloop ls -l log
emloop ls 'valid.accuracy > 0.9' 'model.lr <= 0.01' --sort=-valid.accuracy
emloop ls 'status == failed' --columns name,age,reason
emloop ls 'age < 2h' --json""",
    )
    command.add_argument(
        "words",
        metavar="DIR | FILTER",
        nargs="*",
        help="where to look (default: the output root), and what to show: comparisons (== != < <= > >=) of a field of "
        "the run (status, epochs_done, age, ...), of its config (model.lr) or of its last epoch (valid.loss; "
        "min:valid.loss for the least of all epochs) with a value",
    )
    command.add_argument(
        "-l",
        "--long",
        action="store_true",
        help="with state, model, dataset, age and epochs, and the config keys that differ",
    )
    command.add_argument(
        "-a", "--all", action="store_true", help="also trainings without a finished epoch, and evaluations"
    )
    command.add_argument("-r", "--recursive", action="store_true", help="look into sub-directories")
    command.add_argument(
        "-v", "--verbose", action="store_true", help="like -l, with config and artifacts of a single run"
    )
    command.add_argument(
        "--sort", metavar="FIELD", help="sort by a field instead of the begin; --sort=-FIELD: largest first"
    )
    command.add_argument("--reverse", action="store_true", help="turn the order around")
    command.add_argument(
        "--columns", metavar="FIELDS", type=_names, default=(), help="show these fields, with commas between them"
    )
    command.add_argument("--json", action="store_true", help="as JSON")


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]
