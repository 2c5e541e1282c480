"""Whether a model is built only to evaluate, so that what trains it can wait until somebody asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["evaluating", "restores_to_evaluate"]

_EVALUATES: ContextVar[bool] = ContextVar("emloop_evaluates", default=False)


@contextmanager
def evaluating(only: bool = True) -> Iterator[None]:
    """Say that models built meanwhile will evaluate, and not train."""
    token = _EVALUATES.set(only)
    try:
        yield
    finally:
        _EVALUATES.reset(token)


def restores_to_evaluate() -> bool:
    """Whether the model that is being restored will evaluate, and not train."""
    return _EVALUATES.get()
