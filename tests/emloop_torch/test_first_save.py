"""The first save of a run, which makes the program: heard signals, shown progress, and programs of earlier runs."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from emloop._state.tree import equal_trees
from emloop.main_loop import CaughtInterrupts

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from .nets import Net  # noqa: E402


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """A cache of its own."""
    monkeypatch.setenv("EMLOOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "programs"


def made(caplog):
    """Which views were made, not only verified, since the last look."""
    found = [record.getMessage().split(":")[0].strip() for record in caplog.records if "and verified, in" in record.msg]
    caplog.clear()
    return found


class Stops(Net):
    """Sends a signal to its process while it is recorded."""

    def predict(self, points):
        if torch.compiler.is_exporting():
            os.kill(os.getpid(), signal.SIGINT)
        return super().predict(points)


def test_a_signal_ends_the_first_save_at_once(create, batches, cached, tmp_path):
    """No half program is left, the live training is what it was, and a later save makes the program."""
    model, other = create(Stops), create(Stops, log_dir=tmp_path / "other")
    for each in (model, other):
        each.run(batches[0], train=True)
    before = model.state_dict()

    with CaughtInterrupts(), pytest.raises(KeyboardInterrupt, match="interrupted by SIGINT"):
        model.save("best")

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert equal_trees(before, model.state_dict())
    for batch in batches[1:4]:
        for each in (model, other):
            each.run(batch, train=True)
    assert equal_trees(other.state_dict(), model.state_dict())


def test_what_is_done_is_said_as_it_goes_on(create, batches, cached, caplog):
    """A line at the start, and one for every view of the program."""
    caplog.set_level("INFO", "emloop_torch")
    model = create(Net)
    model.run(batches[0], train=True)

    model.save("best")

    said = [record.msg for record in caplog.records]
    assert said[0].startswith("%s a program of the model")
    assert ["eval", "predict", "train"] == sorted(made(caplog))


def test_a_program_of_the_same_architecture_is_verified_and_not_made(
    create, batches, cached, tmp_path, caplog, manifest
):
    """Other weights, rates and seeds are no other architecture."""
    caplog.set_level("INFO", "emloop_torch")
    for number, seed in enumerate((3, 4)):
        model = create(
            Net, log_dir=tmp_path / str(number), seed=seed, optimizer={"class": "SGD", "learning_rate": seed}
        )
        (tmp_path / str(number)).mkdir()
        model.run(batches[0], train=True)
        path = model.save("best")
        assert manifest(path)["rung"] == "exported"
        assert [[], ["eval", "predict", "train"]][number == 0] == sorted(made(caplog))


class Scaled(Net):
    factor = 2.0

    def predict(self, points):
        return {"logits": self.factor * super().predict(points)["logits"]}


def rescaled(factor):
    """A class with another value that its code reads."""
    return type("Scaled", (Scaled,), {"factor": factor})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(rescaled(2.0), rescaled(3.0), id="attribute-of-a-class"),
        pytest.param(
            lambda: Net(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1))),
            lambda: Net(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.2))),
            id="attribute",
        ),
    ],
)
def test_another_architecture_has_a_program_of_its_own(create, batches, cached, tmp_path, caplog, one, other):
    """Whatever its graphs were recorded from is different."""
    caplog.set_level("INFO", "emloop_torch")
    for number, make in enumerate((one, other)):
        (tmp_path / str(number)).mkdir()
        model = create(make, log_dir=tmp_path / str(number))
        model.run(batches[0], train=True)
        model.save("best")
        assert made(caplog)
    assert 2 == len(list(cached.iterdir()))


@pytest.mark.parametrize("damage", ["cut", "swapped"])
def test_a_wrong_entry_is_as_good_as_none(create, batches, cached, tmp_path, caplog, manifest, damage):
    """It is never trusted: read as any other program, and verified against the live module."""
    caplog.set_level("INFO", "emloop_torch")

    def saved(make, name):
        (tmp_path / name).mkdir()
        model = create(make, log_dir=tmp_path / name)
        model.run(batches[0], train=True)
        return model.save("best")

    saved(Net, "one")
    (entry,) = cached.iterdir()
    if damage == "cut":
        (entry / "eval.pt2").write_bytes((entry / "eval.pt2").read_bytes()[:-9])
    else:
        saved(Scaled, "two")
        (other,) = set(cached.iterdir()) - {entry}
        shutil.rmtree(entry)
        shutil.copytree(other, entry)
    made(caplog)

    path = saved(Net, "three")

    assert ["eval", "predict", "train"] == sorted(made(caplog))
    assert manifest(path)["rung"] == "exported"


@pytest.mark.parametrize("off", ["off", False])
def test_the_cache_can_be_switched_off(create, batches, cached, monkeypatch, off):
    """By the configuration, or for everything by ``EMLOOP_CACHE=off``."""
    for settings, variable in (({"saved_model": {"cache": off}}, str(cached.parent)), ({}, "off")):
        monkeypatch.setenv("EMLOOP_CACHE", variable)
        model = create(Net, **settings)
        model.run(batches[0], train=True)
        model.save("best")

    assert not cached.exists()


def test_the_cache_keeps_to_its_size(create, batches, cached, tmp_path, monkeypatch):
    """What was not used for longest goes first."""
    monkeypatch.setattr("emloop_torch._proofs.cache._MOST_BYTES", 1)
    for name, make in (("one", Net), ("two", Scaled)):
        (tmp_path / name).mkdir()
        model = create(make, log_dir=tmp_path / name)
        model.run(batches[0], train=True)
        assert Path(model.save("best"), "program").is_dir()

    assert not list(cached.iterdir())
