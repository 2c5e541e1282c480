"""A file of ONNX stands where a model can stand in an evaluation."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from emloop.api import create_model  # noqa: E402
from emloop.errors import BatchError, ConfigError, MissingVariableError, SavedModelError, UsageError  # noqa: E402
from emloop_onnx import OnnxModel  # noqa: E402

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


def section(**keys):
    """A configuration with that section ``model``."""
    return {"model": {"class": "emloop_onnx.OnnxModel", **keys}}


def test_a_file_from_elsewhere_is_run_by_its_path(onnx_file):
    """Inputs and outputs are those of the configuration, in its order."""
    model = create_model(section(path=onnx_file(), inputs=["x"], outputs=["first", "twice"]))

    assert (model.input_names, model.output_names) == (["x"], ["first", "twice"])
    outputs = model.run({"x": ROWS, "ids": ["a", "b"]}, train=False)
    assert list(outputs) == ["first", "twice"]
    np.testing.assert_array_equal(outputs["twice"], 2 * ROWS)
    np.testing.assert_array_equal(outputs["first"], 2 * ROWS[:, 0])


def test_left_out_names_are_all_that_there_are(onnx_file):
    """A file knows what it takes and gives; batches may be of any size."""
    model = OnnxModel(path=onnx_file())

    assert (model.input_names, model.output_names) == (["x"], ["twice", "first"])
    for count in (1, 7):
        assert len(model.run({"x": np.zeros((count, 3), np.float32)})["first"]) == count


def test_a_file_can_be_what_a_model_is_restored_from(onnx_file):
    """As ``emloop eval STREAM net.onnx --config mine.yaml`` does."""
    model = create_model(section(outputs=["first"]), restore_from=onnx_file())

    assert model.output_names == ["first"]


def test_names_of_the_file_can_be_called_otherwise(onnx_file):
    """What a file calls its inputs is rarely what a dataset calls its sources."""
    path = onnx_file(inputs=("input.1",), outputs=("495", "496"))
    model = OnnxModel(path=path, inputs=["images"], outputs=["scores"], rename={"images": "input.1", "scores": "495"})

    np.testing.assert_array_equal(model.run({"images": ROWS})["scores"], 2 * ROWS)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        pytest.param(
            {"inputs": ["x", "labels"], "outputs": ["twice", "loss"]},
            "inputs: the file takes no 'labels'\n  it takes: x\n"
            "outputs: the file gives no 'loss'\n  it gives: twice, first",
            id="both-wrong",
        ),
        pytest.param({"outputs": ["twise"]}, "no 'twise'\n  did you mean 'twice'?", id="misspelt"),
        pytest.param({"inputs": []}, "inputs: expected a list of different names, got []", id="none"),
        pytest.param({"inputs": "x"}, "inputs: expected a list of names, got 'x'; write [x]", id="no-list"),
        pytest.param(
            {"rename": {"images": "X"}},
            "no 'X' in the file\n  did you mean 'x'?\n  the file has: x, twice",
            id="rename",
        ),
        pytest.param(
            {"rename": {"a": "x", "b": "x"}}, "expected one name for each input and output", id="two-names-for-one"
        ),
        pytest.param({"rename": ["x"]}, "rename: expected a mapping such as {images: input.1}", id="rename-is-a-list"),
        pytest.param(
            {"providers": ["CPUExecutionProvder"]}, "did you mean 'CPUExecutionProvider'?", id="provider-misspelt"
        ),
        pytest.param({"providers": "CPUExecutionProvider"}, "write [CPUExecutionProvider]", id="provider-no-list"),
        pytest.param({"threads": 0}, "threads: expected a number of threads, at least 1, got 0", id="no-threads"),
        pytest.param({"threads": True}, "at least 1, got True", id="threads-is-no-number"),
    ],
)
def test_what_the_file_does_not_have_is_named(onnx_file, keys, message):
    """With what there is instead."""
    with pytest.raises(ConfigError) as wrong:
        OnnxModel(path=onnx_file(), **keys)

    assert message in str(wrong.value)


def test_every_input_of_the_file_is_needed(onnx_file):
    """None can be left out."""
    path = onnx_file(inputs=("x", "mask"))

    with pytest.raises(ConfigError, match="inputs: the file needs 'mask' as well"):
        OnnxModel(path=path, inputs=["x"])


def test_providers_and_threads_are_those_of_the_configuration(onnx_file):
    """The same numbers come out."""
    model = OnnxModel(path=onnx_file(), providers=["CPUExecutionProvider"], threads=1)

    np.testing.assert_array_equal(model.run({"x": ROWS})["twice"], 2 * ROWS)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param("FLOAT", np.array([[1.5, 2.0, 3.0]]), id="doubles-are-rounded"),
        pytest.param("FLOAT", [[1, 2, 3]], id="small-integers"),
        pytest.param("DOUBLE", np.array([[1.5, 2, 3]], np.float32), id="floats-to-doubles"),
        pytest.param("INT64", np.array([[1, 2, 3]], np.int32), id="integers-to-longer-ones"),
        pytest.param("INT32", np.array([[1, -2, 3]], np.int64), id="integers-to-shorter-ones"),
        pytest.param("INT64", np.array([[True, False, True]]), id="truth-values"),
        pytest.param("FLOAT", np.array([[1, 2, 3]], ">f4"), id="bytes-in-other-order"),
    ],
)
def test_numbers_become_of_the_type_that_the_file_takes(onnx_file, kind, values):
    """As long as none is lost."""
    outputs = OnnxModel(path=onnx_file(kind=kind)).run({"x": values})

    np.testing.assert_array_equal(outputs["twice"], 2 * np.asarray(values, np.float64))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        pytest.param(
            "INT64", [[1.0, 2, 3]], "x: expected int64 [any, 3], got float64 [1, 3]", id="floats-for-integers"
        ),
        pytest.param("FLOAT", [["a", "b", "c"]], "x: expected float32 [any, 3], got <U1 [1, 3]", id="texts"),
        pytest.param("INT32", [[1, 2, 2**40]], "got int64 with numbers that int32 cannot hold", id="too-large"),
        pytest.param("UINT8", [[1, 2, -1]], "got int64 with numbers that uint8 cannot hold", id="negative"),
        pytest.param("FLOAT", [[1, 2, 2**24 + 1]], "got int64 with numbers that float32 cannot hold", id="too-exact"),
        pytest.param(
            "FLOAT", [[1, 2, 1e300]], "got float64 with numbers that float32 cannot hold", id="too-large-a-float"
        ),
        pytest.param("FLOAT", np.zeros((1, 4), "f4"), "x: expected float32 [any, 3], got float32 [1, 4]", id="shape"),
        pytest.param("FLOAT", np.zeros(3, "f4"), "x: expected float32 [any, 3], got float32 [3]", id="axes"),
        pytest.param("FLOAT", [[1, 2], [1]], "x: the examples of a batch must have one shape", id="ragged"),
    ],
)
def test_what_would_be_lost_is_refused(onnx_file, kind, values, message):
    """The error names the source, what was expected, and what was found."""
    with pytest.raises(BatchError) as wrong:
        OnnxModel(path=onnx_file(kind=kind)).run({"x": values})

    assert message in str(wrong.value)


def test_a_file_made_for_batches_of_one_size_says_so(onnx_file):
    """Many files from elsewhere take a single example."""
    model = OnnxModel(path=onnx_file(shape=(1, 3)))

    model.run({"x": ROWS[:1]})
    with pytest.raises(BatchError, match=r"got float32 \[2, 3\]; the file was made for batches of 1"):
        model.run({"x": ROWS})


def test_a_batch_that_lacks_a_source_is_refused(onnx_file):
    """And one whose sources differ in length."""
    model = OnnxModel(path=onnx_file(inputs=("x", "mask")))

    with pytest.raises(MissingVariableError, match="the batch has no 'mask'; it has 'x'"):
        model.run({"x": ROWS})
    with pytest.raises(BatchError, match="the inputs hold different numbers of examples: 1, 2"):
        model.run({"x": ROWS, "mask": ROWS[:1]})


def test_an_output_must_have_a_value_for_every_example(tmp_path):
    """A sum over the batch is no output of a model."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0)],
        "net",
        [helper.make_tensor_value_info("x", floats, ("batch", 3))],
        [helper.make_tensor_value_info("sum", floats, ())],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "sum.onnx"
    )

    with pytest.raises(BatchError, match=r"output 'sum': expected 2 values, one for every example, got shape \(\)"):
        OnnxModel(path=str(tmp_path / "sum.onnx")).run({"x": ROWS})


def test_it_is_for_evaluation_only(onnx_file):
    """Neither trained nor saved."""
    model = OnnxModel(path=onnx_file())

    with pytest.raises(UsageError, match="an OnnxModel cannot be trained; train the model that it was exported from"):
        model.run({"x": ROWS}, train=True)
    with pytest.raises(NotImplementedError, match="an OnnxModel is not saved"):
        model.save("best")


def test_the_stream_is_read_ahead_while_it_computes(onnx_file):
    """The interpreter lock is free then."""
    entered = []

    class Stream:
        @property
        @contextmanager
        def allow_buffering(self):
            entered.append(True)
            yield

    OnnxModel(path=onnx_file()).run({"x": ROWS}, train=False, stream=Stream())

    assert entered == [True]


@pytest.mark.parametrize("content", [b"", b"no file of ONNX", None], ids=["empty", "other", "cut"])
def test_a_damaged_file_is_refused_by_name(onnx_file, tmp_path, content):
    """Whatever is wrong with it."""
    broken = tmp_path / "broken.onnx"
    whole = (tmp_path / onnx_file()).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if content is None else content)

    with pytest.raises(SavedModelError, match=r"broken\.onnx cannot be run by ONNX Runtime"):
        OnnxModel(path=str(broken))


def test_no_file_is_an_error_that_says_what_to_do(tmp_path):
    """Whether none is named, or none is there."""
    with pytest.raises(ConfigError, match="path: name an ONNX file, or restore the model from what `emloop export`"):
        OnnxModel()
    with pytest.raises(SavedModelError, match=r"there is no file .*gone\.onnx"):
        OnnxModel(path=str(tmp_path / "gone.onnx"))
    with pytest.raises(SavedModelError, match="there is none"):
        OnnxModel(restore_from=str(tmp_path / "gone"))


def test_without_onnx_runtime_one_line_says_what_to_install(tmp_path):
    """Not a traceback about some module."""
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError('No module named onnxruntime')")
    code = "import sys; sys.path.insert(0, '.')\ntry:\n import emloop_onnx\nexcept ImportError as error:\n print(error)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout == "emloop_onnx needs a package that is not installed: pip install 'emloop[onnx]'\n"
