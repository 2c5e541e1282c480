"""``emloop doctor``: find what is wrong with runs, or with the installation, and mend what is safe to mend.

Examples:
    emloop doctor
    emloop doctor log
    emloop doctor log/majority_keen-noether --fix
    emloop doctor @ --json
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emloop._run_dir.finding import find_run
from emloop._run_dir.layout import is_run_dir
from emloop._run_dir.summary import RunSummary, list_runs
from emloop._state.lock import RunLock
from emloop.constants import EXIT_DONE, EXIT_FAILED
from emloop.errors import EmloopError

from .. import render
from ..args import add_json


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    what = "run, beginning of its name, @ for the latest training, or a directory of runs (default: the installation)"
    parser.add_argument("spec", metavar="RUN | DIR", nargs="?", help=what)
    parser.add_argument("--fix", action="store_true", help="mend what is safe to mend")
    add_json(parser, "what is installed, or runs, and a list of findings")


def run(arguments: Namespace) -> int:
    """Run the command."""
    if arguments.spec is None:
        return installation(as_json=arguments.json)
    path = Path(arguments.spec)
    is_directory = path.is_dir() and not is_run_dir(path)
    root = path if path.is_dir() else find_run(arguments.spec, arguments.output_root)
    return examine(list_runs(root, recursive=is_directory), fix=arguments.fix, as_json=arguments.json)


def installation(*, as_json: bool = False) -> int:
    """Describe what is installed.

    Returns:
        The exit code: 1 if something is wrong with it.
    """
    from .installation import described, wrong

    about, found = described(), list(wrong())
    if as_json:
        render.say_json(about | {"findings": [{"what": what, "advice": advice} for what, advice in found]})
        return EXIT_FAILED if found else EXIT_DONE
    rows = [
        ["emloop", f"{about['emloop']}, in {about['place']}"],
        ["Python", f"{about['python']} on {about['platform']}"],
        ["devices", ", ".join([f"{about['devices']['cpus']} CPUs", *about["devices"]["gpus"]])],
    ]
    for name, version in about["backends"].items():
        rows.append([f"backend {name}", version or f"not installed: pip install 'emloop[{name}]'"])
    for extra, lacking in about["extras"].items():
        if extra not in about["backends"]:
            lacks = f"lacks {', '.join(lacking)}: pip install 'emloop[{extra}]'"
            rows.append([f"extra {extra}", lacks if lacking else "ready"])
    render.say(render.aligned(rows))
    for what, advice in found:
        render.say(f"{what}\n  {advice}")
    return EXIT_FAILED if found else EXIT_DONE


def examine(runs: Sequence[RunSummary], *, fix: bool = False, as_json: bool = False) -> int:
    """Say what is wrong with runs, and mend what is safe to mend.

    Args:
        runs: The runs.
        fix: Whether to mend.
        as_json: Whether to write JSON instead.

    Returns:
        The exit code: 1 if something is wrong and stays so.
    """
    found = [(run, finding) for run in runs for finding in _examined(run, fix=fix)]
    left = [finding for _, finding in found if not finding["mended"]]
    if as_json:
        render.say_json({"runs": len(runs), "findings": [{"run": str(run.path), **finding} for run, finding in found]})
    else:
        for run, finding in found:
            state = "mended" if finding["mended"] else finding["kind"]
            render.say(f"{run.path}: {state}: {finding['what']}\n  {finding['advice']}")
        fixable = sum(finding["fixable"] for finding in left)
        hint = f"; --fix mends {fixable}" if fixable and not fix else ""
        render.say(f"{len(runs)} runs, {len(left)} findings{hint}" if left else f"{len(runs)} runs, nothing is wrong")
    return EXIT_FAILED if left else EXIT_DONE


def _examined(run: RunSummary, *, fix: bool) -> list[dict[str, Any]]:
    from .health import findings

    told = []
    for finding in findings(run):
        mended, advice = False, finding.advice
        if fix and finding.mend is not None:
            lock = RunLock(run.path)
            try:
                lock.acquire()
                finding.mend()
                mended = True
            except (EmloopError, OSError) as error:
                advice = f"cannot be mended: {error}"
            finally:
                lock.release()
        told.append(
            {
                "kind": finding.kind,
                "what": finding.what,
                "advice": advice,
                "fixable": finding.mend is not None,
                "mended": mended,
            }
        )
    return told
