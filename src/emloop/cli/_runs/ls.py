"""``emloop ls``: the runs in a directory, and how they stand."""

from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from emloop._run_dir.layout import is_run_dir
from emloop._run_dir.summary import RunSummary, list_runs
from emloop._support.printable import printable
from emloop.constants import EL_DEFAULT_LOG_DIR, EL_NA_STR, EXIT_DONE, EXIT_FAILED
from emloop.errors import RunDirError, UsageError

from .. import render
from ..args import add_json
from .details import artifacts, as_data, show_details
from .fields import Field, config_field, differing_keys, find_field, sort_runs, state
from .filters import Condition, parse_condition, select

NO_RUNS_YET = f"There are no runs yet: {EL_DEFAULT_LOG_DIR} does not exist. Give another directory, or train something."

_COLUMNS = ("name", "model", "dataset", "age", "duration", "epochs_done", "status")
_SHOWN_ANYWAY = ("model.class", "dataset.class")
_MOST_KEYS = 8
"""With more columns for the configuration, lines would be too long to read."""

EXAMPLES = """
emloop ls
emloop ls -l log
emloop ls 'valid.accuracy > 0.9' 'model.lr <= 0.01' --sort=-valid.accuracy
emloop ls 'status == failed' --columns name,age,reason
emloop ls 'age < 2h' --json
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    words = (
        "where to look (default: the output root), and what to show: comparisons (== != < <= > >=) of a field of the "
        "run (status, epochs_done, age, ...), of its config (model.lr) or of its last epoch (valid.loss; "
        "min:valid.loss for the least of all epochs) with a value"
    )
    long = "model, dataset, age, duration, epochs and status, and the config keys in which the listed runs differ"
    json = "a list of objects; with -l, `config` holds the keys that differ, with -v of a single run all of them"
    sort = "sort by a field; --sort=-FIELD: largest first; runs without it come last"
    parser.add_argument("words", metavar="DIR | FILTER", nargs="*", help=words)
    parser.add_argument("-l", "--long", action="store_true", help=long)
    parser.add_argument("-a", "--all", action="store_true", help="also what has no finished epoch, such as evaluations")
    parser.add_argument("-r", "--recursive", action="store_true", help="look into sub-directories")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="like -l; of a single run config and artifacts, too"
    )
    parser.add_argument("--columns", metavar="FIELDS", default="", help="show these fields, with commas between them")
    parser.add_argument("--sort", metavar="FIELD", help=sort)
    parser.add_argument("--reverse", action="store_true", help="turn the order around")
    add_json(parser, json)


def run(arguments: Namespace) -> int:
    """Run the command."""
    directory, filters = split_words(arguments.words)
    return list_train_dirs(
        directory or arguments.output_root,
        arguments.recursive,
        arguments.all,
        arguments.long,
        arguments.verbose,
        as_json=arguments.json,
        filters=filters,
        sort=arguments.sort,
        reverse=arguments.reverse,
        columns=[name for part in arguments.columns.split(",") if (name := part.strip())],
    )


def split_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Tell the directory from the filters among the words of a command line.

    Raises:
        UsageError: If there are two directories, or a filter makes no sense.
    """
    directories: list[str] = []
    filters: list[str] = []
    for word in words:
        is_filter = not Path(word).is_dir() and parse_condition(word) is not None
        (filters if is_filter else directories).append(word)
    if len(directories) > 1:
        raise UsageError(
            f"{directories[0]!r} is the directory, and {directories[1]!r} is no filter; "
            "a filter compares, such as 'valid.accuracy > 0.9'"
        )
    return directories[0] if directories else None, filters


def list_train_dirs(
    dir_: str,
    recursive: bool,
    all_: bool,
    long: bool,
    verbose: bool,
    as_json: bool = False,
    *,
    filters: Sequence[str] = (),
    sort: str | None = None,
    reverse: bool = False,
    columns: Sequence[str] = (),
) -> int:
    """List runs on standard output, earliest first.

    Args:
        dir_: A directory of runs, or a run directory, which is then listed alone.
        recursive: Whether to look into directories that are no runs, too.
        all_: Whether to show also runs that have no epoch done, as evaluations; live ones and those whose trace cannot
            be read are always shown.
        long: Whether to show more than names, with the keys in which configurations differ, and a summary.
        verbose: Whether to show, like ``long``, and for a single run its configuration and artifacts, too.
        as_json: Whether to write a JSON list instead.
        filters: Conditions that runs must meet to be shown, such as ``valid.accuracy > 0.9``; they are looked for among
            all runs.
        sort: Name of the field to sort by, with ``-`` before it for the largest first.
        reverse: Whether to turn the order around.
        columns: Names of the fields to show, instead of those of the long form.

    Returns:
        Exit status: 1 if there is no such directory.

    Raises:
        UsageError: If a filter makes no sense, or no run has a field.
    """
    root = Path(dir_)
    conditions = [_parsed(text) for text in filters]
    try:
        runs = list_runs(root, recursive=recursive)
    except RunDirError as error:
        render.complain(str(error) if root.exists() or dir_ != EL_DEFAULT_LOG_DIR else NO_RUNS_YET)
        return EXIT_FAILED
    alone = is_run_dir(root)
    shown = runs if all_ or alone or filters else [run for run in runs if _is_worth_showing(run)]
    shown = _sorted(select(shown, conditions), sort, reverse)
    chosen = [find_field(name, shown) for name in columns]
    if as_json:
        render.say_json(_data(shown, chosen, long, verbose))
    elif recursive and not alone:
        for directory, group in groupby(sorted(shown, key=_parent), _parent):
            render.say(f"{directory}:")
            _show(list(group), chosen, long, verbose)
            render.say()
    else:
        _show(shown, chosen, long, verbose)
    return EXIT_DONE


def _parsed(text: str) -> Condition:
    condition = parse_condition(text)
    if condition is None:
        raise UsageError(f"{text!r} is no filter; a filter compares, such as 'valid.accuracy > 0.9'")
    return condition


def _is_worth_showing(run: RunSummary) -> bool:
    return run.epochs_done > 0 or state(run) in ("running", "broken")


def _sorted(runs: list[RunSummary], sort: str | None, reverse: bool) -> list[RunSummary]:
    if sort is None:
        return runs[::-1] if reverse else runs
    field = find_field(sort.removeprefix("-"), runs)
    return sort_runs(runs, field, reverse=sort.startswith("-") != reverse)


def _parent(run: RunSummary) -> Path:
    return run.path.parent


def _data(runs: Sequence[RunSummary], columns: Sequence[Field], long: bool, verbose: bool) -> list[dict[str, Any]]:
    data = [as_data(run, columns) for run in runs]
    if len(runs) == 1 and verbose:
        made = [found._asdict() for found in artifacts(runs[0])]
        data[0] |= {"config": runs[0].config, "artifacts": made}
    elif long or verbose:
        keys = differing_keys(runs)
        for run, description in zip(runs, data, strict=True):
            description["config"] = {key: run.config[key] for key in keys if key in run.config}
    return data


def _show(runs: Sequence[RunSummary], columns: Sequence[Field], long: bool, verbose: bool) -> None:
    if not (long or verbose or columns):
        for run in runs:
            render.say(printable(run.name))
        return
    if long or verbose:
        render.say(f"total {len(runs)}")
    if runs:
        left_out = _show_table(runs, columns)
        if left_out:
            render.say(f"… and {len(left_out)} more keys differ, for --columns: {', '.join(left_out)}")
    if len(runs) > 1 and (long or verbose):
        render.say()
        _show_summary(runs)
    elif runs and verbose:
        render.say()
        show_details(runs[0])


def _show_table(runs: Sequence[RunSummary], columns: Sequence[Field]) -> list[str]:
    """Show the columns that were chosen, or the usual ones; returns the keys that differ and found no room."""
    keys: list[str] = []
    if not columns:
        keys = [key for key in differing_keys(runs) if key not in _SHOWN_ANYWAY]
        kind = ["kind"] if any(run.kind != "training" for run in runs) else []
        columns = [find_field(name, runs) for name in (*_COLUMNS, *kind)] + list(map(config_field, keys[:_MOST_KEYS]))
    render.say(
        render.aligned([[field.name for field in columns], *([field.show(run) for field in columns] for run in runs)])
    )
    return keys[_MOST_KEYS:]


def _show_summary(runs: Sequence[RunSummary]) -> None:
    names = Counter(_text(run, "model.name") or "Unnamed" for run in runs)
    classes = Counter(tuple(_text(run, key) or EL_NA_STR for key in ("model.class", "dataset.class")) for run in runs)
    render.say(render.boxed("summary"))
    render.say(render.grid(["model.name", "count"], [[name, str(number)] for name, number in sorted(names.items())]))
    render.say()
    rows = [[*pair, str(number)] for pair, number in sorted(classes.items())]
    render.say(render.grid(["model.class", "dataset.class", "count"], rows))


def _text(run: RunSummary, key: str) -> str | None:
    value = run.config.get(key)
    return value if isinstance(value, str) else None
