"""A view of a module as an ONNX file.

``torch.export`` records the view and ``torch.onnx`` translates it, leaving lines and file names of the source in the
result; these are removed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from emloop.errors import SaveError

from .archive import quiet
from .exporting import View, dynamic_sizes
from .program_module import ProgramModule
from .views import PREDICT

__all__ = ["file_of", "plain"]

Tensors = Mapping[str, torch.Tensor]

_LOGGERS = ("onnx_ir", "onnxscript", "torch.fx", "torch.onnx")
_TOLD = 300


def file_of(
    module: nn.Module, method: str, example: Tensors, varying: Mapping[str, Collection[int]], outputs: Sequence[str]
) -> bytes:
    """Translate a view to an ONNX file.

    Args:
        module: A copy of the module, or of its stand-in, that nothing else uses, on the host and in evaluation mode.
        method: Its method.
        example: Inputs to record it with, of several examples; they do not end up in the file.
        varying: Input → axes other than the first that may have any size.
        outputs: Names of the outputs to return.

    Raises:
        SaveError: If it cannot be recorded or translated; says why.
    """
    if isinstance(module, ProgramModule):
        view: nn.Module = _Saved(module, PREDICT if method == PREDICT else "eval", outputs)
    else:
        view = View(module, method, list(example), outputs)
    with quiet(logging.ERROR, *_LOGGERS), torch.no_grad():
        try:
            return _translated(_Distinct(view), example, varying, outputs)
        except Exception as error:  # exporting may raise anything; the reason is reported
            raise SaveError(f"the model cannot be exported to ONNX: {_reason(error)}") from error


def plain(value: torch.Tensor) -> torch.Tensor:
    """The tensor in a dtype that NumPy has."""
    return value.float() if value.dtype is torch.bfloat16 else value


class _Distinct(nn.Module):
    """A view whose outputs are all distinct tensors, since a value in a file has only one name."""

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the outputs."""
        known = {id(tensor) for tensor in tensors}
        distinct = []
        for value in map(plain, self.view(*tensors)):
            distinct.append(value.clone() if id(value) in known else value)
            known.add(id(value))
        return tuple(distinct)


class _Saved(nn.Module):
    """A view of a program, as a function of the same kind as :class:`View`."""

    def __init__(self, program: ProgramModule, view: str, outputs: Sequence[str]) -> None:
        super().__init__()
        self.held = program
        self.graph = program.graph(view)
        described = program.program.description["views"][view]
        self._is_traced = described["kind"] == "traced"
        self._places = [described["outputs"].index(name) for name in outputs]

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the outputs."""
        given = (*self.held.parameters(), *self.held.buffers(), *tensors) if self._is_traced else tensors
        found = self.graph(*given)
        return tuple(found[place] for place in self._places)


def _translated(
    view: nn.Module, example: Tensors, varying: Mapping[str, Collection[int]], outputs: Sequence[str]
) -> bytes:
    """The content of the file."""
    sizes = tuple(dynamic_sizes(varying[name]) for name in example)
    program = torch.export.export(view, tuple(example.values()), dynamic_shapes=(sizes,), strict=False)
    translated: Any = torch.onnx.export(
        program, (), input_names=list(example), output_names=list(outputs), dynamo=True, verbose=False
    )
    proto = translated.model_proto
    _name_sizes(proto.graph, varying)
    _forget_source(proto)
    content: bytes = proto.SerializeToString()
    return content


def _name_sizes(graph: Any, varying: Mapping[str, Collection[int]]) -> None:
    """Name dynamic sizes: ``batch`` for the first axis, ``images_1`` for the second axis of ``images``."""
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
    """Remove the lines, files and classes of the source that each part of the graph comes from."""
    waiting = [proto]
    while waiting:
        message = waiting.pop()
        for field in ("metadata_props", "doc_string"):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)
        for field, value in message.ListFields():
            if field.message_type is not None and field.message_type.name != "TensorProto":
                waiting += [value] if hasattr(value, "ListFields") else value


def _reason(error: BaseException) -> str:
    """The root cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"
