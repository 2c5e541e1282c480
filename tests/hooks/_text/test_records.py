"""What all hooks that write predictions promise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from emloop import MainLoop
from emloop._state.tree import dump_tree
from emloop.errors import BatchError, ConfigError, MissingVariableError, StateError, VariableTypeError
from emloop.hooks.logits_to_csv import LogitsToCsv
from emloop.hooks.predictions_to_csv import PredictionsToCsv
from emloop.hooks.sequence_to_csv import SequenceToCsv


def sequences(**arguments):
    return SequenceToCsv(**{"variables": ["x"], "id_variable": "ids", "output_file": "out.csv", **arguments})


def logits(**arguments):
    return LogitsToCsv(
        **{"variable": "x", "class_names": ["a", "b"], "id_variable": "ids", "output_file": "out.csv", **arguments}
    )


def predictions(**arguments):
    return PredictionsToCsv(**{"variables": ["y"], "id_variable": "ids", "output_file": "out.csv", **arguments})


def batch(*ids):
    """Examples with two values in ``x`` and one in ``y``."""
    return {
        "ids": list(ids),
        "x": np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2) / 4,
        "y": list(range(len(ids))),
    }


every_hook = pytest.mark.parametrize("create", [sequences, logits, predictions])


@pytest.fixture
def out(tmp_path, monkeypatch):
    """The file that hooks without a run directory write."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out.csv"


def ids_in(path):
    lines = path.read_text().splitlines()[1:]
    return list(dict.fromkeys(line.split(",")[0] for line in lines))


@every_hook
def test_a_file_has_the_epoch_that_wrote_it_and_nothing_else(create, out):
    """Every epoch's file replaces the one before: no duplicated rows, no memory that grows from epoch to epoch."""
    hook = create()
    for epoch, ids in enumerate((["a", "b"], ["c"], ["d", "e"])):
        hook.after_batch("train", batch(*ids))
        hook.after_batch("valid", batch(*(name.upper() for name in ids)))
        hook.after_epoch(epoch)

        assert [*ids, *(name.upper() for name in ids)] == ids_in(out)


@every_hook
def test_records_can_be_read_until_the_next_epoch_begins(create, out):
    """``_accumulator`` has the records of all batches after the epoch's end, and starts afresh with the next batch."""
    hook = create()
    hook.after_batch("train", batch("a"))
    hook.after_batch("train", batch("b"))
    hook.after_epoch(0)

    assert list(dict.fromkeys(record["ids"] for record in hook._accumulator)) == ["a", "b"]

    hook.after_batch("train", batch("c"))

    assert {"c"} == {record["ids"] for record in hook._accumulator}


@every_hook
def test_only_the_streams_asked_for_are_written(create, out):
    """Batches of other streams are not even looked at."""
    hook = create(streams=["valid"])
    hook.after_batch("train", {})

    assert not hook._accumulator

    hook.after_batch("valid", batch("a"))
    hook.after_epoch(0)

    assert ids_in(out) == ["a"]


@every_hook
def test_nothing_gathered_writes_no_file(create, out):
    """An epoch without examples leaves no empty file, and leaves an older one alone."""
    hook = create(streams=["valid"])
    hook.after_batch("train", {})
    hook.after_epoch(0)

    assert not out.exists()

    hook.after_batch("valid", batch("a"))
    hook.after_epoch(1)
    written = out.read_bytes()
    hook.after_epoch(2)
    hook.after_batch("train", {})
    hook.after_epoch(3)

    assert written == out.read_bytes()


@every_hook
def test_an_evaluation_of_several_streams_fills_one_file(create, out):
    """The main loop evaluates stream by stream, each as an epoch; every new evaluation begins a new file."""
    hook = create()
    dataset = SimpleNamespace(valid_stream=lambda: [batch("v", "w")], test_stream=lambda: [batch("t")])
    model = SimpleNamespace(input_names=["ids", "x", "y"], output_names=[], run=lambda batch, train: {})
    loop = MainLoop(model=model, dataset=dataset, hooks=[hook])

    loop.run_evaluation("valid", "test")

    assert ids_in(out) == ["v", "w", "t"]

    loop.run_evaluation("test")

    assert ids_in(out) == ["t"]


@every_hook
def test_a_training_epoch_does_not_go_on_with_the_zeroth(create, out, loop):
    """What was evaluated before the first training epoch is not part of that epoch's file."""
    hook = create(streams=["valid"])
    hook.register_mainloop(loop)
    loop.is_training = False
    hook.after_batch("train", {})
    hook.after_batch("valid", batch("before"))
    hook.after_epoch(0)
    loop.is_training = True
    hook.after_batch("train", {})
    loop.is_training = False
    hook.after_batch("valid", batch("after"))
    hook.after_epoch(1)

    assert ids_in(out) == ["after"]


@every_hook
def test_nothing_waits_for_a_device_before_the_epoch_ends(create, out, device_array):
    """Arrays on an accelerator are fetched together, never example by example."""

    class ShapedDeviceArray(device_array):
        shape = property(lambda self: self._values.shape)

    hook = create()
    for ids in ("ab", "cd"):
        lists = batch(*ids)
        hook.after_batch("valid", {name: ShapedDeviceArray(lists[name]) for name in ("x", "y")} | {"ids": lists["ids"]})

    assert ShapedDeviceArray.fetches == 0

    hook.after_epoch(0)

    assert ids_in(out) == ["a", "b", "c", "d"]
    assert ShapedDeviceArray.fetches == 2


@every_hook
def test_a_relative_file_belongs_to_the_run(create, out, tmp_path):
    """It starts in the run directory where there is one; folders are made; an absolute path is taken as it is."""
    for hook, path in (
        (create(output_dir=str(tmp_path / "run")), tmp_path / "run/out.csv"),
        (create(output_dir=str(tmp_path / "run"), output_file="some/where.csv"), tmp_path / "run/some/where.csv"),
        (create(output_dir="run", output_file=str(tmp_path / "absolute.csv")), tmp_path / "absolute.csv"),
        (create(), out),
    ):
        hook.after_batch("train", batch("a"))
        hook.after_epoch(0)

        assert ids_in(path) == ["a"]
        assert list(path.parent.glob(".tmp*")) == []


@every_hook
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_run_cut_anywhere_writes_the_same_file(create, out, hand_over, cut):
    """The state has the unfinished epoch's examples; a hook that goes on from it ends with the same bytes."""
    batches = [
        batch("a", "b"),
        {"ids": ["c"], "x": [[2, 3]], "y": ["text"]},
        {"ids": np.array([4, 5]), "x": [(1.5, True), [None, b"x"]], "y": np.array([0.1, 0.2], dtype=np.float16)},
    ]
    whole, before = create(), create()
    for one in batches:
        whole.after_batch("train", one)
    whole.after_epoch(0)
    expected = out.read_bytes()
    out.unlink()

    for one in batches[:cut]:
        before.after_batch("train", one)
    after = hand_over(before, create())
    for one in batches[cut:]:
        after.after_batch("train", one)
    after.after_epoch(0)

    assert expected == out.read_bytes()


@every_hook
def test_a_written_epoch_is_not_part_of_the_state(create, out, hand_over):
    """A commit after the epoch's end carries no examples, and who goes on from it does not write them again."""
    hook = create()
    hook.after_batch("train", batch("a"))
    hook.after_epoch(0)
    out.unlink()
    other = hand_over(hook, create())
    other.after_epoch(1)

    assert hook.state_dict() == {"unwritten": None}
    assert not out.exists()


@every_hook
def test_state_is_a_snapshot(create, out):
    """What happens after ``state_dict`` does not change what it returned."""
    hook = create()
    hook.after_batch("train", batch("a"))
    state = hook.state_dict()
    files = dump_tree(state)
    hook.after_batch("train", batch("b"))
    hook.after_epoch(0)

    assert files == dump_tree(state)


@every_hook
def test_batches_may_be_reused_by_who_made_them(create, out):
    """Values are copied: a dataset or model that fills one buffer again and again spoils nothing."""
    hook = create()
    reused = batch("a", "b")
    hook.after_batch("train", reused)
    before = hook._accumulator
    reused["ids"][0] = "z"
    reused["x"][:] = -1
    reused["y"][0] = -1

    assert before == hook._accumulator


@every_hook
def test_unfit_state_is_refused(create):
    """State of another class, or with examples of other variables, is not taken up by halves."""
    hook = create(id_variable="other")
    hook.after_batch("train", {**batch("a"), "other": ["a"]})

    with pytest.raises(StateError, match=r"the state has the variables 'other', '.'; the hook has 'ids', '.'"):
        create().load_state_dict(hook.state_dict())
    with pytest.raises(StateError, match="the state does not fit; expected 'unwritten', got 'epoch'"):
        create().load_state_dict({"epoch": 1})


@every_hook
def test_a_missing_variable_is_named(create):
    """The error says which stream lacks which variable, and what the batch has."""
    for missing in ("ids", "y" if create is predictions else "x"):
        lacking = {name: values for name, values in batch("a").items() if name != missing}

        with pytest.raises(MissingVariableError, match=f"stream 'train': no variable '{missing}' in the batch"):
            create().after_batch("train", lacking)


@every_hook
def test_variables_of_different_size_are_refused(create):
    """Every variable has a value for every example."""
    hook = create()

    with pytest.raises(
        BatchError, match=r"stream 'train': the batch has not the same number of examples of each: 3 of 'ids', 2 of"
    ):
        hook.after_batch("train", {**batch("a", "b"), "ids": ["a", "b", "c"]})
    assert not hook._accumulator


@every_hook
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (7, "variable 'ids': expected a sequence with a value for every example, got a single int: 7"),
        ("ab", "variable 'ids': expected a sequence with a value for every example, got a single str: 'ab'"),
        (np.array(7), "variable 'ids': expected a sequence with a value for every example"),
        (np.zeros((2, 1)), r"variable 'ids': expected one value per example, got an array of shape \(2, 1\)"),
        ([["a"], "b"], "variable 'ids': expected one value per example, got a sequence for some"),
    ],
)
def test_an_id_is_one_value(create, ids, message):
    """An example has a single number or text as its id."""
    with pytest.raises(VariableTypeError, match=message):
        create().after_batch("train", {**batch("a", "b"), "ids": ids})


@every_hook
def test_ids_of_all_kinds_are_written(create, out, tmp_path):
    """Text, bytes, numbers and whatever can be shown as text, in lists, tuples and arrays."""
    hook = create()
    all_ids = [
        ["a", b"b"],
        ("c", 1),
        np.array(["d", "e"]),
        np.array([b"f", 2], dtype=object),
        np.array([3, 4]),
        [tmp_path, None],
        [2**70, 5],
    ]
    for ids in all_ids:
        hook.after_batch("train", {**batch("x", "x"), "ids": ids})
    state = dump_tree(hook.state_dict())
    hook.after_epoch(0)

    assert ["a", "b", "c", "1", "d", "e", "f", "2", "3", "4", str(tmp_path), "", str(2**70), "5"] == ids_in(out)
    assert state


@every_hook
def test_columns_have_names_of_their_own(create):
    """Two columns of one name would be one to most readers."""
    column = {sequences: "index", logits: "b", predictions: "y"}[create]

    with pytest.raises(ConfigError, match=f"ToCsv: more than one column is called '{column}'"):
        create(id_variable=column)


@every_hook
def test_misspelt_arguments_are_refused(create):
    """A final class takes what it names and nothing else."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'stream'"):
        create(stream=["train"])
