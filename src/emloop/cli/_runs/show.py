"""``emloop show``: everything about one run.

Examples:
    emloop show @
    emloop show majority --variable valid.accuracy
    emloop show best:valid.loss --json
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import join
from typing import Any, NamedTuple

from emloop._config import load_config
from emloop._run_dir.finding import find_run
from emloop._run_dir.headline import direction, headline
from emloop._run_dir.info import read_attempts
from emloop._run_dir.provenance import code_facts
from emloop._run_dir.summary import RunSummary, list_runs, metric_names, metric_of
from emloop._support.files import read_small
from emloop._support.printable import columns
from emloop._support.suggest import did_you_mean
from emloop.constants import EXIT_DONE
from emloop.errors import EmloopError, UsageError

from .. import render
from .._configs.diff import Difference, differences, rows
from .._configs.named import Named, named_config
from ..args import RUN, add_json
from .curve import curve
from .details import artifacts, as_data
from .fields import state

_MOST_METRICS = 20
"""Most metrics that a screen shows, and that an error lists."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("spec", metavar="RUN", help=RUN)
    parser.add_argument("--variable", metavar="METRIC", help="whose curve to draw, e.g. valid.accuracy")
    add_json(parser, "all of it, and the values of the curve")


def run(arguments: Namespace) -> int:
    """Run the command."""
    return show(arguments.spec, arguments.output_root, variable=arguments.variable, as_json=arguments.json)


class Course(NamedTuple):
    """What became of a metric.

    Args:
        name: Its name.
        values: Its values, by epoch; ``None`` where it is none.
        best: The best one; ``None`` if it is doubtful which that would be.
        epoch: The first epoch that has it.
    """

    name: str
    values: Sequence[Any]
    best: float | None = None
    epoch: Any = None


def show(spec: str, output_root: str, *, variable: str | None = None, as_json: bool = False) -> int:
    """Write everything about a run to standard output.

    Args:
        spec: The run, as :func:`find_run` takes it.
        output_root: Where runs are looked for by name.
        variable: The metric whose curve is drawn instead of that which the run is judged by.
        as_json: Whether to write JSON instead.

    Returns:
        The exit code.

    Raises:
        RunDirError: If there is no such run.
        UsageError: If it does not have the metric.
    """
    summary = RunSummary(find_run(spec, output_root))
    records = list(summary.records())
    chosen = variable.replace("/", ".", 1) if variable and metric_of(summary.metrics, variable) is None else variable
    drawn = chosen or headline(summary)
    names = list(dict.fromkeys([*([drawn] if drawn else []), *metric_names(summary.metrics)]))
    courses = [_course(summary, name, records) for name in (names if as_json else names[:_MOST_METRICS])]
    if chosen and not any(value is not None for value in courses[0].values):
        there = ", ".join(names[1 : _MOST_METRICS + 1])
        hint = "".join(f"; {text}" for text in did_you_mean(chosen, names[1:]))
        raise UsageError(f"the run does not have {chosen!r}{hint}; there are: {there or 'none'}")
    against, changed = _changed(summary)
    if as_json:
        _write_json(summary, courses, [record.get("epoch_id") for record in records], against, changed)
    else:
        _write(summary, courses, records, against, changed, left_out=len(names) - len(courses))
    return EXIT_DONE


def _course(run: RunSummary, name: str, records: Sequence[Mapping[str, Any]]) -> Course:
    values = [metric_of(record, name) for record in records]
    numbers = [(value, index) for index, value in enumerate(values) if _is_number(value)]
    try:
        better = direction(name, [run])
    except UsageError:
        numbers = []
    if not numbers:
        return Course(name, values)
    best = min(numbers) if better == "min" else max(numbers, key=lambda pair: (pair[0], -pair[1]))
    return Course(name, values, best[0], records[best[1]].get("epoch_id"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - no NaN


def _changed(run: RunSummary) -> tuple[str, list[Difference] | str]:
    """What the config is compared with, and what is different, or why that cannot be told."""
    parent = _parent(run)
    against = f"that of {parent.path}" if parent else "the defaults"
    try:
        own = load_config(_config_of(run.path).file)
        return against, list(differences(load_config(_config_of(parent.path).file) if parent else _bare(own), own))
    except (EmloopError, OSError) as error:
        return against, str(error)


def _config_of(run: Path) -> Named:
    return named_config(str(run), str(run.parent))


def _parent(run: RunSummary) -> RunSummary | None:
    """The run that this one was forked from, or evaluates, if it lies beside it."""
    origin = None if run.info is None else run.info.parent
    if origin is None or not isinstance(wanted := origin.get("run_id"), str):
        return None
    nearby = RunSummary(run.path.parent / Path(str(origin.get("path"))).name)
    for other in (nearby, *list_runs(run.path.parent)):
        if other.info is not None and other.info.run_id == wanted and other.path != run.path:
            return other
    return None


def _bare(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same config, with nothing but classes in it."""
    bare: dict[str, Any] = {}
    for section, content in config.items():
        if section == "hooks" and isinstance(content, list):
            bare[section] = [_bare_hook(item) for item in content]
        elif isinstance(content, Mapping):
            bare[section] = {key: value for key, value in content.items() if key == "class"}
    return bare


def _bare_hook(item: Any) -> Any:
    if not isinstance(item, Mapping) or len(item) != 1:
        return item
    name, arguments = next(iter(item.items()))
    own_name = arguments.get("name") if isinstance(arguments, Mapping) else None
    return name if own_name is None else {name: {"name": own_name}}


def _attempts(run: RunSummary) -> list[dict[str, Any]]:
    """Begin and end of every process that has worked on the run."""
    found: dict[int, dict[str, Any]] = {}
    for record in read_attempts(run.path):
        attempt = found.setdefault(record["attempt"], {"attempt": record["attempt"]})
        taken = ("host", "pid", "commit") if record.get("event") == "start" else ("status", "reason", "exit_status")
        key = "begin" if record.get("event") == "start" else "end"
        attempt |= {key: record.get("time"), **{name: record.get(name) for name in taken}}
    for attempt in found.values():
        ongoing = run.status == "running" and attempt["attempt"] == run.trace.attempts
        attempt.setdefault("status", "running" if ongoing else "lost")
    return list(found.values())


def _models(run: RunSummary) -> Iterator[dict[str, Any]]:
    """What the manifests of its saved and exported models say."""
    for found in artifacts(run):
        if found.is_directory and found.name not in ("checkpoints", "program"):
            try:
                manifest = json.loads(read_small(run.path / found.name / "manifest.json"))
                kept = {key: manifest.get(key) for key in ("backend", "rung", "reason")}
            except (OSError, ValueError, RecursionError, AttributeError):
                continue
            yield {"name": found.name, **kept, "size": found.size}


def _write_json(
    run: RunSummary, courses: Sequence[Course], epochs: Sequence[Any], against: str, changed: list[Difference] | str
) -> None:
    metrics = [
        {
            "name": course.name,
            "last": course.values[-1] if course.values else None,
            "best": course.best,
            "epoch": course.epoch,
        }
        for course in courses
    ]
    drawn = courses[0] if courses else Course("", [])
    config = {"against": against, "differences": [it.as_data() for it in changed] if isinstance(changed, list) else []}
    render.say_json(
        as_data(run, [])
        | {
            "command": list(run.info.command) if run.info else None,
            "parent": run.info.parent if run.info else None,
            "code": code_facts(run.path),
            "attempts": _attempts(run),
            "config": config,
            "metrics": metrics,
            "curve": {"variable": drawn.name or None, "epochs": epochs, "values": drawn.values},
            "saved_models": list(_models(run)),
            "files": [found._asdict() for found in artifacts(run)],
        }
    )


def _write(
    run: RunSummary,
    courses: Sequence[Course],
    records: Sequence[Mapping[str, Any]],
    against: str,
    changed: list[Difference] | str,
    left_out: int,
) -> None:
    render.say(render.aligned((name, value) for name, value in _facts(run) if value))
    attempts = _attempts(run)
    if len(attempts) > 1:
        _titled("attempts", [_attempt_row(attempt) for attempt in attempts])
    wide = columns()
    if isinstance(changed, str):
        _titled(f"config, cannot be compared with {against}", [[changed]])
    elif changed:
        cells = [(mark, render.fitted(key, wide // 2), values) for mark, key, values in rows(changed)]
        left = wide - max(render.text_width(key) for _, key, _ in cells) - len("  ~    ")
        kept = [(mark, key, render.fitted(values, left)) for mark, key, values in cells]
        _titled(f"config, against {against}", kept)
    if courses:
        _titled("metrics", [["", "last", "best", "epoch"], *map(_metric_row, courses)])
        if left_out:
            render.say(f"  … and {left_out} more; --variable METRIC draws one, --json has all")
        if len(records) > 1 and (drawing := curve([_as_float(value) for value in courses[0].values], wide - 2)):
            epochs = [str(record.get("epoch_id", "")) for record in (records[0], records[-1])]
            render.say(f"\n{courses[0].name}, epoch {render.fitted(epochs[0], 20)} to {render.fitted(epochs[1], 20)}")
            render.say("\n".join(f"  {line}" for line in drawing))
    if models := list(_models(run)):
        _titled("saved models", [[it["name"], str(it["rung"] or it["backend"] or ""), *_size(it)] for it in models])
    _titled("files", [[f"{it.name}{'/' * it.is_directory}", *render.file_size(it.size)] for it in artifacts(run)])


def _titled(title: str, table: Sequence[Sequence[str]]) -> None:
    if table:
        lines = render.aligned(table).split("\n")
        render.say(f"\n{title}\n" + "\n".join(f"  {line}" for line in lines))


def _facts(run: RunSummary) -> Iterator[tuple[str, str]]:
    info, trace = run.info, run.trace
    yield "run", str(run.path)
    yield "kind", run.kind
    reason = (trace.reason or "").partition("\n")[0]  # a mistake in a config goes on with the place
    yield "status", f"{state(run)}{f': {reason}' if reason else ''}"
    yield "problem", run.problem or ""
    yield "NaN", trace.nan or ""
    yield "other data", trace.other_data or ""
    yield "epochs", str(run.epochs_done)
    yield "begun", "" if run.begin is None else f"{run.begin.astimezone():%Y-%m-%d %H:%M:%S}"
    attempts = f", in {trace.attempts} attempts" if trace.attempts > 1 else ""
    yield "time spent", "" if run.duration is None else f"{render.duration(run.duration)}{attempts}"
    yield "host", trace.host or ""
    if info is not None:
        yield "seed", str(info.seed)
        program, *words = info.command or ("",)
        yield "command", join([Path(program).name, *words]) if program else ""
        if info.parent is not None:
            commit = info.parent.get("commit")
            yield "from", f"{info.parent.get('path')}{'' if commit is None else f', commit {commit}'}"
        yield "emloop", info.emloop
    code = code_facts(run.path)
    yield "code", ", ".join(str(code[key]) for key in ("branch", "commit") if code.get(key))
    yield "changes", f"uncommitted, {code['uncommitted changes']}" if code.get("uncommitted changes") else ""


def _attempt_row(attempt: Mapping[str, Any]) -> list[str]:
    commit = attempt.get("commit")
    return [
        str(attempt["attempt"]),
        str(attempt.get("begin") or "")[:19].replace("T", " "),
        str(attempt["status"]),
        "" if commit is None else f"from commit {commit}",
        str(attempt.get("reason") or ""),
    ]


def _metric_row(course: Course) -> list[str]:
    last = course.values[-1] if course.values else None
    return [render.fitted(course.name, 40), _shown(last), _shown(course.best), _shown(course.epoch)]


def _shown(value: Any) -> str:
    return render.fitted(render.number(value), 20)


def _as_float(value: Any) -> float | None:
    try:
        return float(value) if _is_number(value) else None
    except OverflowError:
        return None


def _size(model: Mapping[str, Any]) -> tuple[str, str]:
    return render.file_size(model["size"])
