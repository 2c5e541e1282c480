"""Exporting what a module does without labels as an ONNX file, weights and all.

A copy of the module, on the host and in full precision, is followed by ``torch.export``, and what comes of that is
translated by ``torch.onnx``. Where the source is gone, the graph that was saved takes the place of the module. A file
holds neither the batches it was made with nor anything of the source, whose lines the translation would leave in it.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.export import Dim

from emloop.errors import ConfigError, MissingExtraError, MissingVariableError, Problem, SaveError
from emloop.saved_models import write_saved_model
from emloop.types import Batch

from ._devices import Precision
from ._exporting import View
from ._feeding import tensors_of
from ._parameters import copy_of
from ._program_module import ProgramModule
from ._settings import Settings
from ._views import PREDICT, label_free_view

__all__ = ["FORMATS", "export"]

FORMATS = ("onnx",)

Tensors = Mapping[str, torch.Tensor]

_FILE = "model.onnx"
_RUNS_IT = "emloop_onnx.OnnxModel"
_NEEDED = ("onnx", "onnxscript")
_LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one file with its graph."""

_HOST = torch.device("cpu")
_LOGGERS = ("onnx_ir", "onnxscript", "torch.fx", "torch.onnx")
_TOLD = 300


class _Source(NamedTuple):
    """What is exported.

    Args:
        module: A copy of the module, on the host, for evaluation.
        method: Its method.
        inputs: Names of what that takes.
    """

    module: nn.Module
    method: str
    inputs: Sequence[str]


def export(
    module: nn.Module, directory: str, batches: Sequence[Batch], settings: Settings, floating: torch.dtype
) -> Sequence[Batch]:
    """Write a module as an exported model; see :class:`emloop._contracts.Exportable`.

    Args:
        module: The live module, or what stands in for it; it is not changed.
        directory: Where.
        batches: Batches of several sizes. An axis whose size differs between them may have any size in the file.
        settings: The model's settings.
        floating: What 64-bit floats become.

    Returns:
        What the module itself gives for each batch.

    Raises:
        ConfigError: If nobody knows what the module does without labels.
        SaveError: If it cannot be exported; says why.
        MissingExtraError: If ONNX is not installed.
    """
    if not all(importlib.util.find_spec(name) for name in _NEEDED):
        raise MissingExtraError("exporting to ONNX", FORMATS[0])
    source = _source(module, settings)
    examples = [_inputs(batch, source.inputs, floating) for batch in batches]
    results = [_outputs(source, example) for example in examples]
    names = list(results[0])
    varying = {name: _varying(name, examples, module) for name in source.inputs}
    with _quiet(), Precision("fp32", _HOST).forward(), torch.no_grad():
        try:
            content = _translated(_view(source, names), examples[0], varying, names)
        except Exception as error:  # exporting fails in any way it likes, and the reason is told
            raise SaveError(f"the model cannot be exported to ONNX: {_reason(error)}") from error
    write_saved_model(
        directory,
        backend=FORMATS[0],
        restore_fallback=_RUNS_IT,
        inputs=_described(examples[0], varying),
        outputs=_described_outputs(results),
        tree={},
        rung="inference",
        reason="an exported model is not trained",
        extra={"versions": {"torch": torch.__version__}},
        exported={_FILE: content},
    )
    return results


def _source(module: nn.Module, settings: Settings) -> _Source:
    view = label_free_view(module, settings.inputs, settings.inference_inputs)
    if view is None:
        raise ConfigError(
            Problem(
                "what the model does without labels is not known, so it cannot be exported",
                hints=(
                    "give the module a method `predict`, which takes what there is in production; forward may call it",
                    "or say what forward can do with: model.inference_inputs=[…]",
                ),
            )
        )
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))
    if size > _LARGEST:
        raise SaveError(f"the model has {size / 2**30:.1f} GiB of weights; an ONNX file holds 2 GiB")
    return _Source(copy_of(module).to(_HOST).eval(), *view)


def _inputs(batch: Batch, names: Sequence[str], floating: torch.dtype) -> dict[str, torch.Tensor]:
    missing = [name for name in names if name not in batch]
    if missing:
        raise MissingVariableError(
            f"there is no {missing[0]!r} in the batch to export with; there is {', '.join(batch)}"
        )
    return tensors_of(batch, names, _HOST, floating)


def _outputs(source: _Source, example: Tensors) -> dict[str, Any]:
    """What the module gives for every example, as arrays."""
    count = len(next(iter(example.values())))
    with Precision("fp32", _HOST).forward(), torch.no_grad():
        try:
            outputs = getattr(source.module, source.method)(**example)
        except Exception as error:
            error.add_note(f"in {source.method}, with a batch of {count}")
            raise
    return {name: _plain(value).numpy() for name, value in outputs.items() if _is_batched(value, count)}


def _is_batched(value: Any, count: int) -> bool:
    return isinstance(value, torch.Tensor) and value.shape[:1] == (count,)


def _plain(value: torch.Tensor) -> torch.Tensor:
    """Numbers of a type that NumPy knows, too."""
    return value.float() if value.dtype is torch.bfloat16 else value


class _Distinct(nn.Module):
    """A view that returns every output as a tensor of its own, since a value of a file has only one name."""

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs for the inputs."""
        known = {id(tensor) for tensor in tensors}
        distinct = []
        for value in map(_plain, self.view(*tensors)):
            distinct.append(value.clone() if id(value) in known else value)
            known.add(id(value))
        return tuple(distinct)


class _Saved(nn.Module):
    """A view of a program, as a function like :class:`View`."""

    def __init__(self, program: ProgramModule, view: str, outputs: Sequence[str]) -> None:
        super().__init__()
        self.held = program
        self.graph = program.graph(view)
        described = program.program.description["views"][view]
        self._is_traced = described["kind"] == "traced"
        self._places = [described["outputs"].index(name) for name in outputs]

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs for the inputs."""
        given = (*self.held.parameters(), *self.held.buffers(), *tensors) if self._is_traced else tensors
        found = self.graph(*given)
        return tuple(found[place] for place in self._places)


def _view(source: _Source, outputs: Sequence[str]) -> nn.Module:
    if isinstance(source.module, ProgramModule):
        return _Saved(source.module, PREDICT if source.method == PREDICT else "eval", outputs)
    return View(source.module, source.method, source.inputs, outputs)


def _translated(
    view: nn.Module, example: Tensors, varying: Mapping[str, Collection[int]], outputs: Sequence[str]
) -> bytes:
    """The content of the file."""
    sizes = tuple({0: Dim.DYNAMIC, **dict.fromkeys(varying[name], Dim.AUTO)} for name in example)
    program = torch.export.export(_Distinct(view), tuple(example.values()), dynamic_shapes=(sizes,), strict=False)
    translated: Any = torch.onnx.export(
        program, (), input_names=list(example), output_names=list(outputs), dynamo=True, verbose=False
    )
    proto = translated.model_proto
    _name_sizes(proto.graph, varying)
    _forget_source(proto)
    content: bytes = proto.SerializeToString()
    return content


def _name_sizes(graph: Any, varying: Mapping[str, Collection[int]]) -> None:
    """Call the sizes that may be any ``batch``, and ``images_1`` for the second axis of ``images``."""
    called: dict[str, str] = {}
    for value in graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_param and (axis == 0 or axis in varying[value.name]):
                called.setdefault(size.dim_param, "batch" if axis == 0 else f"{value.name}_{axis}")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda word: called.get(word[0], word[0]), size.dim_param)


def _forget_source(proto: Any) -> None:
    """Remove what tells of the source: the lines, files and classes that each part of the graph comes from."""
    waiting = [proto]
    while waiting:
        message = waiting.pop()
        for field in ("metadata_props", "doc_string"):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)
        for field, value in message.ListFields():
            if field.message_type is not None and field.message_type.name != "TensorProto":
                waiting += [value] if hasattr(value, "ListFields") else value


def _varying(name: str, examples: Sequence[Tensors], module: nn.Module) -> list[int]:
    """Axes of an input, beside the first, that may have any size."""
    tensors = [example[name] for example in examples]
    known: Sequence[int | None] = ()
    if isinstance(module, ProgramModule):
        views = module.program.description["views"].values()
        known = next((view["inputs"][name]["shape"] for view in views if name in view["inputs"]), ())
    return [
        axis
        for axis in range(1, tensors[0].ndim)
        if (axis < len(known) and known[axis] is None) or len({tensor.shape[axis] for tensor in tensors}) > 1
    ]


def _described(example: Tensors, varying: Mapping[str, Collection[int]]) -> dict[str, Any]:
    """What the manifest says of the inputs."""
    return {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": [None if axis in (0, *varying[name]) else size for axis, size in enumerate(tensor.shape)],
        }
        for name, tensor in example.items()
    }


def _described_outputs(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the manifest says of the outputs; sizes that differ between batches may be any."""
    return {
        name: {
            "dtype": str(array.dtype),
            "shape": [
                size if axis > 0 and len({np.shape(result[name])[axis] for result in results}) == 1 else None
                for axis, size in enumerate(array.shape)
            ],
        }
        for name, array in results[0].items()
    }


def _reason(error: BaseException) -> str:
    """The first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporting warns of what only its developers can change."""
    levels = {logger: logger.level for logger in map(logging.getLogger, _LOGGERS)}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
