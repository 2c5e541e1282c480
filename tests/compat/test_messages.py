"""Lines of the log that programs look for are worded as in emloop 0.2."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import emloop as el
from emloop import hooks
from emloop.utils.download import maybe_download_and_extract


class Model:
    """Gives back what it gets."""

    input_names = ("input",)
    output_names = ("output",)

    def run(self, batch, train):
        return {"output": batch["input"]}

    def save(self, name_suffix):
        raise OSError("no")


class Dataset(el.BaseDataset):
    """Streams of all kinds."""

    def _configure_dataset(self):
        pass

    def train_stream(self):
        yield {"input": list(range(47))}

    def predict_stream(self):
        yield {"input": list(range(11))}
        yield {"input": list(range(47))}

    def hollow_stream(self):
        yield {"input": []}
        yield {"input": [1]}

    def hollows_stream(self):
        yield from [{"input": [1]}, {"input": []}] * 2

    def empty_stream(self):
        return []

    def ragged_stream(self):
        yield {"ragged": [[1], [1, 2]]}


@pytest.fixture
def log(caplog):
    """Records as ``LEVEL text``."""
    caplog.set_level(logging.DEBUG)
    return lambda: [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def loop(*given, **arguments):
    return el.MainLoop(Model(), Dataset(None), given, **arguments)


def test_a_training_says_where_it_is(log):
    """Beginning, epochs, and why it ended."""
    loop(hooks.StopAfter(epochs=1)).run_training()

    for line in (
        "DEBUG Training started",
        "INFO Training epoch 1",
        "INFO EpochStopperHook triggered",
        "INFO Training terminated: Training terminated after epoch 1",
    ):
        assert line in log()


def test_an_evaluation_says_what_it_looks_at(log):
    """The stream, and the end."""
    loop().run_evaluation("predict")

    assert "INFO Running the evaluation of stream `predict`" in log()
    assert "INFO Evaluation done\n\n" in log()


def test_empty_batches_and_streams_are_warned_about(log):
    """With what would silence the warning."""
    loop(on_empty_batch="warn").run_evaluation("hollow")
    loop(on_empty_stream="warn").run_evaluation("empty")

    assert (
        "WARNING 0-th batch in stream `hollow` appears to be empty (0-th empty batch in total). "
        "Set `main_loop.on_empty_batch` to `ignore` in order to suppress this warning."
    ) in log()
    assert (
        "WARNING Stream `empty` appears to be empty. "
        "Set `main_loop.on_empty_stream` to `ignore` in order to suppress this warning."
    ) in log()


def test_empty_batches_are_counted(log):
    """Each by its place in the stream and among the empty ones."""
    loop(on_empty_batch="warn").run_evaluation("hollows")
    told = [line.partition(" Set ")[0] for line in log() if "appears to be empty" in line]

    assert told == [
        "WARNING 1-th batch in stream `hollows` appears to be empty (0-th empty batch in total).",
        "WARNING 3-th batch in stream `hollows` appears to be empty (1-th empty batch in total).",
    ]


def test_batches_of_another_size_are_told_in_detail(log):
    """Where, which source, and which size was wanted."""
    loop(fixed_batch_size=47).run_evaluation("predict")

    assert (
        "DEBUG 0-th batch in stream `predict` has variable `input` of length 11 inconsistent with "
        "`main_loop.fixed_size` = 47"
    ) in log()


def test_unknown_arguments_of_the_loop_are_shown_as_they_came(log):
    """In a warning, where one is asked for."""
    loop(on_incorrect_config="warn", **{"non-existent": "none"})

    assert any("Extra arguments: {'non-existent': 'none'}" in line for line in log())


def test_hooks_say_what_they_said(log, tmp_path):
    """Directory, profile, benchmark and variables, each in its format."""
    hooks.LogDir(output_dir="there").before_training()
    profile = {
        "eval_batch_train": [1.0, 2.0, 9.0],
        "read_batch_train": [0.5],
        "after_batch_hooks_train": [0.25],
        "after_epoch_hooks": [1.0],
    }
    hooks.LogProfile().after_epoch_profile(0, profile, ["train"])
    hooks.Benchmark(batch_size=2).after_epoch_profile(0, profile, ["train"])
    hooks.LogVariables(on_unknown_type="warn").after_epoch(
        0,
        {
            "train": {"loss": 0.5, "accuracy": {"mean": 0.25}, "f1": {"mean": 1, "std": 2}},
            "test": {"precision": np.ones(2)},
        },
    )
    hooks.StopOnNaN(on_unknown_type="warn").after_epoch(0, {"train": {"var": test_hooks_say_what_they_said}})

    assert log() == [
        "INFO Output dir: there",
        "INFO \tT train:\t12.000000",
        "INFO \tT read data:\t0.500000",
        "INFO \tT hooks:\t1.250000",
        "INFO train - time per example: mean=0.75000s, median=0.75000s",
        "INFO \ttrain loss: 0.500000",
        "INFO \ttrain accuracy mean: 0.250000",
        "INFO \ttrain f1:",
        "INFO \t\tmean: 1.000000",
        "INFO \t\tstd: 2.000000",
        "WARNING Variable type `ndarray` can not be logged. Variable name: `precision`.",
        "WARNING Variable `var` of type `<class 'function'>` can not be checked for NaNs.",
    ]


def test_the_streams_of_a_dataset_are_listed_and_drawn(log):
    """Candidates first, then each with a table."""
    Dataset(None).stream_info()

    names = ["empty_stream", "hollow_stream", "hollows_stream", "predict_stream", "ragged_stream", "train_stream"]
    assert log()[0] == f"INFO Found 6 stream candidates: {names}"
    assert [line for line in log() if line.removeprefix("INFO ") in names] == [f"INFO {name}" for name in names]
    assert "WARNING *** stream source `ragged` appears to be ragged (non-rectangular) ***" in log()


def test_a_stream_that_fails_is_named_without_its_traceback(log):
    """The traceback is for those who ask for it."""

    class Broken(Dataset):
        def train_stream(self):
            raise RuntimeError("broken")

    with pytest.raises(ValueError, match="train_stream: no batch could be read"):
        Broken(None).stream_info()

    assert (
        "WARNING Exception was raised during checking stream `train_stream`, "
        "(stack trace is displayed only with --verbose flag)"
    ) in log()


def test_what_is_downloaded_already_is_skipped(log, tmp_path):
    """And a file that is no archive is said to be none."""
    (tmp_path / "name.txt").touch()
    maybe_download_and_extract(str(tmp_path), "https://host/name.txt")

    assert any("already exists; skipping" in line for line in log())
    assert any("could not be extracted" in line for line in log())
