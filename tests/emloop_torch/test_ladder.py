"""How much of a model needs no source: the highest rung that is correct, and never a higher one."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import emloop_torch  # noqa: E402
from emloop._state.commit import write_commit  # noqa: E402
from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import BatchError, SavedModelError  # noqa: E402
from emloop.models import Ensemble  # noqa: E402

from .nets import Net, deep  # noqa: E402


def layer(function, *, parameters=True, before=None):
    """A module that is one function, behind a linear layer, and another module before both."""

    class Layer(nn.Module):
        def forward(self, values):
            return function(self, values)

    first = [nn.Linear(3, 4)] if before is None else [before, nn.Linear(2, 4)]
    return Net(nn.Sequential(*first, Layer(), nn.Linear(4, 2) if parameters else nn.Identity()))


class Reversed(torch.autograd.Function):
    """Turns gradients around; the way in does not show it."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class NearlyRight(torch.autograd.Function):
    """A gradient that is off by a thousandth."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 1.001


class Moody(torch.autograd.Function):
    """A gradient that no graph can hold: every other one is another."""

    calls = 0

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        Moody.calls += 1
        return gradient * (1 + Moody.calls % 2)


def counting(self, values):
    self.count = getattr(self, "count", 0) + 1
    return values * self.count


def looping(_self, values):
    return torch.stack([value.tanh() for value in values])


def packed(_self, values):
    return torch.from_numpy(values.detach().numpy().copy()) + values


class Tracking(nn.Module):
    """A buffer that training changes, and one that is not saved by PyTorch itself."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("scale", torch.ones(3), persistent=False)
        self.offset = torch.tensor([0.5])
        self.linear = nn.Linear(3, 2)

    def forward(self, values):
        if self.training:
            self.mean.mul_(0.9).add_(values.detach().mean(0), alpha=0.1)
            self.scale.mul_(0.99)
        return self.linear((values - self.mean) * self.scale + self.offset)


class Recomputing(nn.Module):
    """Statistics that are taken twice, since what surrounds them is computed again in the backward pass."""

    def __init__(self, *, use_reentrant):
        super().__init__()
        self.into = nn.Linear(3, 4)
        self.normed = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.2))
        self.out = nn.Linear(4, 2)
        self.use_reentrant = use_reentrant

    def forward(self, values):
        reentrant = self.use_reentrant and self.training
        found = torch.utils.checkpoint.checkpoint(self.normed, self.into(values), use_reentrant=reentrant)
        return self.out(found.relu())


class Following(nn.Module):
    """Averages of its weights, taken without gradients, by ``data`` as well."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("average", torch.zeros(2, 3))
        self.register_buffer("other", torch.zeros(2, 3))

    @torch.no_grad()
    def follow(self):
        self.average.mul_(0.9).add_(self.linear.weight, alpha=0.1)

    def forward(self, values):
        if self.training:
            self.follow()
            self.other.data = self.other.data * 0.5 + self.linear.weight.data
        return self.linear(values) + values @ (self.average + self.other).t()


class Replacing(nn.Module):
    """A buffer that is made anew for every batch."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(3))
        self.linear = nn.Linear(3, 2)

    def forward(self, values):
        if self.training:
            self.centre = self.centre * 0.9 + values.mean(0) * 0.1
        return self.linear(values - self.centre)


class Teaching(nn.Module):
    """A teacher, parameters that ``forward`` writes: in place, through ``data``, or by other data."""

    def __init__(self, how):
        super().__init__()
        self.student, self.teacher, self.how = nn.Linear(3, 2), nn.Linear(3, 2).requires_grad_(False), how

    @torch.no_grad()
    def follow(self):
        for new, old in zip(self.student.parameters(), self.teacher.parameters(), strict=True):
            if self.how == "in place":
                old.mul_(0.9).add_(new, alpha=0.1)
            elif self.how == "data":
                old.data[:1] = old.data[:1] * 0.9 + new.data[:1] * 0.1
            else:
                old.data = old.data * 0.9 + new.data * 0.1

    def forward(self, values):
        if self.training:
            self.follow()
        return self.student(values) - self.teacher(values).detach() * 0.5


class Bounded(nn.Module):
    """Trained weights that ``forward`` keeps within bounds before it uses them."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.function = nn.Linear(3, 2), function

    def forward(self, values):
        self.linear.weight.data.clamp_(-0.3, 0.3)
        return self.function(self.linear(values))


class Straight(nn.Module):
    def forward(self, values):
        return NearlyRight.apply(values)


class Initialised(nn.Module):
    """Takes its scale from the first batch, and counts batches beside."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("is_ready", torch.zeros((), dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(3))

    def forward(self, values):
        if self.training and self.is_ready.item() == 0:
            self.scale.copy_(values.detach().std(0))
            self.is_ready.fill_(1)
        return self.linear(values / self.scale)


class WarmingUp(nn.Module):
    """Does something else in the first batches; how it asks is up to others."""

    def __init__(self, is_warm, batches=6):
        super().__init__()
        self.linear, self.is_warm, self.batches = nn.Linear(3, 2), is_warm, batches
        self.register_buffer("count", torch.tensor([0]))

    def forward(self, values):
        warm = self.is_warm(self.count, self.batches)
        if self.training:
            self.count += 1
        return self.linear(values if warm else values * 0.5)


def averaged():
    """An average of itself, by PyTorch's own, which begins with the first batch."""

    class Averaged(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.average = torch.optim.swa_utils.AveragedModel(self.linear)

        def forward(self, values):
            if self.training:
                self.average.update_parameters(self.linear)
            return self.linear(values) - self.average(values).detach() * 0.5

    return Net(Averaged())


def in_windows(_, values):
    """As in many networks for pictures: the number of examples from that of their windows, by a division of floats."""
    windows = values.reshape(-1, 2)
    return windows.view(int(windows.shape[0] / (4 / 2)), -1)


def in_parts(_self, values):
    return torch.cat([part.tanh() for part in values.chunk(int(np.ceil(values.shape[0] / 100)))])


@torch.library.custom_op("emloop_tests::counts", mutates_args=())
def counts(values: torch.Tensor) -> torch.Tensor:
    """How many values of each row are positive; no gradient."""
    return (values > 0).sum(1, keepdim=True).to(values.dtype)


@torch.library.custom_op("emloop_tests::rounded", mutates_args=())
def rounded(values: torch.Tensor) -> torch.Tensor:
    """Rounded values, with the gradient of the values themselves."""
    return (values * 10).round() / 10


counts.register_fake(lambda values: values.new_empty(values.shape[0], 1))
rounded.register_fake(torch.empty_like)
rounded.register_autograd(lambda _ctx, gradient: gradient)


def normed():
    return nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))


ZOO = {
    "reversed": (lambda: layer(lambda _, v: Reversed.apply(v)), "traced"),
    "nearly-right": (lambda: layer(lambda _, v: NearlyRight.apply(v)), "traced"),
    "moody": (lambda: layer(lambda _, v: Moody.apply(v)), "inference"),
    "counter": (lambda: layer(counting), "weights"),
    "loop-over-batch": (lambda: layer(looping), "weights"),
    "numpy": (lambda: layer(packed), "exported"),
    "branch": (lambda: layer(lambda _, v: v if v.mean() > 0 else -v), "weights"),
    "noise": (lambda: layer(lambda self, v: v + torch.randn_like(v) * self.training), "exported"),
    "no-grad-part": (lambda: layer(lambda _, v: v + v.detach().sign()), "exported"),
    "einsum": (lambda: layer(lambda _, v: torch.einsum("bi,bj->bi", v, v)), "exported"),
    "checkpointing": (
        lambda: layer(lambda _, v: torch.utils.checkpoint.checkpoint(torch.tanh, v, use_reentrant=False)),
        "exported",
    ),
    "checkpointed-statistics": (lambda: Net(Recomputing(use_reentrant=False)), "exported"),
    "checkpointed-reentrant": (lambda: Net(Recomputing(use_reentrant=True)), "exported"),
    "without-gradients": (lambda: Net(Following()), "exported"),
    "teacher-in-place": (lambda: Net(Teaching("in place")), "exported"),
    "teacher-by-data": (lambda: Net(Teaching("data")), "exported"),
    "teacher-of-other-data": (lambda: Net(Teaching("other data")), "exported"),
    "bounded-weights": (lambda: Net(Bounded(nn.Identity())), "exported"),
    "bounded-weights-and-own-gradient": (lambda: Net(Bounded(Straight())), "traced"),
    "initialised-by-the-first-batch": (lambda: Net(Initialised()), "exported"),
    "averaged-model": (averaged, "exported"),
    "long-since-warm": (lambda: Net(WarmingUp(lambda count, n: count.item() >= n, 2)), "exported"),
    "every-other-batch": (lambda: Net(WarmingUp(lambda count, _: count.item() % 2 == 0)), "inference"),
    "in-parts": (lambda: layer(in_parts), "exported"),
    "in-windows": (lambda: layer(in_windows), "exported"),
    "registered-operator": (lambda: layer(lambda _, v: v * counts(v.detach())), "exported"),
    "registered-by-name": (lambda: layer(lambda _, v: v * torch.ops.emloop_tests.counts(v.detach())), "exported"),
    "registered-gradient": (lambda: layer(lambda _, v: rounded(v)), "traced"),
    "replaced-buffer": (lambda: Net(Replacing()), "exported"),
    "joined-masks": (lambda: layer(lambda _, v: v * ((v > 0) & (v < 1) | (v < -1))), "exported"),
    "length": (lambda: layer(lambda _, v: v + v[torch.arange(len(v))] / len(v)), "exported"),
    "size-as-number": (lambda: layer(lambda _, v: v / int(v.shape[0])), "exported"),
    "buffers": (lambda: Net(Tracking()), "exported"),
    "weight-norm": (lambda: Net(nn.Sequential(normed(), nn.Linear(4, 2))), "exported"),
    "group-norm": (lambda: Net(nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.Linear(4, 2))), "exported"),
    "unused": (lambda: Net(nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})["a"]), "exported"),
}

EVERYDAY = {
    *("reversed", "nearly-right", "moody", "counter", "loop-over-batch", "numpy", "noise", "checkpointed-statistics"),
    *("teacher-in-place", "bounded-weights", "initialised-by-the-first-batch", "every-other-batch", "in-windows"),
    *("registered-by-name", "registered-gradient", "replaced-buffer"),
}
"""Every rung, and one module for each way of its own to get or lose it; ``make torture`` tries all."""


@pytest.mark.parametrize(
    ("make", "rung"),
    [pytest.param(*one, id=name, marks=() if name in EVERYDAY else pytest.mark.torture) for name, one in ZOO.items()],
)
def test_a_module_ends_on_the_highest_rung_that_is_correct(create, batches, manifest, make, rung):
    """What is restored there does to the bit what the original does; nothing wrong is ever accepted."""
    model = create(make, outputs=["loss", "logits"])
    for batch in batches[:3]:
        model.run(batch, train=True)
    path = model.save("best")

    described = manifest(path)
    assert described["rung"] == rung, described["reason"]
    assert bool(described["reason"]) == (rung != "exported")
    if rung in ("exported", "traced"):
        restored = create(restore_from=path, outputs=["loss", "logits"])
        for batch in batches[3:]:
            assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
            assert equal_trees(model.run(batch, train=False), restored.run(batch, train=False))
        assert equal_trees(model.state_dict(), restored.state_dict())


@pytest.mark.parametrize(
    "is_warm",
    [lambda count, n: count >= n, lambda count, n: int(count) >= n, lambda count, n: (count < n).logical_not().all()],
    ids=["tensor", "int", "all"],
)
def test_a_branch_on_buffers_is_followed_one_way_and_falls_loudly_when_it_goes_the_other(
    create, batches, manifest, is_warm
):
    """Whoever goes on without source is told in that very batch; the training itself takes the promise back."""
    model = create(lambda: Net(WarmingUp(is_warm)))
    for batch in batches[:2]:
        model.run(batch, train=True)
    path = model.save("best")
    restored = create(restore_from=path)
    for batch in batches[2:6]:
        assert manifest(path)["rung"] == "exported"
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    before = copy_tree(restored.state_dict()["parameters"])
    with pytest.raises(SavedModelError, match=r"a branch depends on the buffers 'body\.count'"):
        restored.run(batches[6], train=True)
    for batch in batches[6:]:
        model.run(batch, train=True)

    assert equal_trees(before, restored.state_dict()["parameters"])
    assert manifest(path)["rung"] == "inference"
    assert "a branch depends on the buffers 'body.count'" in manifest(path)["reason"]


def test_what_holds_for_several_examples_only_refuses_a_single_one(create, batches, manifest):
    """A size that the data tell, and that no graph takes for 1: other batches go on, to the bit."""

    def numbered(_self, values):
        rows = torch.arange(len(values)) + 0 * values.argmax().clamp(max=0)
        return values.new_zeros(int(rows.max()) + 1, 4).index_add(0, rows, values)

    model = create(lambda: layer(numbered), outputs=["loss", "logits"])
    for batch in batches[:3]:
        model.run(batch, train=True)
    path = model.save("best")
    restored = create(restore_from=path, outputs=["loss", "logits"])

    assert manifest(path)["rung"] == "exported"
    for batch in (batches[3], {name: values[:3] for name, values in batches[4].items()}):
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    with pytest.raises(BatchError, match=r"the saved program holds where points.shape\[0\] != 1; other batches need"):
        restored.run({name: values[:1] for name, values in batches[5].items()}, train=True)


def test_a_cumulative_average_is_trained_further_nearly_to_the_bit(create, batches, manifest):
    """Its share is a tensor in a program, so that its statistics are rounded otherwise: the manifest says so."""
    model = create(lambda: Net(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 2))))
    for batch in batches[:3]:
        model.run(batch, train=True)
    path = model.save("best")
    restored = create(restore_from=path)
    for batch in batches[3:]:
        model.run(batch, train=True)
        restored.run(batch, train=True)

    assert manifest(path)["rung"] == "exported"
    assert manifest(path)["extra"]["exact"] is False
    buffers = [one.state_dict()["buffers"] for one in (model, restored)]
    assert buffers[0]["body.1.num_batches_tracked"] == buffers[1]["body.1.num_batches_tracked"] == len(batches)
    for name in ("body.1.running_mean", "body.1.running_var"):
        np.testing.assert_allclose(buffers[0][name], buffers[1][name], rtol=1e-5)


def test_what_cannot_be_done_is_said_once_and_loudly_with_the_cause(create, batches, caplog):
    """In the log when it is saved, in the manifest, and in the error of whoever restores it."""
    model = create(lambda: layer(lambda _, v: Moody.apply(v)))
    model.run(batches[0], train=True)
    path = model.save("best")
    model.save("latest")

    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith("Saved models of Model cannot be trained further without its source: ")
    assert re.search(r"test_ladder\.py:\d+: Moody\.calls \+= 1: no graph or state holds 'Moody\.calls', which", said)
    restored = create(restore_from=path)
    assert equal_trees(model.run(batches[1], train=False), restored.run(batches[1], train=False))
    with pytest.raises(SavedModelError, match=r"has no 'train' view, only 'eval', 'predict': .*'Moody\.calls'"):
        restored.run(batches[1], train=True)


def test_saving_leaves_the_module_as_it_was(create, batches):
    """Parameters, buffers, gradients, mode, and what Python keeps in it."""
    model = create(lambda: layer(counting))
    model.run(batches[0], train=True)
    before = copy_tree(model.state_dict())
    model.save("best")

    assert equal_trees(before, model.state_dict())
    assert model.module.body[1].count == 1
    assert model.module.training


def test_an_overridden_training_step_needs_the_source_for_training_only(create, batches, manifest):
    """Evaluation and prediction do not."""

    class Halved(emloop_torch.BaseModel):
        def training_step(self, batch):
            outputs = self.compute(batch)
            self.update(outputs["loss"] / 2)
            return outputs

    model = create(deep, cls=Halved)
    model.run(batches[0], train=True)
    path = model.save("best")

    described = manifest(path)
    assert described["rung"] == "inference"
    assert described["reason"].endswith("Model overrides training_step")
    restored = create(restore_from=path)
    assert equal_trees(model.run(batches[1], train=False), restored.run(batches[1], train=False))


def test_without_labels_the_restored_model_predicts(create, batches):
    """By ``predict``, or by what ``inference_inputs`` says of ``forward``."""
    model = create(deep)
    model.run(batches[0], train=True)
    expected = model.run(batches[1], train=False)
    assert "loss" in expected
    predicting = create(restore_from=model.save("best"), inputs=["points"], outputs=["logits"])
    whole = create(deep, restore_from=model.save("best"), outputs=["logits"])
    assert equal_trees(
        predicting.run({"points": batches[1]["points"]}, train=False), whole.run(batches[1], train=False)
    )

    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(3, 2)

        def forward(self, points, labels=None):
            logits = self.body(points)
            if labels is None:
                return {"logits": logits}
            return {"logits": logits, "loss": functional.cross_entropy(logits, labels, reduction="none")}

    model = create(Optional, inference_inputs=["points"])
    model.run(batches[0], train=True)
    restored = create(restore_from=model.save("best"), inputs=["points"], outputs=["logits"])
    fresh = create(Optional, restore_from=model.save("best"), inputs=["points"], outputs=["logits"])
    assert equal_trees(restored.run(batches[1], train=False), fresh.run(batches[1], train=False))


def test_axes_that_vary_stay_free(create):
    """Batches of other lengths than those seen before are fine; of other widths they are not."""
    rng = np.random.default_rng(0)

    def batch(examples, length, width=3):
        values = rng.normal(size=(examples, length, width)).astype(np.float32)
        return {"points": values, "labels": rng.integers(0, 2, examples)}

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, values):
            return self.linear(values.tanh()).mean(1)

    model = create(lambda: Net(Pooled()), outputs=["logits"])
    for length in (7, 5):
        model.run(batch(4, length), train=True)
    restored = create(restore_from=model.save("best"), outputs=["logits"])
    for examples, length in ((9, 11), (1, 2), (4, 7)):
        other = batch(examples, length)
        assert equal_trees(model.run(other, train=False), restored.run(other, train=False))

    with pytest.raises(BatchError, match=r"points: the saved program was made for float32 \[any, any, 3\], got .* 2\]"):
        restored.run(batch(4, 5, width=2), train=False)


def test_outputs_may_be_true_or_false(create, batches, manifest):
    """What is no number is compared all the same."""

    class Deciding(Net):
        def predict(self, points):
            outputs = super().predict(points)
            return {**outputs, "sure": outputs["logits"].abs().amax(1) > 1}

    model = create(Deciding, outputs=["loss", "sure"])
    model.run(batches[0], train=True)

    assert manifest(model.save("best"))["rung"] == "exported"


def test_the_program_is_made_once_in_a_run_and_copied(create, batches, tmp_path, monkeypatch):
    """A second model of the run, as after a resume, verifies what is there instead of making it anew."""
    model = create(deep)
    model.run(batches[0], train=True)
    model.save("0")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "program").iterdir()}
    exports = []
    original = torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *args, **kw: exports.append(1) or original(*args, **kw))
    resumed = create(deep)
    resumed.load_state_dict(model.state_dict())
    resumed.run(batches[1], train=True)
    path = resumed.save("1")

    assert exports == []
    assert kept == {file.name: file.read_bytes() for file in Path(path, "program").iterdir()}
    changed = create(lambda: Net(nn.Sequential(*list(deep().body)[:3], nn.Tanh(), nn.Linear(6, 2))))
    changed.run(batches[1], train=True)
    changed.save("2")
    assert exports != []


def test_a_program_holds_no_weights(create, batches):
    """Models of one run share it, however long they have trained."""
    model = create(lambda: Net(nn.Sequential(nn.Linear(3, 4000), nn.ReLU(), nn.Linear(4000, 2))))
    model.run(batches[0], train=True)
    path = Path(model.save("best"))

    assert sum(file.stat().st_size for file in (path / "program").iterdir()) < 50_000


def test_tied_weights_are_named_in_the_manifest_and_stay_tied(create, batches, manifest):
    """Whoever trains one trains the other."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.out = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.out.weight = self.into.weight

        def forward(self, values):
            return self.out(self.into(values).tanh())[:, :2]

    model = create(lambda: Net(Tied()))
    model.run(batches[0], train=True)
    path = model.save("best")
    assert manifest(path)["extra"]["tied"] == [["body.into.weight", "body.out.weight"]]
    restored = create(restore_from=path)
    for batch in batches[1:]:
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    assert list(restored.state_dict()["parameters"]) == ["body.into.weight"]


def test_a_checkpoint_of_a_run_that_never_saved_says_so(create, batches, tmp_path):
    """There is a state but no program; with the source it is enough."""
    model = create(deep)
    model.run(batches[0], train=True)
    commit = write_commit(tmp_path / "checkpoints", 1, {"model": model.state_dict()}, {})

    assert equal_trees(model.state_dict(), create(deep, restore_from=commit.path).state_dict())
    with pytest.raises(SavedModelError, match="its run has never saved a model, so there is no program of it"):
        create(restore_from=commit.path)


@pytest.mark.parametrize("damaged", ["program.json", "train.pt2", "eval.pt2"])
def test_a_damaged_program_of_a_run_is_refused_by_name(create, batches, tmp_path, damaged):
    """That of a checkpoint too, which no manifest vouches for."""
    model = create(deep)
    model.run(batches[0], train=True)
    model.save("0")
    model.save("1")
    commit = write_commit(tmp_path / "checkpoints", 1, {"model": model.state_dict()}, {})
    file = tmp_path / "program" / damaged
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)

    with pytest.raises(SavedModelError, match=damaged):
        create(restore_from=commit.path)


def test_the_manifest_holds_what_others_need(create, batches, manifest):
    """The version of PyTorch, and whether the program equals the model to the bit."""
    model = create(deep)
    model.run(batches[0], train=True)
    path = model.save("best")

    described = manifest(path)
    assert described["extra"]["versions"]["torch"] == torch.__version__
    assert described["extra"]["exact"] is True
    assert json.loads(Path(path, "program", "program.json").read_text())["rung"] == "exported"


def test_what_the_configuration_froze_it_can_thaw_without_source(create, batches):
    """A backbone, for a fine-tuning: as with the source."""
    model = create(deep, frozen=[r"body\.0\..*"])
    model.run(batches[0], train=True)
    path = model.save("best")
    thawed, expected = create(restore_from=path), create(deep, restore_from=path)

    for batch in batches[1:]:
        assert equal_trees(expected.run(batch, train=True), thawed.run(batch, train=True))
    weights = [one.state_dict()["parameters"]["body.0.weight"] for one in (model, thawed, expected)]
    assert equal_trees(weights[1], weights[2])
    assert not equal_trees(weights[0], weights[1])


def test_saved_models_form_an_ensemble_without_their_source(create, batches, tmp_path):
    """Each is restored by the class that its manifest names."""
    members = [create(deep, seed=seed, outputs=["logits"], log_dir=tmp_path) for seed in (1, 2)]
    for number, member in enumerate(members):
        member.run(batches[0], train=True)
        member.save(str(number))
    paths = [str(tmp_path / f"model_{number}") for number in (0, 1)]
    ensemble = Ensemble(["points", "labels"], ["logits"], aggregation="mean", model_paths=paths)

    expected = np.mean([member.run(batches[1], train=False)["logits"] for member in members], axis=0)
    np.testing.assert_array_equal(ensemble.run(batches[1])["logits"], expected)
