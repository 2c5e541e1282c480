"""Write sequences, such as a label for every word of a sentence, as a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from emloop.declare import File, Names, Variable
from emloop.errors import BatchError

from ._checks.arguments import name_list
from ._text.records import CsvRecords
from ._variables.values import sequence_lengths

__all__ = ["SequenceToCsv"]


class SequenceToCsv(CsvRecords):
    """Write a row per position of every example's sequence.

    .. code-block:: yaml

        hooks:
          - SequenceToCsv:
              variables: [words, tags]
              id_variable: ids
              output_file: tags.csv
              pad_mask_variable: mask

    Columns are the id, ``index`` (the position, counted with the masked ones) and the variables. A vector at a
    position, such as a probability for every tag, is one cell: a list as JSON writes it. The file has the last finished
    epoch's examples, in the order in which they came.

    Args:
        variables: Names of the variables, a column each, ``[B, T]`` or ``[B, T, …]``; for an example all have the same
            length ``T``.
        id_variable: Name of the variable that identifies the examples, one value each.
        output_file: The file; a relative path starts in the run directory.
        pad_mask_variable: Name of the variable that is false at positions to leave out.
        streams: Names of the streams that are written; all by default.
        output_dir: The run directory.
        escape_formulas: Whether text that begins with ``=``, ``+``, ``-`` or ``@`` gets a leading ``'``, for opening
            untrusted text in a spreadsheet; programs then read other texts than there were.
    """

    reads = (
        Variable("{id_variable}", stream="{streams}"),
        Variable("{variables}", stream="{streams}"),
        Variable("{pad_mask_variable}", stream="{streams}"),
    )
    writes = (File("{output_file}"),)

    def __init__(
        self,
        variables: Names,
        id_variable: str,
        output_file: str,
        pad_mask_variable: str | None = None,
        streams: Names | None = None,
        *,
        output_dir: str | None = None,
        escape_formulas: bool = False,
    ) -> None:
        names = name_list("variables", variables, may_be_empty=False)
        self._masked = pad_mask_variable is not None
        mask = [] if pad_mask_variable is None else [pad_mask_variable]
        super().__init__(
            [id_variable, *names, *mask],
            [id_variable, "index", *names],
            output_file,
            output_dir,
            streams,
            escape_formulas=escape_formulas,
        )

    def _check(self, batch: Sequence[Any]) -> None:
        names = self._gathered[1:]
        lengths = [
            sequence_lengths(name, values, of_singles=self._masked and index == len(names) - 1)
            for index, (name, values) in enumerate(zip(names, batch[1:], strict=True))
        ]
        for index, of_example in enumerate(zip(*lengths, strict=True)):
            if len(set(of_example)) > 1:
                found = ", ".join(f"{length} in {name!r}" for name, length in zip(names, of_example, strict=True))
                raise BatchError(f"example {index} has a different number of positions in each variable: {found}")

    def _rows(self, examples: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        for example_id, *sequences in examples:
            mask = sequences.pop() if self._masked else None
            for index, values in enumerate(zip(*sequences, strict=True)):
                if mask is None or mask[index]:
                    yield example_id, index, *values
