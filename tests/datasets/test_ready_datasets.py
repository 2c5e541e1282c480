"""What holds for ready datasets of every kind."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emloop import _build
from emloop._state.commit import newest_commit
from emloop._state.random import use_seed
from emloop._streams import StreamWrapper, digest
from emloop.api import create_dataset
from emloop.cli.app import main
from emloop.errors import ConfigError
from emloop.utils import yaml_to_file

from .conftest import COUNT, LABELS, NUMBERS

TRANSFORMS = {"train": [{"class": "mine.noisy", "strength": 0.5}, {"class": "mine.Rolled", "most": 99, "per": "batch"}]}
OPTIONS = {"batch_size": 8, "split": {"train": 0.8, "valid": 0.2, "stratify": "label"}, "transforms": TRANSFORMS}

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture(autouse=True)
def _seeded():
    with use_seed(5):
        yield


def dataset_of(section, **options):
    return create_dataset({"dataset": {**section, **options}})


def digests_of(dataset, passes=2, at=None, **options):
    """Digests of the batches that the training stream gives, from a place on, over several passes."""
    stream = StreamWrapper(dataset.train_stream, name="train", **options)
    if at is not None:
        stream.load_state_dict(at)
    found = []
    with stream:
        for _ in range(passes):
            found += [digest(batch) for batch in stream]
    return found


def test_a_batch_holds_the_examples_as_they_were_stored(section):
    """Each once in a pass, with what belongs to it."""
    dataset = dataset_of(section, batch_size=10)
    batches = list(dataset.train_stream())
    numbers = np.concatenate([batch["number"] for batch in batches])

    assert [10] * 10 + [3] == [len(batch["number"]) for batch in batches]
    assert list(range(COUNT)) == sorted(numbers.tolist()) != numbers.tolist()
    # The shortest text that means a 32-bit number means another one with 64 bits.
    values = np.concatenate([batch["x"] for batch in batches]).astype(np.float32)
    np.testing.assert_array_equal(values, NUMBERS[numbers])
    np.testing.assert_array_equal(np.concatenate([batch["label"] for batch in batches]), LABELS[numbers])
    if "image" in batches[0]:
        images = np.concatenate([batch["image"] for batch in batches])
        assert images.shape == (COUNT, 4, 3, 3)
        assert (images == numbers[:, None, None, None]).all()
    elif not section.get("path", "").endswith("csv"):
        assert batches[0]["x"].dtype == np.float32
    assert batches[0]["label"].dtype == np.int64
    if "name" in batches[0]:
        assert [f"n°{number}" for number in numbers] == [name for batch in batches for name in batch["name"]]


def test_batches_are_the_same_whoever_loads_them(section):
    """Whatever the number of workers, and the size of the buffer; and however far another one was read."""
    expected = digests_of(dataset_of(section, **OPTIONS))
    config = {"dataset": {**section, **OPTIONS}}

    assert len(set(expected)) == len(expected) == 2 * 11
    assert expected == digests_of(dataset_of(section, **OPTIONS), buffer_size=7, gate="open")
    for number in (1, 4):
        workers = _build.start_workers(number, config, None, 5)
        try:
            for worker in workers.start():
                while not worker.is_ready():
                    worker._connection.poll(1)
            assert expected == digests_of(dataset_of(section, **OPTIONS), workers=workers)
            assert workers._alone == set()
        finally:
            workers.close()


def test_a_stream_goes_on_anywhere_without_reading_what_came_before(section, monkeypatch):
    """To the bit, with the random numbers of its transforms; no batch but those asked for is made."""
    expected = digests_of(dataset_of(section, **OPTIONS))
    for place in (1, 5, 10, 13):
        dataset = dataset_of(section, **OPTIONS)
        stream = StreamWrapper(dataset.train_stream, name="train")
        at = {**stream.state_dict(), "pass": place // 11, "batches": place % 11, "generators": {}}
        made = []
        examples = dataset._parts["train"].examples
        read = type(examples).batch
        with monkeypatch.context() as patch:
            patch.setattr(
                type(examples), "batch", lambda self, i, read=read, made=made: made.append(1) or read(self, i)
            )

            assert expected[place:] == digests_of(dataset, passes=2 - place // 11, at=at)
        assert len(made) == len(expected) - place


def test_streams_share_the_examples(section):
    """Each has its part, with its share of every class, and only the training is shuffled."""
    dataset = dataset_of(section, split={"train": 0.6, "valid": 0.2, "test": 0.2, "stratify": "label"})
    seen = {
        name: np.concatenate([batch["number"] for batch in getattr(dataset, f"{name}_stream")()])
        for name in ("train", "valid", "test")
    }

    assert list(range(COUNT)) == sorted(np.concatenate(list(seen.values())).tolist())
    assert (np.diff(seen["valid"]) > 0).all()
    assert not (np.diff(seen["train"]) > 0).all()
    for name, share in {"train": 0.6, "valid": 0.2, "test": 0.2}.items():
        assert np.abs(np.bincount(LABELS[seen[name]]) - share * np.bincount(LABELS)).max() < 2


def test_folds_take_turns(section):
    """Each example is in one fold, whatever the run's seed, and what is set aside is in none."""
    held_out = []
    for fold in range(4):
        with use_seed(fold):
            dataset = dataset_of(section, folds=4, fold=fold, split={"test": 0.1, "stratify": "label"})
            numbers = {
                name: {n for batch in getattr(dataset, f"{name}_stream")() for n in batch["number"].tolist()}
                for name in ("train", "valid", "test")
            }
        assert not numbers["train"] & numbers["valid"]
        assert len(numbers["train"] | numbers["valid"] | numbers["test"]) == COUNT
        held_out.append(numbers["valid"])
        test = numbers["test"]
    assert set().union(*held_out) == set(range(COUNT)) - test
    assert sum(map(len, held_out)) == COUNT - len(test)


def test_balance_draws_all_classes_equally_often(section):
    """In a pass of the same length."""
    dataset = dataset_of(section, balance="label", batch_size=COUNT)
    counts = np.bincount(dataset.train_stream()[0]["label"])

    assert counts.sum() == COUNT
    assert counts.max() - counts.min() <= 1


def test_weights_say_how_often_an_example_comes(section):
    """Rounded up or down; one without weight does not come."""
    dataset = dataset_of(section, weights="label", batch_size=COUNT)
    counts = np.bincount(dataset.train_stream()[0]["number"], minlength=COUNT)

    assert np.abs(counts - LABELS * (COUNT / LABELS.sum())).max() < 1
    assert not counts[LABELS == 0].any()


def test_a_run_that_was_interrupted_within_epochs_ends_as_one_that_was_not(section, project):
    """Check, train, Ctrl-C, resume: the model has seen the very same batches."""
    config = {
        "dataset": {**section, **OPTIONS},
        "model": {"name": "m", "class": "mine.Recorder"},
        "hooks": [{"mine.Interrupt": {"after": 10**9}}],
        "main_loop": {"seed": 3, "epochs_count": 3, "extra_streams": ["valid"]},
    }
    yaml_to_file(config, str(project), "config.yaml")

    assert main(["check", "config.yaml"]) == 0
    assert main(["train", "config.yaml", "--output_dir", "whole"]) == 0
    assert main(["train", "config.yaml", "--output_dir", "cut", "hooks.Interrupt.after=5"]) == 75
    assert main(["resume", "log/cut", "hooks.Interrupt.after=13"]) == 75
    assert main(["resume", "log/cut", "hooks.Interrupt.after=1000"]) == 0
    states = [
        newest_commit(project / "log" / name / "checkpoints", set_aside=False)[0].states()["model"]
        for name in ("whole", "cut")
    ]

    assert states[0] == states[1]
    assert states[0]["steps"] == 33


def test_a_file_that_has_changed_since_ends_the_resume(section, project, capsys):
    """Exit code 3, and its name."""
    config = {
        "dataset": {**section, "batch_size": 8},
        "model": {"name": "m", "class": "mine.Recorder"},
        "hooks": [{"mine.Interrupt": {"after": 5}}],
        "main_loop": {"seed": 3, "epochs_count": 3},
    }
    yaml_to_file(config, str(project), "config.yaml")
    assert main(["train", "config.yaml", "--output_dir", "cut"]) == 75
    if "path" not in section:
        return
    file = sorted(project.glob(section["path"]))[-1]
    file = max(file.rglob("*.arrow"), default=min(file.glob("*.png"), default=file)) if file.is_dir() else file
    with file.open("r+b") as data:
        data.seek(-3, 2)
        data.write(b"9")
    capsys.readouterr()

    code = main(["resume", "log/cut"])
    if code == 2:  # no file of its kind any more
        assert section["path"].removesuffix("*.npy") in capsys.readouterr().err
        return
    assert code == 3
    assert f"{file.name} has changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": {"train": 0.5, "valid": 0.5, "stratify": "lable"}}, "dataset.split.stratify: there is no"),
        ({"balance": "klass"}, "dataset.balance: there is no"),
        ({"transforms": {"valid": ["mine.noisy"]}}, "dataset.transforms.valid: there is no stream 'valid'"),
        ({"split": {"train": 0.5, "valid": 0.5, "seed": -1}}, "dataset.split.seed: expected a whole number from 0 on"),
    ],
)
def test_what_is_not_there_is_named_with_its_place(section, options, message):
    """Before anything is read."""
    with pytest.raises(ConfigError) as caught:
        dataset_of(section, **options)

    assert str(caught.value).startswith(message)


def test_the_configuration_says_which_streams_there_are(project, capsys):
    """So a stream that is not there is found before anything is imported."""
    (project / "x.csv").write_text("number\n1\n2\n")
    for dataset, there in [
        ({"path": "x.csv"}, ["train"]),
        ({"path": {"train": "x.csv", "test": "x.csv"}}, ["test", "train"]),
        ({"path": "x.csv", "split": {"train": 0.5, "dev": 0.5, "stratify": "number", "seed": 1}}, ["dev", "train"]),
        ({"path": "x.csv", "folds": 5, "split": {"test": 0.1}}, ["test", "train", "valid"]),
    ]:
        config = {
            "dataset": {"class": "Table", **dataset},
            "model": {"class": "mine.Recorder"},
            "main_loop": {"extra_streams": ["devel"]},
        }
        yaml_to_file(config, str(project), "config.yaml")
        assert main(["check", "config.yaml", "--json"]) == 2
        found = json.loads(capsys.readouterr().out)
        text = json.dumps(found)
        assert "the dataset Table has no method 'devel_stream'" in text
        assert f"its streams: {', '.join(there)}" in text
