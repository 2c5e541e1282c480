"""Show a training in TensorBoard: curves, histograms and pictures.

Every stream is a run of TensorBoard's, with a folder and a file of its own and the same tags as the others, so that
training and validation lie over each other in one chart. The files mirror the training: what cannot be written is
missing there, and the training goes on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from emloop._contracts import SAFE, AbstractHook, AbstractModel, Inspectable, ResumeChanges
from emloop._state.kinds import check_state
from emloop.constants import EL_DEFAULT_TRAIN_STREAM
from emloop.declare import File, Names, Positive, Scalar, Variable
from emloop.errors import ConfigError, MissingVariableError, Problem, VariableTypeError
from emloop.types import Batch, EpochData, StateTree

from ._checks.arguments import at_least, extra_module, name_list, optional_name_list
from ._checks.tolerance import ACTIONS, Action, Tolerance
from ._figures.pictures import FirstPictures, as_pixels
from ._statistics.histograms import HistogramColumn
from ._tensorboard.events import EVENT_MODULE, EventFile, Shown
from ._variables.batches import located
from ._variables.epochs import as_real, missing_from_epoch, read_value
from ._variables.gathering import Gathering

__all__ = ["WriteTensorBoard"]

_LOGGER = logging.getLogger(__name__)

_FOLDER = "tensorboard"
_MEANS = ("mean", "nanmean")


class WriteTensorBoard(AbstractHook):
    """Write what TensorBoard shows: a curve for every number of the epoch's data, histograms and pictures.

    .. code-block:: yaml

        hooks:
          - ComputeStats: {variables: [loss, {accuracy: [mean, std]}]}
          - WriteTensorBoard:
              histogram_variables: [predictions]

    ``tensorboard --logdir log`` shows all runs. Every stream is a run of TensorBoard's, ``tensorboard/train``,
    ``tensorboard/valid``, with the same tags, so that their curves lie in one chart: ``loss`` is the value, its
    ``mean`` or else its ``nanmean``; ``loss/std`` and the like are the other aggregations, ``loss/histogram`` is the
    histogram. The step is the number of the epoch, 0 in an evaluation, which writes into its own run directory. What is
    noted inside epochs, by ``LogEvery`` or an evaluation there, is ``steps/loss``; its step is the number of training
    batches.

    A resumed run goes on with the files as if it had never stopped. A failure to write costs a warning and what was to
    be written, never the training.

    Args:
        output_dir: The run directory.
        model: The model, which knows the ``model_variables``.
        variables: Names of the variables with curves; by default all there are.
        streams: Names of the streams; all others are ignored. By default every stream must have the variables.
        histogram_variables: Names of variables with a histogram of all finite values of an epoch, in at most 64 buckets
            of equal width. Memory does not grow with the epoch.
        image_variables: Names of variables with pictures ``[H, W]`` or ``[H, W, C]``; 3 channels are red, green and
            blue, 4 have opacity, 1 is grey. They come from a hook that leaves one, or several as ``[N, H, W, C]``, in
            the epoch's data (such as ``SaveConfusionMatrix`` with ``figure_action: store``), otherwise from the first
            examples of every epoch. Bytes stay as they are; other numbers are stretched, from the picture's smallest
            (black) to its largest (white).
        max_images: Number of pictures shown of a variable.
        model_variables: Names of numbers of the model, such as ``learning_rate``, shown with the training stream after
            every epoch but the zeroth.
        flush_secs: Has no effect: every epoch is visible as soon as it is over.
        visualize_graph: Must be false: backends have no common graph.
        on_unknown_type: What to do with a value that is not a number or not a picture: ``error``, ``warn`` (once) or
            ``ignore``.
        on_missing_variable: What to do if a listed variable is missing: ``error``, ``warn`` (once) or ``ignore``.

    Raises:
        MissingExtraError: If TensorBoard is not installed.
    """

    reads = (
        Scalar("{variables}", stream="{streams}", when=("on_missing_variable", "error")),
        Variable("{histogram_variables}", stream="{streams}", when=("on_missing_variable", "error")),
    )
    writes = (File("tensorboard/<stream>/events.out.tfevents.emloop", stream="{streams}"),)

    resume_changes: ClassVar[ResumeChanges] = {
        "on_unknown_type": SAFE,
        "on_missing_variable": SAFE,
        "flush_secs": SAFE,
        "*": "counts from here on; start a TensorBoard that is watching anew",
    }

    UNKNOWN_TYPE_ACTIONS: ClassVar[list[str]] = ACTIONS
    MISSING_VARIABLE_ACTIONS: ClassVar[list[str]] = ACTIONS

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        model: AbstractModel | None = None,
        variables: Names | None = None,
        *,
        streams: Names | None = None,
        histogram_variables: Names = (),
        image_variables: Names = (),
        max_images: Positive = 4,
        model_variables: Names = (),
        flush_secs: float | None = None,
        visualize_graph: bool = False,
        on_unknown_type: Action = "warn",
        on_missing_variable: Action = "error",
    ) -> None:
        super().__init__()
        extra_module(EVENT_MODULE, extra="tensorboard", who="WriteTensorBoard")
        if visualize_graph:
            message = "visualize_graph: there is no graph that all backends have, so none is drawn"
            hint = "leave it out; a viewer such as Netron shows the program of a saved model"
            raise ConfigError(Problem(message, hints=(hint,)))
        self._folder = Path(output_dir, _FOLDER)
        self._variables = optional_name_list("variables", variables)
        self._streams = optional_name_list("streams", streams)
        self._image_variables = name_list("image_variables", image_variables)
        if self._image_variables:
            extra_module("PIL.Image", extra="tensorboard", who="WriteTensorBoard")
        self._max_images = at_least("max_images", 1, max_images)
        self._model: Any = model
        self._model_variables = name_list("model_variables", model_variables)
        if self._model_variables and not isinstance(model, Inspectable):
            raise ConfigError.about(
                "model_variables", f"{type(model).__name__} has no get_variable that could be asked"
            )
        self._tolerate = Tolerance(
            "WriteTensorBoard", on_missing_variable=on_missing_variable, on_unknown_type=on_unknown_type
        )
        histograms = name_list("histogram_variables", histogram_variables)
        self._histograms = Gathering(histograms, lambda _: HistogramColumn(), self._tolerate)
        # Pictures may be in the epoch's data instead.
        self._pictures = Gathering(
            self._image_variables, lambda _: FirstPictures(max_images), self._tolerate, required=False
        )
        self.idle_events = [] if histograms or self._image_variables else [WriteTensorBoard.after_batch]
        self._files: dict[str, EventFile] = {}
        self._has_failed = False

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Take the batch's values for histograms, and pictures until there are enough.

        Raises:
            MissingVariableError: If the batch lacks a variable and that is an error.
            VariableTypeError: If values are not numbers, or not pictures, and that is an error.
        """
        if self._observes(stream_name):
            self._histograms.add(stream_name, batch_data)
            self._pictures.add(stream_name, batch_data)

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Write the epoch, stream by stream.

        Raises:
            MissingVariableError: If a variable is missing and that is an error.
            VariableTypeError: If a value cannot be shown and that is an error.
        """
        for stream_name, data in epoch_data.items():
            if self._observes(stream_name):
                values = dict(self._values(stream_name, epoch_id, data))
                if values:
                    self._write(stream_name, epoch_id, values)
        self._histograms.forget()
        self._pictures.forget()

    def after_note(self, batches: int, data: EpochData) -> None:
        """Write what is noted inside an epoch; its step is the number of batches trained on.

        Raises:
            VariableTypeError: If a value cannot be shown and that is an error.
        """
        for stream_name, noted in data.items():
            names = [name for name in noted if self._variables is None or name in self._variables]
            if self._observes(stream_name) and names:
                numbers = self._numbers(stream_name, noted, names, trains=self._trains(stream_name))
                self._write(stream_name, batches, {f"steps/{tag}": number for tag, number in numbers})

    def after_training(self, success: bool) -> None:
        """Close the files."""
        while self._files:
            stream_name, file = self._files.popitem()
            try:
                file.close()
            except OSError as error:
                self._tell(f"the end of stream {stream_name!r}", error)

    def _observes(self, stream_name: str) -> bool:
        return self._streams is None or stream_name in self._streams

    def _values(self, stream_name: str, epoch_id: int, data: MutableMapping[str, Any]) -> Iterator[tuple[str, Shown]]:
        """What to show of a stream, by tag."""
        names = [name for name in data if name not in self._image_variables]
        names = names if self._variables is None else self._variables
        yield from self._numbers(stream_name, data, names, trains=epoch_id > 0 and self._trains(stream_name))
        for name, column in self._histograms.of(stream_name).items():
            with self._tolerating(stream_name, name):
                histogram = column.histogram()
                if histogram is not None:
                    yield f"{name}/histogram", histogram
        for name in self._image_variables:
            with self._tolerating(stream_name, name):
                yield from self._pictures_of(stream_name, name, data)

    def _trains(self, stream_name: str) -> bool:
        loop = self._main_loop
        return stream_name == (EL_DEFAULT_TRAIN_STREAM if loop is None else loop.train_stream_name)

    def _numbers(
        self, stream_name: str, data: MutableMapping[str, Any], names: Iterable[str], *, trains: bool
    ) -> Iterator[tuple[str, float]]:
        for tag, value in self._scalars(stream_name, data, names, trains=trains):
            with self._tolerating(stream_name, tag):
                yield tag, _as_float(value)

    def _scalars(
        self, stream_name: str, data: MutableMapping[str, Any], names: Iterable[str], *, trains: bool
    ) -> Iterator[tuple[str, Any]]:
        for name in names:
            with self._tolerating(stream_name, name):
                value = read_value({stream_name: data}, stream_name, name)
                aggregations = value if isinstance(value, Mapping) else {"mean": value}
                mean = next((word for word in _MEANS if word in aggregations), None)
                for word, of_word in aggregations.items():
                    yield name if word == mean else f"{name}/{word}", of_word
        if trains:
            for name in self._model_variables:
                with self._tolerating(stream_name, name):
                    yield name, self._model.get_variable(name)

    def _pictures_of(self, stream_name: str, name: str, data: MutableMapping[str, Any]) -> Iterator[tuple[str, Shown]]:
        first = self._pictures.of(stream_name).get(name)
        if name in data:
            value = data[name]
            if len(getattr(value, "shape", ())) != 4:
                yield name, as_pixels(value)
                return
            pictures = [as_pixels(value[index]) for index in range(min(len(value), self._max_images))]
        else:
            pictures = [] if first is None else first.all()
            if first is not None and not pictures:
                missing = missing_from_epoch(f"stream {stream_name!r}: variable", name, data)
                raise MissingVariableError(f"{missing}; nor is it in a batch")
        yield from ((f"{name}/{index}", pixels) for index, pixels in enumerate(pictures))

    @contextlib.contextmanager
    def _tolerating(self, stream_name: str, name: str) -> Iterator[None]:
        try:
            yield
        except MissingVariableError as error:
            self._tolerate(stream_name, name, error)
        except VariableTypeError as error:
            self._tolerate(stream_name, name, located(error, stream_name, name))

    def _write(self, stream_name: str, epoch_id: int, values: Mapping[str, Shown]) -> None:
        folder = self._folder / quote(stream_name, safe="").replace(".", "%2E")
        file = self._files.setdefault(stream_name, EventFile(folder))
        try:
            file.write(epoch_id, values.items())
        except Exception as error:  # noqa: BLE001 - told with its type; whatever a mirror meets, it stops no training
            self._tell(f"epoch {epoch_id} of stream {stream_name!r}", error)
            del self._files[stream_name]
            with contextlib.suppress(OSError):
                file.close()

    def _tell(self, what: str, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            _LOGGER.warning(
                "TensorBoard lacks %s: %s: %s; the training goes on, and what else may be missing is not told",
                what,
                type(error).__name__,
                error,
            )

    def state_dict(self) -> StateTree:
        """What was gathered of the unfinished epoch."""
        return {"histograms": self._histograms.state(), "pictures": self._pictures.state()}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on gathering where another attempt stopped."""
        check_state(self, state, {"histograms": object, "pictures": object})
        self._histograms.load(state["histograms"])
        self._pictures.load(state["pictures"])


def _as_float(value: Any) -> float:
    number = as_real(value)
    if number is None:
        raise VariableTypeError(f"expected a number, got {type(value).__name__}")
    try:
        return float(number)
    except OverflowError:  # a whole number or a fraction that no float can hold
        return math.inf if number > 0 else -math.inf
