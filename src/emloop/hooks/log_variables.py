"""Log what the epoch's data has about variables."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np

from emloop._contracts import AbstractHook
from emloop._support.suggest import check_choice
from emloop.declare import Scalar
from emloop.errors import VariableTypeError
from emloop.types import EpochData

from ._checks.arguments import optional_name_list
from ._variables.epochs import as_scalar, read_value

__all__ = ["LogVariables"]

_LOGGER = logging.getLogger(__name__)


class LogVariables(AbstractHook):
    """Log numbers and texts of the epoch's data, a line each.

    .. code-block:: yaml

        hooks:
          - ComputeStats: {variables: [loss, {accuracy: [mean, std]}]}
          - LogVariables: {variables: [loss]}

    Args:
        variables: Names of the variables, which every stream must then have; by default all that are there.
        on_unknown_type: What to do with a value that is neither a number, a text nor a mapping to these: ``error``,
            ``warn``, ``str`` (log its text) or ``ignore``.
    """

    stateless = True
    reads = (Scalar("{variables}"),)
    writes = ()

    UNKNOWN_TYPE_ACTIONS: ClassVar[list[str]] = ["error", "warn", "str", "ignore"]

    def __init__(
        self,
        variables: Iterable[str] | None = None,
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

    def _log(self, stream_name: str, name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            self._log_value(f"\t{stream_name} {name}", name, value)
        elif len(value) == 1:
            for key, of_key in value.items():
                self._log_value(f"\t{stream_name} {name} {key}", name, of_key)
        else:
            _LOGGER.info("\t%s %s:", stream_name, name)
            for key, of_key in value.items():
                self._log_value(f"\t\t{key}", name, of_key)

    def _log_value(self, label: str, name: str, value: Any) -> None:
        text = _text(value)
        if text is None and self._on_unknown_type == "str":
            text = str(value)
        if text is not None:
            _LOGGER.info("%s: %s", label, text)
        elif self._on_unknown_type != "ignore":
            message = f"Variable type `{type(value).__name__}` can not be logged. Variable name: `{name}`."
            if self._on_unknown_type == "error":
                raise VariableTypeError(message)
            _LOGGER.warning(message)


def _text(value: Any) -> str | None:
    scalar = as_scalar(value)
    if scalar is None or isinstance(scalar, str):
        return scalar
    # Complex numbers and bytes have no fixed number of decimals, and are scalars all the same.
    return f"{float(scalar):f}" if isinstance(scalar, (Real, np.bool_)) else str(scalar)
