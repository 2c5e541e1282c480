"""What ``WriteCSV`` writes, letter by letter, and what a resume makes of it."""

from __future__ import annotations

import csv
import io
import logging
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._run_dir.append import AppendFiles
from emloop.errors import ConfigError, HookError, MissingVariableError, StateError, VariableTypeError
from emloop.hooks import WriteCSV

EPOCH_DATA = OrderedDict(
    train=OrderedDict(loss={"mean": 0.5, "std": 1}, accuracy=np.float32(0.1)),
    valid=OrderedDict(loss={"nanmean": np.float64(2.0)}, accuracy=3),
)


CURE = "; for a column from the start: variables: [loss, accuracy, f1], on_missing_variable: default"


def table(directory, name="training.csv"):
    return (directory / name).read_text()


def written(hook, *epochs, directory):
    for epoch_id, epoch_data in enumerate(epochs):
        hook.after_epoch(epoch_id, epoch_data)
    return table(directory).splitlines()


def test_there_is_a_row_for_every_epoch_below_one_header(tmp_path):
    """Streams outer, variables inner; the mean stands for a variable, or the nanmean; numbers print as they are."""
    hook = WriteCSV(output_dir=tmp_path)
    hook.after_epoch(0, EPOCH_DATA)
    hook.after_epoch(epoch_id=1, epoch_data=EPOCH_DATA)

    assert table(tmp_path) == (
        '"epoch_id",train_loss,train_accuracy,valid_loss,valid_accuracy\n0,0.5,0.1,2.0,3\n1,0.5,0.1,2.0,3\n'
    )


def test_the_parts_can_be_written_one_by_one(tmp_path):
    """Header and rows are written by methods of their own, which agree on the columns."""
    hook = WriteCSV(tmp_path, delimiter=";", default_value="-")
    hook._write_header(EPOCH_DATA)
    assert hook._variables == ["loss", "accuracy"]
    assert table(tmp_path) == '"epoch_id";train_loss;train_accuracy;valid_loss;valid_accuracy\n'

    hook._write_row(7, EPOCH_DATA)
    assert table(tmp_path).splitlines()[1:] == ["7;0.5;0.1;2.0;3"]

    alone = WriteCSV(tmp_path, "rows.csv", variables=["accuracy"])
    alone._write_row(1, EPOCH_DATA)
    assert table(tmp_path, "rows.csv") == "1,0.1,3\n"


def test_only_listed_variables_have_columns(tmp_path):
    """They stand in the given order."""
    hook = WriteCSV(tmp_path, variables=["accuracy"])

    assert written(hook, EPOCH_DATA, directory=tmp_path) == ['"epoch_id",train_accuracy,valid_accuracy', "0,0.1,3"]
    assert hook._variables == ["accuracy"]


def test_values_that_would_break_the_table_are_quoted(tmp_path):
    """Any CSV reader gets back what was there."""
    texts = {"comma": "a,b", "quote": 'say "a"', "lines": "a\nb\r\nc", "formula": "=1+1", "number": "-1", "name,": "x"}
    hook = WriteCSV(tmp_path)
    hook.after_epoch(0, {"train": texts})

    rows = list(csv.reader(io.StringIO((tmp_path / "training.csv").read_bytes().decode(), newline="")))

    assert rows == [
        ["epoch_id", *(f"train_{name}" for name in texts)],
        ["0", "a,b", 'say "a"', "a\nb\r\nc", "=1+1", "-1", "x"],
    ]


@given(st.lists(st.text(), min_size=1, max_size=4), st.sampled_from([",", ";", "\t", "|"]))
def test_any_text_comes_back(tmp_path_factory, texts, delimiter):
    """Whatever the delimiter, a reader finds one row with these cells."""
    directory = tmp_path_factory.mktemp("csv")
    hook = WriteCSV(directory, delimiter=delimiter)
    hook.after_epoch(0, {"s": {str(number): text for number, text in enumerate(texts)}})
    hook.after_training(True)

    content = (directory / "training.csv").read_bytes().decode()
    _, row = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)

    assert row == ["0", *texts]


def test_what_is_no_number_and_no_text_is_dealt_with_as_configured(tmp_path, caplog):
    """It becomes the default value, silently or not, or is an error."""
    epoch_data = {"train": {"x": np.ones(3), "y": {"std": [1]}, "z": {"mean": [1]}, "w": None}}
    header = '"epoch_id",train_x,train_y,train_z,train_w'

    for action in ("default", "ignore"):
        hook = WriteCSV(tmp_path, f"{action}.csv", default_value="NA", on_unknown_type=action)
        hook.after_epoch(0, epoch_data)
        assert table(tmp_path, f"{action}.csv") == f"{header}\n0,NA,NA,NA,NA\n"
    assert not caplog.records

    WriteCSV(tmp_path, "warn.csv", on_unknown_type="warn").after_epoch(0, epoch_data)
    assert table(tmp_path, "warn.csv") == f"{header}\n0,,,,\n"
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    assert caplog.records[0].getMessage() == (
        "warn.csv: stream 'train': variable 'x': expected a number or a text, got ndarray"
    )

    with pytest.raises(VariableTypeError, match="stream 'train': variable 'x': expected a number or a text") as error:
        WriteCSV(tmp_path, on_unknown_type="error").after_epoch(0, epoch_data)
    assert isinstance(error.value, TypeError)


def test_what_is_missing_is_dealt_with_as_configured(tmp_path, caplog):
    """A stream or variable of the header that is not there is an error, unless it may be."""
    less = OrderedDict(train={"loss": 1.0})

    hook = WriteCSV(tmp_path, default_value=0, on_missing_variable="default")
    assert written(hook, EPOCH_DATA, less, directory=tmp_path)[2] == "1,1.0,0,0,0"
    assert not caplog.records

    hook = WriteCSV(tmp_path, on_missing_variable="warn")
    hook.after_epoch(0, EPOCH_DATA)
    hook.after_epoch(1, less)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3

    hook = WriteCSV(tmp_path)
    hook.after_epoch(0, EPOCH_DATA)
    with pytest.raises(MissingVariableError, match="variable 'accuracy' is not in the epoch's data, which has 'loss'"):
        hook.after_epoch(1, less)


def test_what_comes_too_late_for_a_column_is_named_once(tmp_path, caplog):
    """The first epoch decides on the columns; a warning says what is left out since."""
    late = OrderedDict(EPOCH_DATA, test={"loss": 1})
    late["train"] = {**EPOCH_DATA["train"], "f1": 1}

    lines = written(WriteCSV(tmp_path), EPOCH_DATA, late, late, directory=tmp_path)

    assert [line.count(",") for line in lines] == [4, 4, 4, 4]
    assert [record.getMessage() for record in caplog.records] == [
        "training.csv: stream 'test' is left out; the first epoch decided on the columns",
        "training.csv: variable 'f1' of stream 'train' is left out; the first epoch decided on the columns" + CURE,
    ]


def test_a_late_column_is_written_as_its_warning_advises(tmp_path, caplog):
    """A figure of every second epoch only has its column, once it is listed."""
    epochs = [{"train": {"loss": 1.5, **({"auc": 0.5 + epoch / 100} if epoch % 2 else {})}} for epoch in range(4)]

    lines = written(
        WriteCSV(tmp_path, variables=["loss", "auc"], on_missing_variable="default"), *epochs, directory=tmp_path
    )

    assert lines == ['"epoch_id",train_loss,train_auc', "0,1.5,", "1,1.5,0.51", "2,1.5,", "3,1.5,0.53"]
    assert not caplog.records


def test_a_figure_for_every_class_has_a_column_for_every_class(tmp_path, hand_over, caplog):
    """Columns are named by class; one that comes later is named, one that is missing is left empty, also resumed."""
    first = {"train": {"f1": {0: 0.5, "dog": np.float32(0.25)}, "loss": 1}, "valid": {"f1": {"dog": 1.0}, "loss": 2}}
    later = {"train": {"f1": {"dog": 0.5, "cow": 0.1}, "loss": 1}, "valid": {"f1": None, "loss": 2}}
    hook = WriteCSV(tmp_path)
    hook.after_epoch(0, first)
    resumed = hand_over(hook, WriteCSV(tmp_path))
    resumed.after_epoch(1, later)

    assert table(tmp_path).splitlines() == [
        '"epoch_id",train_f1_0,train_f1_dog,train_loss,valid_f1_0,valid_f1_dog,valid_loss',
        "0,0.5,0.25,1,,1.0,2",
        "1,,0.5,1,,,2",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "training.csv: 'cow' of variable 'f1' is left out; the first epoch decided on the columns"
    ]


def test_variables_that_were_not_asked_for_are_not_missed(tmp_path, caplog):
    """With a list of variables, others are left out in silence."""
    WriteCSV(tmp_path, variables=["loss"]).after_epoch(0, EPOCH_DATA)

    assert not caplog.records


def test_an_epoch_without_streams_is_no_row(tmp_path):
    """Nothing is decided by nothing."""
    hook = WriteCSV(tmp_path)
    hook.after_epoch(0, {})
    hook.after_epoch(1, EPOCH_DATA)

    assert len(table(tmp_path).splitlines()) == 2


def test_a_resumed_run_goes_on_below_its_rows(tmp_path, hand_over):
    """Rows after the last commit are cut off and written again: the table is that of an uninterrupted run."""
    run = AppendFiles(tmp_path)
    hook = WriteCSV(tmp_path)
    hook.after_epoch(0, EPOCH_DATA)
    records, state = run.committed(), hook.state_dict()
    hook.after_epoch(1, EPOCH_DATA)
    hook.after_training(False)
    run.close()

    run = AppendFiles(tmp_path)
    run.restore(records)
    resumed = WriteCSV(tmp_path)
    resumed.load_state_dict(state)
    for epoch_id in (1, 2):
        resumed.after_epoch(epoch_id, EPOCH_DATA)
    resumed.after_training(True)
    run.close()

    assert [line.split(",")[0] for line in table(tmp_path).splitlines()] == ['"epoch_id"', "0", "1", "2"]


def test_the_columns_survive_a_resume(tmp_path, hand_over, caplog):
    """What the first epoch decided holds for all attempts, also if other variables are configured by then."""
    first = WriteCSV(tmp_path, variables=["loss"])
    first.after_epoch(0, EPOCH_DATA)
    second = hand_over(first, WriteCSV(tmp_path, variables=["accuracy"]))

    second.after_epoch(1, OrderedDict(reversed(EPOCH_DATA.items())))

    assert table(tmp_path) == '"epoch_id",train_loss,valid_loss\n0,0.5,2.0\n1,0.5,2.0\n'
    assert [record.getMessage() for record in caplog.records] == ["training.csv keeps its columns: loss"]


def test_before_the_first_epoch_there_is_nothing_to_keep(tmp_path, hand_over):
    """A run that was resumed in its first epoch decides on the columns then."""
    hook = hand_over(WriteCSV(tmp_path), WriteCSV(tmp_path, variables=["loss"]))

    assert written(hook, EPOCH_DATA, directory=tmp_path)[0] == '"epoch_id",train_loss,valid_loss'


def test_a_table_is_continued_and_gets_no_second_header(tmp_path):
    """A directory that is used again has one table, unless the columns differ: that is an error."""
    WriteCSV(tmp_path).after_epoch(0, EPOCH_DATA)
    WriteCSV(tmp_path).after_epoch(1, EPOCH_DATA)
    assert len(table(tmp_path).splitlines()) == 3

    with pytest.raises(HookError, match=r"training\.csv is there already, with other columns than this training has"):
        WriteCSV(tmp_path, variables=["loss"]).after_epoch(2, EPOCH_DATA)
    assert len(table(tmp_path).splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"on_unknown_type": "eror"},
            "on_unknown_type: expected one of 'error', 'warn', 'default', 'ignore', got 'eror'; did you mean 'error'?",
        ),
        (
            {"on_missing_variable": "skip"},
            "on_missing_variable: expected one of 'error', 'warn', 'default', 'ignore', got 'skip'",
        ),
        ({"variables": "loss"}, "variables: expected a list of names, got 'loss'; write [loss]"),
        ({"delimiter": '"'}, "delimiter: expected a character that is no quote and no line break, got '\"'"),
        ({"delimiter": ""}, "delimiter: expected a character that is no quote and no line break, got ''"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, message):
    """Mistakes are found when the hook is built."""
    with pytest.raises(ConfigError) as error:
        WriteCSV(tmp_path, **arguments)

    assert str(error.value) == message


def test_a_state_of_another_hook_is_refused(tmp_path):
    """A best value is no list of columns."""
    with pytest.raises(StateError, match="WriteCSV: the state does not fit"):
        WriteCSV(tmp_path).load_state_dict({"best": 1})
