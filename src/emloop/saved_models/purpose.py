"""What a model, or its state, is wanted for.

To evaluate or to predict: what trains it can wait, or stay away altogether. A state that is copied at once: nobody
copies it twice. One of which each process has a part: it is put together when it is read.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Literal, TypeVar

__all__ = [
    "borrowing",
    "evaluating",
    "may_lend",
    "predicting",
    "restores_to_evaluate",
    "restores_to_predict",
    "takes_rows",
    "taking_rows",
]

T = TypeVar("T")

_PURPOSE: ContextVar[Literal["evaluate", "predict"] | None] = ContextVar("emloop_purpose", default=None)
_BORROWS: ContextVar[bool] = ContextVar("emloop_borrows", default=False)
_ROWS: ContextVar[bool] = ContextVar("emloop_rows", default=False)


@contextmanager
def _said(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def evaluating(only: bool = True) -> AbstractContextManager[None]:
    """Say that models built meanwhile will evaluate, and not train, unless somebody changes his mind."""
    return _said(_PURPOSE, "evaluate" if only else None)


def predicting() -> AbstractContextManager[None]:
    """Say that models built meanwhile will never train."""
    return _said(_PURPOSE, "predict")


def restores_to_evaluate() -> bool:
    """Whether the model that is being restored will evaluate, and not train."""
    return _PURPOSE.get() is not None


def restores_to_predict() -> bool:
    """Whether the model that is being restored will never train, so that it needs no optimizer."""
    return _PURPOSE.get() == "predict"


def borrowing(only: bool = True) -> AbstractContextManager[None]:
    """Say that states taken meanwhile are copied or written before training goes on, and not changed."""
    return _said(_BORROWS, only)


def may_lend() -> bool:
    """Whether the arrays of the state that is being taken may be the live ones, not copies."""
    return _BORROWS.get()


def taking_rows() -> AbstractContextManager[None]:
    """Say that states taken meanwhile hold of arrays that are cut among processes what this one has, as ``Rows``."""
    return _said(_ROWS, True)


def takes_rows() -> bool:
    """Whether of arrays that are cut among processes only this one's rows are asked for."""
    return _ROWS.get()
