"""The first save of a run, which makes the program: heard signals, shown progress, and programs of earlier runs."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
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


class Shifted(Net):
    """Gives ``predict`` other numbers than its own."""

    def forward(self, points, labels):
        return super().forward(points + 1.0, labels)


class Calibrated(Net):
    """Changes what ``predict`` returns."""

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        return {**outputs, "logits": outputs["logits"] * 0.5}


class Twice(Net):
    """Calls ``predict`` a second time."""

    def forward(self, points, labels):
        self.predict(points * 2.0)
        return super().forward(points, labels)


class Tallied(Net):
    """Counts what it is told the labels of, in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, points, labels):
        self.batches.add_(1)
        return super().forward(points, labels)


class Sized(Net):
    """Takes any number of points, but no three labels."""

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        return outputs if labels.shape[0] != 3 else {**outputs, "loss": outputs["loss"] * 2.0}


class Noisy(Net):
    """Draws random numbers where there are labels."""

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        return {**outputs, "loss": outputs["loss"] + 0.1 * torch.randn(len(points))}


class Masked(Net):
    """Asks for the size of the labels, as it looks for that of the points."""

    def predict(self, points):
        kept = torch.ones(points.shape[0], 1)
        return {"logits": self.body(points * kept).view(points.shape[0], 2)}


class Cleaned(Net):
    """Takes away what is not a number, of which there is none at first."""

    def forward(self, points, labels):
        points.nan_to_num_(0.0)
        return super().forward(points, labels)


class Clipped(Net):
    """Bounds what ``predict`` returns, far beyond what it returns at first."""

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        outputs["logits"].clamp_(-20, 20)
        return outputs


class Switched(Net):
    """``predict`` does more when ``forward`` calls it."""

    clips = False

    def predict(self, points):
        outputs = super().predict(points)
        return {"logits": outputs["logits"].clamp(-20, 20)} if self.clips else outputs

    def forward(self, points, labels):
        self.clips = True
        try:
            return super().forward(points, labels)
        finally:
            self.clips = False


class Checked(Net):
    """Expects small numbers where there are labels."""

    def forward(self, points, labels):
        torch._check(points.abs().max().item() < 1000)
        return super().forward(points, labels)


class Counted(Net):
    """Expects few classes where there are labels."""

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        near = nn.functional.one_hot(points[:, 0].abs().long(), 100).sum(1).float()
        return {**outputs, "loss": outputs["loss"] * near}


@pytest.mark.parametrize(
    ("make", "exports"),
    [
        pytest.param(Cleaned, 3, id="cleans-what-is-no-number"),
        pytest.param(Clipped, 3, id="clips-outliers"),
        pytest.param(Switched, 3, id="clips-outliers-on-demand"),
        pytest.param(Checked, 3, id="checks-numbers"),
        pytest.param(Counted, 3, id="checks-classes"),
        pytest.param(Net, 2, id="handed-on"),
        pytest.param(Masked, 2, id="sizes-in-common"),
        pytest.param(Shifted, 3, id="other-inputs"),
        pytest.param(Calibrated, 3, id="other-outputs"),
        pytest.param(Twice, 3, id="twice"),
        pytest.param(Tallied, 3, id="counts-beside"),
        pytest.param(Sized, 3, id="sizes-of-labels"),
        pytest.param(Noisy, 3, id="draws-beside"),
    ],
)
def test_predict_is_exported_for_itself_only_where_forward_does_more_than_add_to_it(
    create, batches, cached, monkeypatch, manifest, make, exports
):
    """Where ``forward`` hands on what ``predict`` returns, its graph holds that of ``predict``, which is cut out."""
    made, export = [], torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *args, **named: [made.append(1), export(*args, **named)][1])
    model = create(make)
    model.run(batches[0], train=True)
    path = model.save("best")

    assert manifest(path)["rung"] == "exported"
    assert exports == len(made)
    restored = create(restore_from=path, inputs=["points"], outputs=["logits"])
    live = create(make, restore_from=path, inputs=["points"], outputs=["logits"])
    for examples in (8, 3, 1):
        # Also far away from all that was seen before the save.
        for scale in (1, 1e6, np.inf):
            batch = {"points": batches[1]["points"][:examples] * np.float32(scale)}
            expected, found = (model.run(batch, train=False)["logits"] for model in (live, restored))
            assert np.array_equal(expected, found, equal_nan=True)
    held, found = ([buffer.tolist() for buffer in model.module.buffers()] for model in (live, restored))
    assert held == found


def test_sizes_that_only_a_loss_asks_for_do_not_bind_predict(create, cached):
    """Two texts of different lengths are scored, although those of the training have always had the same."""
    rng = torch.Generator().manual_seed(1)

    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(1, 1)

        def predict(self, one, other):
            return {"score": self.body(one.mean(1, keepdim=True) - other.mean(1, keepdim=True))[:, 0]}

        def forward(self, one, other, labels):
            outputs = self.predict(one, other)
            return {**outputs, "loss": (outputs["score"] - labels) ** 2 + (one - other).abs().mean(1)}

    config = {"inputs": ["one", "other", "labels"], "outputs": ["loss", "score"]}
    model = create(Pairs, **config)
    for length in (4, 6):
        one, other = torch.rand(2, 8, length, generator=rng).numpy()
        model.run({"one": one, "other": other, "labels": one[:, 0]}, train=True)
    restored = create(restore_from=model.save("best"), inputs=["one", "other"], outputs=["score"])

    batch = {"one": one, "other": other[:, :3]}
    weight, bias = (value.detach().numpy() for value in restored.module.parameters())
    expected = (one.mean(1) - other[:, :3].mean(1)) * weight[0, 0] + bias[0]
    assert expected.tolist() == pytest.approx(restored.run(batch, train=False)["score"].tolist(), rel=1e-5)
