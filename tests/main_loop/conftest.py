"""A dataset of lists, a model that counts, and a hook that writes down what it hears."""

from __future__ import annotations

from typing import Any

import pytest

from emloop import AbstractHook
from emloop.main_loop import MainLoop


class ListDataset:
    """Streams are lists of batches, by name."""

    def __init__(self, **streams: list[dict[str, list[float]]]) -> None:
        self.passes: list[str] = []
        for name, batches in streams.items():
            setattr(self, f"{name}_stream", self._reader(name, batches))

    def _reader(self, name: str, batches: list[dict[str, list[float]]]) -> Any:
        def read() -> Any:
            self.passes.append(name)
            return iter(batches)

        return read


class CountingModel:
    """Outputs the input, doubled, and remembers every batch it has run."""

    input_names = ("x",)
    output_names = ("y",)

    def __init__(self) -> None:
        self.runs: list[tuple[list[float], bool]] = []

    def run(self, batch: dict[str, list[float]], train: bool, stream: Any = None) -> dict[str, list[float]]:
        self.runs.append((list(batch["x"]), train))
        return {"y": [2 * value for value in batch["x"]]}

    def save(self, name_suffix: str) -> str:
        return name_suffix


class Diary(AbstractHook):
    """Writes down every event; ``trouble`` maps an event to what to raise in it."""

    stateless = True

    def __init__(self, name: str = "diary", shared: list[Any] | None = None, **trouble: BaseException) -> None:
        super().__init__()
        self.events: list[Any] = [] if shared is None else shared
        self._name = name
        self._trouble = trouble

    def _note(self, event: str, *details: Any) -> None:
        self.events.append((self._name, event, *details))
        if event in self._trouble:
            raise self._trouble[event]

    def before_training(self) -> None:
        self._note("before_training")

    def after_batch(self, stream_name: str, batch_data: Any) -> None:
        self._note("after_batch", stream_name, {name: list(value) for name, value in batch_data.items()})

    def after_epoch(self, epoch_id: int, epoch_data: Any) -> None:
        self._note("after_epoch", epoch_id, list(epoch_data))

    def after_epoch_profile(self, epoch_id: int, profile: Any, streams: Any) -> None:
        self._note("after_epoch_profile", epoch_id, list(streams))

    def after_training(self, success: bool) -> None:
        self._note("after_training", success)


def batches(*values: float) -> list[dict[str, list[float]]]:
    """A batch of one example for each value."""
    return [{"x": [value]} for value in values]


@pytest.fixture
def make_loop() -> Any:
    """Builds a loop over ``train`` and ``valid``, unless told otherwise."""

    def make(hooks: Any = (), dataset: Any = None, model: Any = None, **arguments: Any) -> MainLoop:
        if dataset is None:
            dataset = ListDataset(train=batches(1, 2), valid=batches(3))
        return MainLoop(model=model or CountingModel(), dataset=dataset, hooks=hooks, **arguments)

    return make
