"""What a promise is tried on: a dataset and a model, given as the texts that a user would have written."""

from __future__ import annotations

import copy
import hashlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from emloop._contracts import AbstractModel
from emloop._state.random import seed_everything, use_seed
from emloop._streams import StreamWrapper
from emloop.api import create_dataset, create_model
from emloop.types import Batch

__all__ = ["Case", "World", "installed_backends"]

SEED = 20
_SETTINGS = {
    "hooks": ["SaveLatest"],
    "main_loop": {"seed": SEED, "epochs_count": 2, "extra_streams": [], "commit": {"every": "1ep"}},
}


@dataclass(frozen=True)
class Case:
    """A dataset and a model.

    Args:
        name: What to call it.
        model: The section ``model`` of a configuration; where there is a ``source``, ``class`` is a name in it.
        dataset: Text of a module with a class ``Data``, whose ``train_stream`` gives at least eight batches and always
            the same ones.
        source: Text of the module that has the model's class; ``None`` where the configuration alone is enough.
        rung: How much of the saved model needs no source, as its manifest has to say.
        trains_without_source: Whether the restored model can be trained where the source is gone.
        runs_without_source: Whether it can at least be evaluated there.
        exact: Whether what was restored without source equals the original to the bit, or only up to rounding.
        loss: Output that has to fall while the model is trained on its batches; ``None`` where there is none.
        variable: Name of a number that hooks may change; ``None`` where there is none.
        own_process: Whether to try what it can do without source in a process of its own, and in whole runs; otherwise
            only its modules are hidden. At least one case of a backend should.
        not_applicable: Name of a promise's test, without ``test_`` → why it is none of this model's.
    """

    name: str
    model: Mapping[str, Any]
    dataset: str
    source: str | None = None
    rung: str | None = None
    trains_without_source: bool = True
    runs_without_source: bool = True
    exact: bool = True
    loss: str | None = "loss"
    variable: str | None = "learning_rate"
    own_process: bool = True
    not_applicable: Mapping[str, str] = field(default_factory=dict)


class World:
    """A case on disk: its modules, a configuration that names them, and runs.

    Args:
        case: The case.
        directory: An empty directory.
    """

    def __init__(self, case: Case, directory: Path) -> None:
        self.case = case
        self.directory = directory
        self.source_path, self.data_path = directory / "source", directory / "data"
        data = self._write(self.data_path, "data", case.dataset)
        model = copy.deepcopy(dict(case.model))
        self.source_module: str | None = None
        if case.source is not None:
            self.source_module = self._write(self.source_path, "source", case.source)
            model["class"] = f"{self.source_module}.{model['class']}"
        self.config: dict[str, Any] = {
            "dataset": {"class": f"{data}.Data"},
            "model": model,
            **copy.deepcopy(_SETTINGS),
        }

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Make the modules importable inside the block, and forget them afterwards."""
        before = list(sys.path)
        sys.path[:0] = [str(self.data_path), str(self.source_path)]
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path[:] = before

    @contextmanager
    def without_source(self) -> Iterator[None]:
        """Make the model's source impossible to import inside the block."""
        if self.source_module is None:
            yield
            return
        before, module = list(sys.path), sys.modules.pop(self.source_module, None)
        sys.path[:] = [path for path in before if path != str(self.source_path)]
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path[:] = before
            if module is not None:
                sys.modules[self.source_module] = module

    @cached_property
    def dataset(self) -> Any:
        """The dataset."""
        with use_seed(SEED):
            return create_dataset(self.config)

    @cached_property
    def batches(self) -> list[Batch]:
        """The batches of one pass of the training stream."""
        with use_seed(SEED):
            return list(StreamWrapper(self.dataset.train_stream, name="train"))

    def run_dir(self, name: str) -> Path:
        """An empty directory for a model to save itself in."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        return directory

    def create(self, name: str | None = None, restore_from: str | Path | None = None, **changes: Any) -> AbstractModel:
        """A model, built as a run would build it.

        Args:
            name: Name of its run directory; ``None`` for none.
            restore_from: What to restore from.
            **changes: What is different in the section ``model``; ``None`` leaves a key out.
        """
        section = {key: value for key, value in {**self.config["model"], **changes}.items() if value is not None}
        seed_everything(SEED)
        with use_seed(SEED):
            return create_model(
                {**self.config, "model": section},
                None if name is None else str(self.run_dir(name)),
                self.dataset,
                None if restore_from is None else str(restore_from),
            )

    @staticmethod
    def _write(directory: Path, kind: str, text: str) -> str:
        # A name for every text, since Python keeps modules by name.
        name = f"emloop_case_{kind}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        directory.mkdir(parents=True)
        (directory / f"{name}.py").write_text(text, encoding="utf-8")
        return name


def installed_backends() -> dict[str, EntryPoint]:
    """Name → entry point of every backend that is installed."""
    return {point.name: point for point in entry_points(group="emloop.backends")}
