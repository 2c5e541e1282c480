"""Cases: a dataset and a model, as texts that a user would write, to try promises on."""

from __future__ import annotations

import copy
import hashlib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np

from emloop._contracts import Stateful, weights_of
from emloop._state.random import seed_everything, use_seed
from emloop._streams import StreamWrapper
from emloop.api import create_dataset, create_model
from emloop.errors import ConfigError, Problem
from emloop.types import Batch, StateTree

from .promise import claims

__all__ = ["Case", "World", "arrays", "installed_backends", "state_of"]

SEED = 20
_SETTINGS = {
    "hooks": ["SaveLatest"],
    "main_loop": {"seed": SEED, "epochs_count": 2, "extra_streams": [], "commit": {"every": "1ep"}},
}
_BATCHES = 8


def arrays(outputs: Batch) -> dict[str, np.ndarray]:
    """Copies of outputs as arrays, which nothing changes any more."""
    return {name: np.array(values) for name, values in outputs.items()}


def state_of(model: Any) -> StateTree:
    """The state of a model, which has to be :class:`~emloop.abilities.Stateful`."""
    return claims(model, Stateful).state_dict()


@dataclass(frozen=True)
class Case:
    """A dataset and a model.

    Args:
        name: Name of the case.
        model: The section ``model`` of a configuration, with ``class``, ``inputs`` and ``outputs``; with a ``source``,
            ``class`` is a name in it.
        dataset: Text of a module with a class ``Data``, whose ``train_stream`` gives at least eight batches, always
            the same ones.
        source: Text of the module with the model's class; ``None`` if the configuration alone is enough.
        rung: The rung that the manifest of the saved model has to name; ``None`` for any.
        trains_without_source: Whether the restored model can be trained without the source.
        runs_without_source: Whether it can at least be evaluated without.
        exact: Whether what was restored without source equals the original to the bit, or only up to rounding.
        loss: Output that training lowers; ``None`` if there is none.
        variable: Name of a number that hooks may change; ``None`` if there is none.
        own_process: Whether to try the model without source in a process of its own, and in whole runs; otherwise its
            module is only hidden. Set it in at least one case of a backend.
        not_applicable: Name of a promise's test, without ``test_`` → why it does not apply.

    Raises:
        ConfigError: If the description lacks something, or names what is not there.
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

    def __post_init__(self) -> None:
        problems = [
            Problem(f"the description of the model lacks {key!r}", hints=(f"it has: {', '.join(self.model)}",))
            for key in ("class", "inputs", "outputs")
            if key not in self.model
        ]
        if self.loss is not None and self.loss not in self.model.get("outputs", [self.loss]):
            problems.append(Problem(f"{self.loss!r} is no output", hints=("name another loss, or loss=None",)))
        problems += [
            Problem(f"the text {name!r} defines no class {cls!r}", hints=(f"it is a module's text: class {cls}: …",))
            for name, text, cls in (("dataset", self.dataset, "Data"), ("source", self.source, self.model.get("class")))
            if text is not None and cls is not None and not re.search(rf"class {cls}\b", text)
        ]
        if problems:
            raise ConfigError(problem._replace(path=f"Case {self.name}") for problem in problems)


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
        """Make the modules importable inside the block."""
        before = list(sys.path)
        sys.path[:0] = [str(self.data_path), str(self.source_path)]
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path[:] = before

    @contextmanager
    def without_source(self) -> Iterator[None]:
        """Hide the model's source inside the block."""
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
        """The batches of one pass of the training stream.

        Raises:
            ConfigError: If there are too few.
        """
        with use_seed(SEED):
            batches = list(StreamWrapper(self.dataset.train_stream, name="train"))
        if len(batches) < _BATCHES:
            raise ConfigError(
                f"Case {self.case.name}: train_stream gives {len(batches)} batches, at least {_BATCHES} are needed"
            )
        return batches

    @property
    def later(self) -> list[Batch]:
        """The second half of the batches, which a trained model has not seen."""
        return self.batches[len(self.batches) // 2 :]

    def run_dir(self, name: str) -> Path:
        """A directory for a model to save itself in."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        return directory

    def create(self, name: str | None = None, restore_from: str | Path | None = None, **changes: Any) -> Any:
        """A model, built as in a run.

        Args:
            name: Name of its run directory; ``None`` for none.
            restore_from: What to restore from.
            **changes: Changes of the section ``model``; ``None`` leaves a key out.
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

    def trained(self, name: str | None = None) -> Any:
        """A model that has seen the first half of the batches."""
        model = self.create(name)
        for batch in self.batches[: len(self.batches) // 2]:
            model.run(batch, train=True)
        return model

    def outputs_of(self, model: Any) -> list[str]:
        """The outputs that the configuration lists, and behind them what weighs these and is no source."""
        listed, weights = list(self.config["model"]["outputs"]), weights_of(model)
        beside = (weights[name] for name in listed if name in weights)
        return list(dict.fromkeys([*listed, *(name for name in beside if name not in model.input_names)]))

    def evaluate(self, model: Any, loss: str) -> float:
        """The mean loss over all batches."""
        return float(np.mean([np.mean(arrays(model.run(batch, train=False))[loss]) for batch in self.batches]))

    @staticmethod
    def _write(directory: Path, kind: str, text: str) -> str:
        # A name for each text, since Python caches modules by name.
        name = f"emloop_case_{kind}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        directory.mkdir(parents=True)
        (directory / f"{name}.py").write_text(text, encoding="utf-8")
        return name


def installed_backends() -> dict[str, EntryPoint]:
    """Name → entry point of every installed backend."""
    return {point.name: point for point in entry_points(group="emloop.backends")}
