"""``emloop ensemble``: make one model of several trainings, such as the folds of one config.

What it writes is a directory with a config, which ``eval``, ``predict``, ``export`` and ``emloop.load`` take for a
model. It names the runs, of which it takes the best models, and has to be kept with them.

Examples:
    emloop ensemble log/five_a log/five_b log/five_c -o log/five
    emloop ensemble best:valid.loss @ -o pair && emloop eval test pair
    emloop gridsearch config.yaml 'dataset.fold=[0, 1, 2, 3, 4]' --ensemble log/five     (trains them, too)
"""

from __future__ import annotations

import itertools
import os
import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from emloop.constants import EL_CONFIG_FILE, EXIT_DONE
from emloop.errors import RunDirError, UsageError

from .. import render
from ..args import RUN, add_common

_HEAD = """\
# Made by emloop: the best models of {count} runs answer as one. `emloop eval STREAM {place}` evaluates it,
# `emloop predict {place} FILE` predicts. The paths begin where this file is.
"""
_NO_FOLD = """\
# `fold: null`: every example of the folds was trained on by a member, so there is no stream `valid`. Evaluate a stream
# that was set aside, as `split: {test: 0.1}` does; each member's own `valid` is in its run.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help=RUN)
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="directory to write; must not exist")
    add_common(parser, short=False)


def run(arguments: Namespace) -> int:
    """Run the command."""
    from emloop._run_dir.finding import find_run

    require_free(arguments.output)
    return assemble([find_run(word, arguments.output_root) for word in arguments.runs], arguments.output)


def require_free(output: str) -> None:
    """
    Raises:
        UsageError: If something is there already.
    """
    if os.path.lexists(output):
        raise UsageError(f"{output} is there already; name a new directory")


def assemble(runs: Sequence[Path], output: str) -> int:
    """Write the config of an ensemble, and load it once to see that its members fit together.

    Args:
        runs: The runs of its members.
        output: The directory to make.

    Raises:
        UsageError: If there are no two runs, or nothing is known of what they give.
        EmloopError: If a member cannot be restored.
    """
    from emloop._support.files import atomic_write
    from emloop._yaml import documents as yaml
    from emloop.predictor import load

    if len(runs) < 2:
        raise UsageError("an ensemble takes at least two runs")
    first = load(runs[0])
    if not first.outputs:
        raise UsageError(f"{runs[0]}: what it gives is not known, since it has saved no model; SaveBest would do so")
    config, outputs, comment, told = _assembled(runs, first)
    config["model"]["model_paths"] = [os.path.relpath(run, output) for run in runs]
    try:
        Path(output).mkdir(parents=True)
        head = _HEAD.format(count=len(runs), place=output) + comment
        atomic_write(Path(output, EL_CONFIG_FILE), head + yaml.dump(config))
    except OSError as error:
        raise RunDirError(f"{output}: {error.strerror}") from error
    try:
        load(output)
    except BaseException:
        Path(output, EL_CONFIG_FILE).unlink()
        Path(output).rmdir()
        raise
    for line in told:
        render.complain(f"note: {line}")
    _summarize(runs)
    given = ", ".join(f"{name} ({word.replace('_', ' ')})" for name, word in outputs.items())
    render.say(f"Made {output} of {len(runs)} runs: {given}. Next:\n  emloop eval STREAM {output}")
    return EXIT_DONE


def _assembled(runs: Sequence[Path], first: Any) -> tuple[dict[str, Any], dict[str, str], str, list[str]]:
    """The config, how outputs are aggregated, a comment, and what the user should know.

    Args:
        runs: The runs of the members.
        first: The predictor of the first one.
    """
    from emloop._config import load_config
    from emloop._config.check import new_library
    from emloop._config.hook_order import without_variables
    from emloop._run_dir.layout import current_config

    outputs = {name: _aggregation(described) for name, described in first.outputs.items()}
    config = deepcopy(dict(load_config(current_config(runs[0]))))
    gone = set(first.model.output_names) - set(outputs)
    sections = [section for section in (config.get("eval") or {}).values() if section.get("hooks")]
    changes = (without_variables(section, gone, new_library()) for section in (config, *sections) if gone)
    told = list(dict.fromkeys(itertools.chain.from_iterable(changes)))
    comment = ""
    for key in _different(runs):
        if key == "dataset.fold" and _may_do_without_folds(config):
            config["dataset"]["fold"] = None
            loop = config.get("main_loop") or {}
            if "extra_streams" in loop:
                loop["extra_streams"] = [name for name in loop["extra_streams"] if name != "valid"]
            comment = _NO_FOLD
        elif key.startswith("dataset."):
            others = "its streams may hold what other members were trained with"
            told.append(f"the runs differ in {key}; the ensemble has that of {runs[0].name}, so {others}")
    name = config["model"].get("name")
    config["model"] = {
        **({} if name is None else {"name": name}),
        "class": "Ensemble",
        "inputs": list(first.model.input_names),
        "outputs": list(outputs),
        "aggregation": outputs,
    }
    for section in (config.get("eval") or {}).values():
        section.pop("model", None)
    return config, outputs, comment, told


def _aggregation(described: Any) -> str:
    return "mean" if described is not None and described.dtype.kind in "fc" else "major_vote"


def _different(runs: Sequence[Path]) -> list[str]:
    """The keys of the configs in which runs differ."""
    from emloop._run_dir.summary import RunSummary

    configs = [RunSummary(run).config for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]


def _may_do_without_folds(config: Mapping[str, Any]) -> bool:
    from emloop._registry import find_class
    from emloop._settings.kinds import DATASET
    from emloop.datasets._ready.dataset import ReadyDataset

    return issubclass(find_class(str(config["dataset"]["class"]), DATASET), ReadyDataset)


def _summarize(runs: Sequence[Path]) -> None:
    """Print what the members have reached, each in its own run."""
    from emloop._run_dir.headline import direction, headline
    from emloop._run_dir.summary import RunSummary

    found = [RunSummary(run) for run in runs]
    metric = next((name for run in found if (name := headline(run)) is not None), None)
    if metric is None:
        return
    better = None
    with suppress(UsageError):
        better = direction(metric, found)
    values = [run.metric(metric, better) for run in found]
    numbers = [value for value in values if isinstance(value, int | float)]
    named = metric if better is None else f"{better}:{metric}"
    rows = [[run.name, render.number(value)] for run, value in zip(found, values, strict=True)]
    if len(numbers) == len(found):
        rows.append(["mean ± deviation", f"{statistics.fmean(numbers):.4g} ± {statistics.stdev(numbers):.2g}"])
    render.say(render.aligned([["run", named], *rows]))
