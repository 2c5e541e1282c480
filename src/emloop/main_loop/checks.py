"""Checks that a batch and a model's outputs must pass.

What can be decided once per stream is decided once; lengths change with every batch and are checked every time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from emloop._support.suggest import check_choice, did_you_mean
from emloop.errors import BatchError
from emloop.types import Batch

from .fingerprint import Watch

__all__ = ["POLICIES", "Policy", "StreamChecks", "policy"]

logger = logging.getLogger(__name__)

Policy = Literal["ignore", "warn", "error"]
_LOSS = "loss"
POLICIES: tuple[str, ...] = get_args(Policy)


def policy(argument: str, value: str) -> str:
    """Return the value if it is a policy.

    Raises:
        ConfigError: If it is none of ``ignore``, ``warn`` and ``error``.
    """
    return check_choice(f"main_loop.{argument}", value, POLICIES)


@dataclass
class StreamChecks:
    """Checks the batches of one stream during one epoch.

    Args:
        stream: Name of the stream.
        inputs: Sources that the model needs.
        policies: Argument of the main loop, e.g. ``on_empty_batch`` → ``ignore``, ``warn`` or ``error``.
        fixed_batch_size: Size that a batch must have to be used, or ``None``.
        warned: Streams already warned about for unused sources; shared by all checks of a loop.
        looks_for_nan: Whether to look for a loss that is not a number, since the model does not.
        watch: What looks at the first batch that is run, if anything does.
        passed: Number of batches admitted so far.
    """

    stream: str
    inputs: Iterable[str]
    policies: Mapping[str, str]
    fixed_batch_size: int | None
    warned: set[str]
    looks_for_nan: bool = False
    watch: Watch | None = None
    passed: int = 0

    def __post_init__(self) -> None:
        self._known: frozenset[str] | None = None
        self._tolerates_unequal = self.policies["on_unequal_lengths"] == "ignore"
        self._empty = 0
        self.first_nan: Any = None
        if self.watch is not None:
            self.merge = self._merge_first  # type: ignore[method-assign]  # no later batch pays for it

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
        self.passed += 1
        return True

    def merge(self, batch: Batch, outputs: Batch) -> dict[str, Any]:
        """Merge sources and outputs of a batch into one new mapping.

        Raises:
            BatchError: If an output is named like a source, or the outputs are no mapping.
        """
        try:
            merged = {**batch, **outputs}
        except TypeError as error:
            raise BatchError(
                f"the model's run must return a mapping of variable names to values, got {type(outputs).__name__}"
            ) from error
        if len(merged) != len(batch) + len(outputs):
            common = sorted(set(batch) & set(outputs))
            raise BatchError(
                f"stream {self.stream!r}: the model's outputs {common} are named like sources of the batch; "
                "rename one or the other"
            )
        if self.looks_for_nan and self.first_nan is None and _has_nan(outputs.get(_LOSS)):
            self.first_nan = self.passed
        return merged

    def _merge_first(self, batch: Batch, outputs: Batch) -> dict[str, Any]:
        del self.merge
        if self.watch is not None:
            self.watch.after(batch)
        return self.merge(batch, outputs)

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


def _has_nan(loss: Any) -> bool:
    """Whether a loss on the host has a NaN; one on a device is not waited for."""
    if isinstance(loss, (list, tuple)):
        return any(isinstance(value, float) and value != value for value in loss)  # noqa: PLR0124 - NaN is unequal to itself
    return isinstance(loss, np.ndarray) and loss.dtype.kind == "f" and bool(np.isnan(loss).any())
