"""Save the model: every few epochs, after each one, or when it is the best so far."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from emloop._contracts import SAFE, AbstractHook, AbstractModel, Monitored, ResumeChanges
from emloop._contracts.abilities import Stateful
from emloop._state.kinds import check_state
from emloop._state.retention import delete_leftover
from emloop._support.suggest import check_choice, pick
from emloop.constants import EL_LOG_ONLY
from emloop.declare import Positive, SavedModel, Scalar
from emloop.errors import ConfigError, HookError, SaveError
from emloop.saved_models import find_saved, saved_model_path
from emloop.types import EpochData, Objective, StateTree

from ._checks.arguments import at_least
from ._checks.tolerance import ACTIONS, Action
from ._variables.epochs import read_monitored
from .every_n_epoch import EveryNEpoch

__all__ = ["SaveBest", "SaveEvery", "SaveLatest"]

_LOGGER = logging.getLogger(__name__)

_BETTER: dict[str, Callable[[Any, Any], bool]] = {"min": operator.lt, "max": operator.gt}

_BEST_STAYS = "the best value so far stays, and is compared with the new one"


class SaveEvery(EveryNEpoch):
    """Save the model every ``n_epochs`` epochs, including the zeroth, each time under the epoch's number.

    .. code-block:: yaml

        hooks:
          - SaveEvery: {n_epochs: 10}

    Args:
        model: The model.
        on_failure: Another name for ``on_save_failure``.
        n_epochs: Number of epochs from one save to the next.
        on_save_failure: What to do if the model cannot be saved: ``error``, ``warn`` or ``ignore``.
    """

    stateless = True
    steers_training = True
    reads = ()
    writes = (SavedModel("<epoch>"),)

    SAVE_FAILURE_ACTIONS: ClassVar[list[str]] = ACTIONS

    def __init__(
        self,
        model: AbstractModel,
        on_failure: Action | None = None,
        n_epochs: Positive = 1,
        *,
        on_save_failure: Action = "error",
    ) -> None:
        super().__init__(n_epochs=n_epochs)
        self._model = model
        self._on_save_failure = _failure_action(on_save_failure, on_failure)

    def _after_n_epoch(self, epoch_id: int, epoch_data: EpochData | None = None) -> None:
        self.save_model(self._model, str(epoch_id), self._on_save_failure)

    @staticmethod
    def save_model(model: AbstractModel, name_suffix: str, on_failure: str) -> bool:
        """Save a model.

        Args:
            model: The model.
            name_suffix: Suffix of the saved model.
            on_failure: What to do if that fails: ``error``, ``warn`` or ``ignore``.

        Returns:
            Whether the model has been saved.

        Raises:
            SaveError: If it has not, and that is an error; the cause is the model's own.
        """
        try:
            path = model.save(name_suffix)
        except Exception as error:
            message = f"the model could not be saved as {name_suffix!r}: {type(error).__name__}: {error}"
            if on_failure == "error":
                raise SaveError(message) from error
            if on_failure == "warn":
                _LOGGER.warning(message)
            return False
        _LOGGER.info("Model saved to: %s", path, extra=EL_LOG_ONLY)
        return True


class SaveLatest(AbstractHook):
    """Save the model after every epoch, including the zeroth, always as ``latest``.

    Args:
        model: The model.
        on_save_failure: What to do if the model cannot be saved: ``error``, ``warn`` or ``ignore``.
        on_failure: Another name for ``on_save_failure``.
    """

    stateless = True
    steers_training = True
    reads = ()
    writes = (SavedModel("latest"),)

    def __init__(
        self, model: AbstractModel, on_save_failure: Action = "error", *, on_failure: Action | None = None
    ) -> None:
        super().__init__()
        self._model = model
        self._on_save_failure = _failure_action(on_save_failure, on_failure)

    def after_epoch(self, epoch_id: int = 0, epoch_data: EpochData | None = None) -> None:
        """Save the model.

        Raises:
            SaveError: If that fails and is an error.
        """
        SaveEvery.save_model(self._model, "latest", self._on_save_failure)


class SaveBest(AbstractHook):
    """Save the model when a variable is better than in all epochs before, including the zeroth.

    .. code-block:: yaml

        hooks:
          - ComputeStats: {variables: [accuracy]}
          - SaveBest: {variable: accuracy, condition: max}

    An equal value is not better, and NaN never is. A model that could not be saved is not the best: the next one that
    is better than the last one saved is tried again.

    With ``keep: 3``, the three best are kept as well, each under its epoch: ``model_best_12``. An evaluation inside an
    epoch counts as much, under its number of training batches: ``model_best_1500ba``.

    Args:
        output_dir: The run directory.
        model: The model.
        model_name: Suffix of the saved model, which tells it from the run's others.
        variable: Name of the variable.
        condition: Whether smaller (``min``) or larger (``max``) is better.
        stream: Name of the stream.
        aggregation: Which of the variable's aggregations counts. A plain number counts as its ``mean``; empty: only
            such a number will do.
        on_save_failure: What to do if the model cannot be saved: ``error``, ``warn`` or ``ignore``.
        on_failure: Another name for ``on_save_failure``.
        keep: How many of the best models to keep; more than one: also under their epochs.
        restore: Whether the model has the weights of the best one once the training has ended.
    """

    steers_training = True
    reads = (Scalar("{variable}", stream="{stream}", aggregation="{aggregation}"),)
    writes = (SavedModel("{model_name}"),)
    resume_changes: ClassVar[ResumeChanges] = {
        **dict.fromkeys(("variable", "condition", "stream", "aggregation"), _BEST_STAYS),
        "*": SAFE,
    }

    OBJECTIVES: ClassVar[frozenset[str]] = frozenset(_BETTER)

    def __init__(
        self,
        model: AbstractModel,
        model_name: str = "best",
        variable: str = "loss",
        condition: Objective = "min",
        stream: str = "valid",
        aggregation: str | None = "mean",
        on_save_failure: Action = "error",
        *,
        on_failure: Action | None = None,
        keep: Positive = 1,
        restore: bool = False,
        output_dir: str = "",
    ) -> None:
        super().__init__()
        self._model = model
        self._model_name = model_name
        self._keep = at_least("keep", 1, keep)
        self._kept: list[tuple[float, int | str]] = []
        self._restore = restore
        if (keep > 1 or restore) and not output_dir:
            raise ConfigError.about("output_dir", "expected the run directory, which keep and restore need")
        self._output_dir = output_dir
        self._variable = variable
        self._better = pick("condition", condition, _BETTER)
        self._stream = stream
        self._aggregation = aggregation
        self._on_save_failure = _failure_action(on_save_failure, on_failure)
        self._best: float | None = None
        self.monitored = Monitored(variable, stream, aggregation, condition, saved_as=model_name)

    def _get_value(self, epoch_data: EpochData) -> float:
        return read_monitored(epoch_data, self._stream, self._variable, self._aggregation)

    # The main loop calls events with keywords; who calls this one directly has always given the data first.
    def after_epoch(self, epoch_data: EpochData, epoch_id: int | str = 0) -> None:  # type: ignore[override]
        """Save the model if it is the best.

        Raises:
            MissingVariableError: If no hook has written the variable, or not this aggregation of it.
            VariableTypeError: If the variable has no aggregations.
            HookError: If the value is not a number; or if ``keep`` does not find what was saved.
            SaveError: If the model cannot be saved and that is an error.
        """
        value = self._get_value(epoch_data)
        if math.isnan(value):
            return
        if (self._best is None or self._better(value, self._best)) and self._save(self._model_name):
            self._best = value
        if self._keep > 1:
            self._keep_among_the_best(value, epoch_id)

    def after_evaluation(self, batches: int, epoch_data: EpochData) -> None:
        """Likewise, after an evaluation inside an epoch."""
        self.after_epoch(epoch_data, f"{batches}ba")

    def _keep_among_the_best(self, value: float, epoch_id: int | str) -> None:
        # Where a killed epoch is repeated, its save replaces what it had saved before.
        kept = [(other, epoch) for other, epoch in self._kept if epoch != epoch_id]
        rank = sum(not self._better(value, other) for other, _ in kept)
        if rank < self._keep and self._save(f"{self._model_name}_{epoch_id}"):
            if not self._path(epoch_id).is_dir():
                raise HookError(f"keep: expected the saved model at {self._path(epoch_id)}, where it could be removed")
            kept.insert(rank, (value, epoch_id))
            self._kept = kept[: self._keep]
            for _, epoch in kept[self._keep :]:
                delete_leftover(self._path(epoch))

    def _path(self, *epoch: int | str) -> Path:
        return saved_model_path(self._output_dir, "_".join(map(str, (self._model_name, *epoch))))

    def _save(self, name_suffix: str) -> bool:
        return SaveEvery.save_model(self._model, name_suffix, self._on_save_failure)

    def after_training(self, success: bool) -> None:
        """Restore the best model, if that is wanted.

        Raises:
            HookError: If the model cannot take it up.
        """
        if self._restore and success and self._best is not None:
            if not isinstance(self._model, Stateful):
                raise HookError(f"restore: {type(self._model).__name__} has no load_state_dict")
            self._model.load_state_dict(find_saved(self._path()).tree())
            _LOGGER.info("The model has the weights of %s again", self._path())

    def state_dict(self) -> StateTree:
        """The value of the last model that was saved, and those that are kept, with their epochs, best first."""
        return {"best": self._best, "kept": [list(pair) for pair in self._kept]}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on with another attempt's best values."""
        check_state(self, state, {"best": (float, None), "kept": [[float, (int, str)], ...]})
        self._best = None if state["best"] is None else float(state["best"])
        self._kept = [(value, epoch) for value, epoch in state["kept"]]


def _failure_action(on_save_failure: str, on_failure: str | None) -> str:
    """One action from two names of one argument."""
    if on_failure is not None and on_save_failure != "error":
        raise ConfigError("on_save_failure and on_failure are two names of one argument; leave on_failure out")
    action = on_save_failure if on_failure is None else on_failure
    return check_choice("on_save_failure", action, SaveEvery.SAVE_FAILURE_ACTIONS)
