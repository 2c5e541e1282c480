"""Device, precision and determinism of a model."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal, TypeAlias

import torch

from emloop.declare import Limits
from emloop.errors import ConfigError

__all__ = ["Device", "Precision", "PrecisionName", "choose_device", "compute_deterministically"]

logger = logging.getLogger(__name__)

_mha = torch.backends.mha

PrecisionName: TypeAlias = Literal["fp32", "tf32", "bf16", "fp16"]
Device: TypeAlias = (
    Literal["auto", "cpu", "cuda", "mps"] | Annotated[str, Limits(pattern="cuda:[0-9]+", words="cuda:1 and the like")]
)


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """The device of the key ``device``.

    Args:
        name: The key.
        local_rank: Which of several processes on this machine this is; each has a CUDA device of its own.

    Raises:
        ConfigError: If this machine does not have it.
    """
    kind, _, number = name.partition(":")
    if kind == "auto":
        has_mps = torch.backends.mps.is_available() and local_rank is None
        kind = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    if kind == "mps" and local_rank is not None:
        raise ConfigError.about("device", "several processes train on CUDA or on the CPU, not on mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError.about("device", "this machine, or this build of PyTorch, has no mps")
    if kind == "cuda":
        count = torch.cuda.device_count()
        # Slurm may show every process its own device alone.
        number = number or ("0" if local_rank is None or count == 1 else str(local_rank))
        if int(number) >= count:
            what = name if local_rank is None else f"cuda:{number}, for process {local_rank} of this machine,"
            raise ConfigError.about("device", f"{what} is not there; PyTorch sees {count} CUDA devices here")
        if local_rank is not None:
            torch.cuda.set_device(int(number))
        return torch.device("cuda", int(number))
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
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self._kind = device.type
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
        if self._kind == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            torch.backends.cudnn.allow_tf32 = name == "tf32"
        elif name == "tf32":
            logger.info("precision: tf32 is fp32 on %s", self._kind)

    @property
    def is_reduced(self) -> bool:
        """Whether forward passes compute with 16 bits."""
        return self._dtype is not None

    def forward(self) -> AbstractContextManager[None]:
        """The context of a forward pass."""
        return _Forward(self._kind, self._dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """A new loss scaler for ``fp16``; ``None`` otherwise."""
        return torch.amp.GradScaler(self._kind) if self.name == "fp16" else None


class _Forward(AbstractContextManager[None]):
    """No generator, since there is one for every batch."""

    def __init__(self, kind: str, dtype: torch.dtype | None) -> None:
        self._autocast = None if dtype is None else torch.autocast(kind, dtype)

    def __enter__(self) -> None:
        # Attention's fast path, taken in evaluation only, rounds differently and drops padding; neither programs nor
        # training have it.
        self._fast = _mha.get_fastpath_enabled()
        _mha.set_fastpath_enabled(False)
        if self._autocast is not None:
            self._autocast.__enter__()

    def __exit__(self, *raised: Any) -> None:
        _mha.set_fastpath_enabled(self._fast)
        if self._autocast is not None:
            self._autocast.__exit__(*raised)
