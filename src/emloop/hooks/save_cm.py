"""Draw a confusion matrix of every stream after every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from emloop._support.suggest import check_choice
from emloop.declare import File, Names, Scalar, Variable
from emloop.errors import BatchError, ConfigError, VariableTypeError
from emloop.types import EpochData

from ._checks.arguments import at_least, extra_module
from ._figures.figures import DEFAULT_SIZE, check_colormap, pixels_of, write_figure
from ._figures.heat_map import draw_confusion_matrix
from ._statistics.confusion import asked, confusion_matrix
from ._statistics.reductions import Values
from .accumulate_variables import AccumulateVariables

__all__ = ["SaveConfusionMatrix"]

Indices = npt.NDArray[np.integer[Any]]


class SaveConfusionMatrix(AccumulateVariables):
    """Draw how often every class was taken for every other, as a heat map.

    .. code-block:: yaml

        hooks:
          - SaveConfusionMatrix:
              labels_name: labels
              predictions_name: predictions
              classes_names: [cat, dog, horse]

    Writes ``confusion_matrix_epoch_<epoch>_<stream>.png`` to the run directory. Without ``classes_names``, the
    dataset's are taken, or its number of classes, or as many classes as there are in the epoch. Every cell shows the
    share of the row and the count, unless there are too many classes.

    Args:
        output_dir: The run directory.
        dataset: The dataset, which may know the classes.
        labels_name: Name of the variable with the indices of the true classes, one or more per example.
        predictions_name: Name of the variable with the indices of the predicted classes, of the same shape.
        classes_names: Names of the classes.
        figsize: Width and height of the picture in inches, of 100 pixels each; 640 × 480 pixels by default.
        figure_action: ``save`` writes a file; ``store`` leaves the picture for the hooks behind, as
            ``epoch_data[stream]["confusion_heatmap"]``: ``uint8 [height, width, 3]``.
        num_classes_method_name: Method or attribute of the dataset with the number of classes.
        classes_names_method_name: Method or attribute of the dataset with the names of the classes.
        mask_name: Name of the variable that is false for examples to leave out; by default those are left out to which
            the model's ``weights`` give the weight 0.
        normalize: Whether colours show shares of the row; otherwise they show counts.
        cmap: Name of one of Matplotlib's colour maps.
        streams: Names of the streams; all others are ignored. By default every stream must have the variables.

    Raises:
        MissingExtraError: If Matplotlib is not installed.
    """

    reads = (
        Variable("{labels_name}", stream="{streams}"),
        Variable("{predictions_name}", stream="{streams}"),
        Variable("{mask_name}", stream="{streams}"),
    )
    writes = (
        File("confusion_matrix_epoch_<epoch>_<stream>.png", stream="{streams}", when=("figure_action", "save")),
        Scalar("confusion_heatmap", stream="{streams}", when=("figure_action", "store")),
    )

    FIGURE_ACTIONS: ClassVar[Sequence[str]] = ["save", "store"]

    def __init__(
        self,
        output_dir: str,
        dataset: object,
        labels_name: str = "labels",
        predictions_name: str = "predictions",
        classes_names: Sequence[str] | None = None,
        figsize: Sequence[float] | None = None,
        figure_action: Literal["save", "store"] = "save",
        num_classes_method_name: str = "num_classes",
        classes_names_method_name: str = "classes_names",
        mask_name: str | None = None,
        normalize: bool = True,
        cmap: str = "Blues",
        *,
        streams: Names | None = None,
    ) -> None:
        super().__init__([labels_name, predictions_name, *([] if mask_name is None else [mask_name])], streams)
        extra_module("matplotlib", extra="plots", who="SaveConfusionMatrix")
        self._folder = Path(output_dir)
        self._dataset = dataset
        self._labels = labels_name
        self._predictions = predictions_name
        self._mask = mask_name
        self._classes_names = classes_names
        self._count_helper = num_classes_method_name
        self._names_helper = classes_names_method_name
        self._figure_action = check_choice("figure_action", figure_action, self.FIGURE_ACTIONS)
        if figsize is not None and (not isinstance(figsize, (list, tuple)) or len(figsize) != 2):
            raise ConfigError.about("figsize", f"expected width and height in inches, e.g. [6.4, 4.8], got {figsize!r}")
        width, height = (at_least("figsize", 0.1, length) for length in figsize or DEFAULT_SIZE)
        self._size = width, height
        self._normalize = normalize
        self._cmap = check_colormap("cmap", cmap)

    # Unlike its base, this class needs the data.
    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:  # type: ignore[override]
        """Draw a matrix for every stream that had examples.

        Raises:
            VariableTypeError: If labels or predictions are not indices.
            BatchError: If they do not fit each other, the mask or the classes.
        """
        for stream_name in self._accumulator:
            expected, predicted = self._valid_indices(stream_name)
            names = self._names_of_classes(stream_name, expected, predicted)
            if not names:
                continue  # everything is masked, and nobody knows the classes
            matrix = confusion_matrix(expected, predicted, len(names))
            figure = draw_confusion_matrix(matrix, names, normalize=self._normalize, cmap=self._cmap, size=self._size)
            if self._figure_action == "save":
                write_figure(figure, self._folder / f"confusion_matrix_epoch_{epoch_id}_{stream_name}.png")
            else:
                epoch_data[stream_name]["confusion_heatmap"] = pixels_of(figure)
        super().after_epoch(epoch_id, epoch_data)

    def _valid_indices(self, stream_name: str) -> tuple[Indices, Indices]:
        expected, predicted = (self._numbers(stream_name, name) for name in (self._labels, self._predictions))
        if expected.shape != predicted.shape:
            raise BatchError(
                f"stream {stream_name!r}: variables {self._labels!r} and {self._predictions!r} must have the same "
                f"shape, but have {expected.shape} and {predicted.shape} in this epoch"
            )
        mask: Values | None = None
        if self._mask is not None:
            mask = self._numbers(stream_name, self._mask).astype(bool)
            if mask.shape != expected.shape[: mask.ndim]:
                raise BatchError(
                    f"stream {stream_name!r}: the mask {self._mask!r} has shape {mask.shape} in this epoch, "
                    f"which does not fit {expected.shape} of {self._labels!r}"
                )
        weighed = next((name for name in (self._predictions, self._labels) if name in self._weights()), None)
        if mask is None and weighed is not None:
            weights = self._weight_of(stream_name, weighed, expected.shape)
            mask = None if weights is None else weights > 0
        if mask is not None:
            expected, predicted = expected[mask], predicted[mask]
        return self._indices(stream_name, self._labels, expected), self._indices(
            stream_name, self._predictions, predicted
        )

    def _indices(self, stream_name: str, name: str, values: Values) -> Indices:
        where = f"stream {stream_name!r}: variable {name!r}:"
        if values.dtype.kind not in "biu":
            raise VariableTypeError(f"{where} expected indices of classes, got {values.dtype} values")
        if values.size and values.min() < 0:
            raise BatchError(f"{where} {values.min()} is no index of a class")
        return values.astype(np.intp)

    def _names_of_classes(self, stream_name: str, *indices: Indices) -> list[str]:
        needed = max((int(values.max()) + 1 for values in indices if values.size), default=0)
        source, names = "the argument classes_names", self._classes_names  # type: str, Any
        if names is None:
            source, names = f"the dataset's {self._names_helper}", asked(self._dataset, self._names_helper)
        if names is None:
            source, count = f"the dataset's {self._count_helper}", asked(self._dataset, self._count_helper)
            names = range(needed if count is None else count)
        if len(names) < needed:
            raise BatchError(
                f"stream {stream_name!r}: {self._labels!r} or {self._predictions!r} has the class index {needed - 1}, "
                f"but {source} knows {len(names)} classes"
            )
        return list(map(str, names))
