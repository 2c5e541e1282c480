"""Fail a training that does not become good enough in time; for tests of whole trainings."""

from __future__ import annotations

from emloop._contracts import AbstractHook
from emloop.declare import Count, Scalar
from emloop.errors import HookError
from emloop.types import EpochData, TrainingTerminated

from ._checks.arguments import at_least
from ._variables.epochs import read_scalar

__all__ = ["Check"]


class Check(AbstractHook):
    """End the training once a variable exceeds a value, and fail it if that has not happened in time.

    .. code-block:: yaml

        hooks:
          - ComputeStats: {variables: [accuracy]}
          - Check: {variable: accuracy, required_min_value: 0.93, max_epoch: 10}

    Args:
        variable: Name of the variable; where it has several aggregations, its ``mean`` counts.
        required_min_value: What must be exceeded.
        max_epoch: The last epoch in which it may happen.
        stream: Name of the stream.
    """

    stateless = True
    steers_training = True
    reads = (Scalar("{variable}", stream="{stream}"),)
    writes = ()

    def __init__(self, variable: str, required_min_value: float, max_epoch: Count, stream: str = "valid") -> None:
        super().__init__()
        self._variable = variable
        self._required_min_value = at_least("required_min_value", float("-inf"), required_min_value)
        self._max_epoch = at_least("max_epoch", 0, max_epoch)
        self._stream = stream

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Compare the epoch's value.

        Raises:
            TrainingTerminated: If the value is exceeded.
            HookError: If it is not, and this was the last epoch in which it could have been.
            MissingVariableError: If no hook has written the variable.
            VariableTypeError: If it is not a number.
        """
        value = read_scalar(epoch_data, self._stream, self._variable)
        name = f"{self._stream}.{self._variable}"
        if value > self._required_min_value:
            raise TrainingTerminated(f"{name} is {value:g}, more than the required {self._required_min_value:g}")
        if epoch_id >= self._max_epoch:
            raise HookError(
                f"{name} is {value:g} after epoch {epoch_id}; "
                f"more than {self._required_min_value:g} was required until epoch {self._max_epoch}"
            )
