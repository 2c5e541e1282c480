"""``emloop ls``: list the runs in a directory.

On a terminal each run has a line: how it stands, the number it is judged by, and what is different about its config.
Other programs are given the names.

Examples:
    emloop ls
    emloop ls -l log
    emloop ls majority
    emloop ls best:valid.accuracy -v
    emloop ls 'valid.accuracy > 0.9' 'model.lr <= 0.01' -valid.accuracy
    emloop ls 'status == failed' --columns name,age,reason
    emloop ls 'age < 2h' --json
"""

import gc
import re
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from emloop._run_dir.finding import find_run, is_selector, names_beginning
from emloop._run_dir.layout import is_run_dir, iter_runs
from emloop._run_dir.summary import RunSummary, list_runs, summaries
from emloop._support.printable import columns as terminal_columns
from emloop._support.printable import printable
from emloop.constants import EL_DEFAULT_LOG_DIR, EL_NA_STR, EXIT_DONE, EXIT_FAILED
from emloop.errors import RunDirError, UsageError

from .. import render
from ..args import add_json, add_untrusted
from .details import artifacts, as_data, show_details
from .fields import RUN_FIELDS, Field, config_field, differing_keys, find_field, headline_field, sort_runs, state
from .filters import Condition, parse_condition, select
from .overview import overview

NO_RUNS_YET = f"There are no runs yet: {EL_DEFAULT_LOG_DIR} does not exist. Give another directory, or train something."

_COLUMNS = ("name", "model", "dataset", "age", "duration", "epochs_done", "status")
_SHOWN_ANYWAY = ("model.class", "dataset.class")
_DOTTED = re.compile(r"((min|max|last):)?\w[\w-]*\.\w[^=!<>]*")
"""A metric or a key of a config, as opposed to options."""

_MOST_KEYS = 8
"""Most columns for config keys; with more, lines are too long to read."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    words = (
        "where to look (default: the output root), or which runs: the beginning of their names, @, @-1 or best:METRIC; "
        "and what to show: comparisons (== != < <= > >=) of a field of the "
        "run (status, epochs_done, age, ...), of its config (model.lr) or of its last epoch (valid.loss; "
        "min:valid.loss for the least of all epochs) with a value"
    )
    long = (
        "model, dataset, age, duration, epochs, status and the last value of the metric that they are judged by, and "
        "the config keys in which the listed runs differ"
    )
    json = "a list of objects; with -l, `config` holds the keys that differ, with -v of a single run all of them"
    sort = "sort by a field; -FIELD alone, such as -valid.accuracy: largest first; runs without it come last"
    parser.add_argument("words", metavar="DIR | RUN | FILTER", nargs="*", help=words)
    parser.add_argument("-l", "--long", action="store_true", help=long)
    parser.add_argument("-a", "--all", action="store_true", help="evaluations, too")
    parser.add_argument("-r", "--recursive", action="store_true", help="look into sub-directories")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="like -l; of a single run config and artifacts, too"
    )
    parser.add_argument("--columns", metavar="FIELDS", default="", help="show these fields, with commas between them")
    parser.add_argument("--sort", metavar="FIELD", help=sort)
    parser.add_argument("--reverse", action="store_true", help="turn the order around")
    add_json(parser, json)
    add_untrusted(parser)


def prepared(words: Sequence[str]) -> list[str]:
    """Spell out ``-valid.accuracy`` as ``--sort=-valid.accuracy``; argparse would take it for ``-v -a -l …``."""
    spelt: list[str] = []
    for word in words:
        field = word.removeprefix("-")
        if field != word and (field in RUN_FIELDS or _DOTTED.fullmatch(field)):
            if spelt[-1:] == ["--sort"]:
                spelt.pop()
            word = f"--sort={word}"  # noqa: PLW2901
        spelt.append(word)
    return spelt


def run(arguments: Namespace) -> int:
    """Run the command."""
    gc.disable()  # with thousands of runs, the search for cycles takes a quarter of the time and finds none
    directory, filters = split_words(arguments.words)
    how = arguments.recursive, arguments.all, arguments.long, arguments.verbose, arguments.json
    columns = [name for part in arguments.columns.split(",") if (name := part.strip())]
    order = {"sort": arguments.sort, "reverse": arguments.reverse, "output_root": arguments.output_root}
    return list_train_dirs(directory or arguments.output_root, *how, filters=filters, columns=columns, **order)


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
    output_root: str = EL_DEFAULT_LOG_DIR,
) -> int:
    """List runs on standard output, earliest first.

    Args:
        dir_: A directory of runs; or a run, however it is named, which is then listed alone; or the beginning of names.
        recursive: Whether to look into directories that are no runs, too.
        all_: Whether to show evaluations, too; live ones, and runs whose trace cannot be read, are always shown.
        long: Whether to show a table with the config keys that differ, and a summary, instead of a line that fits the
            terminal, or of the name alone where there is none.
        verbose: Like ``long``; a single run is shown with its config and artifacts.
        as_json: Whether to write a JSON list instead.
        filters: Conditions that runs must meet, such as ``valid.accuracy > 0.9``; they apply to all runs.
        sort: Field to sort by; after ``-``, largest first.
        reverse: Whether to reverse the order.
        columns: Fields to show instead of those of the long form.
        output_root: Where runs are looked for by name.

    Returns:
        Exit status: 1 if there is no such directory or run.

    Raises:
        UsageError: If a filter makes no sense, or no run has a field.
    """
    root = Path(dir_)
    conditions = [_parsed(text) for text in filters]
    is_place = root.is_dir() or dir_ in (EL_DEFAULT_LOG_DIR, output_root)
    try:
        runs = list_runs(root, recursive=recursive) if is_place else _named(dir_, output_root)
    except RunDirError as error:
        render.complain(str(error) if root.exists() or dir_ != EL_DEFAULT_LOG_DIR else NO_RUNS_YET)
        return EXIT_FAILED
    alone = not is_place or is_run_dir(root)
    if not (all_ or alone or filters):
        # In this order, because what an evaluation is stands in one more file.
        runs = [run for run in runs if run.trace.epochs_done > 0 or run.kind == "training" or _is_news(run)]
    runs = select(runs, conditions)
    if sort is not None:
        runs = sort_runs(runs, find_field(sort.removeprefix("-"), runs), reverse=sort.startswith("-") != reverse)
    elif reverse:
        runs.reverse()
    chosen = [find_field(name, runs) for name in columns]
    if as_json:
        render.say_json(_data(runs, chosen, long, verbose))
    elif recursive and not alone:
        for directory, group in groupby(sorted(runs, key=_parent), _parent):
            render.say(f"{directory}:")
            _show(list(group), chosen, long, verbose)
            render.say()
    else:
        _show(runs, chosen, long, verbose)
    return EXIT_DONE


def _is_news(run: RunSummary) -> bool:
    """Whether an evaluation is worth listing that nobody asked for."""
    return state(run) in ("running", "broken")


def _named(spec: str, output_root: str) -> list[RunSummary]:
    """The runs whose names begin so, or the one that is named in another way.

    Raises:
        RunDirError: If there is none.
        UsageError: As :func:`find_run`.
    """
    if not is_selector(spec):
        with suppress(RunDirError):
            names = {str(run.relative_to(output_root)): run for run in iter_runs(output_root, recursive=True)}
            if matches := names_beginning(spec, names):
                return summaries(names[name] for name in matches)
    return [RunSummary(find_run(spec, output_root))]


def _parsed(text: str) -> Condition:
    condition = parse_condition(text)
    if condition is None:
        raise UsageError(f"{text!r} is no filter; a filter compares, such as 'valid.accuracy > 0.9'")
    return condition


def _parent(run: RunSummary) -> Path:
    return run.path.parent


def _data(runs: Sequence[RunSummary], columns: Sequence[Field], long: bool, verbose: bool) -> list[dict[str, Any]]:
    data = [as_data(run, columns) for run in runs]
    if len(runs) == 1 and verbose:
        data[0] |= {"config": runs[0].config, "artifacts": [found._asdict() for found in artifacts(runs[0])]}
    elif long or verbose:
        keys = differing_keys(runs)
        for run, description in zip(runs, data, strict=True):
            description["config"] = {key: run.config[key] for key in keys if key in run.config}
    return data


def _show(runs: Sequence[RunSummary], columns: Sequence[Field], long: bool, verbose: bool) -> None:
    in_full = long or verbose
    if not in_full and not columns:
        if runs and sys.stdout.isatty():
            print(overview(runs, terminal_columns()))  # which fits, or is left to the terminal
        else:
            for run in runs:
                render.say(printable(run.name))
        return
    if in_full:
        render.say(f"total {len(runs)}")
    if not runs:
        return
    left_out: list[str] = []
    if not columns:
        keys = [key for key in differing_keys(runs) if key not in _SHOWN_ANYWAY]
        kind = ["kind"] if any(run.kind != "training" for run in runs) else []
        metric = [] if (field := headline_field(runs)) is None else [field]
        columns = [find_field(name, runs) for name in (*_COLUMNS, *kind)] + metric
        columns += map(config_field, keys[:_MOST_KEYS])
        left_out = keys[_MOST_KEYS:]
    head = [field.name for field in columns]
    render.say(render.aligned([head, *([field.show(run) for field in columns] for run in runs)]))
    if left_out:
        render.say(f"… and {len(left_out)} more keys differ, for --columns: {', '.join(left_out)}")
    if in_full and len(runs) > 1:
        render.say()
        _show_summary(runs)
    elif verbose:
        render.say()
        show_details(runs[0])


def _show_summary(runs: Sequence[RunSummary]) -> None:
    render.say(render.boxed("summary"))
    render.say(_counts(runs, {"model.name": "Unnamed"}))
    render.say()
    render.say(_counts(runs, {"model.class": EL_NA_STR, "dataset.class": EL_NA_STR}))


def _counts(runs: Sequence[RunSummary], keys: Mapping[str, str]) -> str:
    """Count the runs by their values of some keys; each key comes with a word for runs without it."""
    found = Counter(
        tuple(value if isinstance(value := run.config.get(key), str) and value else word for key, word in keys.items())
        for run in runs
    )
    return render.grid([*keys, "count"], [[*values, str(number)] for values, number in sorted(found.items())])
