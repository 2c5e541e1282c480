"""What an optimizer has to remember of a parameter: whatever it remembers after a step without a gradient.

The step is that of the optimizer's class, with one parameter of its own. A large one lies on no device where that is
possible; so the step takes neither memory nor time worth mentioning, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn, optim

from emloop.errors import StateError

from .arrays import dtype_name

__all__ = ["require_step", "require_whole"]

Values = Mapping[str, Any]

_FAILURES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_WAYS = (("meta", False), ("cpu", False), ("cpu", True))
"""Devices, and whether gradients are sparse, in the order in which they are tried."""
_SMALL = 1 << 20
"""Elements. What has no more is computed: operators on no device import PyTorch's compiler, which takes seconds."""


def require_whole(optimizer: optim.Optimizer, group: Values, named: Mapping[str, tuple[nn.Parameter, Values]]) -> None:
    """Compare what is remembered of parameters with what the optimizer has to know of them.

    Args:
        optimizer: The optimizer; one that is none of PyTorch's own is believed.
        group: The hyperparameters with which the values came about.
        named: Name → parameter of the group, and what is remembered of it.

    Raises:
        StateError: If something is missing, unknown, or of another dtype or shape; says of which parameter.
    """
    wanted: dict[Any, dict[str, str] | Exception] = {}
    for name, (parameter, values) in named.items():
        layout = parameter.shape, parameter.dtype
        if layout not in wanted:
            stepped = _stepped(optimizer, group, parameter, {})
            wanted[layout] = stepped if isinstance(stepped, Exception) else _described(stepped)
        expected, found = wanted[layout], _described(values)
        if isinstance(expected, Exception):
            if isinstance(_stepped(optimizer, optimizer.param_groups[0], parameter, {}), Exception):
                return  # its steps take more than a parameter
            raise StateError(f"the optimizer cannot take a step with what is in its group: {expected}")
        if expected != found:
            told = [f"no {key}" for key in expected.keys() - found.keys()]
            told += [f"{key}, which is unknown" for key in found.keys() - expected.keys()]
            both = expected.keys() & found.keys()
            told += [f"{key}: {found[key]} instead of {expected[key]}" for key in both if found[key] != expected[key]]
            raise StateError(f"the optimizer's state of {name!r} has {', '.join(sorted(told))}")


def require_step(optimizer: optim.Optimizer, group: Values, values: Iterable[tuple[nn.Parameter, Values]]) -> None:
    """Try whether an optimizer can go on from what it remembers, with other hyperparameters.

    Raises:
        StateError: If its next step would fail.
    """
    for parameter, known in values:
        failure = _stepped(optimizer, group, parameter, known)
        if isinstance(failure, Exception) and not isinstance(_stepped(optimizer, group, parameter, {}), Exception):
            raise StateError(
                f"{type(optimizer).__name__} cannot go on as the configuration describes it now, since its state lacks "
                f"{failure}"
            )


def _stepped(optimizer: optim.Optimizer, group: Values, parameter: nn.Parameter, known: Values) -> Any:
    """What is remembered of a parameter after a step, or why there is none."""
    failure: Any = None
    if type(optimizer) is not getattr(optim, type(optimizer).__name__, None):
        return TypeError("nobody knows what else its step does")
    for device, is_sparse in _WAYS[parameter.numel() <= _SMALL :]:
        own = torch.zeros(parameter.shape, dtype=parameter.dtype, device=device, requires_grad=True)
        own.grad = torch.zeros_like(own).to_sparse() if is_sparse else torch.zeros_like(own)
        plain = {key: False for key in ("foreach", "fused", "capturable") if key in group}
        try:
            trial: Any = type(optimizer)
            trial = trial([{**group, **plain, "params": [own]}])
            if known:
                trial.state[own] = {key: _moved(value, device) for key, value in known.items()}
            trial.step()
        except _FAILURES as error:
            failure = failure or error
        else:
            return dict(trial.state[own])
    return failure


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone() if value.ndim == 0 else torch.empty(value.shape, dtype=value.dtype, device=device)
    return value


def _described(values: Values) -> dict[str, str]:
    return {key: _kind(value) for key, value in values.items()}


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor) and value.ndim:
        return f"{dtype_name(value.dtype)} {list(value.shape)}"
    # Counts have one dtype or another, as the device wants it.
    is_count = isinstance(value, torch.Tensor) and not value.is_complex()
    return "one number in a tensor" if is_count else type(value).__name__
