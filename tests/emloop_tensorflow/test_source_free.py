"""What is left without the source, and programs that are not what they say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import emloop_tensorflow  # noqa: E402
from emloop._state.tree import equal_trees  # noqa: E402
from emloop.errors import BatchError, SavedModelError, UntrustedError  # noqa: E402
from emloop.testing.contents import copies_in, pickles_in  # noqa: E402
from emloop_tensorflow._graphs.operations import drawing, foreign, kinds_of  # noqa: E402
from emloop_tensorflow._graphs.program import Program  # noqa: E402

from . import nets  # noqa: E402
from .trials import BATCHES, SGD, make, manifest, weights_in  # noqa: E402


def test_a_rate_that_is_configured_anew_moves_what_was_set_meanwhile(create):
    """By the same factor, with the source and without; of the rest, a line says that it has no effect."""
    model = create(optimizer=SGD)
    model.run(BATCHES[0], train=True)
    model.set_variable("learning_rate", 0.05)
    path = model.save("best")
    changed = {"optimizer": {"class": "SGD", "learning_rate": 0.2}}

    assert create(restore_from=path, **changed).get_variable("learning_rate") == pytest.approx(0.1)
    without = create(emloop_tensorflow.BaseModel, path, **changed)
    assert without.get_variable("learning_rate") == pytest.approx(0.1)


def test_what_a_program_cannot_obey_is_said(create, caplog):
    """Once, by the names of the keys."""
    model = create(optimizer=SGD)
    model.run(BATCHES[0], train=True)
    path = model.save("best")
    create(emloop_tensorflow.BaseModel, path, optimizer={"class": "Adam", "learning_rate": 0.1}, accumulate=2)

    assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["optimizer, accumulate"]


def test_a_program_from_before_a_setting_was_there_trains_on(create, tmp_path):
    """What a newer version can set besides, an older saved model has not been made with."""
    model = create(nets.Subclassed)
    model.run(BATCHES[0], train=True)
    state = model.state_dict()
    del state["configured"]["frozen"]
    restored = create(emloop_tensorflow.BaseModel, restore_from=model.save("best"))
    restored.load_state_dict(state)
    restored.run(BATCHES[0], train=True)

    assert Path(tmp_path, "model_best").is_dir()


def test_what_weighs_need_not_be_an_input_without_the_source(create):
    """It comes with the batch: the program trains on, and does not take its lack for one of labels."""
    weights = {"loss": "mask"}
    batch = BATCHES[0] | {"mask": np.array([1, 0, 2, 1, 0, 1, 1, 3], np.float32)}
    model = create(nets.Predicting, weights=weights)
    model.run(batch, train=True)
    restored = create(emloop_tensorflow.BaseModel, restore_from=model.save("best"), weights=weights)
    for each in (model, restored):
        each.run(batch, train=True)

    assert equal_trees(weights_in(model), weights_in(restored))


def test_without_source_a_batch_of_another_size_is_refused_by_name(create):
    """What was the same in all batches is fixed in the program."""
    model = create()
    model.run(BATCHES[0], train=True)
    without = create(emloop_tensorflow.BaseModel, model.save("best"))

    with pytest.raises(BatchError, match=r"expected float32 \[any, 3\], got float32 \[8, 4\]; .*needs its source"):
        without.run({**BATCHES[0], "points": np.zeros((8, 4), np.float32)}, train=False)


def test_a_graph_that_calls_python_needs_its_source(create, caplog):
    """The manifest says why, and so does the refusal."""
    model = create(nets.Pythonic)
    model.run(BATCHES[0], train=True)
    path = model.save("best")

    assert manifest(path)["rung"] == "weights"
    assert "calls Python" in manifest(path)["reason"]
    assert [r for r in caplog.records if "cannot be restored without its source" in r.getMessage()]
    with pytest.raises(SavedModelError, match="the model's source is needed: it calls Python"):
        create(emloop_tensorflow.BaseModel, path)
    strict = create(nets.Pythonic, saved_model={"source_free": "require"})
    strict.run(BATCHES[0], train=False)
    with pytest.raises(SavedModelError, match=r"saved_model\.source_free is 'require'"):
        strict.save("other")


def test_a_program_is_data_without_weights_examples_or_places(create, tmp_path):
    """It is written once, and later saves bring only another state."""
    model = create(nets.Subclassed)
    model.run(BATCHES[0], train=True)
    path = Path(model.save("first"))
    program = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "program").iterdir()}
    model.run(BATCHES[0], train=True)
    model.save("second")
    arrays = [value for value in weights_in(model).values() if value.nbytes >= 48]

    assert program == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "program").iterdir()}
    assert set(program) == {"saved_model.pb", "program.json"}
    assert pickles_in(path) == []
    assert copies_in(path / manifest(path)["program"], [*arrays, BATCHES[0]["points"]]) == []
    here = str(Path(nets.__file__).parent).encode()
    assert not [file for file in path.rglob("*") if file.is_file() and here in file.read_bytes()]


def test_a_program_that_would_write_files_is_refused(create, tmp_path):
    """Before anything of it is loaded."""
    target = tmp_path / "written"

    @tf.function(input_signature=(), autograph=False)
    def write():
        tf.io.write_file(str(target), "x")

    evil = Program.of({"eval": write.get_concrete_function()}, {}, {})

    with pytest.raises(UntrustedError, match="the operation WriteFile"):
        evil.load("model_best")
    assert not target.exists()


@pytest.mark.parametrize(("compute", "kind"), [
    pytest.param(lambda: tf.io.read_file("x"), "ReadFile", id="reads-a-file"),
    pytest.param(lambda: tf.numpy_function(float, [], tf.float32, stateful=False), "PyFuncStateless", id="python"),
    pytest.param(lambda: tf.raw_ops.DebugIdentityV3(input=1.0, io_of_node="x"), "DebugIdentityV3", id="debugging"),
    pytest.param(lambda: tf.raw_ops.RangeDataset(
        start=np.int64(0), stop=np.int64(1), step=np.int64(1), output_types=[tf.int64], output_shapes=[[]]
    ), "RangeDataset", id="a-dataset"),
])  # fmt: skip
def test_no_operation_that_leaves_the_graph_is_in_a_program(compute, kind):
    """Neither are those that have no state, and only look harmless."""
    made = tf.function(compute, input_signature=(), autograph=False).get_concrete_function()

    assert kind in foreign(made.graph.as_graph_def())


@pytest.mark.parametrize("draw", [
    pytest.param(lambda: tf.random.normal([2]), id="normal"),
    pytest.param(lambda: tf.random.log_uniform_candidate_sampler(
        np.zeros((1, 1), np.int64), 1, 1, unique=True, range_max=5
    )[0], id="candidates"),
])  # fmt: skip
def test_operations_that_draw_are_known(draw):
    """Whatever counts in its kernel, which nobody can read; it may be in a program."""
    graph = tf.function(draw, input_signature=(), autograph=False).get_concrete_function().graph.as_graph_def()

    assert drawing(kinds_of(graph))
    assert foreign(graph) == []


@pytest.mark.parametrize("net", [
    nets.Nested, nets.Recurrent, nets.Averaged,
    *(pytest.param(net, marks=pytest.mark.torture)
      for net in (nets.Looping, nets.Subclassed, nets.Shared, nets.Modules)),
])  # fmt: skip
def test_a_program_is_the_same_in_a_process_that_has_traced_others(net, tmp_path):
    """So that a run that was resumed saves what it would have saved, whatever its functions are called by then."""

    def saved_in(place):
        model = make(net, log_dir=tmp_path / place, optimizer={"class": "Adam"})
        model.run(batch, train=True)
        return (Path(model.save("best")) / "program" / "saved_model.pb").read_bytes()

    batch = BATCHES[0] | ({"points": np.arange(16).reshape(8, 2) % 9} if net is nets.Recurrent else {})
    before = saved_in("before")
    make(nets.Nested).run(BATCHES[0], train=True)

    assert before == saved_in("after")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A program, as the files of a directory."""
    directory = tmp_path_factory.mktemp("program")
    model = make(nets.Subclassed, log_dir=directory, accumulate=2)
    model.run(BATCHES[0], train=True)
    model.save("best")
    return directory / "program"


@pytest.mark.parametrize("change", [
    {"reason": 7}, {"versions": None}, {"weights": ["loss"]}, {"weighing": ["points of a stranger"]}, {"graphs": {}},
    {"functions": ["__class__", "eval", "train"]}, {"variables": ["elsewhere:x"]}, {"sources": ["points"]},
], ids=str)  # fmt: skip
def test_a_description_that_fits_nothing_is_one_line(change, program, tmp_path):
    """Hashes of a stranger are right, and his fields need not be."""
    description = json.loads((program / "program.json").read_text()) | change
    (tmp_path / "program.json").write_text(json.dumps(description))
    (tmp_path / "saved_model.pb").write_bytes((program / "saved_model.pb").read_bytes())

    with pytest.raises(SavedModelError, match=r"program\.json") as caught:
        Program.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda found: b"", lambda found: found[: len(found) // 2]], ids=["empty", "half"])
def test_graphs_that_are_none_are_one_line(damage, program, tmp_path):
    """The hash may be right, and the content still be nothing that TensorFlow can read."""
    content = damage((program / "saved_model.pb").read_bytes())
    description = json.loads((program / "program.json").read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "program.json").write_text(json.dumps(description))
    (tmp_path / "saved_model.pb").write_bytes(content)

    with pytest.raises(SavedModelError, match="the program"):
        Program.read(tmp_path).load("the program")


def test_variables_of_other_shapes_are_one_line(create, tmp_path):
    """A stranger may name them in any order."""
    model = create(nets.Subclassed)
    model.run(BATCHES[0], train=True)
    model.save("first")
    file = tmp_path / "program" / "program.json"
    description = json.loads(file.read_text())
    file.write_text(json.dumps(description | {"variables": description["variables"][::-1]}))
    path = model.save("second")

    with pytest.raises(SavedModelError, match="its program does not fit together") as caught:
        create(emloop_tensorflow.BaseModel, restore_from=path)
    assert "\n" not in str(caught.value)
