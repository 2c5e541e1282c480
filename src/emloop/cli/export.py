"""``emloop export``: write a trained model for another runtime, and see that it does the same there."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from emloop._build import build_dataset, build_model
from emloop._config import find_config, load_config
from emloop._contracts import AbstractModel, Exportable, bind_run
from emloop._registry import full_name
from emloop._run_dir.info import read_info
from emloop._run_dir.layout import find_run
from emloop._state.random import seed_everything, use_seed
from emloop._support.files import fsync_dir
from emloop._support.suggest import check_choice
from emloop.constants import EL_DEFAULT_TRAIN_STREAM, EL_RUN_FILE, EXIT_DONE
from emloop.errors import BatchError, EmloopError, SaveError, UnknownClassError, UsageError
from emloop.main_loop.streams import Streams
from emloop.saved_models import Saved, class_of_export, find_saved
from emloop.types import Batch

from . import render
from .agreement import compared
from .eval_fn import config_beside
from .example_batches import made_up, of_several_sizes, two_of

__all__ = ["export"]

logger = logging.getLogger(__name__)


class _Examples(NamedTuple):
    """Batches to export with.

    Args:
        batches: Batches of several sizes.
        origin: Where they come from, in words.
    """

    batches: list[Batch]
    origin: str


def export(
    model_path: str,
    to: str,
    config_path: str | None,
    cl_arguments: Sequence[str],
    output_root: str,
    output: str | None = None,
) -> int:
    """Export a model.

    Args:
        model_path: A saved model, or a run: its directory, the beginning of its name, or ``@`` for the latest training.
        to: The format.
        config_path: Config to use instead of the run's own.
        cl_arguments: Overrides.
        output_root: Where run directories live.
        output: Where to write it; by default beside the saved model, as ``<to>_<its name>``.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the configuration is wrong, or the model cannot be exported as it is configured.
        SavedModelError: If there is no model, or its source is needed.
        SaveError: If it cannot be exported, or the exported model does something else. Nothing is left behind.
        UsageError: If the model has no such format, or there is something else where it would be written.
    """
    origin = Path(model_path) if Path(model_path).exists() else find_run(model_path, output_root)
    config = load_config(find_config(config_path) if config_path else config_beside(origin), cl_arguments)
    saved = find_saved(origin)
    target = Path(output) if output else _beside(saved, to)
    _require_free(target)
    seed = _seed(config, saved.path)
    seed_everything(seed)
    with use_seed(seed):
        dataset, why_none = _dataset(config)
        model = build_model(config, None, dataset, str(saved.path))
        exportable = _exportable(model, to)
        examples = _examples(model, config, dataset, saved, why_none)
        temporary = _existing(target) / f".tmp-{to}-{os.getpid()}-{uuid4().hex[:8]}"
        try:
            expected = exportable.export(to, str(temporary), examples.batches)
            differences = compared(expected, _answers(temporary, target, examples.batches))
            _move(temporary, target)
        except EmloopError:
            raise
        except OSError as error:
            raise SaveError(f"{target} cannot be written: {error}; --output DIR writes it elsewhere") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    _report(saved, target, examples, differences)
    return EXIT_DONE


def _exportable(model: AbstractModel, to: str) -> Exportable:
    if not isinstance(model, Exportable):
        raise UsageError(f"--to {to}: a {full_name(type(model))} cannot be exported; it offers no format")
    check_choice("--to", to, model.exports_to)
    return model


def _seed(config: Mapping[str, Any], saved: Path) -> int:
    """The seed of the run that a saved model is of, by which its dataset may have been split."""
    for directory in (saved.parent, saved.parent.parent):
        if (directory / EL_RUN_FILE).is_file():
            return read_info(directory).seed
    seed: int = (config.get("main_loop") or {}).get("seed") or 0
    return seed


def _dataset(config: Mapping[str, Any]) -> tuple[Any, str]:
    """The dataset, or why there is none here: its source or its files may have stayed behind."""
    try:
        return build_dataset(config), ""
    except (UnknownClassError, ImportError, OSError) as error:
        return None, str(error)


def _examples(model: AbstractModel, config: Mapping[str, Any], dataset: Any, saved: Saved, why_none: str) -> _Examples:
    name = (config.get("main_loop") or {}).get("train_stream_name") or EL_DEFAULT_TRAIN_STREAM
    if dataset is not None:
        try:
            stream = Streams(dataset, 0, lambda _: -1, None).get(name, training=False)
            return _Examples(of_several_sizes(two_of(stream, model.input_names)), f"of the stream {name!r}")
        except (BatchError, OSError) as error:
            why_none = str(error)
    logger.warning("It is tried with numbers at random, since there is no batch of the dataset: %s", why_none)
    return _Examples(of_several_sizes([made_up(saved.manifest.get("inputs", {}), str(saved.path))]), "made up")


def _answers(temporary: Path, target: Path, batches: Sequence[Batch]) -> list[Batch]:
    """What the exported model says of some batches, restored as it will be."""
    try:
        exported = build_model({"model": {"class": class_of_export(temporary)}}, restore_from=str(temporary))
        run = bind_run(exported)
        return [run(batch=batch, train=False, stream=None) for batch in batches]
    except EmloopError as error:
        text = str(error).replace(str(temporary), str(target))
        raise SaveError(f"what was exported does not work, and is not kept: {text}") from error


def _beside(saved: Saved, to: str) -> Path:
    folder = saved.path.parent.parent if saved.kind == "checkpoint" else saved.path.parent
    return folder / f"{to}_{saved.path.name.removeprefix('model_')}"


def _require_free(target: Path) -> None:
    if (
        os.path.lexists(target)
        and class_of_export(target) is None
        and not (target.is_dir() and not any(target.iterdir()))
    ):
        raise UsageError(f"{target} exists and is no exported model; choose another place with --output")


def _existing(target: Path) -> Path:
    """The nearest directory above that is there."""
    return next(parent for parent in target.absolute().parents if parent.is_dir())


def _move(temporary: Path, target: Path) -> None:
    """Put what was exported into its place; what was exported there before stays until then."""
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


def _report(saved: Saved, target: Path, examples: _Examples, differences: Mapping[str, str]) -> None:
    manifest = find_saved(target).manifest
    files = {record["name"]: record["bytes"] for record in manifest["files"] if record["name"] in manifest["exported"]}
    for name, size in files.items():
        render.say(f"Exported {saved.path} to {target / name} ({' '.join(render.file_size(size))})")
    takes = [["takes", name, _kind(value), ""] for name, value in manifest["inputs"].items()]
    gives = [["gives", name, _kind(value), differences[name]] for name, value in manifest["outputs"].items()]
    render.say(render.aligned([*takes, *gives]))
    sizes = [str(len(next(iter(batch.values())))) for batch in examples.batches]
    render.say(
        f"Compared with the model for batches of {', '.join(sizes[:-1])} and {sizes[-1]} examples {examples.origin}."
    )


def _kind(value: Mapping[str, Any]) -> str:
    return f"{value['dtype']} [{', '.join('any' if size is None else str(size) for size in value['shape'])}]"
