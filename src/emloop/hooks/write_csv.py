"""Write the epoch's data into a table, a row per epoch.

The first epoch decides on the columns for good: a resumed run goes on below the rows that are there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from emloop._contracts import SAFE, AbstractHook, ResumeChanges
from emloop._run_dir.append import AppendFile, open_append
from emloop._state.kinds import check_state
from emloop._support.suggest import pick
from emloop.declare import File, Limits, Names, Scalar
from emloop.errors import ConfigError, HookError, MissingVariableError, VariableTypeError
from emloop.types import EpochData, StateTree

from ._checks.arguments import optional_name_list, output_path
from ._text.cells import cell
from ._variables.epochs import as_scalar, read_value

__all__ = ["WriteCSV"]

_LOGGER = logging.getLogger(__name__)

_Action: TypeAlias = Literal["error", "warn", "default", "ignore"]

# ``ignore`` is what other hooks call it.
_ACTIONS = {"error": "error", "warn": "warn", "default": "default", "ignore": "default"}


class WriteCSV(AbstractHook):
    """Write numbers and texts of the epoch's data to a CSV file, a row per epoch and a column per stream and variable.

    .. code-block:: yaml

        hooks:
          - ComputeStats: {variables: [loss, accuracy]}
          - WriteCSV

    Of a variable with several aggregations, the ``mean`` is written, or else the ``nanmean``. A mapping without either,
    such as a figure for every class, has a column for every key: ``valid_f1_cat``.

    Args:
        output_dir: The run directory.
        output_file: The file, relative to ``output_dir``.
        delimiter: What separates columns; no quote and no line break.
        default_value: What stands for a value that is missing, or neither number nor text.
        variables: Names of the variables; by default those of the first epoch's first stream.
        on_unknown_type: What to do with a value that is neither number nor text: ``error``, ``warn`` or ``default``.
        on_missing_variable: What to do if a stream or variable is missing: ``error``, ``warn`` or ``default``.
        escape_formulas: Whether text that begins with ``=``, ``+``, ``-`` or ``@`` gets a leading ``'``, for opening
            untrusted text in a spreadsheet; programs then read other texts than there were.
    """

    reads = (Scalar("{variables}", when=("on_missing_variable", "error")),)
    writes = (File("{output_file}"),)

    resume_changes: ClassVar[ResumeChanges] = {
        "output_file": "the rows so far stay in the old file",
        "delimiter": "the rows so far keep the old one",
        "variables": "the table keeps its columns",
        "*": SAFE,
    }

    UNKNOWN_TYPE_ACTIONS: ClassVar[list[str]] = ["error", "warn", "default"]
    MISSING_VARIABLE_ACTIONS: ClassVar[list[str]] = ["error", "warn", "default"]

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        output_file: str = "training.csv",
        delimiter: Annotated[str, Limits(pattern=r'[^"\r\n]+', words="no quote and no line break")] = ",",
        default_value: Any = "",
        variables: Names | None = None,
        on_unknown_type: _Action = "default",
        on_missing_variable: _Action = "error",
        *,
        escape_formulas: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(delimiter, str) or not delimiter or set(delimiter) & set('"\r\n'):
            raise ConfigError.about(
                "delimiter", f"expected a character that is no quote and no line break, got {delimiter!r}"
            )
        self._path = output_path("output_file", output_file, output_dir)
        self._delimiter = delimiter
        self._default_value = str(default_value)
        self._variables = optional_name_list("variables", variables)
        self._takes_all = variables is None
        self._on_unknown_type = pick("on_unknown_type", on_unknown_type, _ACTIONS)
        self._on_missing_variable = pick("on_missing_variable", on_missing_variable, _ACTIONS)
        self._escape_formulas = escape_formulas
        self._streams: list[str] | None = None
        self._keys: dict[str, list[str]] = {}
        self._file: AppendFile | None = None
        self._has_header = False
        self._left_out: set[str] = set()

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Add the epoch's row, and the header if there is none yet.

        Raises:
            MissingVariableError: If a stream or variable of the table is missing and that is an error.
            VariableTypeError: If a value is neither number nor text and that is an error.
            HookError: If there is a file with other columns.
            RunDirError: If the file cannot be written.
        """
        if not epoch_data:
            return
        if not self._has_header:
            self._write_header(epoch_data)
        self._write_row(epoch_id, epoch_data)

    def after_training(self, success: bool) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_header(self, epoch_data: EpochData) -> None:
        names = (self._quoted("_".join(column)) for column in self._columns(epoch_data))
        header = self._delimiter.join(['"epoch_id"', *names]) + "\n"
        file = self._opened()
        if file.position == 0:
            file.write(header)
        with self._path.open(encoding="utf-8", errors="backslashreplace", newline="") as existing:
            found = existing.read(len(header))
        if found != header:
            raise HookError(
                f"{self._path} is there already, with other columns than this training has: "
                f"expected {header!r}, found {found!r}; move it out of the way"
            )
        self._has_header = True

    def _write_row(self, epoch_id: int, epoch_data: EpochData) -> None:
        columns = self._columns(epoch_data)
        cells = [self._cell(epoch_data, *column) for column in columns]
        self._name_left_out(epoch_data)
        self._opened().write(self._delimiter.join([str(epoch_id), *map(self._quoted, cells)]) + "\n")

    def _opened(self) -> AppendFile:
        # Closing makes rows durable, a price not to be paid in every epoch.
        self._file = self._file or open_append(self._path)
        return self._file

    def _columns(self, epoch_data: EpochData) -> list[tuple[str, ...]]:
        """Stream, variable and key, if any, of every column; those of this epoch, if it is the first one."""
        if self._streams is None:
            self._streams = list(epoch_data)
            if self._variables is None:
                self._variables = list(epoch_data[self._streams[0]])
            self._keys = _keys_of(epoch_data, self._variables)
        return [
            (stream, variable, *key)
            for stream in self._streams
            for variable in self._variables or ()
            for key in ([[key] for key in self._keys.get(variable, ())] or [[]])
        ]

    def _cell(self, epoch_data: EpochData, stream: str, variable: str, key: str | None = None) -> str:
        try:
            value = read_value(epoch_data, stream, variable)
        except MissingVariableError as error:
            return self._default(self._on_missing_variable, error)
        if key is not None:
            # A class need not occur in every epoch.
            values = {str(name): of_key for name, of_key in value.items()} if isinstance(value, Mapping) else {}
            if key not in values:
                return self._default_value
            value = values[key]
        elif isinstance(value, Mapping):
            value = value.get("mean", value.get("nanmean"))
        scalar = as_scalar(value)
        if scalar is not None:
            return str(cell(scalar, escape_formulas=self._escape_formulas))
        message = f"stream {stream!r}: variable {variable!r}: expected a number or a text, got {type(value).__name__}"
        return self._default(self._on_unknown_type, VariableTypeError(message))

    def _default(self, action: str, error: Exception) -> str:
        if action == "error":
            raise error
        if action == "warn":
            _LOGGER.warning("%s: %s", self._path.name, error)
        return self._default_value

    def _quoted(self, cell: str) -> str:
        if self._delimiter in cell or not set('"\r\n').isdisjoint(cell):
            doubled = cell.replace('"', '""')
            return f'"{doubled}"'
        return cell

    def _name_left_out(self, epoch_data: EpochData) -> None:
        """Warn, once each, of what comes too late for a column of its own."""
        streams, variables = self._streams or (), self._variables or ()
        late = dict.fromkeys([f"stream {stream!r}" for stream in epoch_data if stream not in streams], "")
        for variable, keys in _keys_of(epoch_data, self._keys).items():
            late |= {f"{key!r} of variable {variable!r}": "" for key in keys if key not in self._keys[variable]}
        if self._takes_all:
            there = [(stream, variable) for stream in streams for variable in epoch_data.get(stream, ())]
            every = ", ".join(dict.fromkeys([*variables, *(variable for _, variable in there)]))
            cure = f"; for a column from the start: variables: [{every}], on_missing_variable: default"
            late |= {f"variable {name!r} of stream {stream!r}": cure for stream, name in there if name not in variables}
        for name in [name for name in late if name not in self._left_out]:
            message = "%s: %s is left out; the first epoch decided on the columns%s"
            _LOGGER.warning(message, self._path.name, name, late[name])
        self._left_out.update(late)

    def state_dict(self) -> StateTree:
        """The columns, ``None`` before the first epoch."""
        variables = None if self._streams is None else self._variables
        return {"streams": self._streams, "variables": variables, "keys": self._keys}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on with another attempt's table; its columns stay, even if others are configured now."""
        columns, keys = [str, ...], {str: [str, ...]}
        before = {"streams": None, "variables": None, "keys": keys}
        check_state(self, state, (before, {"streams": columns, "variables": columns, "keys": keys}))
        self._has_header = False
        self._streams, self._keys = state["streams"], state["keys"]
        if self._streams is None:
            return
        if not self._takes_all and self._variables != state["variables"]:
            _LOGGER.warning("%s keeps its columns: %s", self._path.name, ", ".join(state["variables"]))
        self._variables = state["variables"]


def _keys_of(epoch_data: EpochData, variables: Iterable[str]) -> dict[str, list[str]]:
    """Keys of the variables that are mappings to numbers or texts, other than of a mean."""
    found: dict[str, list[str]] = {}
    for variable in variables:
        of_streams = [values[variable] for values in epoch_data.values() if isinstance(values.get(variable), Mapping)]
        scalars = [value for value in of_streams if all(as_scalar(item) is not None for item in value.values())]
        keys = dict.fromkeys(str(key) for value in scalars for key in value)
        if keys and keys.keys().isdisjoint(("mean", "nanmean")):
            found[variable] = list(keys)
    return found
