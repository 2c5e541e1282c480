"""The promises of a training on several processes, for the models of any backend.

.. code-block:: python

    from emloop.testing import RanksCase, RanksContract


    class TestMyBackendOnRanks(RanksContract):
        cases = [RanksCase("linear", model={"class": "mine.Linear", "inputs": [...], "outputs": ["loss"]})]

Every training is a command line in processes of its own. Its data are known by their numbers, so that no example can
be lost or seen twice unnoticed; where a process is to be harmed, its dataset does so.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from emloop._contracts import AbstractHook
from emloop._ranks.joining import scenes
from emloop._run_dir.info import read_metrics
from emloop._state.commit import newest_commit
from emloop._state.tree import equal_trees
from emloop._yaml import documents as yaml
from emloop.constants import EL_CHECKPOINTS_DIR, EXIT_STOPPED
from emloop.datasets.base_dataset import BaseDataset
from emloop.datasets.index_stream import IndexStream
from emloop.types import Batch

__all__ = ["Numbers", "RanksCase", "RanksContract", "SeenIds"]

_HARM = "EMLOOP_TESTING_HARM"
"""Names the process, the training batch before which it gets a signal, and the signal: ``1 13 9``."""
_SEEN = "seen.yaml"
_EPOCHS = 3


class Numbers(BaseDataset):
    """Points in three classes: seven batches of five examples and one of three. ``counts`` may weigh them."""

    def _configure_dataset(  # type: ignore[override]
        self, examples: int = 38, batch_size: int = 5, kind: str = "index"
    ) -> None:
        rng = self.rng("numbers")
        points = rng.normal(size=(examples, 4)).astype(np.float32)
        self._columns = {
            "ids": np.arange(examples),
            "points": points,
            "labels": points[:, :3].argmax(axis=1),
            "targets": (points @ np.array([1.0, -2.0, 0.5, 0.1])).astype(np.float32),
            "counts": rng.integers(0, 3, examples).astype(np.float32),
        }
        self._batch_size, self._kind = batch_size, kind
        self._read = 0

    def train_stream(self) -> Any:
        """Shuffled."""
        return self._stream(_Harmful(self, self._columns, self._batch_size, rng=self.rng("train")))

    def valid_stream(self) -> Any:
        """In order."""
        return self._stream(IndexStream(self._columns, self._batch_size))

    def harm(self) -> None:
        """Send this process a signal, if that is wanted before this batch."""
        self._read += 1
        rank, batch, number = map(int, os.environ.get(_HARM, "-1 0 0").split())
        if (rank, batch) == (self.shard.rank, self._read):
            os.kill(os.getpid(), number)

    def _stream(self, batches: IndexStream) -> Any:
        return batches if self._kind == "index" else (batch for batch in batches)


class _Harmful(IndexStream):
    def __init__(self, dataset: Numbers, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dataset = dataset

    def part(self, index: int, rows: slice = slice(None)) -> Batch:
        if rows != slice(None) or self._dataset.shard.size == 1:  # else the whole batch is compared, or recognised
            self._dataset.harm()
        return super().part(index, rows)


class SeenIds(AbstractHook):
    """Writes which examples of each stream the model has seen, batch by batch."""

    reads: ClassVar[Any] = ("ids",)
    writes: ClassVar[Any] = ()

    def __init__(self, output_dir: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._file, self._seen = Path(output_dir) / _SEEN, list[list[Any]]()

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Note the batch."""
        self._seen.append([stream_name, *map(int, batch_data["ids"])])

    def after_training(self, success: bool) -> None:  # noqa: ARG002 - as of a hook
        """Write it all."""
        self._file.write_text(yaml.dump(self._seen), encoding="utf-8")

    def state_dict(self) -> dict[str, Any]:
        """What was seen."""
        return {"seen": self._seen}

    def load_state_dict(self, state: Any) -> None:
        """Go on from there."""
        self._seen = list(state["seen"])


@dataclass(frozen=True)
class RanksCase:
    """A model that several processes train.

    Args:
        name: Name of the case.
        model: The section ``model`` of a configuration, for the sources of :class:`Numbers`, with an output ``loss``;
            it draws no random numbers.
        noisy: Overrides with which it does; without any, what depends on it is not tried.
        modules: Name of a module → its text, which the model's class is in.
        tolerance: How far losses and parameters may be from those of one process, relative to these.
        parameters: Key of the model's state: an array, or name → array, of what it has learned.
        dataset: Arguments of :class:`Numbers`.
    """

    name: str
    model: Mapping[str, Any]
    noisy: Sequence[str] = ()
    modules: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 1e-5
    parameters: str = "parameters"
    dataset: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Left:
    """What a training has left behind."""

    losses: Sequence[float]
    seen: Sequence[Any]
    csv: str
    states: Mapping[str, Any]

    def require_same(self, other: _Left) -> None:
        """To the bit."""
        assert self.seen == other.seen, "the run has seen other examples; a commit has to hold where streams are"
        for name, state in other.states.items():
            assert equal_trees(self.states[name], state), f"the state of {name} is another one; a commit has to hold it"
        assert self.csv == other.csv, "the metrics are other ones, though all states are the same"

    def require_near(self, other: _Left, case: RanksCase) -> None:
        """But for rounding."""
        assert self.seen == other.seen, "other examples were seen than by one process"
        hint = "weigh rows by what they count in the whole batch, in the gradient as in all means"
        np.testing.assert_allclose(self.losses, other.losses, rtol=case.tolerance, err_msg=hint)
        own, others = (left.states["model"][case.parameters] for left in (self, other))
        for name in others if isinstance(others, Mapping) else [...]:
            message, tolerance = f"{name}: {hint}", case.tolerance
            np.testing.assert_allclose(own[name], others[name], rtol=tolerance, atol=tolerance, err_msg=message)


class World:
    """A directory in which trainings run.

    Args:
        case: What is trained.
        directory: The directory.
        popen: What starts a process, with the arguments of ``subprocess.Popen``.
        patience: Seconds after which a training has to have ended.
    """

    def __init__(
        self, case: RanksCase, directory: Path, popen: Callable[..., subprocess.Popen[str]], patience: float
    ) -> None:
        self.directory = directory
        self._popen, self._patience = popen, patience
        for name, text in case.modules.items():
            (directory / f"{name}.py").write_text(text, encoding="utf-8")
        config = {
            "dataset": {"class": "emloop.testing.ranks.Numbers", **case.dataset},
            "model": {"name": "case", **case.model},
            "hooks": [
                {"ComputeStats": {"variables": ["loss"]}},
                {"SaveBest": {"variable": "loss", "condition": "min"}},
                {"WriteCSV": {"variables": ["loss"]}},
                "emloop.testing.ranks.SeenIds",
                {"StopAfter": {"epochs": _EPOCHS}},
            ],
            "main_loop": {"extra_streams": ["valid"], "seed": 5, "on_unused_sources": "ignore"},
        }
        (directory / "config.yaml").write_text(yaml.dump(config), encoding="utf-8")

    def start(self, count: int, *words: Any, harm: str = "") -> list[subprocess.Popen[str]]:
        """Processes that run a command together, by rank; a word may be a list of those of each process."""
        started = []
        for rank, scene in enumerate(scenes(count)):
            own = [str(word[rank] if isinstance(word, list) else word) for word in words]
            env = {**os.environ, **scene, "OMP_NUM_THREADS": "1", _HARM: harm or "-1 0 0"}
            command = [sys.executable, "-m", "emloop", *own]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            started.append(self._popen(command, cwd=self.directory, env=env, **pipes))
        return started

    def end(self, started: Sequence[subprocess.Popen[str]], expect: int | Sequence[int] = 0) -> list[str]:
        """What each has printed, in one line, once all have ended with a code."""
        try:
            said = [process.communicate(timeout=self._patience)[0] for process in started]
        finally:
            for process in started:
                with suppress(ProcessLookupError):
                    process.kill()
        codes = [process.returncode for process in started]
        wanted = [expect] * len(started) if isinstance(expect, int) else list(expect)
        assert codes == wanted, f"the processes ended with {codes}, not {wanted}:\n" + "\n".join(said)
        return [" ".join(each.split()) for each in said]

    def run(self, count: int, *words: Any, expect: int | Sequence[int] = 0, harm: str = "") -> list[str]:
        """What each process of a command has printed."""
        return self.end(self.start(count, *words, harm=harm), expect)

    def train(self, name: str, count: int, *words: Any, **options: Any) -> _Left:
        """A training, which is named."""
        self.run(count, "train", "config.yaml", "--output_dir", name, *words, **options)
        return self.left(name)

    def left(self, name: str) -> _Left:
        """What a training has left behind."""
        directory = self.directory / "log" / name
        commit, _ = newest_commit(directory / EL_CHECKPOINTS_DIR, set_aside=False)
        assert commit is not None
        losses = [line[stream]["loss"]["mean"] for line in read_metrics(directory) for stream in ("train", "valid")]
        seen = yaml.load((directory / _SEEN).read_text(encoding="utf-8"), _SEEN)
        return _Left(losses, seen, (directory / "training.csv").read_text(encoding="utf-8"), commit.states())


class RanksContract:
    """Derive from this, and name cases; every method is a promise.

    Attributes:
        cases: What to try.
        popen: What starts a process, with the arguments of ``subprocess.Popen``.
        patience: Seconds after which a training has to have ended, whatever happens to one of its processes.
    """

    cases: ClassVar[Sequence[RanksCase]] = ()
    popen: ClassVar[Callable[..., Any]] = subprocess.Popen
    patience: ClassVar[float] = 120.0

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Try every promise on every case."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=[case.name for case in self.cases])

    @pytest.fixture
    def world(self, case: RanksCase, tmp_path: Path) -> World:
        """Where the case is trained."""
        return World(case, tmp_path, type(self).popen, self.patience)

    @pytest.fixture
    def noise(self, case: RanksCase) -> Sequence[str]:
        """Overrides that let the model draw random numbers."""
        return case.noisy

    @pytest.mark.parametrize(("count", "kind"), [(2, "index"), (4, "index"), (2, "generator")])
    def test_a_training_is_that_of_one_process_but_for_rounding(
        self, case: RanksCase, world: World, count: int, kind: str
    ) -> None:
        """The last batch has too few examples for four."""
        alone, together = world.train("alone", 1), world.train("together", count, f"dataset.kind={kind}")

        together.require_near(alone, case)

    def test_the_same_processes_train_the_same_model(self, world: World, noise: Sequence[str]) -> None:
        """Whatever they draw, which changes no example."""
        one = world.train("one", 2, *noise)

        one.require_same(world.train("other", 2, *noise))
        assert one.seen == world.train("alone", 1, *noise).seen, "other examples were seen than by one process"

    @pytest.mark.parametrize("rank", [0, 1])
    def test_a_killed_process_ends_all_and_the_run_goes_on_to_the_bit(
        self, world: World, noise: Sequence[str], rank: int
    ) -> None:
        """Inside an epoch."""
        words = (*noise, "main_loop.commit.every=2")
        untouched = world.train("untouched", 2, *words)

        codes = [1, 1]
        codes[rank] = -signal.SIGKILL
        harm = f"{rank} 13 {int(signal.SIGKILL)}"
        said = world.run(2, "train", "config.yaml", "--output_dir", "killed", *words, expect=codes, harm=harm)
        world.run(2, "resume", "log/killed")

        assert re.search(rf"rank {rank}\b", said[1 - rank]), f"the end of rank {rank} has to be told by its name"
        world.left("killed").require_same(untouched)

    @pytest.mark.parametrize("rank", [0, 1])
    def test_a_signal_to_any_process_stops_all_at_one_batch(
        self, world: World, noise: Sequence[str], rank: int
    ) -> None:
        """And the run goes on as if it had not been."""
        words = (*noise, "main_loop.commit.every=1000000")
        untouched = world.train("untouched", 2, *words)

        harm = f"{rank} 13 {int(signal.SIGTERM)}"
        world.run(2, "train", "config.yaml", "--output_dir", "stopped", *words, expect=EXIT_STOPPED, harm=harm)
        world.run(2, "resume", "log/stopped")

        world.left("stopped").require_same(untouched)

    @pytest.mark.parametrize(("before", "after"), [(2, 1), (2, 3), (2, 4), (1, 2)])
    def test_a_run_goes_on_with_another_number_of_processes(
        self, case: RanksCase, world: World, before: int, after: int
    ) -> None:
        """No example is lost or seen twice."""
        alone = world.train("alone", 1)
        world.train("moved", before, "hooks.StopAfter.epochs=1")

        said = world.run(after, "resume", "log/moved", f"hooks.StopAfter.epochs={_EPOCHS}")

        world.left("moved").require_near(alone, case)
        assert f"so far: {before}, now: {after}" in said[0], "that other bits follow has to be said"
        assert [each.count("Changed: hooks.StopAfter.epochs") for each in said] == [1] + [0] * (after - 1)

    def test_an_evaluation_counts_every_example_once(self, case: RanksCase, world: World) -> None:
        """Also where there are more processes than examples in the last batch."""
        alone = world.train("alone", 1)

        world.run(4, "eval", "valid", "log/alone/model_best", "--output_dir", "evaluated")

        (found,) = read_metrics(world.directory / "log" / "evaluated")
        np.testing.assert_allclose(found["valid"]["loss"]["mean"], min(alone.losses[1::2]), rtol=case.tolerance)

    def test_a_model_saved_by_several_is_that_of_one(self, case: RanksCase, world: World) -> None:
        """One process evaluates it."""
        together = world.train("together", 2)

        world.run(1, "eval", "valid", "log/together/model_best", "--output_dir", "evaluated")

        (found,) = read_metrics(world.directory / "log" / "evaluated")
        np.testing.assert_allclose(found["valid"]["loss"]["mean"], min(together.losses[1::2]), rtol=case.tolerance)
