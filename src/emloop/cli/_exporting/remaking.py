"""Making a model's program anew from its source, and comparing it with the old one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emloop._build import build_fallback, build_model
from emloop._config.entries import model_entry
from emloop._contracts import bind_run
from emloop._registry import find_class, full_name
from emloop._settings.kinds import MODEL
from emloop._state.commit import newest_commit
from emloop._state.manifest import MANIFEST
from emloop._support.files import atomic_write
from emloop.constants import EL_CHECKPOINTS_DIR
from emloop.errors import SavedModelError, SaveError, UnknownClassError
from emloop.saved_models import Saved, class_of_export, find_saved, replace_program
from emloop.types import Batch

from .agreement import compared
from .trial import dataset_of, examples_of

logger = logging.getLogger(__name__)

_HEIGHT = {rung: height for height, rung in enumerate(("weights", "inference", "traced", "exported"))}
"""How much works without source, where a backend uses these words."""


def targets_of(origin: Path) -> list[Saved]:
    """The saved models that are meant; last, the checkpoint whose run keeps a program of its own."""
    if not origin.is_dir() or (origin / MANIFEST).exists():
        return [find_saved(origin)]
    paths = [path.parent for path in sorted(origin.glob(f"*/{MANIFEST}")) if not class_of_export(path.parent)]
    commit, _ = newest_commit(origin / EL_CHECKPOINTS_DIR, set_aside=False)
    if commit is not None and (last := find_saved(commit.path)).program() is not None:
        return [*map(find_saved, paths), last]
    if not paths:
        raise SavedModelError(f"{origin}: there is no saved model whose program could be made anew")
    return [*map(find_saved, paths)]


def require_source(config: Mapping[str, Any], saved: Saved) -> None:
    try:
        name = full_name(find_class(model_entry(config).name, MODEL))
        fallback = saved.manifest.get("restore_fallback") or config["model"].get("restore_fallback")
        missing = f"{name} has none" if name == fallback else ""
    except UnknownClassError as error:
        missing = error.problems[0].message
    if missing:
        way_out = saved.offer or "there is no capsule of it, and --home DIR says where the project has moved"
        raise SavedModelError(f"{saved.path}: only the model's source makes its program anew: {missing}; {way_out}")


class Remaker:
    """Makes programs anew.

    Args:
        config: The configuration.
        saved: The first model, which says what batches look like if there is no dataset.
        scratch: An empty directory. A program waits in it to be found right for the next model, too.
    """

    def __init__(self, config: Mapping[str, Any], saved: Saved, scratch: Path) -> None:
        self._config = config
        self._dataset, why_none = dataset_of(config)
        self._scratch = scratch
        self._program = scratch / "program"
        self._replaced: Mapping[str, bytes] = {}
        self._rungs: dict[int, str] = {}
        model = build_model(config, None, self._dataset, str(saved.path))
        self._batches, self._origin = examples_of(model, config, self._dataset, saved, why_none)
        self.kept = 0

    def upgrade(self, saved: Saved, *, dry_run: bool) -> list[str]:
        """Make the program of a model anew, compare it with the old one, and put it in its place.

        Returns:
            The model's name, the old rung and the new one, and how much their outputs differ, in words.

        Raises:
            SavedModelError: If they differ by more than rounding. Nothing has changed then.
        """
        folder = saved.program()
        before = _files(folder)
        if before != self._replaced:
            _put(before, self._program)
        self._replaced = before
        model = build_model(self._config, str(self._scratch), self._dataset, str(saved.path))
        self._answers(model)
        made = find_saved(model.save("upgraded"))
        after, new = _files(made.program()), str(made.manifest["rung"])
        # A checkpoint does not say which rung its run has reached, but its saved models do.
        old = saved.manifest.get("rung") or self._rungs.get(_digest(before), "program")
        self._rungs[_digest(before)] = old
        told = [saved.path.name, f"{old} → {new}"]
        if not after:
            return [*told, "it has no program"]
        was, is_now = (self._without_source(one) for one in (saved, made))
        if was and _HEIGHT.get(old, 0) > _HEIGHT.get(new, 0):
            self.kept += 1
            return [*told, f"it stays as it is, since the new one can do less: {made.manifest['reason']}"]
        try:
            differences = compared(was, is_now) if was and is_now else {}
        except SaveError as error:
            raise SavedModelError(
                f"{saved.path}: its program stays as it is, since what the source says now is something else: {error}"
            ) from error
        if before != after and not dry_run:
            if saved.kind == "checkpoint" and folder is not None:
                _put(after, folder)
            elif program := made.program():
                parts = {key: made.manifest[key] for key in ("rung", "reason", "extra")}
                replace_program(saved.path, program, **parts)
        others = [f"{name} {how}" for name, how in differences.items() if how != "equal"]
        return [*told, "; ".join(others) or ("equal outputs" if was else "the old one does not run here any more")]

    def _answers(self, model: Any) -> list[Batch]:
        answer = bind_run(model)
        return [answer(batch=batch, train=False, stream=None) for batch in self._batches]

    def _without_source(self, saved: Saved) -> list[Batch]:
        """What a model without its source answers; nothing if it cannot."""
        try:
            return self._answers(build_fallback(self._config, self._dataset, str(saved.path)))
        except Exception as error:  # noqa: BLE001 - a program of another version may break anything
            logger.info("%s does not run without source: %s", saved.path, error)
            return []


def _files(folder: Path | None) -> dict[str, bytes]:
    """The files of a program, the descriptions last."""
    found = [path for path in folder.rglob("[!.]*") if path.is_file()] if folder is not None else []
    found.sort(key=lambda path: (path.suffix == ".json", path))
    return {path.relative_to(folder or path).as_posix(): path.read_bytes() for path in found}


def _digest(files: Mapping[str, bytes]) -> int:
    return hash(tuple(files.items()))


def _put(files: Mapping[str, bytes], folder: Path) -> None:
    """Replace a program; as the description is written last, a torn one is known, and made anew."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / name, content)
    for name in _files(folder if folder.is_dir() else None).keys() - files.keys():
        (folder / name).unlink()
