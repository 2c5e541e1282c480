"""The kinds of things that a configuration names by class."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DATASET", "HOOK", "MAIN_LOOP", "MODEL", "Kind"]


class Kind(NamedTuple):
    """A kind of thing that a configuration names.

    Args:
        word: What to call it in a message.
        package: Where the built-in ones live, which is also the group of entry points that adds to them.
        methods: What every class of this kind must have.
        not_meant: Names of the package that nobody would write into a configuration.
        injected: Arguments that emloop itself gives to the constructor.
        reserved: Keys of the section that are not the constructor's.
    """

    word: str
    package: str
    methods: tuple[str, ...] = ()
    not_meant: frozenset[str] = frozenset()
    injected: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()


DATASET = Kind(
    "dataset",
    "emloop.datasets",
    not_meant=frozenset({"AbstractDataset", "BaseDataset", "DownloadableDataset", "IndexStream", "StreamWrapper"}),
    injected=("output_dir",),
    reserved=("class",),
)
MODEL = Kind(
    "model",
    "emloop.models",
    ("run", "save"),
    frozenset({"AbstractModel"}),
    injected=("dataset", "log_dir", "restore_from"),
    reserved=("class", "name", "restore_fallback"),
)
HOOK = Kind(
    "hook",
    "emloop.hooks",
    ("register_mainloop", "before_training", "after_batch", "after_epoch", "after_epoch_profile", "after_training"),
    frozenset({"AbstractHook", "EveryNEpoch", "OnPlateau", "TrainingTerminated", "TrainingTraceKeys"}),
    injected=("model", "dataset", "output_dir"),
    reserved=("name",),
)
MAIN_LOOP = Kind("main loop", "emloop.main_loop", injected=("model", "dataset", "hooks"))
