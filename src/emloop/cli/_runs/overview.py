"""Runs at a glance, a line each: how they stand, the number they are judged by, and what is different about them."""

from collections.abc import Mapping, Sequence

from emloop._run_dir.summary import RunSummary

from .. import render
from .fields import RUN_FIELDS, config_field, differing_keys, distinct_configs, headline_field

_DIFFERENCES = 24
"""Columns that differences may take from long names."""
_LEAST = 12
"""Columns that a name keeps in any case."""
_LONGEST = 24
"""Columns of a metric's name."""


def overview(runs: Sequence[RunSummary], columns: int) -> str:
    """Format a table that takes no more columns than a terminal has; no number is cut.

    Args:
        runs: The runs.
        columns: Width of the terminal.
    """
    metric = headline_field(runs)
    head = ["status", "epochs", "age", *([] if metric is None else [render.fitted(metric.name, _LONGEST)])]
    table = [head]
    for run in runs:
        age = RUN_FIELDS["age"](run)
        status, epochs = RUN_FIELDS["status"](run), str(run.epochs_done)
        nan = "" if run.trace.nan is None else ", NaN"
        told = [f"{status}{nan}", epochs, "" if age is None else render.span(age)]
        table.append([*told, *([] if metric is None else [metric.show(run) if metric.read(run) is not None else ""])])
    names = _short_names(_telling_first(differing_keys(runs), runs))
    told_once = {run.configuration: run for run in runs}
    of_config = {configuration: _different(run, names) for configuration, run in told_once.items()}
    different = [of_config[run.configuration] for run in runs]
    # Two columns between each and the next.
    free = columns - sum(max(map(render.text_width, column)) + 2 for column in zip(*table, strict=True))
    longest = max(render.text_width(run.name) for run in runs)
    wanted = max((render.text_width(" ".join(items)) for items in different), default=0)
    room = max(min(longest, max(free - 2 - min(wanted, _DIFFERENCES), _LEAST)), len("name"))
    left = free - 2 - room
    rows = [["name", *head, "differs" if wanted and left >= len("differs") else ""]]
    for run, cells, items in zip(runs, table[1:], different, strict=True):
        rows.append([render.fitted(run.name, room), *cells, _as_many(items, left)])
    return render.aligned(rows)


def _telling_first(keys: Sequence[str], runs: Sequence[RunSummary]) -> list[str]:
    """The keys with several values before those that some runs only lack."""
    configs = distinct_configs(runs)
    values = {key: [config[key] for config in configs if key in config] for key in keys}
    return sorted(keys, key=lambda key: all(value == values[key][0] for value in values[key]))


def _short_names(keys: Sequence[str]) -> Mapping[str, str]:
    """As few of the last parts of each key as tell it from the others."""
    short: dict[str, str] = {}
    taken: dict[str, list[str]] = {}
    for key in keys:
        parts = key.split(".")
        for start in range(len(parts)):
            taken.setdefault(".".join(parts[start:]), []).append(key)
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[start:]) for start in reversed(range(len(parts))))
        short[key] = next((end for end in ends if len(taken[end]) == 1), key)
    return short


def _different(run: RunSummary, names: Mapping[str, str]) -> list[str]:
    config = run.config
    return [f"{short}={config_field(key).show(run)}" for key, short in names.items() if key in config]


def _as_many(items: Sequence[str], columns: int) -> str:
    """As many items as fit, and an ellipsis for the others."""
    text = ""
    for number, item in enumerate(items):
        longer = f"{text} {item}".strip()
        if render.text_width(longer) + 2 * (number + 1 < len(items)) > columns:
            return f"{text} …".strip() if columns > 0 else ""
        text = longer
    return text
