"""Beginning with the parameters of another model, as far as they fit: the key ``init_from``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from emloop.errors import ConfigError
from emloop.saved_models import find_saved
from emloop_torch._tensors.arrays import to_tensor
from emloop_torch._tensors.parameters import matching

from ._saved import BACKEND, FORMAT

__all__ = ["transfer"]

logger = logging.getLogger(__name__)

_SHOWN = 6


@dataclass(frozen=True)
class InitFrom:
    r"""The key ``init_from``.

    Args:
        path: A saved model, a run or a checkpoint.
        rename: Regular expression of names there → what they are called here: ``{'encoder\.(.*)': 'backbone.\1'}``.
    """

    path: str
    rename: Mapping[str, str] = field(default_factory=dict)


def transfer(module: nn.Module, origin: str | InitFrom) -> None:
    """Take what fits from a saved model: parameters and buffers of the same name and shape.

    Args:
        module: The module.
        origin: The key ``init_from``.

    Raises:
        ConfigError: If nothing fits, or something is renamed that is not there.
        SavedModelError: If there is no saved model, or it is damaged.
    """
    origin = origin if isinstance(origin, InitFrom) else InitFrom(origin)
    state = find_saved(origin.path).state(BACKEND, FORMAT)
    saved = {**state["parameters"], **state["buffers"]}
    for pattern in origin.rename:
        matching(("init_from", "rename", pattern), pattern, saved)
    there = {_renamed(name, origin.rename): value for name, value in saved.items()}
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    taken, misfits = _copied(there, own)
    if not taken:
        hints = (f"there: {_some(there)}", f"here: {_some(own)}")
        raise ConfigError.about("init_from", f"nothing in {origin.path} has a name and shape of this model", *hints)
    logger.info(
        "init_from %s: %s of %s taken; of another shape: %s; not there: %s; not used: %s",
        origin.path,
        len(taken),
        len(own),
        _some(misfits),
        _some(name for name in own if name not in there),
        _some(name for name in there if name not in own),
    )


def _copied(there: Mapping[str, Any], own: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Copy what has a name and shape in common; returns these names, and in words what differs in its shape."""
    taken, misfits = [], []
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in there:
                continue
            new = to_tensor(there[name])
            if new.shape == tensor.shape:
                tensor.copy_(new)
                taken.append(name)
            else:
                misfits.append(f"{name} ({list(new.shape)} there, {list(tensor.shape)} here)")
    return taken, misfits


def _renamed(name: str, renames: Mapping[str, str]) -> str:
    for pattern, replacement in renames.items():
        try:
            if match := re.fullmatch(pattern, name):
                return match.expand(replacement)
        except re.error as error:
            raise ConfigError.about("init_from", f"rename: {pattern!r} → {replacement!r}: {error}") from error
    return name


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) or "none") + more
