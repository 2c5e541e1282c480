"""``main_loop.evaluate_every``: evaluations inside an epoch, which the training does not notice."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from emloop import AbstractHook
from emloop._state.commit import newest_commit, open_commit
from emloop.api import create_emloop_training, resume_emloop_training
from emloop.errors import ConfigError
from emloop.hooks import ComputeStats, EarlyStopping, SaveBest

from .conftest import CountingModel, Diary, ListDataset, batches
from .test_commits_inside import Model, config, result, train


class TakesPart(Diary):
    """A diary that hears evaluations inside epochs, too."""

    def after_batch(self, stream_name, batch_data):
        self._note("after_batch", stream_name)

    def after_evaluation(self, batches, epoch_data):
        self._note("after_evaluation", batches, list(epoch_data))

    def after_note(self, batches, data):
        self._note("after_note", batches)


class Gathers(AbstractHook):
    """Remembers what it has heard, and knows of no evaluation inside an epoch."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def after_batch(self, stream_name, batch_data):
        self.heard.append(stream_name)

    def state_dict(self):
        return {"heard": self.heard}


def runs_of(make_loop, every, hooks=(), **arguments):
    """What the model has run in one epoch: ``t`` and ``v`` for the batches of the two streams."""
    model = CountingModel()
    dataset = ListDataset(train=batches(*range(5)), valid=batches(100, 101))
    settings = {"epochs_count": 1, "extra_streams": ["valid"], "skip_zeroth_epoch": True, **arguments}
    make_loop(hooks, dataset, model, evaluate_every=every, **settings).run_training()
    return "".join("t" if trains else "v" for _, trains in model.runs)


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        pytest.param("2ba", "ttvvttvvtvv", id="batches"),
        pytest.param(1, "tvvtvvtvvtvvtvv", id="every-batch"),
        pytest.param("3sa", "tttvvttvv", id="samples"),
        pytest.param("99ba", "tttttvv", id="longer-than-the-epoch"),
        pytest.param("1h", "tttttvv", id="time"),
    ],
)
def test_the_extra_streams_are_evaluated_after_every_interval(make_loop, every, expected):
    """Counted from the last evaluation, of which the end of the epoch is one."""
    assert runs_of(make_loop, every, fixed_epoch_size=5) == expected


def test_an_epoch_that_is_known_to_be_over_is_evaluated_once(make_loop):
    """The length of a sequence, or of an epoch of fixed size, is known."""
    assert runs_of(make_loop, 2, fixed_epoch_size=4) == "ttvvttvv"
    assert runs_of(make_loop, 2, fixed_epoch_size=4, epochs_count=2) == "ttvvttvvttvvttvv"


def test_an_interval_goes_no_further_than_an_epoch(make_loop):
    """Its end is an evaluation, from which the next is counted."""
    assert runs_of(make_loop, 4, fixed_epoch_size=5, epochs_count=2) == "ttttvvtvvttttvvtvv"


def test_hooks_that_take_part_hear_an_event_of_its_own(make_loop):
    """With the streams that were evaluated, and the batches trained on; others hear nothing of it."""
    diary, gathers = TakesPart(), Gathers()
    runs_of(make_loop, 2, hooks=[diary, gathers], fixed_epoch_size=3)
    told = [event[1:] for event in diary.events if event[1] != "after_batch" or event[2] == "valid"]

    valid = [("after_batch", "valid")] * 2
    inside = [*valid, ("after_evaluation", 2, ["valid"]), ("after_note", 2)]
    epoch = [*valid, ("after_epoch", 1, ["train", "valid"]), ("after_epoch_profile", 1, ["train", "valid"])]
    assert told[1:-1] == [*inside, *epoch]
    assert gathers.heard == ["train", "train", "train", "valid", "valid"]


def test_a_derived_hook_takes_part_only_if_it_says_so(make_loop):
    """What it does after an epoch may not be fit for less than one."""

    class Derived(ComputeStats):
        found: list = []  # noqa: RUF012

        def after_epoch(self, epoch_data, epoch_id=0):
            super().after_epoch(epoch_data, epoch_id)
            self.found.append(epoch_data["valid"]["y"]["mean"])

        def after_batch(self, stream_name, batch_data):
            self.found.append(stream_name)
            super().after_batch(stream_name, batch_data)

    runs_of(make_loop, 2, hooks=[Derived(variables=["y"])], fixed_epoch_size=3)

    assert Derived.found == ["train", "train", "train", "valid", "valid", 201.0]


def test_statistics_of_the_training_stream_go_on(make_loop):
    """An evaluation inside an epoch empties its own streams only."""
    means = []

    class Reads(AbstractHook):
        stateless = True

        def after_evaluation(self, batches, epoch_data):
            means.append((batches, {name: data["y"]["mean"] for name, data in epoch_data.items()}))

        def after_epoch(self, epoch_id, epoch_data):
            means.append((epoch_id, {name: data["y"]["mean"] for name, data in epoch_data.items()}))

    runs_of(make_loop, 2, hooks=[ComputeStats(variables=["y"]), Reads()], fixed_epoch_size=5)

    assert means == [(2, {"valid": 201.0}), (4, {"valid": 201.0}), (1, {"train": 4.0, "valid": 201.0})]


def test_epochs_are_no_intervals_inside_one(make_loop):
    """They end with an evaluation anyway."""
    with pytest.raises(ConfigError) as caught:
        make_loop(evaluate_every="2ep")

    assert str(caught.value) == (
        "main_loop.evaluate_every: expected batches, samples or time, got '2ep': "
        "the extra streams are evaluated after every epoch"
    )


class Draws(Model):
    """Draws random numbers in evaluations, too."""

    def run(self, batch, train, stream=None):
        if not train:
            np.random.normal(size=3)
        return super().run(batch, train, stream)


def settings_of(every, **main_loop):
    settings = config(**main_loop, **({} if every is None else {"evaluate_every": every}))
    settings["model"]["class"] = f"{__name__}.Draws"
    return settings


@pytest.mark.parametrize(("kind", "buffer"), [("generator", 3), ("index", 0)])
def test_the_training_is_the_same_to_the_bit(tmp_path, kind, buffer):
    """Weights, momentum, random numbers, metrics and statistics, though evaluations draw random numbers themselves."""
    runs = [train(settings_of(every, kind=kind, buffer=buffer), tmp_path, f"{every}") for every in (None, 1, "24sa")]
    results = [result(run) for run in runs]
    for found in results:
        found.pop("loop")  # knows when the next evaluation is due
        found.pop("hooks/SaveBest")
        found.pop("model_best.npy")  # inside epochs, there may be a better one

    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("kind", "buffer"), [("generator", 3), ("sequence", 0)])
def test_a_run_goes_on_exactly_from_any_batch_of_an_evaluation_inside_an_epoch(tmp_path, kind, buffer, monkeypatch):
    """As from any of the training, and with all that takes part: the run ends as if never killed."""
    monkeypatch.setattr("emloop.main_loop.commit_policy._PACE", 0)  # looks at the clock after every batch
    settings = settings_of("2ba", kind=kind, buffer=buffer, epochs_count=9)
    settings["hooks"] += [
        {"LogEvery": {"every": "3ba"}},
        {"EarlyStopping": {"patience": 4, "min_delta": 10.0}},
    ]
    whole_run = train(settings, tmp_path, "whole")
    whole, steps = result(whole_run), (whole_run / "steps.jsonl").read_bytes()
    often = {**settings, "main_loop": {**settings["main_loop"], "commit": {"every": "0.0001s", "keep": 1000}}}
    each = train(often, tmp_path, "each")
    commits = sorted(path.name for path in (each / "checkpoints").iterdir())
    places = [open_commit(each / "checkpoints" / name).info["batch"] for name in commits]
    assert result(each) == whole
    assert sum(place is not None and place[0] == "valid" for place in places) >= 8
    lines = [json.loads(line) for line in steps.splitlines()]
    assert [line["batches"] for line in lines if "valid" in line][:3] == [2, 4, 7]

    for number in range(buffer % 2, len(commits) - 1, 2):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(each, copy)
        for later in commits[number + 1 :]:
            shutil.rmtree(copy / "checkpoints" / later)
        resume_emloop_training(settings, copy).main_loop.run_training()
        assert result(copy) == whole, (commits[number], places[number])
        assert (copy / "steps.jsonl").read_bytes() == steps


def test_a_training_that_ends_inside_an_epoch_can_go_on(tmp_path):
    """Once the patience of ``EarlyStopping`` is raised, it ends as one that had it from the start."""

    def patient(patience):
        settings = settings_of("2ba", epochs_count=2)
        settings["hooks"].append({"EarlyStopping": {"patience": patience, "min_delta": 10.0}})
        return settings

    whole = result(train(patient(100), tmp_path, "whole"))
    run = train(patient(2), tmp_path, "cut")
    cut = newest_commit(run / "checkpoints", set_aside=False)[0]
    assert (cut.info["complete"], cut.info["epoch"], cut.info["batch"]) == (True, 0, ["train", 4])
    assert "for 2 evaluations" in (run / "attempts.jsonl").read_text()

    resume_emloop_training(patient(100), run).main_loop.run_training()
    assert result(run) == whole


def test_the_best_model_inside_an_epoch_is_saved_under_its_batches(tmp_path, make_loop):
    """So that it is not taken for that of the epoch."""

    class Saves(CountingModel):
        saved: list = []  # noqa: RUF012

        def save(self, name_suffix):
            self.saved.append(name_suffix)
            (tmp_path / f"model_{name_suffix}").mkdir(exist_ok=True)
            return name_suffix

    model = Saves()
    best = SaveBest(model, variable="y", keep=2, output_dir=str(tmp_path))
    dataset = ListDataset(train=batches(1, 2, 3), valid=batches(5))
    hooks = [ComputeStats(variables=["y"]), best, EarlyStopping("y", 99)]
    make_loop(
        hooks, dataset, model, evaluate_every=2, fixed_epoch_size=3, epochs_count=1, extra_streams=["valid"],
        skip_zeroth_epoch=True,
    ).run_training()  # fmt: skip

    assert Saves.saved == ["best", "best_2ba", "best_1"]


def test_an_evaluation_that_fails_says_where(make_loop):
    """The note names the stream that was evaluated, not the one that waits for it."""

    class Fails(CountingModel):
        def run(self, batch, train, stream=None):
            if not train:
                raise ZeroDivisionError("no")
            return super().run(batch, train, stream)

    dataset = ListDataset(train=batches(1, 2, 3), valid=batches(5))
    loop = make_loop(
        (), dataset, Fails(), evaluate_every=2, epochs_count=1, extra_streams=["valid"], skip_zeroth_epoch=True
    )
    with pytest.raises(ZeroDivisionError) as caught:
        loop.run_training()

    notes = " ".join(caught.value.__notes__)
    assert "'valid'" in notes
    assert "'train'" not in notes
    assert loop.stage is None


def test_it_is_part_of_the_configuration(tmp_path):
    """As any other argument."""
    training = create_emloop_training(settings_of("500ba"), str(tmp_path), output_dir_name="run")

    assert training.main_loop.rhythm.unit == "batches"
