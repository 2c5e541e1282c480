"""Finds the saved model or checkpoint that ``restore_from`` stands for."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from emloop._state.commit import newest_commit
from emloop._state.manifest import MANIFEST
from emloop.constants import EL_CHECKPOINTS_DIR
from emloop.errors import SavedModelError

from .reading import Saved, open_saved

__all__ = ["class_of_export", "find_saved"]

logger = logging.getLogger(__name__)


def find_saved(restore_from: str | Path) -> Saved:
    """Find the saved model or checkpoint that ``restore_from`` stands for.

    Args:
        restore_from: A saved model; a checkpoint; or a run, by its directory or its ``config.yaml``: then its saved
            model ``best``, else its only saved model, else its newest checkpoint.

    Raises:
        SavedModelError: If there is none, or it is damaged; says what is there.
    """
    path = Path(restore_from)
    if path.is_file() and (path.name == MANIFEST or path.suffix in (".yaml", ".yml")):
        path = path.parent
    if not path.is_dir():
        raise SavedModelError(
            f"{restore_from}: expected the directory of a saved model, a run or a checkpoint, but "
            + ("this is a file" if path.exists() else "there is none")
        )
    return open_saved(path if os.path.lexists(path / MANIFEST) else _choose(path))


def class_of_export(restore_from: str | Path) -> str | None:
    """Full name of the only class that can restore an exported model; ``None`` if it is no exported model."""
    if not os.path.lexists(Path(restore_from, MANIFEST)):
        return None
    try:
        manifest = find_saved(restore_from).manifest
    except SavedModelError:
        return None  # restoring it will say what is wrong
    return manifest.get("restore_fallback") if manifest.get("exported") else None


def _choose(run: Path) -> Path:
    """Choose what to restore from a run; what was exported is not the run's."""
    saved = [path.parent for path in sorted(run.glob(f"model_*/{MANIFEST}")) if not class_of_export(path.parent)]
    if run / "model_best" in saved:
        return run / "model_best"
    if len(saved) == 1:
        return saved[0]
    commit, rejected = newest_commit(run / EL_CHECKPOINTS_DIR, set_aside=False)
    for _, reason in rejected:
        logger.warning("A damaged checkpoint is skipped: %s", reason)
    if commit is not None:
        return commit.path
    if saved:
        names = ", ".join(path.name for path in saved)
        raise SavedModelError(f"{run}: there are several saved models; name one of {names}")
    there = ", ".join(sorted(path.name for path in run.iterdir())) or "nothing"
    raise SavedModelError(f"{run}: no saved model and no checkpoint; there is {there}")
