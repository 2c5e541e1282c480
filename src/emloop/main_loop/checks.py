"""Checks that a batch and a model's outputs must pass.

What can be decided once per stream is decided once; lengths change with every batch and are checked every time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, NamedTuple, NoReturn, Self, get_args

import numpy as np
from numpy import ndarray

from emloop._support.suggest import check_choice, did_you_mean
from emloop.errors import BatchError
from emloop.types import Batch, StateTree

from .fingerprint import Watch

__all__ = ["POLICIES", "Layout", "Policy", "StreamChecks", "has_nan", "policy"]

logger = logging.getLogger(__name__)

Policy = Literal["ignore", "warn", "error"]
POLICIES: tuple[str, ...] = get_args(Policy)

_USUAL = (np.dtype(np.float32), np.dtype(np.float64))


def policy(argument: str, value: str) -> str:
    """Return the value if it is a policy.

    Raises:
        ConfigError: If it is none of ``ignore``, ``warn`` and ``error``.
    """
    return check_choice(f"main_loop.{argument}", value, POLICIES)


class Layout(NamedTuple):
    """The sources of a batch, to recognise others like it at little cost.

    Another batch may be run as well if it is of the ``kind``, has ``width`` sources, ``values`` finds them all, and
    its ``columns`` are equally long.

    Args:
        kind: Type of the batch; ``None`` for one that nothing is like.
        width: Number of sources.
        values: A batch → a tuple of the sources' values.
        columns: Length of that tuple.
    """

    kind: type | None
    width: int
    values: Callable[[Any], tuple[Any, ...]]

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """The layout of a batch."""
        names = list(batch)
        columns = names if len(names) > 1 else names * 2  # of one name, an item getter returns no tuple
        # Where a source that is missing is made up, it would be found.
        kind = None if hasattr(batch, "__missing__") else type(batch)
        return cls(kind, len(names), itemgetter(*columns))


@dataclass
class StreamChecks:
    """Checks the batches of one stream during one epoch.

    Args:
        stream: Name of the stream.
        inputs: Sources that the model needs.
        policies: Argument of the main loop, e.g. ``on_empty_batch`` → ``ignore``, ``warn`` or ``error``.
        fixed_batch_size: Size that a batch must have to be used, or ``None``.
        warned: Streams already warned about for unused sources; shared by all checks of a loop.
        watch: What looks at the first batch that is run, if anything does.
        passed: Number of batches admitted so far.
    """

    stream: str
    inputs: Iterable[str]
    policies: Mapping[str, str]
    fixed_batch_size: int | None
    warned: set[str]
    watch: Watch | None = None
    passed: int = 0

    def __post_init__(self) -> None:
        self._known: frozenset[str] | None = None
        self._tolerates_unequal = self.policies["on_unequal_lengths"] == "ignore"
        self._empty = 0
        self._looked_at = 0
        self.first_nan: Any = None
        self.layout = Layout(None, 0, tuple)
        """How the batch that was admitted last is laid out."""

    def admit(self, batch: Batch) -> bool:
        """Whether to run the model on a batch.

        Raises:
            BatchError: If the batch breaks a rule whose policy is ``error``.
        """
        try:
            sizes = set(map(len, batch.values()))
        except (AttributeError, TypeError) as error:
            raise self._not_a_batch(batch) from error
        if not any(sizes):
            where = f"{self.passed + self._empty}-th batch in stream `{self.stream}`"
            self._act("on_empty_batch", f"{where} appears to be empty ({self._empty}-th empty batch in total).")
            self._empty += 1
            return False
        if self.fixed_batch_size is not None and sizes != {self.fixed_batch_size}:
            self._log_other_size(batch)
            return False
        if len(sizes) > 1 and not self._tolerates_unequal:
            lengths = ", ".join(f"{name}: {len(value)}" for name, value in batch.items())
            message = f"Stream `{self.stream}` provides sources of different lengths: {lengths}."
            self._act("on_unequal_lengths", message)
        if self._known is None or batch.keys() != self._known:
            if self._known is None and self.watch is not None:
                self.watch.before(batch)
            self._check_sources(batch)
            self.layout = Layout.of(batch)
        elif type(batch) is not self.layout.kind:
            self.layout = Layout.of(batch)
        self.passed += 1
        return True

    def refuse(self, batch: Batch, outputs: Batch, error: TypeError | None = None) -> NoReturn:
        """
        Raises:
            BatchError: Sources and outputs of the batch do not make one mapping.
        """
        if error is not None:
            raise BatchError(
                f"the model's run must return a mapping of variable names to values, got {type(outputs).__name__}"
            ) from error
        common = sorted(set(batch) & set(outputs))
        raise BatchError(
            f"stream {self.stream!r}: the model's outputs {common} are named like sources of the batch; "
            "rename one or the other"
        )

    def found_nan(self, number: Any) -> None:
        """Note what the model says of the batches since it was asked last: the number of the first NaN, if any."""
        if self.first_nan is None and number:
            self.first_nan = self._looked_at + int(number)
        self._looked_at = self.passed

    def state(self) -> StateTree:
        """What to know of the batches so far, to go on after them."""
        return {"passed": self.passed, "empty": self._empty, "first_nan": int(self.first_nan or 0)}

    def load(self, state: StateTree) -> None:
        """Go on after the batches of :meth:`state`."""
        self.passed = self._looked_at = state["passed"]
        self._empty = state["empty"]
        self.first_nan = state["first_nan"] or None

    def finish(self) -> None:
        """Check the epoch as a whole.

        Raises:
            BatchError: If no batch was run and ``on_empty_stream`` is ``error``.
        """
        if self.passed == 0:
            self._act("on_empty_stream", f"Stream `{self.stream}` appears to be empty.")

    def _log_other_size(self, batch: Batch) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            name, length = next((n, len(v)) for n, v in batch.items() if len(v) != self.fixed_batch_size)
            logger.debug(
                "%d-th batch in stream `%s` has variable `%s` of length %d inconsistent with "
                "`main_loop.fixed_size` = %d",
                self.passed,
                self.stream,
                name,
                length,
                self.fixed_batch_size,
            )

    def _check_sources(self, batch: Batch) -> None:
        missing = sorted(set(self.inputs) - set(batch))
        if missing:
            hints = "; ".join(did_you_mean(missing[0], batch))
            raise BatchError(
                f"stream {self.stream!r} does not provide {', '.join(map(repr, missing))}, which the model needs; "
                f"it provides: {', '.join(map(repr, batch))}" + (f"; {hints}" if hints else "")
            )
        unused = ", ".join(map(repr, sorted(set(batch).difference(self.inputs))))
        if unused and self.stream not in self.warned:
            self.warned.add(self.stream)
            message = f"Stream `{self.stream}` provides sources that the model does not use: {unused}."
            self._act("on_unused_sources", message)
        self._known = frozenset(batch)

    def _act(self, argument: str, message: str) -> None:
        action = self.policies[argument]
        if action == "ignore":
            return
        noun = "warning" if action == "warn" else "error"
        message += f" Set `main_loop.{argument}` to `ignore` in order to suppress this {noun}."
        if action == "error":
            raise BatchError(message)
        logger.warning(message)

    def _not_a_batch(self, batch: object) -> BatchError:
        if not isinstance(batch, Mapping):
            return BatchError(
                f"stream {self.stream!r} must provide mappings of source names to examples, got {type(batch).__name__}"
            )
        odd = next(name for name, value in batch.items() if not hasattr(value, "__len__"))
        return BatchError(
            f"stream {self.stream!r}: source {odd!r} must be a sequence of examples, got {type(batch[odd]).__name__}"
        )


def has_nan(loss: Any) -> bool:
    """Whether a loss on the host has a NaN; one on a device is not waited for."""
    if type(loss) is ndarray and loss.dtype in _USUAL and loss.size:
        largest = loss.item(loss.argmax())  # the first NaN, if any: a quarter of what asking every value takes
        return largest != largest  # type: ignore[no-any-return]  # noqa: PLR0124 - NaN is unequal to itself
    if isinstance(loss, (list, tuple)):
        return any(isinstance(value, float) and value != value for value in loss)  # noqa: PLR0124
    return isinstance(loss, np.ndarray) and loss.dtype.kind == "f" and bool(np.isnan(loss).any())
