"""The data of this run are the data of that run: other data are noticed, and nothing else is."""

from __future__ import annotations

import json
import os

import pytest

MODULE = '''
from pathlib import Path

import numpy as np

import emloop as el
from emloop.datasets import IndexStream


def scaled(batch):
    return {"x": batch["x"] * SCALE}


class Numbers(el.BaseDataset):
    """Streams of every kind, of the same numbers."""

    def _configure_dataset(self, kind="index", size=4, named=None, **kwargs):
        self._kind, self._size, self._unseeded = kind, size, np.random.default_rng()
        self._x = np.arange(16.0)
        if named:
            self._x = np.loadtxt(self.reads(named))

    def train_stream(self):
        return self._read("train")

    def valid_stream(self):
        return self._read("valid")

    def _read(self, name):
        batches = IndexStream({"x": self._x * SCALE}, self._size, rng=self.rng(name))
        return getattr(self, f"_{self._kind}")(batches, name)

    def _index(self, batches, name):
        return batches

    def _list(self, batches, name):
        return list(batches)

    def _generator(self, batches, name):
        yield from batches

    def _map(self, batches, name):
        return map(dict, batches)

    def _noise(self, batches, name):
        return Noise(batches, self.rng(name))

    def _globals(self, batches, name):
        return Noise(batches, np.random)

    def _chance(self, batches, name):
        return Noise(batches, self._unseeded)

    def _orders(self, batches, name):
        return [batches[index] for index in np.random.permutation(len(batches))]

    def _chosen(self, batches, name):
        for index in self._unseeded.permutation(len(batches)):
            yield {"x": batches[index]["x"] + self._unseeded.normal()}


class Noise:
    """Draws for each batch when it is read."""

    def __init__(self, batches, rng):
        self._batches, self._rng = batches, rng

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        return {"x": self._batches[index]["x"] + self._rng.normal()}


class Sum(el.AbstractModel):
    input_names = ("x",)
    output_names = ("loss",)
    _total = 0.0

    def __init__(self, dataset, log_dir, restore_from=None, *, in_place=False, stop_at=None):
        self._in_place, self._stop_at, self._steps, self._log_dir = in_place, stop_at, 0, log_dir

    def run(self, batch, train, stream=None):
        if train:
            self._steps += 1
            if self._steps == self._stop_at:
                raise KeyError("the model is broken")
            self._total += float(batch["x"].sum())
        loss = np.array(batch["x"], copy=True)
        if self._in_place:
            batch["x"] -= 100
        return {"loss": loss}

    def save(self, name_suffix):
        path = Path(self._log_dir, f"model_{name_suffix}")
        path.mkdir(exist_ok=True)
        return str(path)

    def state_dict(self):
        return {"total": self._total}

    def load_state_dict(self, state):
        self._total = state["total"]
'''

CONFIG = """\
dataset: {class: numbers_of_a_run.Numbers}
model: {name: sum, class: numbers_of_a_run.Sum}
hooks:
  - ComputeStats: {variables: [loss]}
  - SaveLatest
main_loop: {seed: 7, extra_streams: [valid], epochs_count: 2, commit: {every: 1ep}}
"""

NOT_THE_DATA = "these are not the data of"


class Numbers:
    """A project whose numbers can be scaled by editing its source."""

    def __init__(self, path, emloop):
        self.path, self.emloop = path, emloop
        (path / "config.yaml").write_text(CONFIG)
        self.scale(1)

    def scale(self, factor):
        (self.path / "numbers_of_a_run.py").write_text(f"SCALE = {factor}\n{MODULE}")

    def data(self, run="a"):
        return json.loads((self.path / "log" / run / "data.json").read_text())

    def evaluate(self, *arguments):
        said = self.emloop("eval", "valid", "log/a", "--output_dir", "e", *arguments)
        return said, (self.path / "log" / "e" / "trace.yaml").read_text()


@pytest.fixture
def numbers(tmp_path, emloop_in):
    return Numbers(tmp_path, emloop_in(tmp_path))


@pytest.mark.parametrize(
    ("kind", "difference"),
    [
        ("index", "batch 3 of pass 1 is another one when it is read again"),
        ("list", "batch 3 of pass 1 is another one when it is read again"),
        ("generator", "batch 0 of pass 0 is another one when it is read again"),
    ],
)
def test_a_resume_that_would_read_other_data_is_refused(numbers, kind, difference):
    """Exit code 3 before the first batch, with what differs and the ways out; nothing is trained or committed."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a", f"dataset.kind={kind}")
    commits = sorted((numbers.path / "log/a/checkpoints").iterdir())
    numbers.scale(100)

    said = numbers.emloop("resume", "a", "main_loop.epochs_count=3", expect=3)

    assert (
        f"{NOT_THE_DATA} this run\n  stream 'train': {difference}\n  its source has changed: numbers_of_a_run.py\n"
        "  if they are meant to be others: emloop resume RUN --accept-data, which makes them the run's; "
        "if not: sort what comes from a set, and draw random numbers from self.rng\n"
    ) in said
    assert "epoch 3 " not in said
    assert commits == sorted((numbers.path / "log/a/checkpoints").iterdir())


def test_a_stream_that_cannot_be_read_again_is_found_out_by_its_evaluation(numbers):
    """It was the same twice, so it is not by chance that it is another one now; the epoch is not committed."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a", "dataset.kind=map")
    commits = sorted((numbers.path / "log/a/checkpoints").iterdir())
    numbers.scale(100)

    said = numbers.emloop("resume", "a", "main_loop.epochs_count=3", expect=3)

    assert f"{NOT_THE_DATA} this run\n  stream 'valid': the first batch of its evaluation is another one\n" in said
    assert commits == sorted((numbers.path / "log/a/checkpoints").iterdir())


def test_accepted_data_are_the_run_s_own_from_then_on(numbers):
    """``--accept-data`` goes on and writes it down; the next resume has nothing to ask."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a")
    numbers.scale(100)

    said = numbers.emloop("resume", "a", "main_loop.epochs_count=3", "--accept-data")
    again = numbers.emloop("resume", "a", "main_loop.epochs_count=4")
    evaluated, trace = numbers.evaluate()

    assert f"Accepted: {NOT_THE_DATA} this run" in said
    assert NOT_THE_DATA not in again + evaluated
    assert [entry["differences"] for entry in numbers.data()["accepted"]] == [
        ["stream 'train': batch 3 of pass 1 is another one when it is read again"],
        ["stream 'valid': the first batch of its evaluation is another one"],
    ]
    assert "other_data: null" in trace


def test_accepting_outlasts_a_kill_before_the_next_commit(numbers):
    """What was accepted once is not asked for again, although the commit still tells of the old data."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a")
    numbers.scale(100)
    numbers.emloop("resume", "a", "main_loop.epochs_count=3", "model.stop_at=1", "--accept-data", expect=1)

    said = numbers.emloop("resume", "a", "model.stop_at=null")

    assert NOT_THE_DATA not in said


def test_an_evaluation_of_other_data_says_so_above_and_below_its_numbers(numbers):
    """And its trace keeps it; with ``--accept-data``, it is only noted."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a")
    numbers.scale(100)

    said, trace = numbers.evaluate()
    accepted = numbers.emloop("eval", "valid", "log/a", "--output_dir", "f", "--accept-data")

    difference = "stream 'valid': the first batch of its evaluation is another one"
    assert f"{NOT_THE_DATA} log/a\n  {difference}\n  its source has changed: numbers_of_a_run.py\n" in said
    assert said.rstrip().endswith(f"All results above are of OTHER DATA than the run's: {difference}")
    assert f'other_data: "{difference}"' in trace
    assert "warning:" not in accepted


@pytest.mark.parametrize(
    "kind", ["index", "list", "generator", "map", "noise", "globals", "chance", "orders", "chosen"]
)
@pytest.mark.parametrize("in_place", [False, True])
def test_the_same_data_raise_no_alarm(numbers, kind, in_place):
    """Whatever draws, and whence; whatever a model does to its batches; between epochs, and in evaluation."""
    arguments = (f"dataset.kind={kind}", f"model.in_place={in_place}")
    numbers.emloop("train", "config.yaml", "--output_dir", "a", *arguments)

    resumed = numbers.emloop("resume", "a", "main_loop.epochs_count=3")
    evaluated, _ = numbers.evaluate()

    assert NOT_THE_DATA not in resumed + evaluated


@pytest.mark.parametrize("kind", ["index", "noise", "globals", "generator"])
@pytest.mark.parametrize("buffer", [0, 2])
@pytest.mark.parametrize("in_place", [False, True])
def test_inside_an_epoch_the_same_data_raise_no_alarm_either(numbers, kind, buffer, in_place):
    """The batch consumed last is in the middle of a pass."""
    numbers.emloop(
        *("train", "config.yaml", "--output_dir", "a", f"dataset.kind={kind}", f"main_loop.buffer={buffer}"),
        *("main_loop.fixed_epoch_size=3", f"model.in_place={in_place and kind != 'generator'}"),
    )

    resumed = numbers.emloop("resume", "a", "main_loop.epochs_count=3")

    assert NOT_THE_DATA not in resumed


def test_inside_an_epoch_other_data_are_found(numbers):
    """The batch consumed last is the third of the second pass."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a", "main_loop.fixed_epoch_size=3")
    numbers.scale(100)

    said = numbers.emloop("resume", "a", "main_loop.epochs_count=3", expect=3)

    assert "stream 'train': batch 1 of pass 1 is another one when it is read again" in said


def test_changed_arguments_are_no_other_data(numbers):
    """They are reviewed before anything is written; an evaluation of other examples is what was asked for."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a")

    resumed = numbers.emloop("resume", "a", "main_loop.epochs_count=3", "dataset.size=3")
    again = numbers.emloop("resume", "a", "main_loop.epochs_count=4")
    evaluated, _ = numbers.evaluate("dataset.size=5")

    assert "Changed: dataset.size" in resumed
    assert NOT_THE_DATA not in resumed + again + evaluated


def test_changed_source_of_the_same_data_is_named_and_goes_on(numbers):
    """The digests decide."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a")
    with (numbers.path / "numbers_of_a_run.py").open("a") as file:
        file.write("# a remark\n")

    said = numbers.emloop("resume", "a", "main_loop.epochs_count=3")

    assert "The source of the dataset has changed: numbers_of_a_run.py; the run goes on with it" in said
    assert NOT_THE_DATA not in said


def test_a_changed_file_is_found_even_where_the_batches_agree(numbers):
    """A file that the dataset names counts as a whole; its time alone does not."""
    file = numbers.path / "numbers.txt"
    file.write_text("\n".join(map(str, range(16))))
    numbers.emloop("train", "config.yaml", "--output_dir", "a", "dataset.named=numbers.txt")
    os.utime(file, (1, 1))
    numbers.emloop("resume", "a", "main_loop.epochs_count=3")
    file.write_text("\n".join(map(str, range(16))) + "\n")
    os.utime(file, (86400, 86400))

    said = numbers.emloop("resume", "a", "main_loop.epochs_count=4", expect=3)
    evaluated, _ = numbers.evaluate()
    numbers.emloop("resume", "a", "main_loop.epochs_count=4", "--accept-data")
    numbers.emloop("resume", "a", "main_loop.epochs_count=5")

    change = "numbers.txt has changed: 38 bytes, 37 before; modified 1970-01-02 00:00:00+00:00"
    assert f"{NOT_THE_DATA} this run\n  {change}\n" in said
    assert f"{NOT_THE_DATA} log/a\n  {change}\n" in evaluated


def test_a_run_that_knows_nothing_of_its_data_resumes_as_before(numbers):
    """Such as one that an older emloop has begun."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a", "dataset.kind=generator")
    (numbers.path / "log/a/data.json").write_text("{")
    numbers.scale(100)

    assert NOT_THE_DATA not in numbers.emloop("resume", "a", "main_loop.epochs_count=3")


def test_a_run_killed_before_its_first_commit_compares_its_first_batch(numbers):
    """It begins again, with the batches that it knows."""
    numbers.emloop(
        "train", "config.yaml", "--output_dir", "a", "main_loop.commit={every: 5ep}", "model.stop_at=6", expect=1
    )
    numbers.scale(100)

    said = numbers.emloop("resume", "a", "model.stop_at=null", expect=3)

    assert f"{NOT_THE_DATA} this run\n  stream 'train': the first batch of its evaluation is another one\n" in said or (
        f"{NOT_THE_DATA} this run\n  stream 'train': the first batch of its training is another one\n" in said
    )


def test_a_fork_knows_the_data_of_its_origin(numbers):
    """It is refused like a resume, and keeps what the origin knew."""
    numbers.emloop("train", "config.yaml", "--output_dir", "a")
    numbers.emloop("resume", "a", "--fork", "--output_dir", "b", "main_loop.epochs_count=3")
    numbers.scale(100)

    numbers.emloop("resume", "b", "main_loop.epochs_count=4", expect=3)
    numbers.emloop("resume", "a", "--fork", "--output_dir", "c", "main_loop.epochs_count=3", expect=3)
    numbers.emloop("resume", "a", "--fork", "--output_dir", "d", "main_loop.epochs_count=3", "--accept-data")
