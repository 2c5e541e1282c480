"""What ``TrainingTrace`` writes where no run does."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from emloop._run_dir.trace import read_trace
from emloop.constants import EL_RUN_FILE, EL_TRACE_FILE
from emloop.hooks import TrainingTrace, TrainingTraceKeys
from emloop.utils import load_yaml


def content(directory):
    return load_yaml(directory / EL_TRACE_FILE)


def is_now(moment):
    return moment.tzinfo is None and abs(datetime.now() - moment) < timedelta(seconds=30)


def test_the_trace_follows_the_training(tmp_path):
    """Begin, epochs and end are in the file as soon as they are known."""
    hook = TrainingTrace(tmp_path)

    hook.before_training()
    begun = content(tmp_path)
    assert is_now(begun[TrainingTraceKeys.TRAIN_BEGIN])
    assert begun[TrainingTraceKeys.TRAIN_END] is None
    assert begun[TrainingTraceKeys.EPOCHS_DONE] == 0
    assert begun[TrainingTraceKeys.EXIT_STATUS] is None

    hook.after_epoch(epoch_id=3, epoch_data={})
    assert content(tmp_path)[TrainingTraceKeys.EPOCHS_DONE] == 3

    hook.after_training(True)
    ended = content(tmp_path)
    assert is_now(ended[TrainingTraceKeys.TRAIN_END])
    assert ended[TrainingTraceKeys.EXIT_STATUS] == 0
    assert read_trace(tmp_path).status == "done"


def test_a_failed_training_has_exit_status_1(tmp_path):
    """The trace says that it failed."""
    hook = TrainingTrace(tmp_path)
    hook.before_training()
    hook.after_training(False)

    assert content(tmp_path)["exit_status"] == 1
    assert read_trace(tmp_path).status == "failed"


def test_a_second_training_begins_anew(tmp_path):
    """The end of the one before does not stand in its trace."""
    hook = TrainingTrace(tmp_path)
    hook.before_training()
    hook.after_training(True)
    hook.before_training()

    assert content(tmp_path)["train_end"] is None
    assert read_trace(tmp_path).status == "running"


def test_the_trace_can_be_saved_at_any_time(tmp_path):
    """Before the training it says that nothing is done."""
    TrainingTrace(str(tmp_path)).save()

    assert [content(tmp_path)[key] for key in ("train_begin", "train_end", "epochs_done", "exit_status")] == [
        None,
        None,
        0,
        None,
    ]


def test_the_trace_of_a_run_is_left_to_the_run(tmp_path):
    """In a run directory the hook writes nothing, so that two writers never disagree."""
    (tmp_path / EL_RUN_FILE).write_text(json.dumps({"run_id": "x"}))
    hook = TrainingTrace(tmp_path)
    hook.before_training()
    hook.after_epoch(1)
    hook.after_training(True)

    assert not (tmp_path / EL_TRACE_FILE).exists()


@pytest.mark.parametrize(
    ("attribute", "key"),
    [
        ("TRAIN_BEGIN", "train_begin"),
        ("TRAIN_END", "train_end"),
        ("EPOCHS_DONE", "epochs_done"),
        ("EXIT_STATUS", "exit_status"),
    ],
)
def test_the_keys_have_names(attribute, key):
    """Programs that read traces need not spell the keys."""
    assert getattr(TrainingTraceKeys, attribute) == key
