"""What goes into a module and what comes out: from batches to tensors, and back.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from emloop.errors import BatchError, MissingVariableError
from emloop.suggest import did_you_mean
from emloop.types import Batch

__all__ = ["LazyArray", "host_values", "tensors_of"]

_NUMERIC = "biufc"
_WITHOUT_NUMPY = {torch.bfloat16}


class LazyArray:
    """An output on its way from the device: its shape is known at once, its values are waited for when asked for.

    Anything that takes an array takes it; ``numpy.asarray`` gives the values.

    Args:
        tensor: The output on its device.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self.shape = tuple(tensor.shape)
        self.ndim = tensor.ndim
        self._arrived: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tensor.device))
        else:
            self._host = tensor.to("cpu")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._host.numpy().dtype

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        values = self._host.numpy()
        if dtype is not None:
            values = values.astype(dtype, copy=False)
        return values.copy() if copy else values

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(np.asarray(self))

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self)[index]

    def __repr__(self) -> str:
        return f"LazyArray(shape={self.shape}, dtype={self.dtype})"


def tensors_of(
    batch: Batch, names: Iterable[str], device: torch.device, floating: torch.dtype
) -> dict[str, torch.Tensor]:
    """The named sources of a batch as tensors on a device; doubles become what the parameters are.

    Args:
        batch: ``B`` examples for every name: arrays, nested lists, or tensors.
        names: Which of them.
        device: Where to.
        floating: What 64-bit floats become.

    Raises:
        BatchError: If examples differ in shape or are no numbers.
    """
    return {name: _tensor_of(batch[name], name, device, floating) for name in names}


def host_values(
    outputs: Mapping[str, torch.Tensor], names: Iterable[str], examples: int, held: frozenset[int]
) -> dict[str, Any]:
    """The named outputs as arrays on the host, or on their way there.

    Args:
        outputs: What a module returned.
        names: Which of them.
        examples: ``B``.
        held: Addresses of memory that a later step changes; outputs that lie there are copied.

    Raises:
        MissingVariableError: If an output is not there.
        BatchError: If an output is no tensor, or its first axis is not ``B``.
    """
    return {name: _host_value(outputs, name, examples, held) for name in names}


def _tensor_of(values: Any, name: str, device: torch.device, floating: torch.dtype) -> torch.Tensor:
    if not isinstance(values, torch.Tensor):
        values = _from_array(values, name)
    if values.dtype is torch.float64:
        values = values.to(floating)
    return values if device.type == "cpu" else values.to(device, non_blocking=True)


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


def _host_value(outputs: Mapping[str, torch.Tensor], name: str, examples: int, held: frozenset[int]) -> Any:
    tensor = outputs.get(name)
    if tensor is None:
        hints = "".join(f"; {hint}" for hint in did_you_mean(name, outputs))
        raise MissingVariableError(f"the model gives no {name!r}; it gives {', '.join(map(repr, outputs))}{hints}")
    if not isinstance(tensor, torch.Tensor):
        raise BatchError(f"output {name!r}: expected a tensor, got {type(tensor).__name__}")
    if tensor.shape[:1] != (examples,):
        raise BatchError(
            f"output {name!r}: expected {examples} values, one for every example, got shape {tuple(tensor.shape)}"
        )
    tensor = tensor.detach()
    if tensor.dtype in _WITHOUT_NUMPY:
        tensor = tensor.float()
    if tensor.device.type != "cpu":
        return LazyArray(tensor)
    if tensor.untyped_storage().data_ptr() in held:
        tensor = tensor.clone()
    return tensor.numpy()
