"""Feed batches to a module as tensors on its device, and return its outputs as arrays.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from emloop.errors import BatchError, MissingVariableError
from emloop.saved_models import require_sources
from emloop.suggest import did_you_mean
from emloop.types import Batch

from .arrays import WITHOUT_NUMPY
from .transfers import LazyArray, Transfers, Upload

if TYPE_CHECKING:
    from emloop.datasets.stream_wrapper import StreamWrapper

__all__ = ["Feed", "tensors_of"]

_HOST, _TENSOR = torch.device("cpu"), torch.Tensor
_NUMERIC = "biufc"
_AS_THEY_ARE = frozenset(map(np.dtype, ("f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")))
_PLAIN = frozenset({torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool})
"""Dtypes of outputs that are arrays at once."""


class Feed:
    """Moves batches to a module, and its outputs back.

    Args:
        names: Sources that the module takes.
        device: Device of the module.
        floating: Dtype that 64-bit floats are converted to.
        held: Addresses of memory that later steps change; outputs that lie there are copied.
    """

    def __init__(self, names: Sequence[str], device: torch.device, floating: torch.dtype, held: frozenset[int]) -> None:
        self._names = names
        self._device = device
        self._is_host = device.type == "cpu"
        self._floating = floating
        self._held = held
        self._transfers = Transfers(device) if device.type == "cuda" else None
        self._left_alone: dict[bool, bool] = {}

    def prefetch(self, batch: Batch) -> Upload | None:
        """Pin a batch for the device, in the thread that reads ahead; on the CPU there is nothing to do."""
        if self._transfers is None:
            return None
        try:
            return self._transfers.pin(batch, tensors_of(batch, self._names, _HOST, self._floating))
        except (BatchError, KeyError, TypeError):
            return None  # reported when the batch is run, if it ever is

    def inputs(self, batch: Batch, stream: StreamWrapper | None, *, train: bool) -> dict[str, torch.Tensor]:
        """Convert a batch to tensors on the device; see :func:`tensors_of`.

        On the host they share the batch's memory once :meth:`examine` has found that the module does not write to it.

        Args:
            batch: The batch.
            stream: Source of the batch, which holds what was prefetched.
            train: Whether the batch is for training.
        """
        if self._transfers is not None and stream is not None:
            upload = stream.prefetched
            if isinstance(upload, Upload) and upload.is_of(batch):
                return upload.tensors()
        tensors = tensors_of(batch, self._names, self._device, self._floating)
        if self._is_host and not self._left_alone.get(train):
            return {name: tensor.clone() for name, tensor in tensors.items()}
        return tensors

    def examine(self, inputs: Mapping[str, torch.Tensor], *, train: bool) -> None:
        """Find out, once, whether the module changes its inputs in place; hooks see the batch afterwards."""
        if train not in self._left_alone:
            self._left_alone[train] = not any(tensor._version for tensor in inputs.values())

    def send_next(self, stream: StreamWrapper | None) -> None:
        """Start moving the next batch to the device, if it has been read, while this one is computed."""
        if self._transfers is not None and stream is not None:
            upload = stream.upcoming
            if isinstance(upload, Upload):
                upload.start()

    def outputs(
        self,
        outputs: Mapping[str, torch.Tensor],
        names: Iterable[str],
        examples: int,
        waiting: AbstractContextManager[Any] | None,
    ) -> dict[str, Any]:
        """Return the named outputs as arrays on the host, or on their way there.

        Args:
            outputs: Outputs of the module.
            names: Names of those to return.
            examples: ``B``.
            waiting: Entered around the wait for an array on its way.

        Raises:
            MissingVariableError: If an output is missing.
            BatchError: If an output is not a dense tensor, or its first axis is not ``B``.
        """
        arrays = {}
        for name in names:
            tensor: Any = outputs.get(name)
            # What most outputs are; of the rest, what is wrong or has to be converted is found out.
            if type(tensor) is _TENSOR and tensor.dtype in _PLAIN and tensor.is_cpu and len(tensor.shape) > 0:
                try:
                    array = (tensor.detach() if tensor.requires_grad else tensor).numpy()
                except (RuntimeError, TypeError):  # it is sparse, or negated only when it is read
                    array = None
                if array is not None and len(array) == examples:
                    held = tensor.untyped_storage().data_ptr() in self._held
                    arrays[name] = array.copy() if held else array
                    continue
            arrays[name] = self._output(_checked(outputs, name, examples), waiting)
        return arrays

    def _output(self, tensor: torch.Tensor, waiting: AbstractContextManager[Any] | None) -> Any:
        tensor = tensor.detach()
        if tensor.dtype in WITHOUT_NUMPY:
            tensor = tensor.float()
        if tensor.is_conj() or tensor.is_neg():
            tensor = tensor.resolve_conj().resolve_neg()
        if tensor.untyped_storage().data_ptr() in self._held:
            tensor = tensor.clone()
        if self._transfers is not None:
            return self._transfers.receive(tensor, waiting)
        return tensor.numpy() if tensor.device.type == "cpu" else LazyArray(tensor.to("cpu"))


def tensors_of(
    batch: Batch, names: Iterable[str], device: torch.device, floating: torch.dtype
) -> dict[str, torch.Tensor]:
    """Convert the named sources of a batch to tensors on a device.

    Args:
        batch: ``B`` examples for every name: arrays, nested lists, or tensors.
        names: Names of the sources.
        device: Device of the tensors.
        floating: Dtype that 64-bit floats are converted to.

    Raises:
        BatchError: If it is no mapping, or examples differ in shape or are not numbers.
        MissingVariableError: If it lacks a source.
    """
    try:
        tensors = {name: _tensor_of(batch[name], name, floating) for name in names}
    except (KeyError, TypeError):
        require_sources(batch, names)
        raise
    if device.type == "cpu":
        return tensors
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}


def _tensor_of(values: Any, name: str, floating: torch.dtype) -> torch.Tensor:
    # What most batches hold; the rest is asked one question after the other.
    if type(values) is np.ndarray and values.dtype in _AS_THEY_ARE and values.flags.carray:
        return torch.from_numpy(values)
    tensor = values if isinstance(values, torch.Tensor) else _from_array(values, name)
    return tensor.to(floating) if tensor.dtype is torch.float64 else tensor


def _from_array(values: Any, name: str) -> torch.Tensor:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise BatchError(f"{name}: the examples of a batch must have one shape: {error}") from error
    if array.dtype.kind not in _NUMERIC:
        raise BatchError(f"{name}: expected numbers, got an array of {array.dtype}")
    if not (array.flags.writeable and array.flags.c_contiguous and array.dtype.isnative):
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise BatchError(f"{name}: {error}") from error


def _checked(outputs: Mapping[str, torch.Tensor], name: str, examples: int) -> torch.Tensor:
    tensor = outputs.get(name)
    if tensor is None:
        hints = "".join(f"; {hint}" for hint in did_you_mean(name, outputs))
        raise MissingVariableError(f"the model gives no {name!r}; it gives {', '.join(map(repr, outputs))}{hints}")
    if not isinstance(tensor, torch.Tensor):
        raise BatchError(f"output {name!r}: expected a tensor, got {type(tensor).__name__}")
    if tensor.layout is not torch.strided:
        raise BatchError(f"output {name!r}: expected a dense tensor, got one of {tensor.layout}; to_dense makes it one")
    if tensor.shape[:1] != (examples,):
        raise BatchError(
            f"output {name!r}: expected {examples} values, one for every example, got shape {tuple(tensor.shape)}"
        )
    return tensor
