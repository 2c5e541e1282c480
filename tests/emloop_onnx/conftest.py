"""ONNX files of a few lines, and models that run them."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread(one_torch_thread):
    """Sums are taken in one order."""


@pytest.fixture
def onnx_file(tmp_path):
    """Write a file whose output ``twice`` is its input ``x`` times two, and ``first`` the first column of that."""
    onnx = pytest.importorskip("onnx")
    helper, array = onnx.helper, onnx.numpy_helper.from_array

    def write(name="net.onnx", *, kind="FLOAT", shape=("batch", 3), inputs=("x",), outputs=("twice", "first")):
        element = getattr(onnx.TensorProto, kind)
        dtype = helper.tensor_dtype_to_np_dtype(element)
        constants = [array(np.array(2, dtype), "two"), array(np.array(0), "zero")]
        nodes = [
            helper.make_node("Mul", [inputs[0], "two"], ["doubled"]),
            helper.make_node("Identity", ["doubled"], [outputs[0]]),
            helper.make_node("Gather", ["doubled", "zero"], [outputs[1]], axis=1),
        ]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info(name, element, shape) for name in inputs],
            [helper.make_tensor_value_info(name, element, None) for name in outputs],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        path = tmp_path / name
        onnx.save(model, path)
        return str(path)

    return write
