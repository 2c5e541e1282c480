"""Beginning with the parameters of another model, as far as they fit: the key ``init_from``."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from emloop.errors import ConfigError
from emloop.saved_models import find_saved
from emloop_torch._tensors.arrays import dtype_name, to_tensor
from emloop_torch._tensors.parameters import matching

from ._saved import BACKEND, FORMAT
from ._weight_files import is_weight_file, read_weights

__all__ = ["transfer"]

logger = logging.getLogger(__name__)

_SHOWN = 6


@dataclass(frozen=True)
class InitFrom:
    r"""The key ``init_from``.

    Args:
        path: A saved model, a run or a checkpoint; or a file with weights, ``.safetensors`` or what ``torch.save``
            wrote.
        rename: Regular expression of names there → what they are called here: ``{'encoder\.(.*)': 'backbone.\1'}``.
    """

    path: str
    rename: Mapping[str, str] = field(default_factory=dict)


def transfer(module: nn.Module, origin: str | InitFrom) -> None:
    """Take what fits from a saved model or a file: parameters and buffers of the same name and shape.

    What wrappers put before names, ``module.`` and ``_orig_mod.``, makes no difference.

    Args:
        module: The module.
        origin: The key ``init_from``.

    Raises:
        ConfigError: If nothing fits, something is renamed that is not there, or two tensors get one name.
        SavedModelError: If there is no saved model, or it is damaged.
        UntrustedError: If it is a pickle that lies in a run.
    """
    origin = origin if isinstance(origin, InitFrom) else InitFrom(origin)
    saved = read_weights(origin.path) if is_weight_file(origin.path) else _of_saved_model(origin.path)
    own = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    there = _by_own_name(saved, own, origin.rename)
    taken, misfits = _copied(there, own)
    if not taken:
        hints = (*_common_prefix(there, own), f"there: {_some(there)}", f"here: {_some(own)}")
        raise ConfigError.about("init_from", f"nothing in {origin.path} has a name and shape of this model", *hints)
    # Tied weights have several names, and buffers that no state has are made anew.
    filled = {id(own[name]) for name in taken}
    kept = {*dict(module.named_parameters()), *module.state_dict()} & own.keys()
    logger.log(
        logging.WARNING if misfits or 2 * len(taken) < len(own) else logging.INFO,
        "init_from %s: %s of %s taken; of another shape: %s; not there: %s; not used: %s",
        origin.path,
        len(taken),
        len(own),
        _some(misfits),
        _some(name for name in own if name in kept and name not in there and id(own[name]) not in filled),
        _some(name for name in there if name not in own),
    )


def _of_saved_model(path: str) -> dict[str, Any]:
    state = find_saved(path).state(BACKEND, FORMAT)
    return {**state["parameters"], **state["buffers"]}


def _by_own_name(saved: Mapping[str, Any], own: Container[str], renames: Mapping[str, str]) -> dict[str, Any]:
    """What is there, by the names that it has here."""
    plain = {name: _without_wrappers(name, own) for name in saved}
    for pattern in renames:
        matching(("init_from", "rename", pattern), pattern, dict.fromkeys([*saved, *plain.values()]))
    found: dict[str, str] = {}
    for name in saved:
        key = _renamed(name, renames) or _renamed(plain[name], renames) or plain[name]
        if key in found and key in own:
            message = f"{found[key]} and {name} would both be {key}"
            raise ConfigError.about("init_from", message, "rename one of them to something that is not here")
        found[key] = name
    return {key: saved[name] for key, name in found.items()}


def _without_wrappers(name: str, own: Container[str]) -> str:
    """A name without what DataParallel puts before it, and ``torch.compile`` before it or in it, as far as it needs."""
    plain = name if name in own else name.replace("._orig_mod.", ".")
    while plain not in own and plain.startswith(("module.", "_orig_mod.")):
        plain = plain.partition(".")[2]
    return plain


def _copied(there: Mapping[str, Any], own: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Copy what has a name and shape in common; returns these names, and in words what differs in its shape."""
    taken, misfits = [], []
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in there:
                continue
            new = there[name] if isinstance(there[name], torch.Tensor) else to_tensor(there[name])
            if new.shape != tensor.shape:
                misfits.append(f"{name} ({list(new.shape)} there, {list(tensor.shape)} here)")
            elif (new.is_floating_point(), new.is_complex()) != (tensor.is_floating_point(), tensor.is_complex()):
                misfits.append(f"{name} ({dtype_name(new.dtype)} there, {dtype_name(tensor.dtype)} here)")
            else:
                tensor.copy_(new)
                taken.append(name)
    return taken, misfits


def _renamed(name: str, renames: Mapping[str, str]) -> str | None:
    for pattern, replacement in renames.items():
        try:
            if match := re.fullmatch(pattern, name):
                return match.expand(replacement)
        except (re.error, IndexError) as error:
            raise ConfigError.about("init_from", f"rename: {pattern!r} → {replacement!r}: {error}") from error
    return None


def _common_prefix(there: Iterable[str], own: Container[str]) -> tuple[str, ...]:
    """A renaming that would make names fit, if they only have something before them."""
    for name in there:
        for at in (found.end() for found in re.finditer(r"\.", name)):
            if name[at:] in own:
                return (f"names there begin with {name[:at]!r}: rename: {{'{re.escape(name[:at])}(.*)': '\\1'}}",)
    return ()


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) or "none") + more
