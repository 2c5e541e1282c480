"""Draw variables of single examples as lines."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emloop._contracts import AbstractHook
from emloop._state.kinds import check_state
from emloop.declare import Count, Names, Variable
from emloop.errors import BatchError, VariableTypeError
from emloop.types import Batch, EpochData, StateTree

from ._checks.arguments import at_least, extra_module, name_list, optional_name_list, output_path
from ._figures.figures import check_image_format, new_figure, write_figure
from ._variables.batches import read_variable
from ._variables.values import check_same_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PlotLines"]


class PlotLines(AbstractHook):
    """Draw a figure per example, with a line for every variable.

    .. code-block:: yaml

        hooks:
          - PlotLines:
              variables: [prediction, target]
              streams: [valid]
              example_count: 4
              batch_count: 1

    Writes ``<root_dir>/epoch_<epoch>/<stream>/<id>_batch_<number>_plot-<variables>.<out_format>`` to the run directory;
    batches are counted from 1, ``-vs-`` separates variables. Limit the number of figures: each takes some hundredths of
    a second.

    Args:
        output_dir: The run directory.
        variables: Names of the variables: a number, or a sequence of numbers, for every example.
        streams: Names of the streams whose examples are drawn; all by default.
        id_variable: Name of the variable that identifies the examples.
        pad_mask_variable: Name of the variable that is false at positions to leave out.
        out_format: Format of the files, e.g. ``png``, ``svg`` or ``pdf``.
        ymin: Lower end of the y axis; by default what the values need.
        ymax: Upper end of the y axis.
        example_count: Number of examples to draw of a batch; all by default.
        batch_count: Number of batches to draw of a stream in an epoch; all by default.
        root_dir: Folder for the figures; a relative path starts in the run directory.

    Raises:
        MissingExtraError: If Matplotlib is not installed.
    """

    reads = (
        Variable("{variables}", stream="{streams}"),
        Variable("{id_variable}", stream="{streams}"),
        Variable("{pad_mask_variable}", stream="{streams}"),
    )
    writes = ()

    def __init__(
        self,
        output_dir: str,
        variables: Names,
        streams: Names | None = None,
        id_variable: str = "ids",
        pad_mask_variable: str | None = None,
        out_format: str = "png",
        ymin: float | None = None,
        ymax: float | None = None,
        example_count: Count | None = None,
        batch_count: Count | None = None,
        root_dir: str = "visual",
    ) -> None:
        super().__init__()
        extra_module("matplotlib", extra="plots", who="PlotLines")
        self._variables = name_list("variables", variables, may_be_empty=False)
        self._root = output_path("root_dir", root_dir, output_dir)
        self._streams = optional_name_list("streams", streams)
        self._id_variable = id_variable
        self._mask_variable = pad_mask_variable
        self._out_format = check_image_format("out_format", out_format)
        self._ymin = ymin
        self._ymax = ymax
        self._example_count = None if example_count is None else at_least("example_count", 0, example_count)
        self._batch_count = None if batch_count is None else at_least("batch_count", 0, batch_count)
        self._batch_done: Counter[str] = Counter()
        self._current_epoch_id: int | str = "_"
        self._epoch_has_begun = False

    @property
    def figure_suffix(self) -> str:
        """What the files' names say about their content."""
        return "-vs-".join(self._variables)

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Draw the batch's examples, up to the number asked for.

        Raises:
            MissingVariableError: If the batch lacks a variable.
            VariableTypeError: If a variable does not hold numbers for every example.
            BatchError: If variables do not fit each other.
        """
        if not self._epoch_has_begun and self._main_loop is not None:
            self._current_epoch_id = self._main_loop.training_epochs_done + self._main_loop.is_training
        self._epoch_has_begun = True
        if self._streams is not None and stream_name not in self._streams:
            return
        names = [self._id_variable, *self._variables, *([self._mask_variable] if self._mask_variable else [])]
        values = {name: read_variable(batch_data, stream_name, name) for name in names}
        check_same_count(stream_name, values)
        self._batch_done[stream_name] += 1
        if self._batch_count is not None and self._batch_done[stream_name] > self._batch_count:
            return
        # One transfer from the device per variable, not one per example.
        for name, value in values.items():
            values[name] = np.asarray(value) if hasattr(value, "__array__") else value
        folder = self._root / f"epoch_{self._current_epoch_id}" / stream_name
        for index, example_id in enumerate(values[self._id_variable][: self._example_count]):
            name = f"{example_id}_batch_{self._batch_done[stream_name]}_plot-{self.figure_suffix}.{self._out_format}"
            write_figure(self.plot_figure(index, values), folder / name.replace(os.sep, "___"))

    def plot_figure(self, idx: int, batch_data: Batch) -> Figure:
        """Draw one example of a batch.

        Args:
            idx: Index of the example.
            batch_data: The batch.

        Raises:
            VariableTypeError: If a variable does not hold numbers.
            BatchError: If the mask does not fit a variable.
        """
        figure = new_figure()
        axes = figure.subplots()
        for name in self._variables:
            values = self._unmasked(name, idx, batch_data)
            labels = [name] if values.ndim == 1 else [f"{name}[{column}]" for column in range(values.shape[1])]
            # A single value is no line.
            axes.plot(values, label=labels, marker="o" if len(values) == 1 else None)
        axes.set_ylim(self._ymin, self._ymax)
        for text in axes.legend().get_texts():
            text.set_parse_math(False)
        return figure

    def _unmasked(self, name: str, idx: int, batch_data: Batch) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = np.atleast_1d(np.asarray(batch_data[name][idx]))
        if values.dtype.kind not in "biuf" or values.ndim > 2:
            raise VariableTypeError(
                f"variable {name!r}: expected a number or a sequence of numbers per example, "
                f"got {batch_data[name][idx]!r:.80} as example {idx}"
            )
        if self._mask_variable is None:
            return values
        mask = np.asarray(batch_data[self._mask_variable][idx], dtype=bool)
        if mask.shape not in ((), values.shape[:1]):
            raise BatchError(
                f"example {idx} has {len(values)} positions in {name!r}, "
                f"but its mask {self._mask_variable!r} has the shape {mask.shape}"
            )
        return np.compress(np.broadcast_to(mask, values.shape[:1]), values, axis=0)

    def after_epoch(self, epoch_id: int, epoch_data: EpochData | None = None) -> None:
        """Count the next epoch's batches from 1."""
        self._batch_done.clear()
        self._current_epoch_id = epoch_id + 1
        self._epoch_has_begun = False

    def state_dict(self) -> StateTree:
        """How many batches of the unfinished epoch were seen, by stream, and which epoch it is."""
        return {
            "batch_done": dict(self._batch_done),
            "current_epoch_id": self._current_epoch_id,
            "epoch_has_begun": self._epoch_has_begun,
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on counting where an equal hook stopped.

        Raises:
            StateError: If the state is not one of this class.
        """
        kind = {"batch_done": {str: int}, "current_epoch_id": (int, str), "epoch_has_begun": bool}
        check_state(self, state, kind)
        self._batch_done = Counter(state["batch_done"])
        self._current_epoch_id = state["current_epoch_id"]
        self._epoch_has_begun = state["epoch_has_begun"]
