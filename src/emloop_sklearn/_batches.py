"""What every model of scikit-learn does with a batch: compute, learn, predict.

Symbols: ``B`` examples, ``C`` classes, ``F`` features, ``T`` targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import sklearn
from sklearn.base import is_classifier

from emloop.errors import ConfigError, Problem, SavedModelError, SaveError
from emloop.models.abstract_model import AbstractModel
from emloop.saved_models import describe_variables, overridden_methods
from emloop.suggest import check_choice
from emloop.types import Batch
from emloop_sklearn._boosting.columns import Columns
from emloop_sklearn._boosting.together import Together

from ._fitting import Balance, FirstGuess, array_of, asked, fit, is_fitted, weight_of
from ._importances import importances, require_importances
from ._onnx import FORMATS, export
from ._outputs import checked_output, compute, label_free_outputs
from ._parameters import get_variable, set_variable
from ._source import METHODS

if TYPE_CHECKING:
    from emloop.datasets.abstract_dataset import AbstractDataset
    from emloop.datasets.stream_wrapper import StreamWrapper

__all__ = ["BatchModel"]

_Array = npt.NDArray[Any]


class BatchModel(AbstractModel):
    """An estimator that has been made, by whoever derives from this, and the batches that go through it."""

    dataset: AbstractDataset | None
    classes: _Array | None
    batch_weight: _Array | None
    _estimator: Any
    _inputs: tuple[str, ...]
    _features: tuple[str, ...]
    _labels: str | None
    _outputs: tuple[str, ...]
    _trusted: tuple[str, ...]
    _weight: str | None
    """The source that weighs the examples it learns from."""
    _columns: Columns | None
    _balance: Balance
    _guess: FirstGuess | None = None
    _together: Together | None = None
    _variables: dict[str, Any]
    _batches = _examples = 0
    _lacks: Sequence[str] = ()
    """What of its class is gone that it would need to learn."""
    _needs_source: tuple[str, str | None] = "estimator", None

    def fit_batch(self, estimator: Any, features: _Array, labels: _Array | None) -> None:
        """Let the estimator learn from one batch; may be overridden.

        Args:
            estimator: The estimator.
            features: ``[B, F]``, or a data frame of the columns.
            labels: ``[B]``, or ``[B, T]``; ``None`` if the model has no labels.
        """
        with self._balance.applied(estimator, labels):
            fit(estimator, features, labels, self.classes, self.batch_weight)

    def compute_outputs(self, estimator: Any, features: _Array, labels: _Array | None) -> Mapping[str, Any]:
        """Compute the outputs for one batch; may be overridden, for outputs of your own.

        Args:
            estimator: The estimator or, before its first batch, a stand-in that guesses: it has ``predict``,
                ``transform`` and, if the estimator has them, ``predict_proba`` and ``classes_``.
            features: ``[B, F]``, or a data frame of the columns.
            labels: ``[B]``, or ``[B, T]``; ``None`` if the model has no labels.

        Returns:
            ``B`` values for every name in ``output_names``, or more names.
        """
        return compute(self._outputs, estimator, features, labels)

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that a batch must hold."""
        beside = self._weight is not None and self._weight not in self._inputs
        return [*self._inputs, *([str(self._weight)] if beside else [])]

    @property
    def output_names(self) -> list[str]:
        """Names of the variables that ``run`` returns."""
        return list(self._outputs)

    def run(self, batch: Batch, train: bool, stream: StreamWrapper | None = None) -> Batch:
        """Compute the outputs for one batch; with ``train``, let the estimator learn from it afterwards.

        Args:
            batch: ``B`` examples for every name in ``input_names``.
            train: Whether to learn.
            stream: Source of the batch; may be read ahead meanwhile.

        Returns:
            An array for every name in ``output_names``, first axis ``B``.

        Raises:
            BatchError: If examples differ in shape, a label is none of the classes, an output lacks ``B`` values, or a
                weight is no number from 0 on.
            ConfigError: If the classes, or the labels to learn from, are not named.
            SavedModelError: If the model is to learn, which only its source can.
        """
        if train and self._lacks:
            why = self._needs_source[1]
            raise SavedModelError(f"{type(self).__name__} cannot train it further without the source: {why}")
        read, features = self._read(batch)
        labels = None if self._labels is None else array_of(batch, self._labels)
        if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        with nullcontext() if stream is None else stream.allow_buffering:
            computed = self.compute_outputs(self._answering(), features, labels)
            if train:
                self.batch_weight = None if self._weight is None else weight_of(batch, self._weight, len(features))
                if self._together is not None:
                    self._together.add(self._estimator, read, labels, self.batch_weight)
                # Of a batch without any weight there is nothing to learn, and some estimators would divide by its sum.
                elif self.batch_weight is None or self.batch_weight.any():
                    self.fit_batch(self._estimator, features, labels)
                    self._guess = None
                self._batches += 1
                self._examples += len(features)
        outputs = {name: checked_output(computed, name, len(features)) for name in self._outputs}
        if not self._variables:
            sources = {name: batch[name] for name in self._inputs} | (read if self._columns is not None else {})
            self._variables = {"inputs": describe_variables(sources), "outputs": describe_variables(outputs)}
        return outputs

    def _read(self, batch: Batch) -> tuple[Any, Any]:
        """The features of a batch as they are kept, and as an estimator takes them."""
        if self._columns is not None:
            columns = self._columns.read(batch)
            return columns, self._columns.frame(columns)
        features = array_of(batch, self._features[0])
        features = features.reshape(len(features), -1)
        return features, features

    @property
    def can_stop_here(self) -> bool:
        """Whether a state has all that the training depends on: not while batches are gathered."""
        return self._together is None or not self._together.holds

    def end_epoch(self) -> None:
        """Let an estimator that does not learn by batches learn from all batches of the epoch.

        Raises:
            BatchError: If the batches do not go together.
        """
        if self._together is not None and self._together.holds:
            self._estimator = self._together.learn(self._estimator, self._columns, self._trusted)
            self._guess = None

    @property
    def prediction_inputs(self) -> list[str]:
        """Names of the sources that :meth:`predict` needs: the features."""
        return self.input_names if self._overrides("run") else list(self._features)

    def predict(self, batch: Batch) -> Batch:
        """All that can be told of the features alone, such as ``predictions`` and ``probabilities``."""
        if self._overrides("run"):
            return self.run(batch, train=False)
        _, features = self._read(batch)
        if not self._overrides("compute_outputs"):
            found: dict[str, Any] = {**compute(label_free_outputs(self._estimator), self._answering(), features, None)}
            return found
        try:
            return self.compute_outputs(self._answering(), features, None)
        except Exception as error:
            error.add_note(f"{type(self).__name__}.compute_outputs has no labels to predict: they are None")
            raise

    def export(self, to: str, directory: str, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Write what the estimator says of the features for another runtime; ``emloop export`` calls this.

        Raises:
            SaveError: If it cannot be exported.
        """
        check_choice("to", to, FORMATS)
        for method in ("run", "compute_outputs"):
            if self._overrides(method):
                raise SaveError(f"{type(self).__name__} overrides {method}, which only its source has")
        if self._guess is not None:
            raise SaveError(f"{type(self._estimator).__name__} has learned nothing yet")
        if self._columns is not None:
            raise SaveError(f"{type(self._estimator).__name__} takes named columns, which are not exported yet")
        name = self._features[0]
        return export(self._estimator, directory, name, [array_of(one, name) for one in batches])

    def _overrides(self, method: str) -> bool:
        return method in overridden_methods(type(self), BatchModel, METHODS)

    def get_variable(self, name: str) -> float:
        """Value of ``learning_rate``; the initial one if the estimator has a schedule of its own.

        Raises:
            MissingVariableError: If there is no such variable.
        """
        return get_variable(self._estimator, name)

    def set_variable(self, name: str, value: float) -> None:
        """Set ``learning_rate`` for all future batches.

        Raises:
            MissingVariableError: If there is no such variable.
        """
        set_variable(self._estimator, name, value)

    def importances(self) -> dict[str, float]:
        """Feature → importance or coefficient, as the estimator has learned them; empty before it has.

        Features have the names of their columns, or the dataset's ``feature_names``, or are numbered: ``images[3]``; in
        a pipeline, those that the steps before the last one give them.

        Raises:
            ConfigError: If the estimator has none, as soon as that can be told.
        """
        if self._guess is not None:
            require_importances(self._estimator)
            return {}
        names = asked(self.dataset, "feature_names") if self._columns is None else self._columns.names
        return importances(self._estimator, self._features[0] if names is None else names)

    def model_facts(self) -> list[str]:
        """What to show when a run begins: the estimator, and the version."""
        return [type(self._estimator).__name__, f"scikit-learn {sklearn.__version__}"]

    def _adopt(self, estimator: Any) -> None:
        self._estimator = estimator
        knows = self._batches > 0 or is_fitted(estimator)
        classes = self.classes if is_classifier(estimator) else None
        self._guess = None if knows else FirstGuess(estimator, classes)

    def _answering(self) -> Any:
        """Whatever computes the outputs: the estimator or its stand-in."""
        if self._guess is None:
            return self._estimator if self._together is None else self._together.answering(self._estimator)
        if is_classifier(self._estimator) and self.classes is None:
            hint = "name them: classes: 10 in the model section, or num_classes of the dataset"
            raise ConfigError(Problem("the classes are unknown", type(self).__name__, hints=(hint,)))
        return self._guess
