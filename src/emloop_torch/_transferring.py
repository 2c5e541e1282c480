"""Beginning with the parameters of another model, as far as they fit: the key ``init_from``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from emloop.errors import ConfigError, Problem
from emloop.saved_models import find_saved
from emloop_torch._tensors.arrays import to_tensor
from emloop_torch._tensors.parameters import matching

from ._classes import read_keys, require_mapping
from ._saved import BACKEND, FORMAT

__all__ = ["transfer"]

logger = logging.getLogger(__name__)

_SHOWN = 6
_RENAMES = r"{'encoder\.(.*)': 'backbone.\1'}"


def transfer(module: nn.Module, description: Any) -> None:
    """Take what fits from a saved model: parameters and buffers of the same name and shape.

    Args:
        module: The module.
        description: The key ``init_from``: a path, or ``{path, rename: {regular expression: replacement}}``.

    Raises:
        ConfigError: If nothing fits, or the description is wrong, or renames what is not there.
        SavedModelError: If there is no saved model, or it is damaged.
    """
    values = {"path": description} if isinstance(description, str) else description
    example = f"{{path: log/pretrained, rename: {_RENAMES}}}"
    values = read_keys("init_from", values, {"path": True, "rename": False}, example)
    state = find_saved(values["path"]).state(BACKEND, FORMAT)
    renames = require_mapping("init_from: rename", values.get("rename", {}), _RENAMES)
    saved = {**state["parameters"], **state["buffers"]}
    for pattern in renames:
        matching("init_from: rename", pattern, saved)
    there = {_renamed(name, renames): value for name, value in saved.items()}
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    taken, misfits = _copied(there, own)
    if not taken:
        hints = (f"there: {_some(there)}", f"here: {_some(own)}")
        raise ConfigError(
            Problem(f"init_from: nothing in {values['path']} has a name and shape of this model", hints=hints)
        )
    logger.info(
        "init_from %s: %s of %s taken; of another shape: %s; not there: %s; not used: %s",
        values["path"],
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
            raise ConfigError(f"init_from: rename: {pattern!r} → {replacement!r}: {error}") from error
    return name


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) or "none") + more
