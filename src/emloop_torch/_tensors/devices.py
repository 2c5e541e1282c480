"""Device, precision and determinism of a model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from emloop.errors import ConfigError, Problem
from emloop.suggest import check_choice, did_you_mean

__all__ = ["PRECISIONS", "Precision", "choose_device", "compute_deterministically"]

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
_KINDS = ("auto", "cpu", "cuda", "mps")


def choose_device(name: Any) -> torch.device:
    """The device of the key ``device``: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises:
        ConfigError: If there is no such device, on this machine or at all.
    """
    kind, _, number = str(name).partition(":")
    if kind not in _KINDS or (number and not (kind == "cuda" and number.isdecimal())):
        hints = (*did_you_mean(str(name), _KINDS), "expected one of auto, cpu, cuda, cuda:1, mps")
        raise ConfigError(Problem(f"device: there is no device {name!r}", hints=hints))
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: this machine, or this build of PyTorch, has no mps")
    if kind == "cuda":
        count = torch.cuda.device_count()
        if int(number or 0) >= count:
            raise ConfigError(f"device: {name} is not there; PyTorch sees {count} CUDA devices here")
        return torch.device("cuda", int(number or 0))
    return torch.device(kind)


def compute_deterministically() -> None:
    """Restrict the process to algorithms that always give the same bits; others raise an error."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


class Precision:
    """Numeric precision of a model.

    Args:
        name: ``fp32``, ``tf32`` (matrix products of 32-bit numbers rounded to 19 bits, on CUDA), ``bf16`` or ``fp16``
            (forward pass with 16-bit numbers where that is safe; parameters keep 32).
        device: Device of the model.

    Raises:
        ConfigError: If the name is unknown.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = check_choice("precision", name, PRECISIONS)
        self._kind = device.type
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
        if self._kind == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            torch.backends.cudnn.allow_tf32 = name == "tf32"
        elif name == "tf32":
            logger.info("precision: tf32 is fp32 on %s", self._kind)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """The context of a forward pass."""
        # Attention's fast path, taken in evaluation only, rounds differently and drops padding; neither programs nor
        # training have it.
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with nullcontext() if self._dtype is None else torch.autocast(self._kind, self._dtype):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)

    def scaler(self) -> torch.amp.GradScaler | None:
        """A new loss scaler for ``fp16``; ``None`` otherwise."""
        return torch.amp.GradScaler(self._kind) if self.name == "fp16" else None
