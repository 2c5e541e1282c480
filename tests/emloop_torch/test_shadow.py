"""A save and the shadow check change nothing, and what they find out is taken back everywhere."""

from __future__ import annotations

import functools
import logging
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop.errors import BatchError, SavedModelError  # noqa: E402
from emloop_torch._proofs.shadow import Comparison  # noqa: E402

from .nets import Net, deep  # noqa: E402
from .test_adversaries import (  # noqa: E402
    Bank,
    BranchingOnSize,
    CountsEvaluations,
    CountsInClass,
    CountsInGlobalDict,
    CountsInIterator,
    DroppedByRandom,
    OwnGenerator,
    Teacher,
    Tempered,
    adapted,
    counting_in_closure,
    tied_by_lambda,
)


@functools.lru_cache
def offsets(size):
    return torch.arange(size, dtype=torch.float32) / 10


class Remembering(Net):
    """Computes something once, by a function that remembers."""

    def predict(self, points):
        return super().predict(points + offsets(points.shape[1]))


class Caching(Net):
    """Keeps what it has computed, for others and for itself."""

    def __init__(self):
        super().__init__()
        self.maps, self.last = {}, None

    def predict(self, points):
        self.last = super().predict(points)["logits"]
        self.maps["points"] = self.last.detach()
        return {"logits": self.last}


MODULES = {
    "deep": deep,
    "lora": adapted,
    "tied": tied_by_lambda,
    "random": DroppedByRandom,
    "generator": OwnGenerator,
    "global": CountsInGlobalDict,
    "class": CountsInClass,
    "iterator": CountsInIterator,
    "closure": counting_in_closure,
    "bank": Bank,
    "teacher": Teacher,
    "remembering": Remembering,
    "caching": Caching,
    "norm": lambda: Net(nn.utils.spectral_norm(nn.Linear(3, 2))),
}
EVERYDAY = ("deep", "lora", "closure", "bank", "remembering")


@pytest.fixture
def trained(create, batches, tmp_path):
    """Train a module for four epochs of three batches; what it ends with, and what random numbers come next."""

    def trained(make, name, *, saves=False, **config):
        random.seed(5)
        np.random.seed(5)
        offsets.cache_clear()
        torch.manual_seed(7)
        (tmp_path / name).mkdir()
        model = create(make, log_dir=tmp_path / name, **config)
        outputs = []
        for number, batch in enumerate(batches):
            outputs.append(copy_tree(model.run(batch, train=True)))
            if number % 3 == 2:
                model.end_epoch()
                if saves:
                    model.save("latest")
                outputs.append(copy_tree(model.run(batches[0], train=False)))
        rest = [random.random(), np.random.rand(), float(torch.rand(()))]
        return {"outputs": outputs, "state": copy_tree(model.state_dict()), "rest": rest}

    return trained


@pytest.mark.parametrize("make", [deep, adapted], ids=["deep", "lora"])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.torture)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_training_is_not_changed_and_keeps_what_it_promised(trained, manifest, tmp_path, make, backend):
    """The program computes as the source says, a compiled module nearly so: no false alarm, and no other bit."""
    config = {"compile": {"backend": backend}}
    saved = trained(make, "with", saves=True, saved_model={"shadow": 1.0}, **config)

    assert equal_trees(saved, trained(make, "without", **config))
    assert manifest(tmp_path / "with" / "model_latest")["rung"] == "exported"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=() if name in EVERYDAY else pytest.mark.torture)
        for name, make in MODULES.items()
    ],
)
def test_saves_change_no_bit_of_a_training(trained, make):
    """Whatever the module's code refers to, counts in, or draws from; with the shadow check in every batch it can."""
    saved = trained(make, "with", saves=True, saved_model={"shadow": 1.0})

    assert equal_trees(saved, trained(make, "without"))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"accumulate": 2, "clip_gradient": {"norm": 0.1}}, id="accumulated-and-clipped"),
        pytest.param({"precision": "fp16"}, id="scaled", marks=pytest.mark.torture),
        pytest.param({"precision": "bf16", "clip_gradient": 0.01}, id="autocast", marks=pytest.mark.torture),
        pytest.param({"frozen": [r"body\.0\..*"]}, id="frozen", marks=pytest.mark.torture),
    ],
)
def test_the_shadow_check_agrees_however_gradients_are_used(trained, config, caplog):
    """It compares the gradient of the batch alone, and leaves what is accumulated where it is."""
    config |= {"optimizer": {"class": "Adam", "learning_rate": 0.05}}
    shadowed = trained(deep, "shadowed", saves=True, saved_model={"shadow": 1.0, "source_free": "require"}, **config)

    assert equal_trees(shadowed, trained(deep, "alone", saves=True, saved_model={"shadow": 0}, **config))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("share", "chosen"),
    [(0.01, [1, 2, 4, 8, 16, 32, 64, 128, 256]), (0.5, [1, 2, 4, *range(8, 500, 8)]), (1, [*range(1, 500)])],
)
def test_the_batches_to_compare_are_chosen_by_counting(create, batches, monkeypatch, share, chosen):
    """So that a repeated run compares the same ones, and they take their share of the time at most."""
    compared = []
    compare = Comparison.compare

    def counted(comparison):
        compared.append(comparison._shadow.batches[comparison.train])
        compare(comparison)

    monkeypatch.setattr(Comparison, "compare", counted)
    model = create(Net, saved_model={"shadow": share})
    model.run(batches[0], train=True)
    model.save("best")
    for number in range(499):
        model.run(batches[number % 12], train=True)

    assert compared == chosen


@pytest.mark.parametrize("source", ["weight", "labels"], ids=["withheld", "of-the-module"])
def test_the_shadow_check_weighs_the_loss_as_the_training_does(create, batches, caplog, source):
    """By a source that only weighs, and by one that the module takes, too; with steps of two batches."""
    caplog.set_level(logging.WARNING)
    config = {"weights": {"loss": source}, "accumulate": 2, "saved_model": {"shadow": 1.0, "source_free": "require"}}
    model = create(deep, **config)
    rng = np.random.default_rng(0)
    for batch in batches[:6]:
        weight = rng.uniform(0.5, 3.0, len(batch["labels"])).astype(np.float32)
        model.run({**batch, "weight": weight}, train=True)
        model.save("latest")

    assert caplog.text == ""


def test_what_falls_takes_all_saved_models_with_it(create, batches, manifest, caplog):
    """Loudly, once; they still evaluate as they did, a resumed run does not rise again, and others stay as they are."""
    model, other = create(Tempered), create(Net)
    for one in (model, other):
        one.run(batches[0], train=True)
    kept = other.save("other")
    paths = [model.save(name) for name in ("first", "second")]
    evaluated = copy_tree(model.run(batches[5], train=False))
    assert [manifest(path)["rung"] for path in paths] == ["exported", "exported"]
    model.module.config.temperature = 0.5
    for batch in batches[1:5]:
        model.run(batch, train=True)

    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith(
        "Saved models of Model, older ones too, cannot be trained further without its source: "
        "the program has parted from the training that it stands for, in batch 1 after it was made: the output of"
    )
    for path in paths:
        assert manifest(path)["rung"] == "inference"
        assert said.endswith(manifest(path)["reason"])
        restored = create(restore_from=path)
        assert equal_trees(evaluated, restored.run(batches[5], train=False))
        with pytest.raises(SavedModelError, match="has no 'train' view, only 'eval': the program has parted from"):
            restored.run(batches[5], train=True)
    assert manifest(kept)["rung"] == "exported"
    later = model.save("later")
    assert equal_trees(model.run(batches[5], train=False), create(restore_from=later).run(batches[5], train=False))
    resumed = create(Tempered)
    resumed.run(batches[0], train=True)
    assert manifest(resumed.save("resumed"))["rung"] == "inference"
    mended = create(Tempered, saved_model={"trust": ["shadow"]})
    mended.run(batches[0], train=True)
    assert manifest(mended.save("mended"))["rung"] == "exported"


def test_an_evaluation_that_parts_from_its_program_is_noticed(create, batches, manifest):
    """Batches of an evaluation are compared as well."""
    model = create(CountsEvaluations, saved_model={"trust": [".*"]})
    model.run(batches[0], train=True)
    path = model.save("best")
    assert manifest(path)["rung"] == "exported"
    for _ in range(3):
        for batch in batches:
            model.run(batch, train=False)

    assert manifest(path)["rung"] == "weights"
    assert "parted from the evaluation that it stands for, in batch 32 after it was made" in manifest(path)["reason"]
    with pytest.raises(SavedModelError, match="the model's source is needed: the program has parted"):
        create(restore_from=path)


def test_state_that_only_evaluation_moves_needs_the_source_there(create, batches, manifest):
    """By an alarm, at the first save."""
    model = create(CountsEvaluations)
    model.run(batches[0], train=True)
    described = manifest(model.save("best"))

    assert described["rung"] == "weights"
    assert "no graph or state holds 'state'" in described["reason"]


def test_conditions_on_sizes_are_obeyed(create, batches, manifest):
    """Batches on the other side of a branch are refused, not computed as if they were on this one."""
    model = create(BranchingOnSize)
    model.run(batches[0], train=True)
    path = model.save("best")
    assert manifest(path)["rung"] == "exported"
    restored = create(restore_from=path)

    for size in (8, 7, 5, 4):
        batch = {name: values[:size] for name, values in batches[1].items()}
        assert equal_trees(model.run(batch, train=True), restored.run(batch, train=True))
    for size in (2, 3):
        batch = {name: values[:size] for name, values in batches[1].items()}
        message = rf"the saved program holds where points\.shape\[0\] != {size}; other batches need the source: points"
        with pytest.raises(BatchError, match=message):
            restored.run(batch, train=True)


class Logging(Net):
    """Counts for a log, and for nothing else."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def predict(self, points):
        self.calls += 1
        return super().predict(points)


def test_a_false_alarm_names_its_cause_and_can_be_overruled(create, batches, manifest):
    """File and line, what was found, what would help, and the way to overrule it."""
    model = create(Logging)
    model.run(batches[0], train=True)
    reason = manifest(model.save("0"))["reason"]
    assert "test_shadow.py:" in reason
    assert reason.partition(": ")[2] == (
        "self.calls += 1: no graph or state holds 'calls', which changes; "
        "register_buffer would make it part of the state, for hooks to steer; "
        "if it does not matter, saved_model: {trust: [calls]}"
    )
    trusting = create(Logging, saved_model={"trust": ["calls"]})
    trusting.run(batches[0], train=True)

    assert manifest(trusting.save("1"))["rung"] == "exported"


class Branching(Net):
    def predict(self, points):
        logits = super().predict(points)["logits"]
        if logits.mean() > 0:
            logits = -logits
        return {"logits": logits}


def test_the_reason_for_a_lower_rung_names_line_and_cure(create, batches, manifest):
    """Instead of what PyTorch says to its developers."""
    model = create(Branching)
    model.run(batches[0], train=True)
    reason = manifest(model.save("best"))["reason"]

    assert "test_shadow.py:" in reason
    assert "if logits.mean() > 0: a branch on values, of which a graph holds one side; torch.where in place" in reason


class LargeBank(Net):
    """Features of former batches, in an array that is too large to be compared as a whole."""

    def __init__(self):
        super().__init__()
        self.bank, self.place = np.zeros((1 << 22, 2)), nn.Buffer(torch.zeros((), dtype=torch.long))

    def predict(self, points):
        found = super().predict(points)["logits"]
        return {"logits": found + torch.from_numpy(self.bank[int(self.place) - 1]).float()}

    def forward(self, points, labels):
        outputs = super().forward(points, labels)
        if self.training:
            self.bank[int(self.place)] = outputs["logits"].detach().mean(0)
            self.place += 1
        return outputs


def test_no_step_writes_unseen_to_an_array_that_is_too_large_to_compare(create, batches, manifest):
    """It refuses to be written to while steps are tried out, and the reason names the line and the cure."""
    model, silent = create(LargeBank), create(LargeBank)
    for batch in batches[:3]:
        model.run(batch, train=True), silent.run(batch, train=True)
    described = manifest(model.save("best"))

    assert described["rung"] in ("inference", "weights")
    assert "self.bank[int(self.place)] = outputs" in described["reason"]
    assert "a buffer, by register_buffer, in place of a large array" in described["reason"]
    assert equal_trees(model.run(batches[3], train=True), silent.run(batches[3], train=True))
    assert np.array_equal(model.module.bank, silent.module.bank)
