"""A module's parameters and buffers by name: their values, which are tied, which match a pattern."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from emloop.errors import StateError
from emloop.parameters import frozen_names, require_alike
from emloop.saved_models import Lasting, may_lend
from emloop.types import StateTree

from .arrays import laid_out, local, marked, to_plain, to_tensor

__all__ = [
    "freeze",
    "frozen_statistics",
    "load_values",
    "storages",
    "tied_names",
    "values_of",
    "why_learning_differs",
]

_EXTRA = "extra"


def values_of(module: nn.Module, frozen: Iterable[str] = ()) -> dict[str, Any]:
    """All values of a module as part of a state tree; tied ones under their first name.

    Args:
        module: The module.
        frozen: Names of parameters that do not change; who saves them is told so.
    """
    values: dict[str, Any] = {
        kind: {name: to_plain(tensor) for name, tensor in tensors.items()} for kind, tensors in _tensors(module).items()
    }
    for name in frozen if may_lend() else ():
        values["parameters"][name] = marked(values["parameters"][name], Lasting)
    extra = {name: part.get_extra_state() for name, part in _with_extra_state(module)}
    return {**values, _EXTRA: extra} if extra else values


def load_values(module: nn.Module, values: StateTree, remade: Collection[str] = ()) -> None:
    """Load what :func:`values_of` took from an equal module.

    Args:
        module: The module.
        values: The values.
        remade: Names of buffers to replace or remove instead of comparing them.

    Raises:
        StateError: If names, shapes or dtypes differ; says which. The module is unchanged then.
    """
    tensors = _tensors(module)
    fitting = {kind: {name: own for name, own in tensors[kind].items() if name not in remade} for kind in tensors}
    pairs = []
    for kind, own in fitting.items():
        new = {name: to_tensor(value) for name, value in _named(kind, values).items() if name not in remade}
        require_alike(kind, own, new)
        pairs += [(own[name], new[name]) for name in own]
    device = next((own.device for own in tensors["parameters"].values()), None)
    with torch.no_grad():
        for tensor, value in pairs:
            if tensor.layout is torch.strided and 0 in tensor.stride():
                tensor.data = value.to(tensor.device)  # expanded: several elements share memory
            else:
                tensor.copy_(laid_out(value, tensor))
    for name in remade:
        path, _, leaf = name.rpartition(".")
        found = _named("buffers", values).get(name)
        module.get_submodule(path)._buffers[leaf] = None if found is None else to_tensor(found).to(device)
    for name, part in _with_extra_state(module):
        if name in values.get(_EXTRA, {}):
            part.set_extra_state(values[_EXTRA][name])


def tied_names(module: nn.Module) -> list[list[str]]:
    """Groups of names that mean one parameter or buffer, in the order of the module."""
    groups: dict[int, list[str]] = {}
    for name, tensor in _every(module):
        groups.setdefault(id(tensor), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def why_learning_differs(module: nn.Module) -> str | None:
    """Why parameters learn differently without the source; ``None`` if they do not.

    Hooks are in no graph. Tied tensors stay tied, but tensors that only share memory, such as
    ``nn.Parameter(other.weight)``, would no longer change together.
    """
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            return f"the parameter {name!r} has a hook of its own, which only the source registers"
    reached, last = 0, ""
    for start, end, name in sorted(
        _extent(name, tensor) for name, tensor in _strided(module).items() if tensor.numel()
    ):
        if start < reached:
            return f"{last!r} and {name!r} share memory without being one and the same tensor"
        reached, last = end, name
    return None


def freeze(module: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Exclude the matching parameters from training, and the statistics of normalisations with no others.

    Returns:
        Names of those that would otherwise be trained.

    Raises:
        ConfigError: If a pattern matches nothing, or nothing is left to train.
    """
    parameters = dict(module.named_parameters())
    names = frozen_names(patterns, {name: parameter.requires_grad for name, parameter in parameters.items()})
    frozen = [name for name in names if parameters[name].requires_grad]
    for name in frozen:
        parameters[name].requires_grad_(False)
    for name, owner in frozen_statistics(module, names).items():
        part = module.get_submodule(name)
        part.register_forward_pre_hook(partial(_hold_statistics, module.get_submodule(owner)))
        part.eval()
    return frozen


def frozen_statistics(module: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Parts that keep running statistics, and what holds their parameters, all frozen: themselves, or what is around.

    Args:
        module: The module.
        names: Names of the frozen parameters.
    """
    frozen, held = {id(module.get_parameter(name)) for name in names}, {}
    for name, part in module.named_modules():
        owner = name
        while owner and not list(module.get_submodule(owner).parameters()):
            owner = owner.rpartition(".")[0]
        around = [id(parameter) for parameter in module.get_submodule(owner).parameters()]
        if isinstance(getattr(part, "running_mean", None), torch.Tensor) and around and frozen.issuperset(around):
            held[name] = owner
    return held


def _hold_statistics(owner: nn.Module, part: nn.Module, _inputs: Any) -> None:
    # A hook, since whoever calls ``train`` on the module, or on a copy of it, reaches its parts, too.
    if part.training and not any(parameter.requires_grad for parameter in owner.parameters()):
        part.eval()


def storages(module: nn.Module) -> frozenset[int]:
    """Addresses of the memory of parameters and buffers."""
    return frozenset(local(tensor).untyped_storage().data_ptr() for tensor in _strided(module).values())


def _strided(module: nn.Module) -> dict[str, torch.Tensor]:
    """Dense parameters and buffers, each under its first name."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor for name, tensor in named.items() if tensor.layout is torch.strided}


def _extent(name: str, tensor: torch.Tensor) -> tuple[int, int, str]:
    """Start and end of a tensor in memory, and its name."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size(), name


def _tensors(module: nn.Module) -> dict[str, dict[str, torch.Tensor]]:
    return {"parameters": dict(module.named_parameters()), "buffers": dict(module.named_buffers())}


def _every(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _with_extra_state(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, part in module.named_modules():
        if type(part).get_extra_state is not nn.Module.get_extra_state:
            yield name, part


def _named(kind: str, values: StateTree) -> Mapping[str, Any]:
    found = values.get(kind) if isinstance(values, Mapping) else None
    if not isinstance(found, Mapping):
        raise StateError(f"the state has no {kind}")
    return found
