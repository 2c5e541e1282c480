"""A commit within an epoch is a place to go on from, as exactly as one at its end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import emloop as el
from emloop._state.commit import newest_commit, open_commit, write_commit
from emloop._state.tree import dump_tree
from emloop.api import create_emloop_training, resume_emloop_training
from emloop.errors import CheckpointError
from emloop.main_loop import run_record

BATCHES = 5


class Data(el.BaseDataset):
    """Points on both sides of a plane, from a stream of the given kind."""

    def _configure_dataset(self, kind="generator", **kwargs):
        self._kind = kind

    def _batch(self, rng):
        x = rng.normal(size=(8, 3))
        return {"x": x, "y": (x.sum(axis=1) > 0).astype(float)}

    def _read(self, stream):
        if self._kind == "sequence":
            return [self._batch(np.random.default_rng(number)) for number in range(BATCHES)]
        if self._kind == "index":
            x = np.random.default_rng(1).normal(size=(37, 3))
            columns = {"x": x, "y": (x.sum(axis=1) > 0).astype(float)}
            return el.datasets.IndexStream(columns, 8, rng=self.rng(stream))
        rng = self.rng(stream)
        return (self._batch(rng) for _ in range(BATCHES))

    def train_stream(self):
        return self._read("train")

    def valid_stream(self):
        return self._read("valid")


class Model(el.AbstractModel):
    """Logistic regression with momentum, whose steps also draw from the global random state."""

    input_names = ("x", "y")
    output_names = ("loss",)

    def __init__(self, dataset, log_dir, restore_from=None):
        self._w, self._momentum, self._log_dir = np.zeros(3), np.zeros(3), log_dir

    def run(self, batch, train, stream=None):
        p = 1 / (1 + np.exp(-batch["x"] @ self._w))
        if train:
            noise = 0.1 * np.random.normal(size=3)
            self._momentum *= 0.9
            self._momentum += batch["x"].T @ (p - batch["y"]) / len(p) + noise
            self._w -= 0.5 * self._momentum
        return {"loss": -np.log(np.where(batch["y"] > 0, p, 1 - p) + 1e-12)}

    def state_dict(self):
        return {"w": self._w, "momentum": self._momentum}

    def load_state_dict(self, state):
        self._w, self._momentum = state["w"], state["momentum"]

    def save(self, name_suffix):
        path = Path(self._log_dir, f"model_{name_suffix}.npy")
        np.save(path, self._w)
        return str(path)


def config(**main_loop):
    dataset = {"class": f"{__name__}.Data", "kind": main_loop.pop("kind", "generator")}
    hooks = [
        {"ComputeStats": {"variables": {"loss": ["mean", "std", "min", "max"]}}},
        {"ComputeStats": {"variables": {"loss": ["median"]}, "name": "exact"}},
        "WriteCSV",
        "SaveBest",
    ]
    settings = {"seed": 3, "extra_streams": ["valid"], "epochs_count": 2, **main_loop}
    return {
        "dataset": dataset,
        "model": {"class": f"{__name__}.Model", "name": "m"},
        "hooks": hooks,
        "main_loop": settings,
    }


def train(config, root, name):
    training = create_emloop_training(config, str(root), output_dir_name=name)
    training.main_loop.run_training()
    return Path(training.output_dir)


def result(run):
    newest = open_commit(max((run / "checkpoints").iterdir()))
    states = {name: dump_tree(tree) for name, tree in newest.states().items()}
    return states | {name: (run / name).read_bytes() for name in ("training.csv", "metrics.jsonl", "model_best.npy")}


class Large(Model):
    """The same with memory that a commit has to copy, and a count of how often its state was taken."""

    def __init__(self, dataset, log_dir, restore_from=None):
        super().__init__(dataset, log_dir)
        self._large, self.taken = np.zeros(1 << 20), 0

    def state_dict(self):
        self.taken += 1
        return {**super().state_dict(), "large": self._large}


@pytest.mark.parametrize("every", ["4", "32sa", "1ep", "auto"])
def test_memory_of_the_first_commit_is_there_before_it(tmp_path, monkeypatch, every):
    """Half way to it, whatever says when it is; the size comes from the model once, after a resume from the commit."""
    monkeypatch.setattr(run_record, "_SETTLED", 0)
    settings = config(epochs_count=1, skip_zeroth_epoch=True, commit={"every": every, "keep": 99})
    settings["model"]["class"] = f"{__name__}.Large"
    settings["hooks"] = []
    first = create_emloop_training(settings, str(tmp_path), output_dir_name="run")
    first.main_loop.run_training()
    settings["main_loop"]["epochs_count"] = 2
    second = resume_emloop_training(settings, first.output_dir)
    second.main_loop.run_training()

    assert first.main_loop._record._buffer._preparing is not None
    assert second.main_loop._record._buffer._preparing is not None
    made = [training.main_loop._record._seq for training in (first, second)]
    assert (first.model.taken, second.model.taken) == (made[0] + 1, made[1] - made[0])


@pytest.mark.parametrize("kind", ["generator", "sequence", "index"])
@pytest.mark.parametrize(("buffer", "size"), [(0, None), (3, 7)])
def test_a_run_goes_on_exactly_from_any_batch(tmp_path, kind, buffer, size):
    """Whichever batch the last commit followed, of training or evaluation, the run ends as if never stopped."""
    settings = {"kind": kind, "buffer": buffer, "fixed_epoch_size": size}
    whole = result(train(config(**settings), tmp_path, "whole"))
    settings = config(**settings, commit={"every": 1, "keep": 1000})
    each = train(settings, tmp_path, "each")

    commits = sorted(path.name for path in (each / "checkpoints").iterdir())
    assert result(each) == whole
    assert len(commits) >= 2 * (size or BATCHES)

    for number in range(0, len(commits) - 1, 3):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(each, copy)
        for later in commits[number + 1 :]:
            shutil.rmtree(copy / "checkpoints" / later)
        resume_emloop_training(settings, copy).main_loop.run_training()
        assert result(copy) == whole, commits[number]


def test_an_end_within_an_epoch_is_a_place_to_go_on_from(tmp_path):
    """A run that a hook ended after some batch equals, with more of them, one that had these from the start."""
    whole = result(train(config(), tmp_path, "whole"))
    limited = config()
    limited["hooks"].append({"StopAfter": {"iterations": 7}})
    run = train(limited, tmp_path, "cut")

    cut = newest_commit(run / "checkpoints", set_aside=False)[0]
    assert (cut.info["complete"], cut.info["epoch"], cut.info["batch"]) == (True, 1, ["train", 2])
    limited["hooks"][-1]["StopAfter"]["iterations"] = 100
    resume_emloop_training(limited, run).main_loop.run_training()
    found = result(run)
    assert found.pop("hooks/StopAfter")
    assert found == whole


def test_commits_may_count_samples(tmp_path):
    """Batches have 8 examples, epochs 5 batches; an interval goes on in the next epoch."""
    run = train(config(commit={"every": "20sa", "keep": 9}), tmp_path, "run")

    places = [open_commit(path).info["batch"] for path in sorted((run / "checkpoints").iterdir())]
    assert places == [["train", 3], ["train", 1], ["train", 4], None]


class Saboteur(el.AbstractHook):
    """Puts a file where the checkpoints belong, and counts the batches that are run all the same."""

    reads = writes = ()
    stateless = True

    def __init__(self, output_dir, **kwargs):
        super().__init__(**kwargs)
        self._checkpoints = Path(output_dir, "checkpoints")
        type(self).trained = 0

    def before_training(self):
        self._checkpoints.write_text("in the way")

    def after_batch(self, stream_name, batch_data):
        type(self).trained += self._main_loop.is_training


def test_a_commit_that_cannot_be_written_ends_the_run(tmp_path):
    """Not silently: the error of the thread that writes is raised before the next commit at the latest."""
    settings = config(commit={"every": 2}, epochs_count=50)
    settings["hooks"].append({f"{__name__}.Saboteur": {}})

    with pytest.raises(CheckpointError, match="checkpoints"):
        train(settings, tmp_path, "run")

    assert 2 <= Saboteur.trained <= 4


def test_a_commit_syncs_no_more_than_it_must(tmp_path, monkeypatch):
    """Three files, their names and the checkpoint's, and the three files that grow; it reads no other manifest."""
    monkeypatch.setattr("emloop.main_loop.run_record._TRACE_EVERY", float("inf"))
    fsync, open_file, synced, opened = os.fsync, os.open, [], []

    def counted(descriptor):
        synced.append(descriptor)
        fsync(descriptor)

    def noted(path, *arguments, **keywords):
        opened.append(str(path))
        return open_file(path, *arguments, **keywords)

    monkeypatch.setattr(os, "fsync", counted)
    monkeypatch.setattr(os, "open", noted)
    counts = {}
    for epochs in (4, 14):
        synced.clear()
        opened.clear()
        train(config(epochs_count=epochs, commit={"every": "1ep"}), tmp_path, f"{epochs}")
        counts[epochs] = len(synced)
        read = [path for path in opened if path.endswith("manifest.json") and "/.tmp-" not in path]
        assert len(read) <= 1, "the first commit is read back, no other"

    assert counts[14] - counts[4] <= 8 * 10


def test_what_is_kept_is_what_was_asked_for(tmp_path):
    """Every third epoch, the best and the last two; also over a kill and a resume, and by a model that saves itself."""
    keep = {"every": "3ep", "best": {"variable": "loss", "condition": "min"}}
    settings = config(epochs_count=8, commit={"every": "1ep", "keep": keep})
    run = train(settings, tmp_path, "whole")
    losses = [json.loads(line)["valid"]["loss"]["mean"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = {path.name: open_commit(path) for path in (run / "checkpoints").iterdir()}

    epochs = [(commit.info["epoch"], commit.info["batch"]) for commit in kept.values()]
    assert {3, 6, 7, 8, int(np.argmin(losses))} - {0} <= {epoch for epoch, _ in epochs}
    assert len(epochs) <= 6

    settings["main_loop"]["epochs_count"] = 11
    resume_emloop_training(settings, run).main_loop.run_training()
    kept = [open_commit(path).info["epoch"] for path in (run / "checkpoints").iterdir()]
    assert {3, 6, 9, 10, 11} <= set(kept)


def test_the_best_epoch_is_committed_whatever_the_rhythm(tmp_path):
    """What is kept as the best is the commit of the best epoch, not the best of those that happened to be made."""
    settings = config(epochs_count=6, commit={"every": "1h", "keep": {"best": {"condition": "max"}}})
    run = train(settings, tmp_path, "best")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: line["valid"]["loss"]["mean"])

    kept = [open_commit(path).info for path in (run / "checkpoints").iterdir()]
    assert best["epoch_id"] in [info["epoch"] for info in kept]
    assert max(info["value"] for info in kept if info["value"] is not None) <= 0


class SavesItself(Model):
    """The same, without a state tree."""

    state_dict = load_state_dict = None

    def __init__(self, dataset, log_dir, restore_from=None, **kwargs):
        super().__init__(dataset, log_dir, **kwargs)
        if restore_from is not None:
            self._w = np.load(restore_from)


@pytest.mark.parametrize("known", [True, False], ids=["by-slot", "by-turn-as-in-the-first-format"])
def test_a_model_that_saves_itself_overwrites_no_file_of_a_kept_commit(tmp_path, known):
    """Not even while the next commit is written, and not of a run whose commits do not say which files are theirs."""
    settings = config(epochs_count=5, commit={"every": "1ep"})
    settings["model"]["class"] = f"{__name__}.SavesItself"
    settings["hooks"] = []
    run = train(settings, tmp_path, "run")
    commits = sorted((run / "checkpoints").iterdir())
    if not known:
        for number, path in enumerate(commits):
            commit = open_commit(path)
            states = commit.states()
            name = f"model_checkpoint-{commit.seq % 2}.npy"
            digest = next(iter(states["model"]["files"].values()))
            (run / states["model"]["saved"]).rename(run / f"moving-{number}")
            states["model"] = {"saved": name, "files": {name: digest}}
            shutil.rmtree(path)
            info = {key: value for key, value in commit.info.items() if key != "slot"}
            write_commit(run / "checkpoints", commit.seq, states, info)
        for number, path in enumerate(commits):
            (run / f"moving-{number}").rename(run / f"model_checkpoint-{open_commit(path).seq % 2}.npy")
    files = {open_commit(path).load("model")["saved"] for path in commits}
    before = {name: (run / name).read_bytes() for name in files}
    assert len(files) == 2
    settings["main_loop"]["epochs_count"] = 6
    training = resume_emloop_training(settings, run)
    written = []
    save = training.main_loop.model.save

    def noted(suffix):
        written.append(f"model_{suffix}.npy")
        return save(suffix)

    training.main_loop.model.save = noted
    training.main_loop.run_training()

    assert written
    assert not files & set(written)
    assert before == {name: (run / name).read_bytes() for name in files}


def test_a_changed_environment_is_told_by_what_differs_only(tmp_path, monkeypatch, caplog):
    """Of many versions and variables, each by itself; one that came or went counts as well, and so does a device."""
    here = {"python": "3.11", "cpus": 8, "versions": {"numpy": "1", "torch": "2", "old": "1"}, "threads": {}}
    there = {"python": "3.11", "cpus": 4, "versions": {"numpy": "1", "torch": "3"}, "threads": {"OMP_NUM_THREADS": "1"}}
    monkeypatch.setattr("emloop.main_loop.run_record.environment", lambda: here)
    monkeypatch.setattr(Model, "model_facts", lambda _: ["torch 2", "cuda:0", "3 parameters"], raising=False)
    run = train(config(), tmp_path, "run")
    monkeypatch.setattr("emloop.main_loop.run_record.environment", lambda: there)
    monkeypatch.setattr(Model, "model_facts", lambda _: ["torch 3", "cpu", "3 parameters"])
    resume_emloop_training(config(epochs_count=3), run).main_loop.run_training()

    assert (
        "The environment has changed, so this resume may not be exact: "
        "cpus: 8 → 4; torch: 2 → 3; old: 1 → none; OMP_NUM_THREADS: none → 1; cuda:0 → cpu" in caplog.messages
    )
