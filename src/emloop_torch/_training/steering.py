"""The numbers of a model that hooks may change: learning rates, and buffers that hold one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from emloop.errors import MissingVariableError, VariableTypeError
from emloop.suggest import did_you_mean
from emloop_torch._tensors.arrays import dtype_name

from .learners import Learner

__all__ = ["read_variable", "write_variable"]

_SHOWN = 8


def read_variable(name: str, module: nn.Module, rates: Mapping[str, Sequence[Learner]]) -> float:
    """The value of a number.

    Args:
        name: What it is called.
        module: The module whose buffers count.
        rates: Name of a learning rate → what it is the rate of, the first of which tells its value.

    Raises:
        MissingVariableError: If there is none of that name.
    """
    return rates[name][0].rate if name in rates else float(_number(name, module, rates))


def write_variable(name: str, value: float, module: nn.Module, rates: Mapping[str, Sequence[Learner]]) -> None:
    """Change what :func:`read_variable` tells; other groups and optimizers of that rate keep their ratio to it.

    Raises:
        MissingVariableError: If there is none of that name.
        VariableTypeError: If a buffer cannot hold the value.
    """
    if name not in rates:
        buffer = _number(name, module, rates)
        if not (buffer.is_floating_point() or buffer.is_complex() or value == int(value)):
            raise VariableTypeError(f"{name!r} is a buffer of {dtype_name(buffer.dtype)}, which cannot hold {value}")
        with torch.no_grad():
            buffer.fill_(value)
        return
    first, *others = rates[name]
    before = first.rate
    for learner in others:
        learner.set_rate(learner.rate * (value / before) if before else value)
    first.set_rate(float(value))


def _number(name: str, module: nn.Module, rates: Mapping[str, Sequence[Learner]]) -> torch.Tensor:
    numbers = {own: buffer for own, buffer in module.named_buffers() if buffer.numel() == 1}
    if name not in numbers:
        known = [*rates, *numbers]
        there = ", ".join(map(repr, known[:_SHOWN])) + (", …" if len(known) > _SHOWN else "")
        hints = "".join(f"; {hint}" for hint in did_you_mean(name, known))
        raise MissingVariableError(f"there is no variable {name!r}; there is {there or 'none'}{hints}")
    return numbers[name]
