"""Exporting an estimator as an ONNX file, which skl2onnx makes.

Symbols: ``B`` examples, ``F`` features.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.base import is_classifier, is_regressor

from emloop.errors import MissingExtraError, SaveError
from emloop.saved_models import describe_variables, write_saved_model
from emloop.types import Batch

from ._outputs import compute, label_free_outputs

__all__ = ["FORMATS", "export"]

FORMATS = ("onnx",)

_Array = npt.NDArray[Any]
_FILE = "model.onnx"
_FLAT = "features"
_NEEDED = ("onnx", "skl2onnx")


def export(estimator: Any, directory: str, name: str, features: Sequence[_Array]) -> Sequence[Batch]:
    """Write an estimator as an exported model; see :class:`emloop.abilities.Exportable`.

    Args:
        estimator: The estimator, fitted.
        directory: Where.
        name: Name of the features.
        features: Several batches of them, as the dataset gives them, ``[B, …]``.

    Returns:
        What the estimator itself gives for each batch, in the precision of the file.

    Raises:
        SaveError: If it cannot be exported; says why.
        MissingExtraError: If skl2onnx is not installed.
    """
    if not all(importlib.util.find_spec(needed) for needed in _NEEDED):
        raise MissingExtraError("exporting an estimator to ONNX", FORMATS[0])
    names = label_free_outputs(estimator)
    if is_classifier(estimator) or is_regressor(estimator):
        names = [output for output in names if output != "transformed"]
    batches = [array.astype(np.float32 if array.dtype == np.float32 else np.float64) for array in features]
    results = [compute(names, estimator, array.reshape(len(array), -1), None) for array in batches]
    content, widths = _converted(estimator, batches[0], name, results[0])
    answers: list[dict[str, Any]] = [
        {output: _narrowed(values, widths[output]) for output, values in result.items()} for result in results
    ]
    sources: dict[str, Any] = {name: batches[0].astype(widths[name])}
    write_saved_model(
        directory,
        backend=FORMATS[0],
        restore_fallback="emloop_onnx.OnnxModel",
        inputs=describe_variables(sources),
        outputs=describe_variables(answers[0]),
        tree={},
        rung="inference",
        reason="an exported model is not trained",
        extra={"versions": {"scikit-learn": sklearn.__version__}},
        exported={_FILE: content},
    )
    return answers


def _converted(
    estimator: Any, example: _Array, name: str, outputs: Mapping[str, _Array]
) -> tuple[bytes, dict[str, np.dtype[Any]]]:
    """The file, and the dtype of each of its inputs and outputs; in the precision of the example, if there is one."""
    import onnx.compose  # noqa: PLC0415 - as is skl2onnx, only for who exports
    from skl2onnx import convert_sklearn  # noqa: PLC0415
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType  # noqa: PLC0415

    count, errors = int(np.prod(example.shape[1:])), list[str]()
    kinds = [FloatTensorType] if example.dtype == np.float32 else [DoubleTensorType, FloatTensorType]
    for kind in kinds:
        try:
            model = convert_sklearn(
                estimator,
                initial_types=[(_FLAT, kind([None, count]))],
                options={"zipmap": False} if is_classifier(estimator) else None,
            )
            break
        except Exception as error:  # noqa: BLE001 - its own kinds of errors have no common base
            errors.append(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    else:
        if errors[-1].startswith(("MissingShapeCalculator", "MissingConverter")):
            errors.append("it knows scikit-learn's own estimators only; ship the saved model, which needs no source")
        raise SaveError(f"{type(estimator).__name__} cannot be converted by skl2onnx: {errors[-1]}")
    # Its names must not be those of inputs and outputs.
    graph = onnx.compose.add_prefix(model, "estimator_", inplace=True).graph
    # A classifier without probabilities has scores behind its labels.
    given = [value.name for value in graph.output][: len(outputs)]
    if len(given) != len(outputs):
        raise SaveError(f"skl2onnx gives {', '.join(given)} for the outputs {', '.join(outputs)}")
    number = graph.input[0].type.tensor_type.elem_type
    helper, widths = onnx.helper, {name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))}
    shapes = {f"{output}_shape": [0, *values.shape[1:]] for output, values in outputs.items()}
    shapes[f"{_FLAT}_shape"] = [0, count]
    for shape, sizes in shapes.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(sizes, np.int64), shape))
    graph.node.insert(0, helper.make_node("Reshape", [name, f"{_FLAT}_shape"], [graph.input[0].name]))
    elements = [value.type.tensor_type.elem_type for value in graph.output][: len(outputs)]
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info(name, number, ["B", *example.shape[1:]]))
    for inner, element, (output, values) in zip(given, elements, outputs.items(), strict=True):
        graph.node.append(helper.make_node("Reshape", [inner, f"{output}_shape"], [output]))
        graph.output.append(helper.make_tensor_value_info(output, element, ["B", *values.shape[1:]]))
        widths[output] = np.dtype(helper.tensor_dtype_to_np_dtype(element))
    return model.SerializeToString(), widths


def _narrowed(values: _Array, dtype: np.dtype[Any]) -> _Array:
    return values.astype(dtype) if values.dtype.kind == dtype.kind == "f" else values
