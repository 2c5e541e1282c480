"""Compiled code, which serves every model of a process whose computation is the same to the byte.

Members of an ensemble, a model that is loaded again and again, and one that is made anew share it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
from jax import export

from ._programs import export_step

__all__ = ["compiled_once", "digest", "shared"]

_READY: dict[Hashable, Callable[..., Any]] = {}
_KEPT = 64


def shared(
    key: Hashable, make: Callable[[], Callable[..., Any]], ready: dict[Hashable, Callable[..., Any]] | None = None
) -> Callable[..., Any]:
    """What is there for a key already, or is made now; of too many, the oldest goes.

    Args:
        key: What it is known by.
        make: Makes it.
        ready: What is there; ``None`` for what all models of the process share.
    """
    ready = _READY if ready is None else ready
    if key not in ready:
        ready[key] = make()
        while len(ready) > _KEPT:
            del ready[next(iter(ready))]
    return ready[key]


def digest(exported: export.Exported) -> str:
    """What two computations share only if they are the same, with the values of their constants."""
    return hashlib.sha256(exported.serialize()).hexdigest()


def compiled_once(function: Callable[..., Any], given: Sequence[Any], what: str) -> Callable[..., Any]:
    """A pure function to call with such arguments, on JAX's default device; compiled for few calls, and quickly.

    Args:
        function: The function.
        given: Arguments like those to come.
        what: What it makes, for messages.
    """
    options = {"xla_backend_optimization_level": 2} if jax.default_backend() == "cpu" else None
    try:
        exported = export_step(function, given, None, what)
    except Exception:  # noqa: BLE001 - whatever it is, it may run as it is
        return jax.jit(function, compiler_options=options)
    return shared(digest(exported), lambda: jax.jit(exported.call, compiler_options=options))
