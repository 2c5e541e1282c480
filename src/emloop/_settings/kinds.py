"""The kinds of objects that the sections of a configuration describe."""

from __future__ import annotations

from .hints import Kind

__all__ = ["DATASET", "HOOK", "MAIN_LOOP", "MEMBER", "MODEL"]

DATASET = Kind(
    "dataset",
    "emloop.datasets",
    ending="_stream",
    injected=("output_dir",),
    reserved=("class",),
    is_ours=True,
)
MODEL = Kind(
    "model",
    "emloop.models",
    ("run", "save"),
    injected=("dataset", "log_dir", "restore_from"),
    reserved=("class", "name", "restore_fallback"),
    is_ours=True,
)
MEMBER = MODEL._replace(methods=("run",))
"""A model that only answers; nobody saves it."""
HOOK = Kind(
    "hook",
    "emloop.hooks",
    ("register_mainloop", "before_training", "after_batch", "after_epoch", "after_epoch_profile", "after_training"),
    injected=("model", "dataset", "output_dir"),
    reserved=("name",),
    is_ours=True,
)
MAIN_LOOP = Kind("main loop", "emloop.main_loop", injected=("model", "dataset", "hooks"))
