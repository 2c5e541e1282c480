"""Every way in which emloop 0.2's own tests called something is a way to call it."""

from __future__ import annotations

import os

import numpy as np
import pytest

import emloop as el
from emloop import hooks
from emloop.types import TrainingTerminated


class Model:
    """Saves nowhere and counts."""

    input_names = ("input",)
    output_names = ("output",)

    def __init__(self):
        self.saved = []

    def run(self, batch, train, stream):
        return {"output": batch["input"]}

    def save(self, name_suffix):
        self.saved.append(name_suffix)
        return name_suffix


class Dataset:
    """A stream, and nothing else."""

    def train_stream(self):
        yield {"input": [1, 2]}


def test_gathered_examples_are_dropped_without_arguments():
    """``after_epoch()``, and the accumulator is readable until then."""
    hook = hooks.AccumulateVariables(variables=["a"])
    hook.after_batch("train", {"a": [1, 2]})
    assert list(hook._accumulator["train"]["a"]) == [1, 2]
    hook.after_epoch()

    assert not hook._accumulator


def test_saving_hooks_take_what_they_need():
    """No arguments, the data first, or the epoch by keyword."""
    model = Model()
    hooks.SaveLatest(model=model).after_epoch()
    best = hooks.SaveBest(model=model)
    best.after_epoch({"valid": {"loss": {"mean": 1.0}}})
    best.after_epoch(epoch_data={"valid": {"loss": {"mean": 0.5}}})
    every = hooks.SaveEvery(model=model, n_epochs=2)
    every.after_epoch(epoch_id=2)
    every.after_epoch(epoch_id=3)
    hooks.SaveEvery.save_model(model, "by_hand", "error")

    assert model.saved == ["latest", "best", "best", "2", "by_hand"]
    assert best._get_value({"valid": {"loss": {"mean": 7}}}) == 7


def test_computing_hooks_take_the_data_first():
    """By position and by keyword."""
    stats = hooks.ComputeStats([{"a": ["mean", "nancount"]}, "b"])
    stats.after_batch(stream_name="train", batch_data={"a": [1.0, 3.0], "b": [1]})
    data = {"train": {}}
    stats.after_epoch(data)
    assert data == {"train": {"a": {"mean": 2.0, "nancount": 0}, "b": {"mean": 1.0}}}

    metrics = hooks.ClassificationMetrics("prediction", "gt", "binary", "my_")
    metrics.after_batch("train", {"prediction": [1, 0], "gt": [1, 1]})
    data = {"train": {}}
    metrics.after_epoch(epoch_data=data)
    assert data["train"]["my_recall"] == 0.5


def test_stopping_hooks_take_id_and_data_or_nothing():
    """Data may be ``None`` where it is not looked at."""
    hooks.Check("acc", 0.5, 10, "valid").after_epoch(1, {"valid": {"acc": 0.2}})
    hooks.StopAfter(epochs=3).after_epoch(2, None)
    hooks.StopAfter(iterations=3).after_batch(stream_name="train", batch_data=None)
    hooks.StopOnNaN(variables=["a"]).after_epoch(epoch_data={"valid": {"a": 1.0}})
    hooks.StopOnNaN(after_batch=True).after_batch("valid", {"a": np.ones(3)})
    hooks.StopOnPlateau(long_term=2, short_term=1).after_epoch(0, {"valid": {"loss": {"mean": 1.0}}})
    with pytest.raises(TrainingTerminated):
        hooks.StopAfter(epochs=3).after_epoch(epoch_id=3, epoch_data=None)


def test_logging_hooks_take_anything(caplog):
    """Surplus keywords, a positional flag, and a profile with values that are no times."""
    directory = hooks.LogDir("there")
    directory.before_training()
    directory.after_epoch(batch_data={}, stream_name="x")
    directory.after_training(True)
    hooks.LogVariables(["a"]).after_epoch(0, {"train": {"a": 1}})
    profile = {"eval_batch_train": [1.0, 3.0, 9.0], "read_batch_train": [1.0], "other": 0}
    hooks.Benchmark(batch_size=2).after_epoch_profile(0, profile, ["train"])
    hooks.LogProfile().after_epoch_profile(0, profile, ["train", "valid"])


def test_writing_hooks_take_the_epoch_alone(tmp_path):
    """And keep their records until the next epoch begins."""
    logits = hooks.LogitsToCsv(
        variable="v", class_names=["a", "b"], id_variable="id", output_file=str(tmp_path / "logits.csv")
    )
    logits.after_batch("valid", {"v": [[1, 2]], "id": ["x"]})
    logits.after_batch("valid", {"v": [[3, 4]], "id": ["y"]})
    logits.after_epoch(0)
    assert list(logits._accumulator) == [{"id": "x", "a": 1, "b": 2}, {"id": "y", "a": 3, "b": 4}]

    sequence = hooks.SequenceToCsv(variables=["v"], id_variable="id", output_file=str(tmp_path / "sequence.csv"))
    sequence.after_batch("valid", {"v": [[1, 2]], "id": ["x"]})
    sequence.after_epoch(0)
    assert list(sequence._accumulator) == [{"id": "x", "index": 0, "v": 1}, {"id": "x", "index": 1, "v": 2}]

    lines = hooks.PlotLines(output_dir=str(tmp_path), variables=["v"], id_variable="id")
    lines.after_batch("valid", {"v": [[1, 2]], "id": ["x"]})
    lines.after_epoch(0)
    assert (tmp_path / "visual" / "epoch__" / "valid" / "x_batch_1_plot-v.png").is_file()
    assert (lines._current_epoch_id, bool(lines._batch_done)) == (1, False)

    matrix = hooks.SaveConfusionMatrix(output_dir=str(tmp_path), dataset=Dataset())
    matrix.after_batch(stream_name="valid", batch_data={"labels": [0, 1], "predictions": [0, 1]})
    matrix.after_epoch(epoch_id=0, epoch_data={"valid": {}})
    assert (tmp_path / "confusion_matrix_epoch_0_valid.png").is_file()

    hooks.TrainingTrace(tmp_path).before_training()
    assert (tmp_path / "trace.yaml").is_file()


def test_a_table_is_written_in_parts_or_as_a_whole(tmp_path):
    """Header and rows by hand; two epochs are three lines."""
    by_hand = hooks.WriteCSV(output_dir=str(tmp_path), output_file="by_hand.csv", variables=["a"], delimiter=";")
    by_hand._write_header({"train": {"a": 1}})
    by_hand._write_row(3, {"train": {"a": {"mean": 2.5}}})
    assert (tmp_path / "by_hand.csv").read_text() == '"epoch_id";train_a\n3;2.5\n'
    assert by_hand._variables == ["a"]

    whole = hooks.WriteCSV(output_dir=str(tmp_path))
    whole.after_epoch(0, {"train": {"a": 1, "b": "x"}, "valid": {"a": 2, "b": None}})
    whole.after_epoch(1, {"train": {"a": 3, "b": "y"}, "valid": {"a": 4, "b": [1]}})
    assert (tmp_path / "training.csv").read_text() == (
        '"epoch_id",train_a,train_b,valid_a,valid_b\n0,1,x,2,\n1,3,y,4,\n'
    )


def test_an_action_every_few_epochs_may_take_the_epoch_alone():
    """``_after_n_epoch(self, epoch_id)`` is what one overrides."""
    seen = []

    class Note(hooks.EveryNEpoch):
        def _after_n_epoch(self, epoch_id):
            seen.append(epoch_id)

    note = Note(n_epochs=2)
    for epoch in range(4):
        note.after_epoch(epoch)

    assert seen == [0, 2]


def test_a_base_hook_takes_the_injected_objects():
    """All three, or none."""
    hooks.AbstractHook(dataset=None, model=None, output_dir=None)
    hooks.AbstractHook()


def test_a_loop_is_made_by_keywords_and_keeps_its_hooks_as_they_come():
    """``hooks`` may be a tuple or a list; ``_epoch_profile`` is what tests looked at."""
    loop = el.MainLoop(model=Model(), dataset=Dataset(), hooks=(hooks.LogProfile(),), buffer=3, epochs_count=1)
    loop.run_training()

    assert len(loop._epoch_profile["eval_batch_train"]) == 1
    assert loop.training_epochs_done == 1


def test_a_wrapper_is_made_of_a_function_and_options():
    """By position, or with options by keyword."""
    profile = {}
    wrapper = el.datasets.StreamWrapper(Dataset().train_stream, buffer_size=0, epoch_size=-1, profile=profile)

    assert [batch["input"] for batch in wrapper] == [[1, 2]]
    assert list(profile) == ["read_batch_None"]
    assert wrapper.empty()
    assert wrapper.name is None


def test_commands_are_called_by_position(tmp_path, monkeypatch):
    """As functions: five arguments for ``train``, six for ``resume``, seven for ``evaluate``."""
    from emloop.cli import evaluate, resume, train  # noqa: PLC0415 - what is called

    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = tmp_path / "config.yaml"
    config.write_text(
        "dataset: {class: shapes.Dataset}\nmodel: {class: shapes.Model}\nhooks: []\nmain_loop: {epochs_count: 1}\n"
    )
    root = str(tmp_path / "log")

    assert train(str(config), [], root, False, "a") == 0
    assert resume(str(config), f"{root}/a", [], root, False, "b") == 0
    assert evaluate(f"{root}/a", "train", str(config), [], root, True, "c") == 0
    assert sorted(os.listdir(root)) == ["a", "b"]  # noqa: PTH208 - names are what counts


MODULE = """
class Dataset:
    def __init__(self, config_str):
        pass

    def train_stream(self):
        yield {"input": [1, 2]}


class Model:
    input_names = ["input"]
    output_names = ["output"]

    def __init__(self, dataset, log_dir, restore_from=None):
        pass

    def run(self, batch, train, stream):
        return {"output": batch["input"]}

    def save(self, name_suffix):
        return name_suffix
"""
