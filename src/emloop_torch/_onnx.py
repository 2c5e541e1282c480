"""Exporting what a module does without labels as an ONNX file, weights and all.

It is done with the module itself, on the host and in the precision of the parameters, and everything is put back: a
copy would share with it what its code refers to. Where the source is gone, the saved graph takes the module's place.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from emloop.errors import ConfigError, MissingExtraError, Problem, SaveError
from emloop.saved_models import write_saved_model
from emloop.types import Batch
from emloop_torch._programs.onnx_file import file_of, plain
from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._programs.views import label_free_view, weights_in
from emloop_torch._proofs.surroundings import Snapshot
from emloop_torch._tensors.arrays import dtype_name
from emloop_torch._tensors.devices import Precision
from emloop_torch._tensors.feeding import tensors_of

from ._settings import Settings

__all__ = ["FORMATS", "export"]

FORMATS = ("onnx",)

Tensors = Mapping[str, torch.Tensor]

_FILE = "model.onnx"
_RUNS_IT = "emloop_onnx.OnnxModel"
_NEEDED = ("onnx", "onnxscript")
_LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one file with its graph."""

_HOST = torch.device("cpu")


class _Source(NamedTuple):
    """What is exported.

    Args:
        module: The module, on the host, in evaluation mode.
        method: Its method.
        inputs: Names of what that takes.
    """

    module: nn.Module
    method: str
    inputs: Sequence[str]


def export(
    module: nn.Module,
    directory: str,
    batches: Sequence[Batch],
    settings: Settings,
    weights: Mapping[str, str],
    floating: torch.dtype,
) -> Sequence[Batch]:
    """Write a module as an exported model; see :class:`emloop.abilities.Exportable`.

    Args:
        module: The live module, or what stands in for it; it is not changed.
        directory: Where.
        batches: Batches of several sizes. An axis whose size differs between them may have any size in the file.
        settings: The model's settings.
        weights: Variable → what weighs it.
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
    view = _view(module, settings)
    examples = [_inputs(batch, view[1], floating) for batch in batches]
    varying = {name: _varying(name, examples, module) for name in view[1]}
    with _on_host(module) as there:
        source = _Source(there, *view)
        results = _results(source, examples)
        with Precision("fp32", _HOST).forward():
            content = file_of(source.module, source.method, examples[0], varying, list(results[0]))
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
        # The rest cannot be told without labels.
        weights={n: w for n, w in weights.items() if n in results[0] and w not in weights_in(module)[1]},
    )
    return results


@contextmanager
def _on_host(module: nn.Module) -> Iterator[nn.Module]:
    """The module, as it is exported, inside the block."""
    if isinstance(module, ProgramModule):
        # It is data, and a copy shares none of it.
        yield copy.deepcopy(module).to(_HOST).eval()
        return
    snapshot = Snapshot(module)
    try:
        if snapshot.surroundings.irreversible:
            name = snapshot.surroundings.irreversible[0]
            raise SaveError(
                f"the generator {name!r} cannot be put back, so the model cannot be exported; a list can be"
            )
        yield module.to(_HOST).eval()
    finally:
        snapshot.close()


def _view(module: nn.Module, settings: Settings) -> tuple[str, Sequence[str]]:
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
    return view


def _inputs(batch: Batch, names: Sequence[str], floating: torch.dtype) -> dict[str, torch.Tensor]:
    return tensors_of(batch, names, _HOST, floating)


def _results(source: _Source, examples: Sequence[Tensors]) -> list[dict[str, Any]]:
    """What the module gives for each batch, as arrays: all that always has a value for every example."""
    with Precision("fp32", _HOST).forward(), torch.random.fork_rng(devices=()), torch.no_grad():
        results = [_outputs(source, example) for example in examples]
    names = [name for name in results[0] if all(name in result for result in results)]
    if not names:
        raise SaveError(
            f"{source.method} gives no output with a value for every example, so there is nothing to export"
        )
    return [{name: result[name] for name in names} for result in results]


def _outputs(source: _Source, example: Tensors) -> dict[str, Any]:
    count = len(next(iter(example.values())))
    try:
        outputs = getattr(source.module, source.method)(**example)
    except Exception as error:
        error.add_note(f"in {source.method}, with a batch of {count}")
        raise
    return {
        name: plain(value).numpy()
        for name, value in outputs.items()
        if isinstance(value, torch.Tensor) and value.shape[:1] == (count,)
    }


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
            "dtype": dtype_name(tensor.dtype),
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
