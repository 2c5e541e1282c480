"""Stop the training as soon as a variable is not a number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from emloop._contracts import AbstractHook
from emloop._support.suggest import check_choice
from emloop.declare import Names, Scalar, Variable
from emloop.errors import ConfigError, HookError
from emloop.types import Batch, EpochData, TrainingTerminated

from ._checks.arguments import optional_name_list
from ._checks.tolerance import ACTIONS, Action
from ._variables.batches import read_variable, with_known_floats
from ._variables.epochs import read_value

__all__ = ["StopOnNaN"]

_LOGGER = logging.getLogger(__name__)


class StopOnNaN(AbstractHook):
    """Stop the training when a value is NaN, in an epoch's data or in a batch.

    Looks into arrays, lists, tuples and mappings of any depth; text is never NaN.

    .. code-block:: yaml

        hooks:
          - ComputeStats: {variables: [loss]}
          - StopOnNaN: {variables: [loss], stop_on_inf: true}

    Args:
        variables: Names of the variables; by default all there are.
        on_unknown_type: What to do with a value of any other type: ``error``, ``warn`` (once) or ``ignore``.
        stop_on_inf: Whether infinities count as NaN.
        after_batch: Whether to look at every batch. This waits for values that a device still computes.
        after_epoch: Whether to look at the epoch's data.

    Raises:
        ConfigError: If it would look at nothing.
    """

    stateless = True
    steers_training = True
    reads = (Scalar("{variables}", when=("after_epoch", True)), Variable("{variables}", when=("after_batch", True)))
    writes = ()

    UNKNOWN_TYPE_ACTIONS: ClassVar[list[str]] = ACTIONS

    def __init__(
        self,
        variables: Names | None = None,
        on_unknown_type: Action = "ignore",
        stop_on_inf: bool = False,
        after_batch: bool = False,
        after_epoch: bool = True,
    ) -> None:
        super().__init__()
        if not (after_batch or after_epoch):
            raise ConfigError("StopOnNaN: expected 'after_batch' or 'after_epoch' or both to be true")
        self._variables = optional_name_list("variables", variables)
        self._on_unknown_type = check_choice("on_unknown_type", on_unknown_type, self.UNKNOWN_TYPE_ACTIONS)
        self._is_good: Callable[[Any], Any] = np.isfinite if stop_on_inf else lambda array: ~np.isnan(array)
        self._what = "NaN or infinite" if stop_on_inf else "NaN"
        self._looks_at_batches = after_batch
        self._looks_at_epochs = after_epoch
        self.idle_events = [] if after_batch else [StopOnNaN.after_batch]
        self._warned: set[str] = set()

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Look at the batch.

        Raises:
            TrainingTerminated: If a value is NaN.
            MissingVariableError: If the batch lacks a variable.
            HookError: If a value can not be checked and that is an error.
        """
        if self._looks_at_batches:
            for name in batch_data if self._variables is None else self._variables:
                self._look(stream_name, name, read_variable(batch_data, stream_name, name))

    def after_epoch(self, epoch_id: int = 0, epoch_data: EpochData | None = None) -> None:
        """Look at the epoch's data.

        Raises:
            TrainingTerminated: If a value is NaN.
            MissingVariableError: If a stream lacks a variable.
            HookError: If a value can not be checked and that is an error.
        """
        if self._looks_at_epochs and epoch_data is not None:
            for stream_name, data in epoch_data.items():
                for name in list(data) if self._variables is None else self._variables:
                    self._look(stream_name, name, read_value(epoch_data, stream_name, name))

    def _look(self, stream_name: str, name: str, value: Any) -> None:
        bad = self._bad(value)
        if bad:
            raise TrainingTerminated(f"Variable `{name}` of stream `{stream_name}` is {self._what}")
        if bad is None and self._on_unknown_type != "ignore":
            message = f"Variable `{name}` of type `{type(value)}` can not be checked for NaNs."
            if self._on_unknown_type == "error":
                raise HookError(message)
            if name not in self._warned:
                self._warned.add(name)
                _LOGGER.warning(message)

    def _bad(self, value: Any) -> bool | None:
        """Whether there is a NaN in a value; ``None`` if its type does not tell."""
        if isinstance(value, (str, bytes, int)):
            return False
        if isinstance(value, Mapping):
            return self._any_bad(value.values())
        if isinstance(value, (list, tuple)):
            return self._any_bad(value)
        if not isinstance(value, (float, complex)) and not hasattr(value, "__array__"):
            return None
        array = with_known_floats(np.asarray(value))
        if array.dtype.hasobject:
            return self._any_bad(array.reshape(-1).tolist()) if array.ndim else None
        return array.dtype.kind in "fc" and not self._is_good(array).all()

    def _any_bad(self, values: Iterable[Any]) -> bool | None:
        verdicts = {self._bad(value) for value in values}
        return True in verdicts or (None if None in verdicts else False)
