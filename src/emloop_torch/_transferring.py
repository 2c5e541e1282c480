"""Beginning with the parameters of another model, as far as they fit: the key ``init_from``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from emloop.parameters import InitFrom, what_fits
from emloop.saved_models import find_saved
from emloop_torch._tensors.arrays import to_tensor

from ._saved import BACKEND, FORMAT
from ._weight_files import is_weight_file, read_weights

__all__ = ["transfer"]


def transfer(module: nn.Module, origin: str | InitFrom) -> None:
    """Take what fits from a saved model or a file: parameters and buffers of the same name and shape.

    Args:
        module: The module.
        origin: The key ``init_from``.

    Raises:
        ConfigError: If nothing fits, something is renamed that is not there, or two tensors get one name.
        SavedModelError: If there is no saved model, or it is damaged.
        UntrustedError: If it is a pickle that lies in a run.
    """
    path = origin.path if isinstance(origin, InitFrom) else origin
    own = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    # Tied weights have several names, and buffers that no state has are made anew.
    expected = {*dict(module.named_parameters()), *module.state_dict()}
    saved = read_weights(path) if is_weight_file(path) else _of_saved_model(path)
    with torch.no_grad():
        for name, new in what_fits(origin, saved, own, expected).items():
            own[name].copy_(new)


def _of_saved_model(path: str) -> Mapping[str, Any]:
    state = find_saved(path).state(BACKEND, FORMAT)
    return {name: to_tensor(value) for kind in ("parameters", "buffers") for name, value in state[kind].items()}
