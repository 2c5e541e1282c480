"""Exporting what a model does without labels, weights and all: for ONNX Runtime, and for TensorFlow's own tools.

ONNX files are made by jax2onnx, which follows the operations of JAX, so they need the source. A SavedModel holds the
StableHLO of the program.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emloop.errors import ConfigError, MissingExtraError, Problem, SaveError
from emloop.saved_models import describe_variables, write_saved_model
from emloop.types import Batch

from ._batches import inputs_of
from ._engine import INFER, Engine, StepSource

__all__ = ["FORMATS", "export"]

FORMATS = ("onnx", "saved_model")

_RUNS_IT = {"onnx": "emloop_onnx.OnnxModel", "saved_model": "emloop_tensorflow.FrozenModel"}
_NEEDED = {"onnx": ("jax2onnx", "jax-onnx"), "saved_model": ("tensorflow", "tensorflow")}
"""Format → the package that converts, and the extra that brings it."""
_OPSET = 18


def export(
    to: str, directory: str, batches: Sequence[Batch], *, engine: Engine | None, weights: Mapping[str, str], hint: str
) -> Sequence[Batch]:
    """Write a model as an exported one; see :class:`emloop.abilities.Exportable`.

    Args:
        to: One of ``FORMATS``.
        directory: Where.
        batches: Batches of several sizes. An axis whose size differs between them, or has in the training, may have any
            size in the file.
        engine: The model's arrays and steps; ``None`` if it has seen no batch.
        weights: Variable → what weighs it.
        hint: How to have the source, for messages.

    Returns:
        What the model itself gives for each batch.

    Raises:
        ConfigError: If nobody knows what the model does without labels.
        SaveError: If it cannot be exported; says why.
        MissingExtraError: If what converts it is not installed.
    """
    names, outputs = ([], []) if engine is None or not engine.shapes else engine.predictions()
    if engine is None or not outputs:
        what = "what the model does without labels is not known, so it cannot be exported"
        hint = "it has to see a batch first, and to give an output with a value for every example"
        raise ConfigError(Problem(what, hints=(hint,)))
    if to == "onnx" and not isinstance(engine.source, StepSource):
        how = "jax2onnx follows the operations of JAX, and a program holds StableHLO, which nothing makes ONNX of"
        ways = f"restore it with its source{hint and '; ' + hint}; or export it with --to saved_model"
        raise SaveError(f"the model's source is needed for ONNX: {how}; {ways}")
    package, extra = _NEEDED[to]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"exporting a model of JAX as {to}", extra)
    examples = [inputs_of(batch, names) for batch in batches]
    results = [engine.infer(example) for example in examples]
    shapes, source = engine.shapes[INFER], engine.source
    # In the precision of the parameters, whatever the training computes with.
    infer: Callable[..., Any]
    if isinstance(source, StepSource):
        full = source.steps._replace(half=False)
        infer = partial(full.infer, lacking=shapes.lacking, names=outputs)
        if source.steps.half:
            compiled = jax.jit(infer)
            results = [compiled(engine.model, example)[0] for example in examples]
    else:
        infer = source.step(INFER, shapes)[0]
    results = [{name: np.asarray(result[name]) for name in outputs} for result in results]
    values = [np.asarray(value) for value in engine.model]
    specs = {name: spec for name, spec in shapes.symbolic().items() if name in names}

    def call(*inputs: Any) -> tuple[Any, ...]:
        found = infer([jnp.asarray(value) for value in values], dict(zip(specs, inputs, strict=True)))[-1]
        return tuple(found[name] for name in outputs)

    files = (_onnx if to == "onnx" else _saved_model)(call, specs, outputs, examples[0])
    described: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for example, result in zip(examples, results, strict=True):
        described, given = describe_variables(example, described), describe_variables(result, given)
    for name, spec in specs.items():
        described[name]["shape"] = _sizes(spec)
    write_saved_model(
        directory,
        backend=to,
        restore_fallback=_RUNS_IT[to],
        inputs=described,
        outputs=given,
        tree={},
        rung="inference",
        reason="an exported model is not trained",
        extra={"versions": {each: version(packages_distributions()[each][0]) for each in ("jax", package)}},
        exported=files,
        weights={n: w for n, w in weights.items() if n in outputs and (w in outputs or w in names)},
    )
    return results


def _onnx(
    call: Callable[..., Any], specs: Mapping[str, Any], outputs: Sequence[str], example: Mapping[str, Any]
) -> dict[str, bytes]:
    """An ONNX file that ONNX Runtime can run."""
    import jax2onnx  # noqa: PLC0415 - only for who exports
    import onnxruntime  # noqa: PLC0415

    def operations() -> Callable[..., Any]:
        traced = jax.make_jaxpr(call)(*specs.values())
        return lambda *given: tuple(jax.core.eval_jaxpr(traced.jaxpr, traced.consts, *given))

    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    reasons = []
    # It knows layers of Flax, and gives them operations of their own, but some ways to call them it does not.
    for made in (lambda: call, operations):
        try:
            model = jax2onnx.to_onnx(
                made(), [*specs.values()], opset=_OPSET, input_names=[*specs], output_names=[*outputs]
            )
            content: bytes = model.SerializeToString()
            session = onnxruntime.InferenceSession(content, quiet, providers=["CPUExecutionProvider"])
            session.run(None, {name: np.asarray(array) for name, array in example.items()})
        except Exception as error:  # noqa: BLE001 - it raises whatever its parts do
            reasons.append(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
        else:
            return {"model.onnx": content}
    told = "; and its single operations: ".join(reasons)
    raise SaveError(f"jax2onnx cannot convert the model: {told}; --to saved_model takes whatever JAX can compute")


def _saved_model(
    call: Callable[..., Any], specs: Mapping[str, Any], outputs: Sequence[str], _example: Mapping[str, Any]
) -> dict[str, bytes]:
    """A SavedModel with one signature."""
    import tensorflow as tf  # noqa: PLC0415 - only for who exports
    from jax.experimental import jax2tf  # noqa: PLC0415

    shapes = [f"({', '.join(map(str, spec.shape))})" for spec in specs.values()]
    converted = jax2tf.convert(call, polymorphic_shapes=shapes, with_gradient=False)
    function = tf.function(
        lambda **given: dict(zip(outputs, converted(*(given[name] for name in specs)), strict=True)), autograph=False
    ).get_concrete_function(**{n: tf.TensorSpec(_sizes(spec), spec.dtype, name=n) for n, spec in specs.items()})
    with tempfile.TemporaryDirectory(prefix="emloop-") as place:
        speaker, level = logging.getLogger("tensorflow"), logging.getLogger("tensorflow").level
        speaker.setLevel(logging.ERROR)
        try:
            tf.saved_model.save(tf.Module(), place, signatures=function)
        finally:
            speaker.setLevel(level)
        files = [path for path in sorted(Path(place).rglob("*")) if path.is_file()]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def _sizes(spec: Any) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in spec.shape]
