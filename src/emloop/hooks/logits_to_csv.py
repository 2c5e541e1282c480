"""Write a vector per example, such as class probabilities, as a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from emloop.declare import File, Names, Variable
from emloop.errors import BatchError, ConfigError

from ._text.records import CsvRecords
from ._variables.values import sequence_lengths

__all__ = ["LogitsToCsv"]


class LogitsToCsv(CsvRecords):
    """Write a row per example: its id and one value for every class.

    .. code-block:: yaml

        hooks:
          - LogitsToCsv:
              variable: probabilities
              class_names: [cat, dog, horse]
              id_variable: ids
              output_file: probabilities.csv

    The file has the last finished epoch's examples, in the order in which they came.

    Args:
        variable: Name of the variable, ``[B, classes]``.
        class_names: Names of the classes, a column each.
        id_variable: Name of the variable that identifies the examples, the first column.
        output_file: The file; a relative path starts in the run directory.
        streams: Names of the streams that are written; all by default.
        output_dir: The run directory.
        escape_formulas: Whether text that begins with ``=``, ``+``, ``-`` or ``@`` gets a leading ``'``, for opening
            untrusted text in a spreadsheet; programs then read other texts than there were.
    """

    reads = (Variable("{id_variable}", stream="{streams}"), Variable("{variable}", stream="{streams}"))
    writes = (File("{output_file}"),)

    def __init__(
        self,
        variable: str,
        class_names: Iterable[str],
        id_variable: str,
        output_file: str,
        streams: Names | None = None,
        *,
        output_dir: str | None = None,
        escape_formulas: bool = False,
    ) -> None:
        if isinstance(class_names, str) or not isinstance(class_names, Iterable):
            raise ConfigError.about("class_names", f"expected a list of names, got {class_names!r}")
        columns = [id_variable, *class_names]
        if len(columns) == 1:
            raise ConfigError.about("class_names", "expected at least one name, got none")
        super().__init__(
            [id_variable, variable], columns, output_file, output_dir, streams, escape_formulas=escape_formulas
        )

    def _check(self, batch: Sequence[Any]) -> None:
        name, classes = self._gathered[1], len(self._columns) - 1
        for index, length in enumerate(sequence_lengths(name, batch[1])):
            if length != classes:
                raise BatchError(
                    f"variable {name!r}: example {index} has {length} values, but class_names has {classes} names"
                )

    def _rows(self, examples: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        return ((example_id, *values) for example_id, values in examples)
