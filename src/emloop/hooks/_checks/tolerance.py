"""What to do about variables that are missing or of the wrong kind: the user decides."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias, get_args

from emloop._support.suggest import check_choice
from emloop.errors import MissingVariableError, VariableTypeError

_LOGGER = logging.getLogger(__name__)

Action: TypeAlias = Literal["error", "warn", "ignore"]
ACTIONS: list[str] = list(get_args(Action))


class Tolerance:
    """Raises, logs once, or ignores what is wrong with variables.

    Args:
        who: The hook, for the log.
        on_missing_variable: What to do if a variable is missing: ``error``, ``warn`` (once) or ``ignore``.
        on_unknown_type: What to do if its value is not of the kind needed.

    Raises:
        ConfigError: If one of these is no action.
    """

    def __init__(self, who: str, *, on_missing_variable: str, on_unknown_type: str) -> None:
        self._who = who
        self._on_missing = check_choice("on_missing_variable", on_missing_variable, ACTIONS)
        self._on_unknown = check_choice("on_unknown_type", on_unknown_type, ACTIONS)
        self._told: set[tuple[str, str, type]] = set()

    def __call__(self, stream_name: str, name: str, error: MissingVariableError | VariableTypeError) -> None:
        """Deal with an error.

        Raises:
            MissingVariableError: The error, if that is the user's choice.
            VariableTypeError: Likewise.
        """
        action = self._on_missing if isinstance(error, MissingVariableError) else self._on_unknown
        key = (stream_name, name, type(error))
        if action == "error":
            raise error
        if action == "warn" and key not in self._told:
            self._told.add(key)
            _LOGGER.warning("%s: %s", self._who, error)
