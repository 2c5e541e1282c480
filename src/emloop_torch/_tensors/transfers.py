"""Asynchronous copies between the host and a CUDA device.

Inputs are pinned by the thread that reads ahead and copied on their own stream while the device computes the previous
batch. Outputs are copied on another stream, after their computation and alongside the next. The compute stream waits on
the device for what it needs; the host waits only when somebody asks for values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Arrival", "LazyArray", "Transfers", "Upload"]


class Arrival(Protocol):
    """Completion of a copy, such as a ``torch.cuda.Event``."""

    def query(self) -> bool:
        """Whether the copy is complete."""

    def synchronize(self) -> None:
        """Wait for the copy."""


class LazyArray:
    """An output on its way from the device: the shape is known, access to the values waits for them.

    It can be used like an array; ``numpy.asarray`` returns the values.

    Args:
        host: Memory in which the values arrive.
        arrival: Their arrival; ``None`` if they are there.
        waiting: Entered around the wait, which releases the interpreter lock.
    """

    def __init__(
        self,
        host: torch.Tensor,
        arrival: Arrival | None = None,
        waiting: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.shape = tuple(host.shape)
        self.ndim = host.ndim
        self._values: npt.NDArray[Any] = host.numpy()
        self._arrival = arrival
        self._waiting = nullcontext() if waiting is None else waiting

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._values.dtype

    def is_ready(self) -> bool:
        """Whether the values can be had without waiting; hooks that can defer their work ask."""
        return self._arrival is None or self._arrival.query()

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self._arrival is not None:
            with self._waiting:
                self._arrival.synchronize()
            self._arrival = None
        values = self._values
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


class Upload:
    """The inputs of a batch on their way to a device: pinned, sent, arrived.

    Args:
        transfers: The streams to use.
        batch: The batch, to recognise its upload.
        pinned: Input name → pinned tensor.
    """

    def __init__(self, transfers: Transfers, batch: object, pinned: Mapping[str, torch.Tensor]) -> None:
        self._transfers = transfers
        self._batch = batch
        self._pinned = pinned
        self._moved: dict[str, torch.Tensor] | None = None

    def is_of(self, batch: object) -> bool:
        """Whether this is the upload of this very batch."""
        return self._batch is batch

    @property
    def started(self) -> bool:
        """Whether the inputs are on their way or have arrived."""
        return self._moved is not None

    def start(self) -> dict[str, torch.Tensor]:
        """Send the inputs unless they are on their way; returns at once."""
        if self._moved is None:
            self._moved = self._transfers.send(self._pinned)
        return self._moved

    def tensors(self) -> dict[str, torch.Tensor]:
        """The inputs on the device, whose later computations wait for their arrival."""
        moved = self.start()
        self._transfers.await_sent(moved)
        return moved


class Transfers:
    """The two copy streams of a device.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up = torch.cuda.Stream(device)
        self._down = torch.cuda.Stream(device)

    def pin(self, batch: object, tensors: Mapping[str, torch.Tensor]) -> Upload:
        """Pin inputs on the host; may be called from any thread."""
        pinned = {name: tensor if tensor.is_cuda else tensor.pin_memory() for name, tensor in tensors.items()}
        return Upload(self, batch, pinned)

    def send(self, pinned: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Start copying inputs to the device."""
        with torch.cuda.stream(self._up):
            return {name: tensor.to(self._device, non_blocking=True) for name, tensor in pinned.items()}

    def await_sent(self, moved: Mapping[str, torch.Tensor]) -> None:
        """Let the device wait for everything sent so far."""
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._up)
        for tensor in moved.values():
            # Allocated on another stream, which must not reuse their memory too early.
            tensor.record_stream(current)

    def receive(self, tensor: torch.Tensor, waiting: AbstractContextManager[Any] | None) -> LazyArray:
        """Start copying an output to the host.

        Args:
            tensor: The output; nothing changes it in place from here on.
            waiting: Entered around the wait for it.
        """
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            host.copy_(tensor, non_blocking=True)
            arrival = torch.cuda.Event()
            arrival.record(self._down)
        tensor.record_stream(self._down)
        return LazyArray(host, arrival, waiting)
