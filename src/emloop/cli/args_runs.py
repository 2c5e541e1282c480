"""The options of the commands that look after many runs: list them, tidy them up, make a grid of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["MakeCommand", "add_grid_search", "add_ls", "add_prune"]

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


def add_prune(make: MakeCommand) -> None:
    """``emloop prune``."""
    command = make(
        "prune",
        "move trainings that are worth nothing to the trash",
        """
emloop prune --dry-run
emloop prune log -e 5
emloop prune --keep-best 3:valid.accuracy --yes
emloop prune --keep-best 3:min:valid.loss -s
emloop prune --empty-trash""",
    )
    command.add_argument("dir", metavar="DIR", nargs="?", help="directory of the runs (default: the output root)")
    command.add_argument(
        "-e", "--epochs", metavar="N", type=int, default=1, help="prune trainings with fewer epochs (default: 1)"
    )
    command.add_argument(
        "-s",
        "--subdirs",
        action="store_true",
        help="of the other finished trainings, prune the sub-directories: checkpoints, saved models, pictures",
    )
    command.add_argument(
        "--keep-best",
        metavar="N:METRIC",
        help="of the finished trainings, keep only the N best, e.g. by valid.accuracy or by min:valid.loss",
    )
    command.add_argument("--evaluations", action="store_true", help="prune all evaluations, too")
    command.add_argument("--dry-run", action="store_true", help="only show what would be done")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument(
        "--empty-trash", action="store_true", help="delete for good what was pruned before, and no more"
    )


def add_grid_search(make: MakeCommand) -> None:
    """``emloop gridsearch``."""
    command = make(
        "gridsearch",
        "run a command for every combination of some parameters",
        """
emloop gridsearch 'emloop train config.yaml' 'model.lr=[0.1, 0.01]' 'model.hidden=[32, 64]'
emloop gridsearch 'emloop train config.yaml' 'model.activation=[relu, tanh]' --dry-run""",
    )
    command.add_argument("script", metavar="SCRIPT", help="the command, as one word in quotes")
    command.add_argument(
        "params", metavar="PARAM=LIST", nargs="*", help="a key of the config and the values that it takes"
    )
    command.add_argument("--dry-run", action="store_true", help="only print the commands, one a line")


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]
