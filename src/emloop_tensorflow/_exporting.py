"""Exporting what a model does without labels, weights and all: for TensorFlow's own tools, LiteRT, and ONNX Runtime."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from emloop.errors import MissingExtraError, SaveError
from emloop.saved_models import array_of, describe_variables, require_sources, write_saved_model
from emloop.types import Batch
from emloop_tensorflow._graphs.program import quietly

__all__ = ["FORMATS", "export"]

FORMATS = ("saved_model", "litert", "onnx")

_RUNS_IT = {
    "saved_model": "emloop_tensorflow.FrozenModel",
    "litert": "emloop_tensorflow.LiteRTModel",
    "onnx": "emloop_onnx.OnnxModel",
}
_OPSET = 18

Infer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def export(
    to: str,
    directory: str,
    batches: Sequence[Batch],
    *,
    names: Sequence[str],
    infer: Infer,
    weights: Mapping[str, str],
) -> Sequence[Batch]:
    """Write a model as an exported one; see :class:`emloop.abilities.Exportable`.

    Args:
        to: One of ``FORMATS``.
        directory: Where.
        batches: Batches of several sizes. An axis whose size differs between them may have any size in the file.
        names: The sources that the model takes without labels.
        infer: Name → tensor of these sources → name → output, in evaluation.
        weights: Variable → what weighs it.

    Returns:
        What the model itself gives for each batch.

    Raises:
        SaveError: If it cannot be exported; says why.
        MissingExtraError: If what converts it is not installed.
    """
    if to == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        raise MissingExtraError("exporting a model of TensorFlow to ONNX", "onnx")
    examples = [_inputs(batch, names) for batch in batches]
    described: dict[str, Any] = {}
    for example in examples:
        described = describe_variables(example, described)
    specs = {
        name: tf.TensorSpec(entry["shape"], tf.as_dtype(np.dtype(entry["dtype"])), name=name)
        for name, entry in described.items()
    }
    function, order = _traced(infer, specs)
    results = _results(function, order, examples)
    kept = list(results[0])
    if kept != order:
        function, _ = _traced(
            lambda given: {name: value for name, value in infer(given).items() if name in kept}, specs
        )
    given: dict[str, Any] = {}
    for result in results:
        given = describe_variables(result, given)
    write_saved_model(
        directory,
        backend=to,
        restore_fallback=_RUNS_IT[to],
        inputs=described,
        outputs=given,
        tree={},
        rung="inference",
        reason="an exported model is not trained",
        extra={"versions": {"tensorflow": tf.__version__}},
        exported=_FILES[to](function),
        weights={n: w for n, w in weights.items() if n in kept and (w in kept or w in names)},
    )
    return results


def _inputs(batch: Batch, names: Sequence[str]) -> dict[str, Any]:
    require_sources(batch, names)
    arrays = {name: array_of(batch[name], name) for name in names}
    return {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in arrays.items()}


def _traced(infer: Infer, specs: Mapping[str, tf.TensorSpec]) -> tuple[Any, list[str]]:
    """The function as a graph, and the names of its outputs in their order, which TensorFlow forgets."""
    order: list[str] = []

    def call(**given: Any) -> dict[str, Any]:
        outputs = dict(infer(given))
        order[:] = outputs
        return outputs

    return tf.function(call).get_concrete_function(**specs), order


def _results(function: Any, order: Sequence[str], examples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the model gives for each batch: all that always has a value for every example."""
    results = []
    for example in examples:
        count = len(next(iter(example.values())))
        outputs = function(**{name: tf.constant(array) for name, array in example.items()})
        results.append({name: outputs[name].numpy() for name in order if outputs[name].shape[:1] == (count,)})
    names = [name for name in results[0] if all(name in result for result in results)]
    if not names:
        raise SaveError("the model gives no output with a value for every example, so there is nothing to export")
    return [{name: result[name] for name in names} for result in results]


@contextmanager
def _saved(function: Any) -> Iterator[str]:
    """The directory of a SavedModel with one signature, for a while."""
    module = tf.Module()
    module.kept = list(function.graph.variables)
    with tempfile.TemporaryDirectory(prefix="emloop-") as place:
        try:
            with quietly():
                tf.saved_model.save(module, place, signatures=function)
        except (AssertionError, TypeError, ValueError, tf.errors.OpError) as error:
            raise SaveError(f"TensorFlow cannot save the model: {_first_line(error)}") from error
        yield place


def _as_saved_model(function: Any) -> dict[str, bytes]:
    with _saved(function) as place:
        files = [path for path in sorted(Path(place).rglob("*")) if path.is_file()]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def _as_litert(function: Any) -> dict[str, bytes]:
    with _saved(function) as place:
        try:
            content: bytes = tf.lite.TFLiteConverter.from_saved_model(place).convert()
        except Exception as error:  # noqa: BLE001 - the converter's own kind of error is of a private package
            raise SaveError(_refused_by_litert(error)) from None
    return {"model.tflite": content}


def _refused_by_litert(error: Exception) -> str:
    lacking = re.search(r"^(?:TF Select|Custom) ops: (.*)", str(error), re.MULTILINE)
    if lacking is None:
        return f"the converter of LiteRT refuses the model: {_first_line(error)}"
    return _lacking("LiteRT", lacking[1])


def _lacking(format_name: str, kinds: str) -> str:
    hint = "; keras.ops.argmax and argmin need it, tf.argmax and tf.argmin do not" if "Bit" in kinds else ""
    return f"{format_name} has no operation for {kinds}{hint}"


def _as_onnx(function: Any) -> dict[str, bytes]:
    import onnx  # noqa: PLC0415 - only for who exports
    import tf2onnx  # noqa: PLC0415

    # It would trace a function for positional arguments, but a dictionary is what gives the inputs their names.
    traced = SimpleNamespace(get_concrete_function=lambda *_: function)
    specs = list(function.structured_input_signature[1].values())
    try:
        with quietly():
            model, _ = tf2onnx.convert.from_function(traced, specs, opset=_OPSET)
    except Exception as error:
        raise SaveError(f"tf2onnx cannot convert the model: {_first_line(error)}") from error
    # What it cannot convert, it leaves as it is, with a line in the log.
    left = {node.op_type for node in model.graph.node if not node.domain and not onnx.defs.has(node.op_type)}
    if left:
        raise SaveError(_lacking("ONNX", ", ".join(sorted(left))))
    return {"model.onnx": model.SerializeToString()}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


_FILES: Mapping[str, Callable[[Any], dict[str, bytes]]] = {
    "saved_model": _as_saved_model,
    "litert": _as_litert,
    "onnx": _as_onnx,
}
