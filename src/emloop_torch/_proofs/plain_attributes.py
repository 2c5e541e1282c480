"""Attributes of a module beside its parameters and buffers: numbers, texts, tensors and generators.

They are not part of its state, and constants in a program. If training changes one, such as a growing weight in the
loss, the user is warned, and a program with the old value no longer stands for the module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["PlainAttributes"]

_NO_EXTRA_STATE = nn.Module.get_extra_state
_REMADE = ("_orig", "_g")
"""Suffixes of parameters that pruning and old-style norms turn into an attribute anew for every batch."""


class PlainAttributes:
    """Plain attributes that submodules had when the module was built, and which parameters are trained.

    Attributes that appear later count as results of a computation.

    Args:
        module: The module, freshly built.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._attributes = [
            (f"{path}.{name}".lstrip("."), part, name)
            for path, part in module.named_modules()
            for name, value in vars(part).items()
            if _is_plain(value) and name != "training" and not _is_remade(part, name)
        ]

    def values(self) -> dict[str, str]:
        """Name → identity of the current value."""
        return {path: _identified(vars(part).get(name)) for path, part, name in self._attributes} | {
            f"{name}.requires_grad": repr(parameter.requires_grad)
            for name, parameter in self._module.named_parameters()
        }

    def lost(self, before: Mapping[str, str]) -> list[str]:
        """Names of attributes that have changed and that no ``get_extra_state`` brings into the state."""
        now = self.values()
        kept = {path for path, part, _ in self._attributes if type(part).get_extra_state is not _NO_EXTRA_STATE}
        kept |= {f"{name}.requires_grad" for name, _ in self._module.named_parameters()}
        return [name for name, value in before.items() if now.get(name) != value and name not in kept]


def _is_plain(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not (value.is_meta or value.is_quantized)
    return isinstance(value, (bool, int, float, complex, str, torch.Generator))


def _is_remade(part: nn.Module, name: str) -> bool:
    return any(f"{name}{ending}" in part._parameters for ending in _REMADE)


def _identified(value: Any) -> str:
    if isinstance(value, torch.Generator):
        value = value.get_state()
    if not isinstance(value, torch.Tensor):
        return repr(value)
    content = value.detach().to("cpu").to_dense().contiguous().flatten().view(torch.uint8)
    return f"{value.dtype} {list(value.shape)} {hashlib.sha256(content.numpy().tobytes()).hexdigest()}"
