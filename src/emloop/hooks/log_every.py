"""Note running means of the training inside its epochs, where one line an epoch shows too little."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from emloop._contracts import SAFE, AbstractHook, ResumeChanges
from emloop._state.kinds import check_state
from emloop._support.intervals import Rhythm, parse_interval
from emloop.declare import Every, File, Names, Variable
from emloop.types import Batch, EpochData, StateTree

from ._checks.arguments import name_list
from ._statistics.columns import Column
from ._statistics.weights import WeightedColumn
from ._variables.gathering import Gathering

__all__ = ["LogEvery"]


class LogEvery(AbstractHook):
    """Note the means of variables over the training batches since the last note, every so many batches.

    .. code-block:: yaml

        hooks:
          - LogEvery: {every: 100ba, variables: [loss, accuracy]}

    A note is a line of ``steps.jsonl`` in the run directory, and a point under ``steps/`` where ``WriteTensorBoard``
    is in the list; its place is the number of training batches so far. An interval that an epoch does not fill goes on
    in the next one, so that every mean is over as much. Means are weighted as the model says, as in ``ComputeStats``.
    An interval of time is the only one that notes other batches when a run is repeated.

    Args:
        every: Interval between two notes: ``100ba`` (batches), ``1000sa`` (samples), ``1ep``, ``30s``.
        variables: Names of the variables.
        clock: Seconds since some moment, never going back.
    """

    reads = (Variable("{variables}"),)
    writes = (File("steps.jsonl"),)
    resume_changes: ClassVar[ResumeChanges] = {"every": SAFE, "*": "counts from the next note on"}

    def __init__(
        self, every: Every, variables: Names = ("loss",), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._rhythm = Rhythm(parse_interval(every, argument="every"), clock)
        self._means: Gathering[Column | WeightedColumn] = Gathering(
            name_list("variables", variables),
            lambda _: Column(["mean"]),
            weights=self._weights,
            make_weighted=lambda _: WeightedColumn(["mean"]),
        )

    def _weights(self) -> Mapping[str, str]:
        return {} if self._main_loop is None else self._main_loop.weights

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Take the batch's values if it trains the model; make a note if it is time.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            VariableTypeError: If a variable does not hold numbers for every example.
        """
        if self._main_loop is not None and self._main_loop.is_training:
            self._means.add(stream_name, batch_data)
            self._rhythm.count("batches")
            self._rhythm.count("samples", len(next(iter(batch_data.values()))))
            if self._rhythm.is_over:
                self._note()

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Make a note if enough epochs were trained since the last one."""
        self._rhythm.count("epochs", any(stream in self._means.gathered for stream in epoch_data))
        if self._rhythm.unit == "epochs" and self._rhythm.is_over:
            self._note()

    def _note(self) -> None:
        noted: EpochData = {
            stream: {name: {"mean": column.results()["mean"]} for name, column in columns.items()}
            for stream, columns in self._means.gathered.items()
        }
        self._means.forget()
        self._rhythm.begin()
        if self._main_loop is not None:
            self._main_loop.note(noted)

    def state_dict(self) -> StateTree:
        """The unfinished means, and what was counted since the last note."""
        return {"means": self._means.state(), "counted": dict(self._rhythm.state())}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on gathering where another attempt stopped."""
        check_state(self, state, {"means": object, "counted": {str: float}})
        self._means.load(state["means"])
        self._rhythm.load(state["counted"])
