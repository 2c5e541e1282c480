"""``main_loop.overfit``: the same few batches in every epoch."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from emloop import AbstractHook
from emloop.api import create_emloop_training, resume_emloop_training

from .conftest import CountingModel, ListDataset, batches
from .test_commits_inside import config, result, train


def test_every_stream_is_cut_to_its_first_batches(make_loop):
    """An epoch is one pass over these, whatever its size would be; the zeroth epoch has them, too."""
    model = CountingModel()
    dataset = ListDataset(train=batches(1, 2, 3), valid=batches(7, 8, 9), test=batches(4, 5, 6))
    loop = make_loop((), dataset, model, overfit=2, epochs_count=2, extra_streams=["valid"], fixed_epoch_size=50)
    loop.run_training()

    each = [([1], True), ([2], True), ([7], False), ([8], False)]
    assert model.runs == [([1], False), ([2], False), ([7], False), ([8], False), *each, *each]


def test_an_evaluation_of_the_run_sees_the_whole_stream(make_loop):
    """Only the training, and what belongs to it, is cut."""
    model = CountingModel()
    make_loop((), ListDataset(test=batches(4, 5, 6)), model, overfit=2).run_evaluation("test")

    assert model.runs == [([4], False), ([5], False), ([6], False)]


class Sees(AbstractHook):
    """Keeps the sources of every batch."""

    seen: list = []  # noqa: RUF012
    stateless = True
    reads = writes = ()

    def after_batch(self, stream_name, batch_data):
        self.seen.append((stream_name, np.array(batch_data["x"]).tobytes()))


@pytest.mark.parametrize("kind", ["generator", "index"])
@pytest.mark.parametrize("buffer", [0, 3])
def test_the_batches_are_the_same_in_every_epoch_and_attempt(tmp_path, kind, buffer):
    """Also of a stream that draws other batches in every pass; a resume from any batch ends as if never stopped."""
    settings = {"kind": kind, "overfit": 2, "buffer": buffer, "epochs_count": 3}
    whole = result(train(config(**settings), tmp_path, "whole"))
    settings = config(**settings, commit={"every": 1, "keep": 1000})
    settings["hooks"].append(f"{__name__}.Sees")
    Sees.seen = []
    each = train(settings, tmp_path, "each")
    epochs = [tuple(Sees.seen[start : start + 4]) for start in range(0, len(Sees.seen), 4)]
    assert len(set(epochs)) == 1
    assert len(epochs) == 4
    assert result(each) == whole

    commits = sorted(path.name for path in (each / "checkpoints").iterdir())
    for number in range(0, len(commits) - 1, 2):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(each, copy)
        for later in commits[number + 1 :]:
            shutil.rmtree(copy / "checkpoints" / later)
        np.random.normal(size=number)
        resume_emloop_training(settings, copy).main_loop.run_training()
        assert result(copy) == whole, commits[number]
    assert set(Sees.seen) == set(epochs[0])


def test_whole_streams_train_where_it_is_left_out(tmp_path):
    """Nothing else of a run is changed by it: with as many batches as there are, the sequence is the same run."""
    runs = [train(config(kind="sequence", **cut), tmp_path, f"{len(cut)}") for cut in ({}, {"overfit": 5})]

    assert result(runs[0]) == result(runs[1])
    assert create_emloop_training(config(), str(tmp_path), output_dir_name="b").main_loop.streams.first is None
