"""An estimator that learns from all batches of an epoch together, and what it remembers beside what it has learned."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier, is_regressor

from emloop.constants import EL_LOG_ONLY
from emloop.errors import BatchError, ConfigError, Problem
from emloop.interrupting import interruptible
from emloop_sklearn._archives.archive import dump, load
from emloop_sklearn._fitting import last_step
from emloop_sklearn._outputs import Answering

from .columns import Columns
from .gathering import Gathered
from .libraries import library_of
from .rounds import fit_in_one_go, fit_more, prepare

__all__ = ["Together"]

logger = logging.getLogger(__name__)

_Array = npt.NDArray[Any]


class Together:
    """Keeps the batches of an epoch, and lets an estimator learn from them at its end.

    Args:
        rounds_per_epoch: How many rounds an epoch adds; ``None``: the first epoch is all.
        seed: The run's seed.
        classes: All classes, ``[C]``, if known.
        state: What :meth:`state` returned.
    """

    def __init__(self, rounds_per_epoch: int | None, seed: int | None, classes: _Array | None, state: Any) -> None:
        self._rounds_per_epoch, self._seed, self._classes = rounds_per_epoch, seed, classes
        self._gathered = Gathered()
        known = state or {"rounds": 0, "fitted": False, "seen": None}
        self._rounds: int = known["rounds"]
        self._is_done: bool = known["fitted"] and rounds_per_epoch is None
        # The classes of which an estimator of LightGBM or XGBoost has trees.
        self._seen: _Array | None = known["seen"]
        self._has_said_done = False

    @property
    def holds(self) -> bool:
        """Whether there are batches that have not been learned from."""
        return bool(self._gathered)

    def state(self) -> dict[str, Any]:
        """What an estimator does not know itself."""
        return {"rounds": self._rounds, "fitted": self._is_done, "seen": self._seen}

    def begin(self, estimator: Any) -> None:
        """Begin a training, maybe with what another one has learned."""
        self._is_done = False
        if self._rounds_per_epoch is not None:
            prepare(last_step(estimator))

    def add(self, estimator: Any, features: Any, labels: _Array | None, weight: _Array | None) -> None:
        """Keep a batch until the end of the epoch; nothing, where the estimator has learned all that it will.

        Raises:
            ConfigError: If there are no labels to learn from.
            BatchError: If a label is none of the classes.
        """
        name = type(last_step(estimator)).__name__
        if labels is None and (is_classifier(estimator) or is_regressor(estimator)):
            hint = "name them: inputs: [features, labels], or labels: name"
            raise ConfigError(Problem(f"{name} learns from labels", keys=("inputs",), hints=(hint,)))
        if self._classes is not None and is_classifier(estimator) and labels is not None and labels.ndim == 1:
            known = np.isin(labels, self._classes)
            if not known.all():
                listed = ", ".join(map(str, self._classes[:10]))
                raise BatchError(f"labels: {labels[~known][0]} is none of the {len(self._classes)} classes {listed}")
        if not self._is_done:
            self._gathered.add(features, labels, weight)
        elif not self._has_said_done:
            logger.warning("%s has learned all in its first epoch; more change nothing: main_loop.epochs_count=1", name)
            self._has_said_done = True

    def learn(self, estimator: Any, columns: Columns | None, trusted: tuple[str, ...]) -> Any:
        """An estimator that has learned from the batches; the given one stays as it is.

        Raises:
            BatchError: If the batches do not go together, or lack a class.
        """
        epoch = self._gathered.take()
        name, features = type(last_step(estimator)).__name__, epoch.features
        said = f"{name} learns from {epoch.examples:,} examples ({epoch.size / 1e6:.1f} MB)"
        logger.info(said, extra=EL_LOG_ONLY if self._rounds else None)  # on the screen once is enough
        if columns is not None:
            columns.learn(features)
            features = columns.frame(features)
        library, labels = library_of(last_step(estimator)), epoch.labels
        seen: Any = self._seen
        if library is not None and is_classifier(estimator):
            seen = np.unique(labels) if not self._rounds else seen
            _require_classes(name, labels, seen)
            labels = np.searchsorted(seen, labels) if library == "xgboost" else labels
        with interruptible(f"fitting {name}"):
            grown = copy.deepcopy(estimator)  # of which a signal may make a torso
            if self._rounds_per_epoch is None:
                fit_in_one_go(grown, features, labels, epoch.weight)
            else:
                fit_more(grown, self._rounds_per_epoch, self._rounds, self._seed, features, labels, epoch.weight)
            if library is not None:
                grown = load(dump(grown), trusted)  # what a resume would go on with
        self._rounds += self._rounds_per_epoch or 0
        self._is_done, self._seen = self._rounds_per_epoch is None, seen
        return grown

    def answering(self, estimator: Any) -> Any:
        """What answers for a fitted estimator in all classes of the data."""
        own = getattr(estimator, "classes_", None)
        if self._classes is None or not isinstance(own, np.ndarray):
            return estimator
        known = own if self._seen is None else self._seen
        is_whole = np.array_equal(known, self._classes) and np.array_equal(known, own)
        return estimator if is_whole else Answering(estimator, self._classes, known)


def _require_classes(name: str, labels: Any, seen: Any) -> None:
    if len(seen) < 2:
        raise BatchError(f"{name} needs examples of two classes at least, there is only {seen[0]}")
    if (new := np.setdiff1d(labels, seen)).size:
        raise BatchError(f"{name} has no trees of the class {new[0]}, which the first epoch did not have")
