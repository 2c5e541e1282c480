"""Lets optimizers work without PyTorch's compiler, whose import takes as long as PyTorch's own.

Some methods of every optimizer import ``torch._dynamo`` at their first call, only to tell it to leave them alone. While
nobody else has imported it, there is nobody to tell; once somebody has, they do as before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import optim

__all__ = ["RELEASE", "defer_compiler"]

_COMPILER = "torch._dynamo"
RELEASE = "2.13."
"""The release whose wrappers these are; those of another are left alone."""
_TOLD = "__dynamo_disable"
"""Attribute in which PyTorch keeps what to call instead of a function."""


@cache
def defer_compiler() -> None:
    """Keep PyTorch's optimizers, in this process, from importing the compiler."""
    if not torch.__version__.startswith(RELEASE) or _COMPILER in sys.modules:
        return
    for method in vars(optim.Optimizer).values():
        if _imports_compiler(method, "inner"):
            setattr(method.__wrapped__, _TOLD, _telling_later(method.__wrapped__))
    for cls in optim.Optimizer.__subclasses__():
        if _imports_compiler(vars(cls).get("step"), "_use_grad"):
            cls.step = _stepping(cls.step)  # type: ignore[method-assign]


def _imports_compiler(method: Any, wrapper: str) -> bool:
    code = getattr(method, "__code__", None)
    return code is not None and code.co_name == wrapper and _COMPILER in code.co_names


def _telling_later(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        # Another thread may be importing it right now.
        disable = getattr(sys.modules.get(_COMPILER), "disable", None)
        if disable is None:
            return function(*args, **kwargs)
        told = disable(function, wrapping=False)
        setattr(function, _TOLD, told)
        return told(*args, **kwargs)

    return call


def _stepping(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that follows ``differentiable``, as PyTorch's own does, which also breaks the graph of a compiler."""

    @wraps(step)
    def stepping(self: optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        if _COMPILER in sys.modules:
            return step(self, *args, **kwargs)
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step.__wrapped__(self, *args, **kwargs)  # type: ignore[attr-defined]

    return stepping
