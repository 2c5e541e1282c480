"""Outputs that an estimator can compute for a batch.

Symbols: ``B`` examples, ``C`` classes, ``F`` features, ``T`` targets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier, is_regressor

from emloop.errors import BatchError, MissingVariableError, Problem
from emloop.suggest import did_you_mean

__all__ = ["Answering", "checked_output", "compute", "label_free_outputs", "output_problems"]

_Array = npt.NDArray[Any]

_LEAST_PROBABILITY = 1e-12
"""Lower bound for the true class, so that one wrong and certain answer does not make the mean loss infinite."""


def output_problems(estimator: Any, outputs: Collection[str], *, has_labels: bool) -> list[Problem]:
    """Find what is wrong with the outputs that a configuration requests from an estimator."""
    offered = _offered_by(estimator)
    problems = []
    for name in outputs:
        if name not in offered:
            hints = [*did_you_mean(name, offered), f"{estimator} gives: {', '.join(offered) or 'nothing'}"]
            if name in ("probabilities", "loss") and is_classifier(estimator):
                hints.append(f"{name} needs predict_proba, which e.g. SGDClassifier has with loss: log_loss")
            problems.append(Problem(f"unknown output {name!r}", keys=("outputs",), hints=tuple(hints)))
        elif offered[name] and not has_labels:
            hint = f"name them after the features: inputs: [features, labels]; or leave {name!r} out"
            problems.append(Problem(f"{name!r} needs the labels", keys=("outputs",), hints=(hint,)))
    return problems


def label_free_outputs(estimator: Any) -> list[str]:
    """The outputs that an estimator, or a guess, gives without labels."""
    return [name for name, needs_labels in _offered_by(estimator).items() if not needs_labels]


def compute(outputs: Collection[str], estimator: Any, features: _Array, labels: _Array | None) -> dict[str, _Array]:
    """Compute the requested outputs.

    Args:
        outputs: Names among ``predictions``, ``probabilities``, ``transformed``, ``loss`` and ``accuracy``.
        estimator: A fitted estimator, or a guess.
        features: ``[B, F]``.
        labels: ``[B]``, for regressors also ``[B, T]``; needed by ``loss`` and ``accuracy``.

    Raises:
        BatchError: If a label is none of the classes.
    """
    computed: dict[str, _Array] = {}
    wanted = set(outputs)
    if "transformed" in wanted:
        computed["transformed"] = estimator.transform(features)
    classifies = hasattr(estimator, "predict_proba")
    if "probabilities" in wanted or ("loss" in wanted and classifies):
        computed["probabilities"] = estimator.predict_proba(features)
    if wanted & {"predictions", "accuracy"} or ("loss" in wanted and not classifies):
        computed["predictions"] = estimator.predict(features)
    if labels is not None:
        if "accuracy" in wanted:
            computed["accuracy"] = (computed["predictions"] == labels).astype(float)
        if "loss" in wanted and classifies:
            computed["loss"] = _log_loss(computed["probabilities"], labels, estimator.classes_)
        elif "loss" in wanted:
            rows = len(labels)
            errors = computed["predictions"].reshape(rows, -1) - labels.reshape(rows, -1)
            computed["loss"] = np.square(errors).mean(axis=1)
    return {name: computed[name] for name in outputs if name in computed}


class Answering:
    """A classifier that answers in the classes of the data, also of those that it has not seen an example of.

    Args:
        estimator: The fitted estimator.
        classes: All classes, ``[C]``.
        seen: The classes that the estimator knows, by its own order.
    """

    def __init__(self, estimator: Any, classes: _Array, seen: _Array) -> None:
        self._estimator, self._seen = estimator, seen
        self.classes_ = classes
        if hasattr(estimator, "predict_proba"):
            self.predict_proba = self._predict_proba

    def __getattr__(self, name: str) -> Any:
        return getattr(self._estimator, name)

    def predict(self, features: Any) -> _Array:
        """The class of every example, ``[B]``."""
        predicted: _Array = self._seen[np.searchsorted(self._estimator.classes_, self._estimator.predict(features))]
        return predicted

    def _predict_proba(self, features: Any) -> _Array:
        """The probabilities of all classes, ``[B, C]``."""
        known = self._estimator.predict_proba(features)
        probabilities: _Array = np.zeros((len(known), len(self.classes_)), known.dtype)
        probabilities[:, np.searchsorted(self.classes_, self._seen)] = known
        return probabilities


def checked_output(outputs: Mapping[str, Any], name: str, examples: int) -> Any:
    """Return an output if it has a value for every example.

    Raises:
        MissingVariableError: If there is no such output.
        BatchError: If its first axis is not ``B``.
    """
    if name not in outputs:
        raise MissingVariableError(f"compute_outputs gives no {name!r}; it gives {', '.join(map(repr, outputs))}")
    shape = np.shape(outputs[name])
    if shape[:1] != (examples,):
        raise BatchError(f"output {name!r}: expected {examples} values, one for every example, got shape {shape}")
    return outputs[name]


def _offered_by(estimator: Any) -> Mapping[str, bool]:
    """Output → whether it needs the labels."""
    methods = {"predictions": "predict", "probabilities": "predict_proba", "transformed": "transform"}
    offered = {name: False for name, method in methods.items() if hasattr(estimator, method)}
    if "probabilities" in offered or is_regressor(estimator):
        offered["loss"] = True
    if is_classifier(estimator):
        offered["accuracy"] = True
    return offered


def _log_loss(probabilities: _Array, labels: _Array, classes: _Array) -> _Array:
    columns = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    strange = labels[classes[columns] != labels]
    if len(strange):
        names = [str(name) for name in classes]
        listed = ", ".join(names if len(names) <= 10 else [*names[:4], "…", names[-1]])
        raise BatchError(f"labels: {strange[0]} is none of the {len(classes)} classes {listed}")
    true_class = np.take_along_axis(probabilities, columns[:, None], axis=1)[:, 0]
    loss: _Array = -np.log(np.maximum(true_class, _LEAST_PROBABILITY))
    return loss
