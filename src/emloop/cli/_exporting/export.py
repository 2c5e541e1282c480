"""``emloop export``: write a trained model for another runtime, and check that it does the same there.

Examples:
    emloop export @ --to onnx
    emloop export log/majority_keen-noether/model_latest --to onnx --output shipped
    emloop eval predict log/majority_keen-noether/onnx_best     (run what was exported)
"""

from __future__ import annotations

import os
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from emloop._config import load_config
from emloop._config.untrusted import review
from emloop._run_dir.info import read_info
from emloop._support.files import fsync_dir
from emloop.constants import EL_RUN_FILE, EXIT_DONE
from emloop.errors import EmloopError, SaveError, UsageError

from .. import render
from .._configs.named import config_of_model
from ..args import SAVED_MODEL, add_common, add_config, add_overrides, add_trust_source, add_untrusted, overrides

if TYPE_CHECKING:
    from emloop.saved_models import Saved

    from .trial import Trial


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("model_path", metavar="MODEL", help=SAVED_MODEL)
    add_overrides(parser)
    parser.add_argument(
        "--to", metavar="FORMAT", required=True, help="`onnx`, `saved_model` or `litert`, as the backend can"
    )
    parser.add_argument("--output", metavar="DIR", help="where to write (default: `onnx_best` beside the saved model)")
    add_config(parser)
    add_common(parser)
    add_trust_source(parser)
    add_untrusted(parser)


def run(arguments: Namespace) -> int:
    """Run the command."""
    where = arguments.output_root, arguments.output
    changes, trusting = overrides(arguments.words), arguments.trust_source
    return export(arguments.model_path, arguments.to, arguments.config, changes, *where, trust_source=trusting)


def export(
    model_path: str,
    to: str,
    config_path: str | None,
    cl_arguments: Sequence[str],
    output_root: str,
    output: str | None = None,
    *,
    trust_source: bool = False,
) -> int:
    """Export a model.

    Args:
        model_path: A saved model, or a run: its directory, the beginning of its name, or ``@`` for the latest training.
        to: The format.
        config_path: Config to use instead of the run's own.
        cl_arguments: Overrides.
        output_root: Where run directories live.
        output: Where to write it; by default beside the saved model, as ``<to>_<its name>``.
        trust_source: Whether the model's source capsule may run, where its source is not there.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the configuration is wrong, or the model cannot be exported as it is configured.
        SavedModelError: If there is no model, or its source is needed.
        SaveError: If it cannot be exported, or the exported model does something else. Nothing is left behind.
        UntrustedError: If the capsule has been changed, or another module here has one of its names.
        UsageError: If the model has no such format, or there is something else where it would be written.
    """
    from emloop._state.random import seed_everything, use_seed
    from emloop.saved_models import find_saved, trust_source_of

    from .trial import Trial

    origin, config_file = config_of_model(model_path, config_path, output_root)
    config = load_config(config_file, cl_arguments)
    review(config, classes=False)
    saved = find_saved(origin)
    target = Path(output) if output else _beside(saved, to)
    _require_free(target)
    if trust_source:
        trust_source_of(saved.path)
    above = next(parent for parent in target.absolute().parents if parent.is_dir())
    temporary = above / f".tmp-{to}-{os.getpid()}-{uuid4().hex[:8]}"
    seed = seed_of(config, saved.path)
    seed_everything(seed)
    with use_seed(seed):
        trial = Trial(config, saved, to)
        try:
            differences = trial.export(temporary, target)
            _move(temporary, target)
        except EmloopError:
            raise
        except OSError as error:
            raise SaveError(f"{target} cannot be written: {error}; --output DIR writes it elsewhere") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    _report(saved, target, trial, differences)
    return EXIT_DONE


def seed_of(config: Mapping[str, Any], saved: Path) -> int:
    """The seed of the model's run, by which the dataset may have been split."""
    for directory in (saved.parent, saved.parent.parent):
        if (directory / EL_RUN_FILE).is_file():
            return read_info(directory).seed
    seed: int = (config.get("main_loop") or {}).get("seed") or 0
    return seed


def _beside(saved: Saved, to: str) -> Path:
    folder = saved.path.parent.parent if saved.kind == "checkpoint" else saved.path.parent
    return folder / f"{to}_{saved.path.name.removeprefix('model_')}"


def _require_free(target: Path) -> None:
    from emloop.saved_models import class_of_export

    is_empty = target.is_dir() and not any(target.iterdir())
    if os.path.lexists(target) and not is_empty and class_of_export(target) is None:
        raise UsageError(f"{target} exists and is no exported model; choose another place with --output")


def _move(temporary: Path, target: Path) -> None:
    """Move the export into place; an earlier one stays until then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = temporary.with_name(f"{temporary.name}-old")
    if os.path.lexists(target):
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        if os.path.lexists(old):
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    fsync_dir(target.parent)


def _report(saved: Saved, target: Path, trial: Trial, differences: Mapping[str, str]) -> None:
    from emloop.saved_models import find_saved

    manifest = find_saved(target).manifest
    for record in manifest["files"]:
        if record["name"] in manifest["exported"]:
            size = " ".join(render.file_size(record["bytes"]))
            render.say(f"Exported {saved.path} to {target / record['name']} ({size})")
    takes = [["takes", name, _kind(value), ""] for name, value in manifest["inputs"].items()]
    gives = [["gives", name, _kind(value), differences[name]] for name, value in manifest["outputs"].items()]
    render.say(render.aligned([*takes, *gives]))
    *sizes, last = map(str, trial.sizes)
    render.say(f"Compared with the model for batches of {', '.join(sizes)} and {last} examples {trial.origin}.")


def _kind(value: Mapping[str, Any]) -> str:
    return f"{value['dtype']} [{', '.join('any' if size is None else str(size) for size in value['shape'])}]"
