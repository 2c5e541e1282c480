"""Parts that are not trained: whole, for as long as they are frozen, with the source and without."""

from __future__ import annotations

import numpy as np
import pytest

from emloop._state.commit import write_encoded
from emloop._state.tree import encode_components, equal_trees
from emloop.saved_models import borrowing

torch = pytest.importorskip("torch")


class Normalised(torch.nn.Module):
    """A backbone with batch normalisations, one without parameters of its own, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.BatchNorm1d(4, affine=False), torch.nn.ReLU()
        )
        self.norm = torch.nn.BatchNorm1d(4)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, points, labels):
        logits = self.head(self.norm(self.backbone(points)))
        return {"loss": torch.nn.functional.cross_entropy(logits, labels, reduction="none")}


BACKBONE = r"backbone\..*"


def buffers(model):
    return {name: np.array(value) for name, value in model.state_dict()["buffers"].items()}


def changed(model, before):
    return sorted(name for name, value in buffers(model).items() if not np.array_equal(value, before[name]))


def of_norm(*names):
    return sorted(f"{name}.{kind}" for name in names for kind in ("num_batches_tracked", "running_mean", "running_var"))


def test_the_statistics_of_a_frozen_part_stay(create, batches):
    """It computes with those it has, whatever the batch, after an evaluation, too; others move on."""
    model = create(Normalised, frozen=[BACKBONE])
    before = buffers(model)
    for batch in batches[:3]:
        with torch.no_grad():
            expected = model.module.eval().backbone(torch.from_numpy(batch["points"]))
            model.module.train()
            assert torch.equal(model.module.backbone(torch.from_numpy(batch["points"])), expected)
        model.run(batch, train=True)
        model.run(batch, train=False)
        model.end_epoch()

    assert changed(model, before) == of_norm("norm")


def test_they_stay_without_source_as_with_it(create, batches, goes_on_exactly):
    """And are the same, to the bit."""
    model = goes_on_exactly(Normalised, frozen=[BACKBONE])

    assert changed(model, buffers(create(Normalised))) == of_norm("norm")


@pytest.mark.parametrize(
    ("pattern", "held"),
    [
        pytest.param(r"backbone\.1\..*", ["backbone.1"], id="normalisation"),
        pytest.param(r"backbone\.1\.bias", [], id="half-of-it"),
        pytest.param(r"(backbone|norm)\..*", ["backbone.1", "backbone.2", "norm"], id="several"),
        pytest.param(r"head\..*", [], id="no-normalisation"),
    ],
)
def test_only_what_is_frozen_whole_keeps_its_statistics(create, batches, pattern, held):
    """A normalisation without parameters belongs to what surrounds it."""
    model = create(Normalised, frozen=[pattern])
    before = buffers(model)
    model.run(batches[0], train=True)

    assert changed(model, before) == of_norm(*({"backbone.1", "backbone.2", "norm"} - set(held)))


@pytest.mark.parametrize("without_source", [False, True])
def test_what_is_thawed_while_it_trains_goes_on_alike(create, batches, without_source):
    """A hook thaws the backbone after an epoch: it is trained from then on, also by a restored training."""
    settings = {"frozen": [BACKBONE], "optimizer": {"class": "AdamW", "learning_rate": 0.1}}
    model = create(Normalised, **settings)
    model.run(batches[0], train=True)
    model.end_epoch()
    before = model.state_dict()
    for parameter in model.module.backbone.parameters():
        parameter.requires_grad_(True)
    for batch in batches[1:4]:
        model.run(batch, train=True)
    path = model.save("thawed")
    other = create(None if without_source else Normalised, restore_from=path, **settings)

    state = model.state_dict()
    assert changed(model, before["buffers"]) == of_norm("backbone.1", "backbone.2", "norm")
    assert "backbone.0.weight" in state["training"]["optimizer"]["state"]
    assert not np.array_equal(state["parameters"]["backbone.0.weight"], before["parameters"]["backbone.0.weight"])
    for batch in batches[4:8]:
        assert equal_trees(model.run(batch, train=True), other.run(batch, train=True))
    assert equal_trees(model.state_dict()["training"], other.state_dict()["training"])


def test_what_is_thawed_by_the_configuration_learns_as_with_the_source(create, batches, caplog):
    """Parameters get their optimizer's state; that statistics stay as in the program is said."""
    model = create(Normalised, frozen=[BACKBONE])
    model.run(batches[0], train=True)
    path = model.save("best")
    caplog.clear()
    expected, thawed = create(Normalised, restore_from=path), create(restore_from=path)
    for batch in batches[1:3]:
        expected.run(batch, train=True)
        thawed.run(batch, train=True)

    names = expected.state_dict()["training"]["optimizer"]["state"].keys()
    assert names == thawed.state_dict()["training"]["optimizer"]["state"].keys()
    assert "backbone.0.weight" in names
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"frozen: the statistics of 'backbone.{index}' stay frozen, as they did when the model had its source"
        for index in (1, 2)
    ]


def test_more_can_be_frozen_later(create, batches):
    """What the optimizer remembers of it is kept, and is there when it is thawed again."""
    model = create(Normalised)
    model.run(batches[0], train=True)
    path = model.save("best")
    frozen = create(Normalised, restore_from=path, frozen=[BACKBONE])
    weight = frozen.state_dict()["parameters"]["backbone.0.weight"]
    frozen.run(batches[1], train=True)

    state = frozen.state_dict()
    assert np.array_equal(state["parameters"]["backbone.0.weight"], weight)
    kept = state["training"]["optimizer"]["state"]["backbone.0.weight"]
    assert equal_trees(kept, model.state_dict()["training"]["optimizer"]["state"]["backbone.0.weight"])


def test_hooks_see_the_rate_of_what_is_trained(create):
    """A group of frozen parameters does not become the one whose rate counts."""
    groups = [{"match": r"head\..*|norm\..*", "learning_rate": 0.5}]
    model = create(Normalised, frozen=[BACKBONE], optimizer={"class": "SGD", "learning_rate": 0.1, "groups": groups})

    assert model.get_variable("learning_rate") == 0.5


class Based(torch.nn.Module):
    """A base that is large enough for a file of its own, in two precisions, and a head."""

    def __init__(self):
        super().__init__()
        self.base = torch.nn.Linear(3, 9000)
        self.scale = torch.nn.Parameter(torch.ones(40000, dtype=torch.bfloat16))
        self.head = torch.nn.Linear(9000, 2)

    def forward(self, points, labels):
        scores = self.head(self.base(points).relu() * self.scale[:9000].float())
        return {"loss": torch.nn.functional.cross_entropy(scores, labels, reduction="none")}


def test_a_frozen_base_is_saved_once(create, batches, tmp_path):
    """By commits and saved models together, until it is trained; each gives it back, with the source and without."""
    frozen = [r"base\.bias", {"match": r"base\.weight|scale", "until": 1}]
    model = create(Based, frozen=frozen, optimizer={"class": "AdamW", "learning_rate": 0.01})

    def committed(seq):
        with borrowing():
            encoded = encode_components({"model": model.state_dict()})
            return write_encoded(tmp_path / "checkpoints", seq, encoded, {})

    def bases():
        return {path.stat().st_ino for path in tmp_path.rglob("frozen-*")}

    commits = []
    for seq, batch in enumerate(batches[:2], 1):
        model.run(batch, train=True)
        path = model.save("best")
        commits.append(committed(seq))
        assert len(bases()) == 1
    assert commits[0].bytes - commits[0].own_bytes > 4 * 3 * 9000 + 2 * 40000
    expected = model.run(batches[2], train=False)
    for make in (Based, None):
        other = create(make, restore_from=path, frozen=frozen)
        assert equal_trees(expected, other.run(batches[2], train=False))
        assert equal_trees(model.state_dict()["parameters"], other.state_dict()["parameters"])
        other.save("other")
    assert len(bases()) == 1
    model.end_epoch()
    model.run(batches[3], train=True)
    made = committed(3)
    assert equal_trees(model.state_dict(), made.load("model"))
    assert made.bytes == made.own_bytes
