"""Data as PyTorch's users read it: a random split, a DataLoader that shuffles, noise from the global generator."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
from itertools import islice
from time import monotonic

import numpy as np
import pytest
from tests.end_to_end.conftest import Project, wait_for
from tests.kills import Killing, in_session

torch = pytest.importorskip("torch")

import emloop_torch  # noqa: E402, F401 - adds PyTorch's generators to those of a run
from emloop._state.commit import newest_commit  # noqa: E402
from emloop._state.random import random_state, restore_random_state, seed_everything, use_seed  # noqa: E402
from emloop._state.tree import dump_tree, equal_trees, load_tree  # noqa: E402
from emloop._streams import StreamWrapper  # noqa: E402
from emloop.errors import ConfigError, StateError  # noqa: E402
from emloop.saved_models import find_saved  # noqa: E402
from emloop.seeding import add_global_generator  # noqa: E402

DATA = """
import torch
from torch.utils.data import DataLoader, TensorDataset, random_split

import emloop as el


class Points(el.BaseDataset):
    def _configure_dataset(self, workers=0):
        self.workers = workers
        generator = torch.Generator().manual_seed(0)
        points = torch.rand(96, 3, generator=generator)
        labels = (points.sum(1) > 1.5).long()
        self.train, self.test = random_split(TensorDataset(torch.arange(96), points, labels), [64, 32])

    def _batches(self, part, shuffle):
        return DataLoader(part, batch_size=16, shuffle=shuffle, collate_fn=self._collate, num_workers=self.workers)

    @staticmethod
    def _collate(examples):
        numbers, points, labels = map(torch.stack, zip(*examples))
        return {"numbers": numbers, "points": points + 0.1 * torch.randn_like(points), "labels": labels}

    def train_stream(self):
        return self._batches(self.train, shuffle=True)

    def test_stream(self):
        return self._batches(self.test, shuffle=False)
"""

NET = """
import emloop_torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, points, labels):
        return {"loss": functional.cross_entropy(self.body(points), labels, reduction="none")}


class Model(emloop_torch.BaseModel):
    def create_model(self):
        return Net()
"""

OWN = """
import numpy as np

import emloop as el


class Mean(el.AbstractModel):
    input_names, output_names = ["points", "labels"], ["loss"]

    def __init__(self, dataset, log_dir, restore_from=None):
        self.mean = np.zeros(3)

    def run(self, batch, train):
        distances = np.asarray(batch["points"]) - self.mean
        if train:
            self.mean += 0.1 * distances[0]
        return {"loss": (distances**2).sum(1)}

    def save(self, name_suffix):
        raise NotImplementedError

    def state_dict(self):
        return {"mean": self.mean.copy()}

    def load_state_dict(self, state):
        self.mean = state["mean"].copy()
"""

CONFIG = """
dataset: {class: data.Points}
model: {name: points, class: net.Model, inputs: [points, labels], outputs: [loss]}
hooks:
  - ComputeStats: {variables: [loss]}
  - SaveLatest
  - PredictionsToCsv: {variables: [labels], id_variable: numbers, output_file: seen.csv}
main_loop: {seed: 5, epochs_count: 4, extra_streams: [test], on_unused_sources: ignore}
eval: {test: {hooks: [{PredictionsToCsv: {variables: [labels], id_variable: numbers, output_file: seen.csv}}]}}
"""


@pytest.fixture
def emloop(tmp_path, emloop_in):
    """Run the command line in a project of these files."""
    for name, text in (("data.py", DATA), ("net.py", NET), ("own.py", OWN), ("config.yaml", CONFIG)):
        (tmp_path / name).write_text(text)
    return emloop_in(tmp_path)


def numbers_in(run):
    lines = (run / "seen.csv").read_text().splitlines()[1:]
    return [int(line.split(",")[0]) for line in lines]


@pytest.mark.slow
def test_what_pytorch_draws_is_part_of_the_run(emloop, tmp_path):
    """A resumed run shuffles and adds noise as an untouched one; an evaluation, also without the model's source, splits
    as its training did.
    """
    said = emloop("train", "config.yaml", "--output_dir", "whole")
    emloop("train", "config.yaml", "--output_dir", "cut", "main_loop.epochs_count=2")
    (tmp_path / "net.py").unlink()
    emloop("resume", "cut", "main_loop.epochs_count=4")
    emloop("eval", "test", "cut", "--output_dir", "tested")

    whole, cut, tested = (tmp_path / "log" / name for name in ("whole", "cut", "tested"))
    metrics = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (whole, cut)]
    assert metrics[0] == metrics[1]
    states = [newest_commit(run / "checkpoints", set_aside=False)[0].load("model") for run in (whole, cut)]
    assert equal_trees(*states)
    assert (whole / "seen.csv").read_text() == (cut / "seen.csv").read_text()
    assert numbers_in(tested) == numbers_in(cut)[-32:]
    assert any(line.startswith("  train") and ", exact" in line for line in said.splitlines())


@pytest.mark.slow
def test_that_holds_for_any_model(emloop, tmp_path):
    """Where PyTorch is imported, its generators are the run's, though nothing of the model is this backend's."""
    model = ["model={class: own.Mean}", "~hooks.SaveLatest", "main_loop.epochs_count=3"]
    emloop("train", "config.yaml", "--output_dir", "whole", *model)
    emloop("train", "config.yaml", "--output_dir", "cut", *model, "main_loop.epochs_count=2")
    emloop("resume", "cut", "main_loop.epochs_count=3")

    whole, cut = (tmp_path / "log" / name for name in ("whole", "cut"))
    assert (whole / "seen.csv").read_text() == (cut / "seen.csv").read_text()
    assert (whole / "metrics.jsonl").read_text() == (cut / "metrics.jsonl").read_text()


def test_the_seed_and_the_state_of_a_run_are_also_those_of_pytorch():
    """As those of Python and NumPy, through the files of a commit."""
    kept = random_state()
    seed_everything(11)
    first = torch.rand(3)
    skeleton, arrays = dump_tree(random_state())
    expected = torch.rand(700)
    seed_everything(11)
    again = torch.rand(3)
    restore_random_state(load_tree(skeleton, arrays))
    found = torch.rand(700)
    restore_random_state(kept)

    assert torch.equal(first, again)
    assert torch.equal(expected, found)


class Counter:
    """A generator that gives one number after the other."""

    def __init__(self):
        self.number = -1

    def seed(self, seed):
        self.number = seed

    def state_dict(self):
        return {"number": np.int64(self.number)}

    def load_state_dict(self, state):
        self.number = int(state["number"])


def test_a_generator_that_comes_during_a_run_has_its_seed(monkeypatch, caplog):
    """Whatever imports the backend; from then on it is part of the state, which nobody without it can take up."""
    monkeypatch.setattr("emloop._state.random._OTHERS", {})
    counter = Counter()
    with use_seed(4):
        add_global_generator("counter", counter)
    assert counter.number == 4

    state = random_state()
    counter.number = 9
    restore_random_state(state)
    assert counter.number == 4

    monkeypatch.setattr("emloop._state.random._OTHERS", {})
    expected, kept = np.random.rand(), random_state()
    with pytest.raises(StateError, match="includes the random state of 'counter', whose backend is not loaded"):
        restore_random_state(state)
    assert np.random.rand() == expected  # whoever goes on nevertheless loses nothing else

    monkeypatch.setattr("emloop._state.random._OTHERS", {"counter": counter})
    restore_random_state(kept)
    assert counter.number == 4
    assert "No random state of 'counter' was saved: it starts from the run's seed" in caplog.text


def test_the_core_s_own_generators_cannot_be_replaced():
    """There is one of that name already."""
    with pytest.raises(ConfigError, match="cannot be named 'python' or 'numpy', got 'numpy'"):
        add_global_generator("numpy", Counter())


class Augmented(torch.utils.data.Dataset):
    """Points with noise from all global generators."""

    def __len__(self):
        return 26

    def __getitem__(self, index):
        noise = torch.rand(()) + float(np.random.random()) + random.random()
        return {"x": torch.tensor([float(index)]), "noise": noise.reshape(1)}


def loader_stream(workers, **options):
    def stream():
        arguments = {"batch_size": 4, "shuffle": True, "num_workers": workers, **options}
        return torch.utils.data.DataLoader(Augmented(), **arguments)

    return stream


def read(stream, count, state=None, buffer=0):
    """Batches as bytes, and the position after the last of them."""
    wrapper = StreamWrapper(stream, buffer_size=buffer, name="train")
    if state is not None:
        wrapper.load_state_dict(state)
    found = []
    with wrapper:
        while len(found) < count:
            found += [dump_tree({name: value.numpy() for name, value in batch.items()}) for batch in islice(wrapper, 1)]
        return found, wrapper.state_dict(), wrapper.level


@pytest.fixture
def seeded():
    """A run's seed, and global generators somewhere; both as before afterwards."""
    before = random_state()
    with use_seed(3):
        seed_everything(3)
        yield
    restore_random_state(before)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("buffer", [0, 3])
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_loader_goes_on_from_any_batch(seeded, workers, buffer):
    """Order and augmentation belong to (seed, stream, pass, batch), not to what was read before."""
    whole, _, level = read(loader_stream(0), 18)
    assert level == "exact"
    assert len({skeleton + arrays for skeleton, arrays in whole}) == 18

    first, state, _ = read(loader_stream(workers), 9, buffer=buffer)
    torch.rand(7)  # another process is somewhere else
    rest, _, _ = read(loader_stream(workers), 9, state, buffer=buffer)

    assert first + rest == whole


@pytest.mark.torture
def test_a_training_with_workers_that_is_killed_ends_as_if_untouched(tmp_path, emloop, processes):
    """SIGKILL at random instants in every part of a training with two workers, none of which outlives it; the untouched
    runs have any other number of workers.
    """
    killing = Killing(Project(tmp_path, processes), "cut", ("dataset.workers=2", "main_loop.commit={every: 1}"))
    (tmp_path / "config.yaml").write_text(CONFIG.replace("SaveLatest", "SaveBest: {stream: test}"))
    killing.run(200)
    for workers in (0, 1, 4):
        words = (f"dataset.workers={workers}", killing.limit(0))
        emloop("train", "config.yaml", "--output_dir", f"whole-{workers}", *words)

        found = [result(tmp_path / "log" / name) for name in (f"whole-{workers}", "cut")]
        assert found[0] == found[1]


def result(run):
    commit = newest_commit(run / "checkpoints", set_aside=False)[0]
    states = {name: dump_tree(commit.load(name)) for name in commit.components if name != "hooks/ShowProgress"}
    best = {"best": dump_tree(find_saved(run / "model_best").tree())}
    return states | best | {name: (run / name).read_bytes() for name in ("seen.csv", "metrics.jsonl")}


STUCK = """
import os
import threading
from pathlib import Path

import torch
import emloop_torch
from emloop._streams import StreamWrapper


class Stuck(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        Path(f"worker-{index}").write_text("")
        threading.Event().wait()


list(StreamWrapper(lambda: torch.utils.data.DataLoader(Stuck(), num_workers=2), name="train"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_no_worker_outlives_a_training_that_is_killed(tmp_path, processes):
    """Not even one in the middle of reading a batch."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = processes.Popen([sys.executable, "-c", STUCK], cwd=tmp_path, env=env, start_new_session=True)
    for number in range(2):
        wait_for(process, tmp_path / f"worker-{number}")
    assert len(in_session(process.pid)) == 3

    process.kill()
    process.wait()

    began = monotonic()
    while (workers := in_session(process.pid)) and monotonic() - began < 30:
        continue
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    assert workers == []


def test_reading_a_loader_moves_no_global_generator(seeded):
    """So a model draws the same numbers, however its data are loaded."""
    before = random_state()
    read(loader_stream(0), 9)
    read(loader_stream(2), 9)

    assert equal_trees(before, random_state())


class Moody(torch.utils.data.Sampler):
    """An order that depends on how often it was asked."""

    asked = 0

    def __len__(self):
        return 26

    def __iter__(self):
        type(self).asked += 1
        return iter(sorted(range(26), key=lambda index: (index * self.asked) % 7))


class Endless(torch.utils.data.IterableDataset):
    """Has no order to draw."""

    def __iter__(self):
        return iter([{"x": torch.zeros(1), "noise": torch.zeros(1)}] * 8)


def test_what_cannot_be_taken_over_is_read_as_it_is(seeded, caplog):
    """An order that no generator explains is named; data that are only iterated keep their own way."""
    wrapper = StreamWrapper(loader_stream(0, shuffle=False, sampler=Moody()), name="train")
    assert wrapper.level == "epoch"
    assert "Moody gives another order each time it is asked" in caplog.text

    wrapper = StreamWrapper(lambda: torch.utils.data.DataLoader(Endless(), batch_size=4), name="train")
    assert wrapper.level == "epoch"
    assert len(list(wrapper)) == 2


def test_a_worker_s_own_start_sees_the_data_set_and_its_error_arrives(seeded):
    """What the loader was told for its workers holds."""
    batches, _, _ = read(loader_stream(1, worker_init_fn=expect_the_data_set), 2)
    assert len(batches) == 2
    with pytest.raises(ZeroDivisionError):
        list(StreamWrapper(loader_stream(1, collate_fn=broken), name="train"))
    gc.collect()  # the error holds the loader, and that its worker


def expect_the_data_set(worker):
    info = torch.utils.data.get_worker_info()
    assert (worker, type(info.dataset)) == (0, Augmented)


def broken(examples):
    raise ZeroDivisionError(f"{len(examples)} examples")
