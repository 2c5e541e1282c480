"""Log the epoch's data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from emloop._contracts import AbstractHook
from emloop._support.suggest import check_choice
from emloop.constants import EL_LOG_ONLY
from emloop.declare import Names, Scalar
from emloop.errors import VariableTypeError
from emloop.types import EpochData

from ._checks.arguments import optional_name_list
from ._variables.epochs import as_real, as_scalar, read_value

__all__ = ["LogVariables"]

_LOGGER = logging.getLogger(__name__)


class LogVariables(AbstractHook):
    """Log numbers and texts of the epoch's data, a line each: in ``train.log``, and with ``-v`` on the screen.

    .. code-block:: yaml

        hooks:
          - ComputeStats: {variables: [loss, {accuracy: [mean, std]}]}
          - LogVariables: {variables: [loss]}

    Args:
        variables: Names of the variables, which every stream must then have; by default all there are.
        on_unknown_type: What to do with a value that is neither a number, a text nor a mapping to these: ``error``,
            ``warn``, ``str`` (log its text) or ``ignore``.
    """

    stateless = True
    reads = (Scalar("{variables}"),)
    writes = ()

    UNKNOWN_TYPE_ACTIONS: ClassVar[list[str]] = ["error", "warn", "str", "ignore"]

    def __init__(
        self,
        variables: Names | None = None,
        on_unknown_type: Literal["error", "warn", "str", "ignore"] = "ignore",
    ) -> None:
        super().__init__()
        self._variables = optional_name_list("variables", variables)
        self._on_unknown_type = check_choice("on_unknown_type", on_unknown_type, self.UNKNOWN_TYPE_ACTIONS)

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Log the epoch's data, stream by stream.

        Raises:
            MissingVariableError: If a stream lacks a listed variable.
            VariableTypeError: If a value cannot be logged and that is an error.
        """
        for stream_name, data in epoch_data.items():
            for name in data if self._variables is None else self._variables:
                self._log(stream_name, name, read_value(epoch_data, stream_name, name))

    def after_evaluation(self, batches: int, epoch_data: EpochData) -> None:
        """Log what an evaluation inside an epoch has found, below the number of batches trained on so far."""
        _LOGGER.info("After batch %d:", batches, extra=EL_LOG_ONLY)
        self.after_epoch(0, epoch_data)

    def _log(self, stream_name: str, name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            self._log_value(f"\t{stream_name} {name}", name, value)
            return
        if len(value) != 1:
            _LOGGER.info("\t%s %s:", stream_name, name, extra=EL_LOG_ONLY)
        for key, of_key in value.items():
            self._log_value(f"\t{stream_name} {name} {key}" if len(value) == 1 else f"\t\t{key}", name, of_key)

    def _log_value(self, label: str, name: str, value: Any) -> None:
        scalar = as_scalar(value)
        if as_real(scalar) is not None:
            _LOGGER.info("%s: %f", label, scalar, extra=EL_LOG_ONLY)
        elif scalar is not None or self._on_unknown_type == "str":
            _LOGGER.info("%s: %s", label, value if scalar is None else scalar, extra=EL_LOG_ONLY)
        elif self._on_unknown_type != "ignore":
            message = f"Variable type `{type(value).__name__}` can not be logged. Variable name: `{name}`."
            if self._on_unknown_type == "error":
                raise VariableTypeError(message)
            _LOGGER.warning(message)
