"""Take a commit apart, key by key, and see what a resume without a key comes to."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing import event_accumulator

import emloop as el
from emloop import constants
from emloop._config.check import checked_config
from emloop._run_dir.beginnings import is_mirror
from emloop._state.commit import Commit, list_commits, write_commit
from emloop._state.random import random_state, restore_random_state
from emloop._state.tree import copy_tree, dump_tree
from emloop._support.intervals import Interval
from emloop._verifying.comparing import place_of, result_files
from emloop.api import create_emloop_training, resume_emloop_training
from emloop.errors import EmloopError
from emloop.main_loop import CommitPolicy, Keep

Place = tuple[str, ...]


class Stream:
    """Batches whose numbers come from the pass's generator, and whose position is a state of its own."""

    def __init__(self, rng, count):
        self._rng, self._count, self._done = rng, count, 0

    def __iter__(self):
        while self._done < self._count:
            self._done += 1
            x = self._rng.normal(size=(4, 3))
            y = (x.sum(axis=1) > self._done / 4).astype(int)
            yield {"x": x, "y": y, "id": np.arange(4), "z": self._rng.random(4), "images": self._rng.random((4, 2, 2))}

    def state_dict(self):
        return {"done": self._done}

    def load_state_dict(self, state):
        self._done = int(state["done"])


class Data(el.BaseDataset):
    """Points on both sides of a plane that moves: five batches to train, three to evaluate."""

    def _configure_dataset(self, **kwargs):
        pass

    def train_stream(self):
        return Stream(self.rng("train"), 5)

    def valid_stream(self):
        return Stream(self.rng("valid"), 3)


class Generated(Data):
    """The same by generators."""

    def train_stream(self):
        yield from super().train_stream()

    def valid_stream(self):
        yield from super().valid_stream()


class Model(el.AbstractModel):
    """Logistic regression whose steps draw numbers of both global generators, an odd number of each."""

    input_names, output_names = ("x", "y"), ("loss", "p", "predictions")

    def __init__(self, dataset, log_dir, restore_from=None):
        self.w, self.rate, self._log_dir = np.zeros(3), 0.5, log_dir

    def run(self, batch, train, stream=None):
        p = 1 / (1 + np.exp(-batch["x"] @ self.w))
        loss = -np.log(np.where(batch["y"] > 0, p, 1 - p) + 1e-12)
        if train:
            noise = 0.1 * np.random.normal(size=3) + 0.1 * random.gauss()
            self.w = self.w - self.rate * (batch["x"].T @ (p - batch["y"]) / len(p) + noise)
        return {"loss": loss, "p": np.stack([1 - p, p], axis=1), "predictions": (p > 0.5).astype(int)}

    def save(self, name_suffix):
        path = Path(self._log_dir, f"model_{name_suffix}.npy")
        np.save(path, self.w)
        return str(path)

    def get_variable(self, name):
        return self.rate

    def set_variable(self, name, value):
        self.rate = value

    def state_dict(self):
        return {"w": self.w, "rate": self.rate}

    def load_state_dict(self, state):
        self.w, self.rate = np.array(state["w"], float).reshape(3), float(state["rate"])


class Sums(el.hooks.AccumulateVariables):
    """Says something of all that was accumulated."""

    reads = writes = ()

    def after_epoch(self, epoch_id, epoch_data):
        for name, stream in epoch_data.items():
            stream["sum"] = float(np.sum(self._accumulator[name]["p"]))
        super().after_epoch(epoch_id, epoch_data)


class Always(CommitPolicy):
    """Commits after every batch, also of evaluations."""

    def due(self, **_: Any) -> bool:
        return True


def leaves(tree: Any, place: Place = ()) -> Iterator[Place]:
    """Every key of a state tree, those of mappings before those within them."""
    if place:
        yield place
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*place, key))
    elif isinstance(tree, list) and any(isinstance(value, (Mapping, list)) for value in tree):
        for index, value in enumerate(tree):
            if isinstance(value, (Mapping, list)):
                yield from leaves(value, (*place, index))


def changed(tree: Any, place: Place, change) -> Any:
    """A copy of a tree where a value is changed, or dropped: ``change`` is given the mapping and the key."""
    tree = copy_tree(tree)
    owner = tree
    for key in place[:-1]:
        owner = owner[key]
    change(owner, place[-1])
    return tree


@dataclass
class Ablation:
    """An untouched run of three epochs with commits after every batch, and resumes from altered ones.

    Args:
        path: Where everything lies.
        config: Text of the configuration.
    """

    path: Path
    config: str

    def __post_init__(self) -> None:
        self.file = self.path / "config.yaml"
        self.file.write_text(self.config.replace("COPIED", str(self.path / "copied.txt")))
        (self.path / "copied.txt").write_text("as it was when the run began")
        before = random_state()
        training = create_emloop_training(checked_config(str(self.file)), self.path, output_dir_name="untouched")
        training.main_loop.commit_policy = Always(Interval(1, "batches"), Keep(1000))
        training.main_loop.run_training()
        restore_random_state(before)
        self.run = self.path / "untouched"
        self.commits = {place_of(commit): commit for commit in list_commits(self.run / constants.EL_CHECKPOINTS_DIR)}
        self.expected = self.result(self.run)
        (self.path / "copied.txt").write_text("as it was later")

    def keys(self, commit: Commit) -> Iterator[tuple[str, Place]]:
        """Everything in a commit that has a name: component and place."""
        for component in commit.components:
            tree = commit.load(component)
            yield component, ()
            yield from ((component, place) for place in leaves(tree))

    def resumed(self, commit: Commit, component: str, place: Place, change) -> str:
        """What a resume from an altered commit comes to: the name of the error, or whether the result is the same."""
        work = self.path / "work"
        shutil.rmtree(work, ignore_errors=True)
        ignored = shutil.ignore_patterns(constants.EL_CHECKPOINTS_DIR, "discarded")
        shutil.copytree(self.run, work, ignore=ignored)
        states = {name: commit.load(name) for name in commit.components}
        if place:
            states[component] = changed(states[component], place, change)
        else:
            change(states, component)
        write_commit(work / constants.EL_CHECKPOINTS_DIR, commit.seq, states, commit.info)
        before = random_state()
        try:
            training = resume_emloop_training(checked_config(str(work / "config.yaml"), restoring=True), work)
            training.main_loop.run_training()
        except EmloopError as error:
            return f"refused: {error}"
        except Exception as error:  # noqa: BLE001 - a traceback, which is no refusal
            return f"{type(error).__name__}: {error}"
        finally:
            restore_random_state(before)
        return "same" if self.result(work) == self.expected else "other"

    def result(self, run: Path) -> Any:
        last = list_commits(run / constants.EL_CHECKPOINTS_DIR)[0]
        states = {name: dump_tree(last.load(name)) for name in last.components}
        mirrors = {record["name"] for record in last.info["appended"] if is_mirror(record)}
        return states, result_files(run, mirrors), {path.name: shown(path) for path in run.glob("tensorboard/*")}


def shown(directory: Path) -> Any:
    """What TensorBoard shows of a stream, without the times."""
    events = event_accumulator.EventAccumulator(str(directory), size_guidance={"images": 0, "histograms": 0}).Reload()
    tags = events.Tags()
    histograms = {tag: [(e.step, e.histogram_value) for e in events.Histograms(tag)] for tag in tags["histograms"]}
    return histograms, {tag: [(e.step, e.encoded_image_string) for e in events.Images(tag)] for tag in tags["images"]}


def drop(owner: Any, key: Any) -> None:
    """Drop a key, or an element."""
    del owner[key]
