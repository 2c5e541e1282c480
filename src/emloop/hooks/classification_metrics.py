"""Precision, recall, F-score and accuracy of a classification, computed with scikit-learn."""

from __future__ import annotations

import math
import warnings
from collections.abc import MutableMapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from emloop._support.suggest import check_choice
from emloop.declare import Names, Scalar, Variable
from emloop.errors import HookError
from emloop.types import EpochData

from ._checks.arguments import extra_module
from ._statistics.confusion import asked
from .accumulate_variables import AccumulateVariables

__all__ = ["ClassificationMetrics"]

_Average: TypeAlias = Literal["binary", "micro", "macro", "weighted", "samples"]


class ClassificationMetrics(AccumulateVariables):
    """Compare predicted with true classes over an epoch.

    .. code-block:: yaml

        hooks:
          - ClassificationMetrics:
              predicted_variable: predictions
              gt_variable: labels
              f1_average: macro

    Leaves ``precision``, ``recall``, ``f1``, ``accuracy`` and, for ``f1_average: binary``, ``specificity`` in
    ``epoch_data[stream]``. A division by zero, as for the precision of a class that was never predicted, gives 0.
    Everything is NaN for a stream that had no examples, and so are the figures of a class that does not occur in it.
    Where the model says what weighs one of the variables, its values count by that weight, those of weight 0 not at
    all; a weight for every position of a sequence makes each position an example.

    Args:
        predicted_variable: Name of the variable with the predicted classes, one per example.
        gt_variable: Name of the variable with the true classes.
        f1_average: How the classes' figures become one: ``binary`` (those of class 1 out of 0 and 1), ``micro``,
            ``macro``, ``weighted``, or ``samples`` (for several labels per example). By default, each is a mapping of
            class to figure, such as ``{cat: 0.8, dog: 0.9}``.
        var_prefix: Prefix of the names in ``epoch_data``.
        streams: Names of the streams; all others are ignored. By default every stream must have the variables.
        classes_names: Names of the classes that the variables hold the indices of; by default the dataset's
            ``classes_names``, or its ``num_classes`` as numbers, or the values that occur.
        dataset: The dataset.

    Raises:
        MissingExtraError: If scikit-learn is not installed.
    """

    reads = (Variable("{predicted_variable}", stream="{streams}"), Variable("{gt_variable}", stream="{streams}"))
    writes = (
        Scalar("{var_prefix}precision", stream="{streams}"),
        Scalar("{var_prefix}recall", stream="{streams}"),
        Scalar("{var_prefix}f1", stream="{streams}"),
        Scalar("{var_prefix}accuracy", stream="{streams}"),
        Scalar("{var_prefix}specificity", stream="{streams}", when=("f1_average", "binary")),
    )

    def __init__(
        self,
        predicted_variable: str,
        gt_variable: str,
        f1_average: _Average | None = None,
        var_prefix: str = "",
        streams: Names | None = None,
        *,
        classes_names: Sequence[str] | None = None,
        dataset: object = None,
    ) -> None:
        super().__init__([predicted_variable, gt_variable], streams)
        self._sklearn_metrics = extra_module("sklearn.metrics", extra="metrics", who="ClassificationMetrics")
        self._predicted = predicted_variable
        self._expected = gt_variable
        self._average = None if f1_average is None else check_choice("f1_average", f1_average, get_args(_Average))
        self._prefix = var_prefix
        self._classes_names = classes_names
        self._dataset = dataset

    # The main loop calls events with keywords; who calls this one directly has always given the data first.
    def after_epoch(self, epoch_data: EpochData, epoch_id: int = 0) -> None:  # type: ignore[override]
        """Write the metrics of every stream of the epoch.

        Raises:
            HookError: If a name is taken already, or the values are not classes.
        """
        self._describe_streams(epoch_data)
        super().after_epoch(epoch_id, epoch_data)

    # Named again, since hooks that change only `after_epoch` take no part in evaluations inside an epoch.
    after_evaluation = AccumulateVariables.after_evaluation

    def _describe_stream(self, stream_name: str, data: MutableMapping[str, Any]) -> None:
        for metric, value in self._metrics(stream_name).items():
            name = self._prefix + metric
            if name in data:
                raise HookError(
                    f"stream {stream_name!r}: there is a variable {name!r} in the epoch's data already; "
                    "choose another var_prefix"
                )
            data[name] = value

    def _metrics(self, stream_name: str) -> dict[str, Any]:
        gathered = self._accumulator[stream_name]
        try:
            expected = np.asarray(gathered[self._expected])
            predicted = np.asarray(gathered[self._predicted])
            weights = None
            name = next((name for name in (self._predicted, self._expected) if name in self._weights()), None)
            if name is not None:
                axes = np.ndim(gathered[self._weights()[name]])
                weights = self._weight_of(stream_name, name, predicted.shape[:axes])
            if weights is not None:
                counts = weights > 0
                if weights.ndim > 1:
                    expected = expected.reshape(predicted.shape)
                expected, predicted, weights = expected[counts], predicted[counts], weights[counts]
                weights = None if (weights == 1).all() else weights
            has_examples = len(expected) or len(predicted)
            return self._compare(expected, predicted, weights) if has_examples else self._unknown()
        except (TypeError, ValueError) as error:
            raise HookError(
                f"stream {stream_name!r}: {self._predicted!r} cannot be compared with {self._expected!r}: {error}"
            ) from error

    def _compare(
        self, expected: npt.NDArray[Any], predicted: npt.NDArray[Any], weights: npt.NDArray[Any] | None
    ) -> dict[str, Any]:
        metrics = self._sklearn_metrics
        if self._average == "binary":
            strange = np.setdiff1d(np.union1d(expected, predicted), (0, 1))
            if strange.size:
                raise ValueError(f"f1_average 'binary' is for the classes 0 and 1, found {strange[0]}")
        with warnings.catch_warnings():
            # A small stream may well have as many classes as examples.
            warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
            precision, recall, f1, _ = metrics.precision_recall_fscore_support(
                expected, predicted, average=self._average, zero_division=0.0, sample_weight=weights
            )
            accuracy = float(metrics.accuracy_score(expected, predicted, sample_weight=weights))
        figures = {"precision": precision, "recall": recall, "f1": f1}
        if self._average is None:
            has_several = expected.ndim > 1 and expected.shape[1] > 1
            occurring = np.arange(expected.shape[1]) if has_several else np.union1d(expected, predicted)
            figures = {name: self._by_class(occurring, per_class) for name, per_class in figures.items()}
        figures["accuracy"] = accuracy
        if self._average == "binary":
            negatives = expected == 0
            found = predicted[negatives] == 0
            of_negatives = None if weights is None else weights[negatives]
            figures["specificity"] = float(np.average(found, weights=of_negatives)) if negatives.any() else 0.0
        return figures

    def _by_class(self, occurring: npt.NDArray[Any], figures: npt.NDArray[Any]) -> dict[str, float]:
        """Figures of the classes that occur, by the names of all."""
        found = dict(zip(occurring.tolist(), figures.tolist(), strict=True))
        names: Any = self._classes_names or asked(self._dataset, "classes_names")
        names = range(asked(self._dataset, "num_classes") or 0) if names is None else list(names)
        if found.keys() <= set(range(len(names))):
            return {str(name): found.get(index, math.nan) for index, name in enumerate(names)}
        # The values are the names, or of classes that nobody has told.
        return {str(name): found.get(name, math.nan) for name in dict.fromkeys([*names, *found])}

    def _unknown(self) -> dict[str, Any]:
        figure = self._by_class(np.empty(0), np.empty(0)) if self._average is None else math.nan
        figures = {"precision": figure, "recall": figure, "f1": figure, "accuracy": math.nan}
        return {**figures, "specificity": math.nan} if self._average == "binary" else figures
