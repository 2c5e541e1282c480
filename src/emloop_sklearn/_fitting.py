"""Fits any estimator to one batch, and stands in for it before the first one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from emloop.errors import BatchError, ConfigError, Problem
from emloop.saved_models import require_sources
from emloop.types import Batch

__all__ = [
    "Balance",
    "FirstGuess",
    "array_of",
    "asked",
    "fit",
    "is_fitted",
    "last_step",
    "learns_by_batches",
    "to_classes",
    "weighing_problems",
    "weight_of",
]

_Array = npt.NDArray[Any]


def last_step(estimator: Any) -> Any:
    """The estimator itself, or the last step of a pipeline."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def is_fitted(estimator: Any) -> bool:
    """Whether an estimator has learned something, or has nothing to learn."""
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):  # the latter if it has no fit, only partial_fit
        return False
    return True


def learns_by_batches(estimator: Any) -> bool:
    """Whether no part of an estimator has to be fitted to all data at once."""
    *transformers, last = _steps(estimator)
    return hasattr(last, "partial_fit") and all(
        hasattr(step, "partial_fit") or is_fitted(step) for step in transformers
    )


def weighing_problems(estimator: Any, *, by_batches: bool) -> list[Problem]:
    """Find what keeps an estimator from weighing examples."""
    last, method = last_step(estimator), "partial_fit" if by_batches else "fit"
    if "sample_weight" in signature(getattr(last, method)).parameters:
        return []
    message = f"{type(last).__name__} cannot weigh examples: its {method} takes no sample_weight"
    return [Problem(message, keys=("weights", "loss"), hints=("take another estimator, or override fit_batch",))]


def array_of(batch: Batch, name: str) -> npt.NDArray[Any]:
    """Convert one source of a batch to an array, first axis ``B``.

    Raises:
        BatchError: If its examples differ in shape.
        MissingVariableError: If there is no such source.
    """
    require_sources(batch, (name,))
    try:
        return np.asarray(batch[name])
    except ValueError as error:
        raise BatchError(f"{name}: the examples of a batch must have one shape: {error}") from error


def weight_of(batch: Batch, name: str, examples: int) -> npt.NDArray[np.float64]:
    """What the examples of a batch count, ``[B]``.

    Raises:
        BatchError: If it has another shape, or holds anything but finite numbers from 0 on.
    """
    weight = array_of(batch, name)
    if weight.shape != (examples,) or weight.dtype.kind not in "buif":
        found = f"got {weight.dtype} {list(weight.shape)}"
        raise BatchError(f"weight {name!r}: expected a number for every example, [{examples}], {found}")
    wrong = weight[~(np.isfinite(weight) & (weight >= 0))]
    if wrong.size:
        raise BatchError(f"weight {name!r}: expected numbers from 0 on, got {wrong[0]}")
    return weight.astype(np.float64)


class Balance:
    """Keeps ``class_weight: balanced`` for an estimator that learns by batches, which scikit-learn itself refuses.

    Args:
        counts: How often each class has been seen: its labels, and their counts.
    """

    def __init__(self, counts: list[list[Any]] | None) -> None:
        self._counts = None if counts is None else dict(zip(*counts, strict=True))

    @classmethod
    def of(cls, estimator: Any, counts: Any = None) -> Balance:
        """For an estimator, from the counts of a state; one that balances nothing counts nothing."""
        balances = getattr(last_step(estimator), "class_weight", None) == "balanced"
        return cls((counts or [[], []]) if balances else None)

    @property
    def counts(self) -> list[list[Any]] | None:
        """Labels and how often each has been seen; ``None`` where nothing is counted."""
        return None if self._counts is None else [list(self._counts), list(self._counts.values())]

    @contextmanager
    def applied(self, estimator: Any, labels: _Array | None) -> Iterator[None]:
        """Count a batch's labels, ``[B]``, and weigh its classes by ``n / (C * n_c)`` meanwhile.

        The formula is that of ``sklearn.utils.class_weight.compute_class_weight``, over all batches so far.
        """
        if self._counts is None or labels is None:
            yield
            return
        for label, count in zip(*(values.tolist() for values in np.unique(labels, return_counts=True)), strict=True):
            self._counts[label] = self._counts.get(label, 0) + count
        last, total = last_step(estimator), sum(self._counts.values())
        last.class_weight = {label: total / (len(self._counts) * count) for label, count in self._counts.items()}
        try:
            yield
        finally:
            last.class_weight = "balanced"


def fit(
    estimator: Any,
    features: _Array,
    labels: _Array | None,
    classes: _Array | None,
    weight: npt.NDArray[np.float64] | None = None,
) -> None:
    """Fit an estimator to one more batch; in a pipeline, every step to the output of the steps before it.

    Args:
        estimator: Anything with ``partial_fit``, or a pipeline of such and of transformers that learn nothing.
        features: ``[B, F]``.
        labels: ``[B]`` (or ``[B, T]``) if the estimator learns from them.
        classes: All classes ``[C]``, for a classifier's first batch.
        weight: What each example counts for the last step, ``[B]``; by default all alike.

    Raises:
        ConfigError: If there are no labels to learn from.
    """
    *transformers, last = _steps(estimator)
    for step in transformers:
        if hasattr(step, "partial_fit"):
            step.partial_fit(features)
        features = step.transform(features)
    is_supervised = is_classifier(last) or is_regressor(last)
    if is_supervised and labels is None:
        hint = "name them after the features: inputs: [features, labels]"
        raise ConfigError(Problem(f"{type(last).__name__} learns from labels", keys=("inputs",), hints=(hint,)))
    options = {} if weight is None else {"sample_weight": weight}
    if is_classifier(last) and not hasattr(last, "classes_"):
        last.partial_fit(features, labels, classes=classes, **options)
    elif is_supervised:
        last.partial_fit(features, labels, **options)
    else:
        last.partial_fit(features, **options)


def asked(dataset: Any, name: str) -> Any:
    """What a dataset says of itself by an attribute or a method; ``None`` if it has none of that name."""
    found = getattr(dataset, name, None)
    return found() if callable(found) else found


def to_classes(classes: Any, dataset: Any) -> _Array | None:
    """All classes in order; ``None`` if neither argument names them.

    Args:
        classes: Their number (they are 0, 1, …), the list of them, or ``None`` for the dataset's ``num_classes``.
        dataset: May have ``num_classes``, an attribute or a method; may be ``None``.

    Raises:
        ConfigError: If ``classes`` is something else.
    """
    if classes is None:
        classes = asked(dataset, "num_classes")
    if classes is None:
        return None
    if isinstance(classes, (int, np.integer)) and not isinstance(classes, bool) and classes > 0:
        return np.arange(classes)
    if isinstance(classes, (list, tuple, np.ndarray)) and len(classes):
        return np.unique(np.asarray(classes))
    raise ConfigError.about("classes", f"expected their number or a list of them, got {classes!r}")


class FirstGuess:
    """Stands in for an estimator that has not seen a batch: equal probabilities, zeros, unchanged features.

    Args:
        estimator: The estimator that will be fitted.
        classes: All classes ``[C]``; required for a classifier.
    """

    def __init__(self, estimator: Any, classes: _Array | None) -> None:
        self._classes = classes
        if classes is not None:
            self.classes_ = classes
            if hasattr(estimator, "predict_proba"):
                count = len(classes)
                self.predict_proba = lambda features: np.full((len(features), count), 1 / count)

    def predict(self, features: _Array) -> _Array:
        """The first class, or zero, for every example."""
        return np.zeros(len(features)) if self._classes is None else np.repeat(self._classes[:1], len(features))

    def transform(self, features: _Array) -> _Array:
        """The features, unchanged."""
        return features


def _steps(estimator: Any) -> Iterator[Any]:
    if not isinstance(estimator, Pipeline):
        yield estimator
        return
    *transformers, (_, last) = estimator.steps
    yield from (step for _, step in transformers if step not in (None, "passthrough"))
    yield last
