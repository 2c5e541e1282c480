"""Weights in a single file, as others publish them: safetensors, and what ``torch.save`` writes.

The latter is a pickle. It is read where the key ``init_from`` names it and nowhere else, by PyTorch's loader for
weights only, which makes tensors and plain containers, and refuses whatever else a pickle may ask for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from emloop.constants import EL_RUN_FILE, EL_TRACE_FILE
from emloop.errors import ConfigError, UntrustedError

__all__ = ["is_weight_file", "read_weights"]

_SAFE = ".safetensors"
_PICKLED = (".pt", ".pth", ".ckpt", ".bin")


def is_weight_file(path: str) -> bool:
    """Whether a path is that of a file with weights, rather than of a saved model, a run or a checkpoint."""
    return path.endswith((_SAFE, *_PICKLED)) and not os.path.isdir(path)  # noqa: PTH112 - as it is written


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """Tensors by name, on the host.

    Raises:
        ConfigError: If the file is not there, is damaged, or holds anything but weights.
        UntrustedError: If it is a pickle that lies in a run.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError.about("init_from", f"there is no file {path}", f"relative paths start in {Path.cwd()}")
    try:
        found: Any = load_file(file) if path.endswith(_SAFE) else _unpickled(file)
    except SafetensorError as error:
        raise ConfigError.about("init_from", f"{path} is damaged, or no safetensors: {error}") from error
    tensors = _tensors(found)
    if not tensors:
        there = ", ".join(map(repr, found)) if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise ConfigError.about("init_from", f"{path} holds no tensors by name; there is: {there:.200}")
    return tensors


def _unpickled(file: Path) -> Any:
    above = {*file.absolute().parents, *file.resolve().parents}
    if run := next(
        (place for place in above if (place / EL_RUN_FILE).exists() or (place / EL_TRACE_FILE).exists()), None
    ):
        raise UntrustedError(
            f"init_from: {file} is a pickle in the run {run}, out of which none is read; take a saved model"
        )
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError.about(
            "init_from",
            f"{file} holds more than weights, or is damaged: {reason}",
            "write the weights alone where it comes from: torch.save(model.state_dict(), …), or safetensors",
        ) from error


def _tensors(found: Any) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, or of the largest one that a checkpoint of a trainer holds among other things."""
    if not isinstance(found, Mapping):
        return {}
    own = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}
    return max([own, *map(_tensors, found.values())], key=len)
