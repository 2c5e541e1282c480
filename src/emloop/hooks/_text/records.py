"""An epoch's examples, written as one CSV file at its end: the base of the hooks that write predictions.

Examples are kept as they came, as arrays where possible; rows are made only when somebody looks. ``B`` is the number of
examples in a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from emloop._contracts import AbstractHook
from emloop._state.kinds import check_state
from emloop._support.files import atomic_write
from emloop.errors import BatchError, ConfigError, StateError, VariableTypeError
from emloop.types import Batch, EpochData, StateTree

from .._checks.arguments import optional_name_list, output_path
from .._variables.batches import read_variable
from .._variables.examples import Examples
from .._variables.values import check_same_count, check_single_values, storable_values
from .cells import csv_text


class CsvRecords(AbstractHook, ABC):
    """Gather variables of an epoch's examples and write them as a CSV file; to be extended.

    Every epoch's file replaces the one before; an epoch without rows leaves it as it is. An evaluation of several
    streams, which the main loop runs as an epoch each, fills one file.

    Args:
        gathered: Names of the variables that rows are made of, the id variable first.
        columns: The file's header.
        output_file: The file; a relative path starts in ``output_dir``, and stays there.
        output_dir: The run directory; without one, relative paths start in the working directory.
        streams: Names of the streams whose batches are gathered; all by default.
        escape_formulas: Whether text that a spreadsheet would run as a formula gets a leading apostrophe.
    """

    def __init__(
        self,
        gathered: list[str],
        columns: list[str],
        output_file: str,
        output_dir: str | None,
        streams: Any,
        *,
        escape_formulas: bool,
    ) -> None:
        super().__init__()
        self._gathered = gathered
        self._columns = columns
        repeated = dict.fromkeys(name for name in self._columns if self._columns.count(name) > 1)
        if repeated:
            raise ConfigError(f"{type(self).__name__}: more than one column is called {', '.join(map(repr, repeated))}")
        self._streams = optional_name_list("streams", streams)
        self._path = output_path("output_file", output_file, output_dir)
        self._escape_formulas = escape_formulas
        self._forget()

    @abstractmethod
    def _check(self, batch: Sequence[Any]) -> None:
        """Check that rows can be made of a batch.

        Args:
            batch: For every gathered variable its ``B`` values; the ids are checked already.

        Raises:
            VariableTypeError: If values are not of the kind that the rows need.
            BatchError: If variables do not fit each other.
        """

    @abstractmethod
    def _rows(self, examples: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        """Make rows, their cells in the order of the columns.

        Args:
            examples: For every example the values of the gathered variables.
        """

    def _forget(self) -> None:
        self._examples = [Examples() for _ in self._gathered]
        self._seen_streams: set[str] = set()
        self._epoch_is_over = False

    def _all_rows(self) -> Iterator[Sequence[Any]]:
        return self._rows(zip(*self._examples, strict=True))

    @property
    def _accumulator(self) -> list[dict[str, Any]]:
        """The epoch's rows, each as a mapping of column to cell; there until the next epoch's first batch."""
        return [dict(zip(self._columns, row, strict=True)) for row in self._all_rows()]

    def before_training(self) -> None:
        """Begin anew, unless an unfinished epoch was loaded."""
        if self._epoch_is_over:
            self._forget()

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Take the batch's examples.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            VariableTypeError: If values are not of the kind that the rows need.
            BatchError: If variables do not fit each other.
        """
        # The next stream of an evaluation belongs to the file of the one before.
        evaluates = self._main_loop is not None and not self._main_loop.is_training
        if self._epoch_is_over and not (evaluates and stream_name not in self._seen_streams):
            self._forget()
        if self._streams is not None and stream_name not in self._streams:
            return
        values = [read_variable(batch_data, stream_name, name) for name in self._gathered]
        check_same_count(stream_name, dict(zip(self._gathered, values, strict=True)))
        batch = [storable_values(of_name) for of_name in values]
        try:
            check_single_values(self._gathered[0], batch[0])
            self._check(batch)
        except (BatchError, VariableTypeError) as error:
            raise type(error)(f"stream {stream_name!r}: {error}") from error
        for examples, of_batch in zip(self._examples, batch, strict=True):
            examples.add(of_batch)
        self._seen_streams.add(stream_name)
        self._epoch_is_over = False

    def after_epoch(self, epoch_id: int = 0, epoch_data: EpochData | None = None) -> None:
        """Write the epoch's rows, if it had any."""
        if not self._epoch_is_over and next(self._all_rows(), None) is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            text = csv_text(chain([self._columns], self._all_rows()), escape_formulas=self._escape_formulas)
            atomic_write(self._path, text.encode("utf-8", "backslashreplace"))
        self._epoch_is_over = True

    def state_dict(self) -> StateTree:
        """The examples of the unfinished epoch, ``None`` if there are none."""
        if self._epoch_is_over or not len(self._examples[0]):
            return {"unwritten": None}
        states = [examples.state() for examples in self._examples]
        return {"unwritten": {"variables": self._gathered, "columns": self._columns, "examples": states}}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on gathering where an equal hook stopped.

        Raises:
            StateError: If the state has examples of other variables, or for other columns.
        """
        names = [str, ...]
        kind = {"variables": names, "columns": names, "examples": [object] * len(self._gathered)}
        unwritten = check_state(self, state, {"unwritten": (kind, None)})["unwritten"]
        self._forget()
        if unwritten is None:
            return
        for what, mine in (("variables", self._gathered), ("columns", self._columns)):
            if unwritten[what] != mine:
                raise StateError(
                    f"{type(self).__name__}: the state has the {what} {', '.join(map(repr, unwritten[what]))}; "
                    f"the hook has {', '.join(map(repr, mine))}"
                )
        for examples, of_state in zip(self._examples, unwritten["examples"], strict=True):
            examples.load(of_state)
        try:
            check_same_count("of the state", dict(zip(self._gathered, self._examples, strict=True)))
            check_single_values(self._gathered[0], self._examples[0])
            self._check(self._examples)
        except (BatchError, VariableTypeError) as error:
            raise StateError(f"{type(self).__name__}: the state does not fit; {error}") from error
