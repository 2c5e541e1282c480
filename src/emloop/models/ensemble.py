"""Several trained models that answer as one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emloop._contracts import AbstractModel, Predicting
from emloop._state.random import random_state_kept
from emloop._streams import StreamWrapper
from emloop._support.suggest import pick
from emloop.errors import BatchError, ConfigError
from emloop.types import Batch

from .members import MadeOfMembers

__all__ = ["Ensemble", "major_vote"]

_Aggregation = Callable[[Sequence[NDArray[Any]]], Any]


def major_vote(all_votes: Iterable[Iterable[Hashable]]) -> list[Hashable]:
    """Most common vote at each position.

    Args:
        all_votes: Sequences of votes, all of the same length.

    Returns:
        One vote per position; ties go to the vote that came first.
    """
    return [Counter(votes).most_common(1)[0][0] for votes in zip(*all_votes, strict=True)]


def _vote(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    winners = major_vote([value.ravel().tolist() for value in values])
    # Members may differ in the length of their texts or the width of their numbers.
    return np.array(winners, dtype=np.result_type(*(value.dtype for value in values))).reshape(values[0].shape)


def _mean(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(np.mean(values, axis=0))


_AGGREGATIONS: dict[str, _Aggregation] = {"mean": _mean, "major_vote": _vote}


class Ensemble(MadeOfMembers):
    """Runs several trained models on every batch and aggregates their outputs; for evaluation only.

    .. code-block:: yaml

        model:
          class: Ensemble
          inputs: [images]
          outputs: [predictions, probabilities]
          aggregation: {predictions: major_vote, probabilities: mean}
          models_root: log
          model_paths: [digits_a, digits_b, digits_c/model_best]

    Args:
        inputs: Names of the sources that the members need; replaces theirs.
        outputs: Names of the outputs to aggregate; replaces theirs.
        aggregation: ``mean`` (of each element), ``major_vote`` (the most frequent value of each element; ties go to the
            member that comes first), or a mapping from output to one of these.
        models_root: Prefix of each path; a relative one begins in ``restore_from``, if it leads somewhere from there,
            else in the working directory.
        model_paths: Runs or saved models, of any backends; repeating one gives it more weight. Without it, all runs and
            saved models directly below ``models_root``.
        dataset: The dataset, passed to every member.
        eager_loading: Whether to load the members now instead of with the first batch.
        log_dir: Unused: an ensemble saves nothing.
        restore_from: Where relative paths begin; the members restore themselves.
    """

    AGGREGATION_METHODS: ClassVar[list[str]] = list(_AGGREGATIONS)

    def __init__(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        aggregation: str | Mapping[str, str] = "major_vote",
        models_root: str | None = None,
        model_paths: Sequence[str] | None = None,
        dataset: object = None,
        eager_loading: bool = False,
        *,
        log_dir: str | None = None,
        restore_from: str | None = None,
    ) -> None:
        del log_dir
        self._inputs = list(inputs)
        self._outputs = list(outputs)
        self._aggregations = _per_output(self._outputs, aggregation)
        overrides = {"inputs": self._inputs, "outputs": self._outputs}
        super().__init__(model_paths, models_root, dataset, overrides, eager_loading=eager_loading, beside=restore_from)
        self._lock = threading.Lock()

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that a batch must hold."""
        return self._inputs

    @property
    def output_names(self) -> list[str]:
        """Names of the aggregated outputs."""
        return self._outputs

    @property
    def prediction_inputs(self) -> list[str]:
        """Names of the sources that a member needs to predict."""
        needed = (
            model.prediction_inputs if isinstance(model, Predicting) else model.input_names for model in self._load()
        )
        return list(dict.fromkeys(name for names in needed for name in names))

    @property
    def like(self) -> Path:
        """A member, which takes and gives arrays as all of them do."""
        self._load()
        return self._paths[0]

    def predict(self, batch: Batch) -> Batch:
        """What the members predict, aggregated; outputs that one of them gives in evaluations only are left out."""
        answers = [self._predicted(index, model, batch) for index, model in enumerate(self._load())]
        names = [name for name in self._outputs if all(name in answer for answer in answers)]
        return {name: self._aggregations[name](self._collect(name, answers)) for name in names}

    def _predicted(self, index: int, model: AbstractModel, batch: Batch) -> Batch:
        if isinstance(model, Predicting):
            return model.predict(batch)
        with self._lock, random_state_kept():
            fetched: dict[str, Any] = {
                name: np.asarray(out) for name, out in self._run_member(index, batch, None).items()
            }
            return fetched

    def _combine(self, batch: Batch, stream: StreamWrapper | None) -> Batch:
        answers = [self._run_member(index, batch, stream) for index in range(len(self._paths))]
        # Weights that members give beside their outputs follow from the data, so all give the same ones.
        beside = {name: answers[0][name] for name in self.weights.values() if name in answers[0]}
        return beside | {name: self._aggregations[name](self._collect(name, answers)) for name in self._outputs}

    def _collect(self, name: str, answers: Sequence[Batch]) -> list[NDArray[Any]]:
        values = []
        for path, answer in zip(self._paths, answers, strict=True):
            if name not in answer:
                raise BatchError(f"member {path} gives no output {name!r}; it gives: {', '.join(map(repr, answer))}")
            values.append(np.asarray(answer[name]))
        if len({value.shape for value in values}) > 1:
            shapes = ", ".join(f"{path}: {value.shape}" for path, value in zip(self._paths, values, strict=True))
            raise BatchError(f"the members' outputs {name!r} differ in shape: {shapes}")
        return values


def _per_output(outputs: Sequence[str], aggregation: str | Mapping[str, str]) -> dict[str, _Aggregation]:
    if not isinstance(aggregation, Mapping):
        return dict.fromkeys(outputs, pick("aggregation", aggregation, _AGGREGATIONS))
    odd = sorted(set(aggregation) ^ set(outputs))
    if odd:
        raise ConfigError.about("aggregation", f"must name exactly the outputs {list(outputs)}; differs in {odd}")
    return {name: pick(f"aggregation.{name}", word, _AGGREGATIONS) for name, word in aggregation.items()}
