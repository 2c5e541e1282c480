"""Write single values per example, such as labels and predictions, as a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from emloop.declare import File, Names, Variable

from ._checks.arguments import name_list
from ._text.records import CsvRecords
from ._variables.values import check_single_values

__all__ = ["PredictionsToCsv"]


class PredictionsToCsv(CsvRecords):
    """Write a row per example: its id and its variables.

    .. code-block:: yaml

        hooks:
          - PredictionsToCsv:
              variables: [labels, predictions]
              id_variable: ids
              streams: [test]

    The file has the last finished epoch's examples, in the order in which they came. For a vector per example see
    :class:`LogitsToCsv`, for a sequence :class:`SequenceToCsv`.

    Args:
        variables: Names of the variables, a column each; one value per example.
        id_variable: Name of the variable that identifies the examples, the first column.
        output_file: The file; a relative path starts in the run directory.
        streams: Names of the streams that are written; all by default.
        output_dir: The run directory.
        escape_formulas: Whether text that begins with ``=``, ``+``, ``-`` or ``@`` gets a leading ``'``, for opening
            untrusted text in a spreadsheet; programs then read other texts than there were.
    """

    reads = (Variable("{id_variable}", stream="{streams}"), Variable("{variables}", stream="{streams}"))
    writes = (File("{output_file}"),)

    def __init__(
        self,
        variables: Names,
        id_variable: str,
        output_file: str = "predictions.csv",
        streams: Names | None = None,
        *,
        output_dir: str | None = None,
        escape_formulas: bool = False,
    ) -> None:
        columns = [id_variable, *name_list("variables", variables, may_be_empty=False)]
        super().__init__(columns, columns, output_file, output_dir, streams, escape_formulas=escape_formulas)

    def _check(self, batch: Sequence[Any]) -> None:
        for name, values in zip(self._gathered, batch, strict=True):
            check_single_values(name, values)

    def _rows(self, examples: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        return iter(examples)
