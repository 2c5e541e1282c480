"""Stop the training once a variable has not become better for a number of epochs."""

from __future__ import annotations

import math
from typing import ClassVar

from emloop._contracts import SAFE, AbstractHook, Monitored, ResumeChanges
from emloop._state.kinds import check_state
from emloop._support.suggest import pick
from emloop.declare import Amount, Positive, Scalar
from emloop.types import EpochData, Objective, StateTree, TrainingTerminated

from ._checks.arguments import at_least
from ._variables.epochs import read_monitored

__all__ = ["EarlyStopping"]

_SIGN = {"min": 1.0, "max": -1.0}


class EarlyStopping(AbstractHook):
    """Stop the training when a variable has not been better than its best so far for some epochs.

    .. code-block:: yaml

        hooks:
          - ComputeStats: {variables: [loss]}
          - SaveBest: {variable: loss}
          - EarlyStopping: {variable: loss, patience: 5, min_delta: 0.001}

    The zeroth epoch sets the first value to beat. NaN never is better. With ``main_loop.evaluate_every``, every
    evaluation counts, inside epochs and after them.

    Args:
        variable: Name of the variable.
        patience: Number of epochs, or evaluations, without a better value after which the training ends.
        min_delta: By how much a value must be better; exactly as much does not count.
        condition: Whether smaller (``min``) or larger (``max``) is better.
        stream: Name of the stream.
        aggregation: Which of the variable's aggregations counts. A plain number counts as its ``mean``; empty: only
            such a number will do.
    """

    steers_training = True
    reads = (Scalar("{variable}", stream="{stream}", aggregation="{aggregation}"),)
    writes = ()
    resume_changes: ClassVar[ResumeChanges] = {
        **dict.fromkeys(
            ("variable", "condition", "stream", "aggregation"),
            "the best value so far stays, and is compared with the new one",
        ),
        "*": SAFE,
    }

    def __init__(
        self,
        variable: str = "loss",
        patience: Positive = 10,
        min_delta: Amount = 0.0,
        *,
        condition: Objective = "min",
        stream: str = "valid",
        aggregation: str | None = "mean",
    ) -> None:
        super().__init__()
        self._variable = variable
        self._patience = at_least("patience", 1, patience)
        self._min_delta = at_least("min_delta", 0.0, min_delta)
        self._sign = pick("condition", condition, _SIGN)
        self._stream = stream
        self._aggregation = aggregation
        self._best: float | None = None
        self.monitored = Monitored(variable, stream, aggregation, condition)
        self._waited = 0
        self._what = "epoch"

    def before_training(self) -> None:
        """Go no further where another attempt's patience has ended.

        Raises:
            TrainingTerminated: If it has.
        """
        self._check_patience()

    def after_epoch(self, epoch_data: EpochData, epoch_id: int = 0) -> None:  # type: ignore[override]
        """Compare the epoch's value with the best so far.

        Raises:
            MissingVariableError: If no hook has written the variable, or not this aggregation of it.
            VariableTypeError: If the variable has no aggregations.
            HookError: If the value is not a number.
            TrainingTerminated: If it has been no better for long enough.
        """
        value = read_monitored(epoch_data, self._stream, self._variable, self._aggregation)
        is_better = self._best is None or self._sign * (self._best - value) > self._min_delta
        if is_better and not math.isnan(value):
            self._best, self._waited = value, 0
        else:
            self._waited += 1
        self._check_patience()

    def after_evaluation(self, batches: int, epoch_data: EpochData) -> None:
        """Likewise, after an evaluation inside an epoch."""
        self._what = "evaluation"
        self.after_epoch(epoch_data)

    def _check_patience(self) -> None:
        if self._waited >= self._patience:
            best = "NaN" if self._best is None else f"{self._best:g}"
            waited = f"one {self._what}" if self._waited == 1 else f"{self._waited} {self._what}s"
            raise TrainingTerminated(f"{self._stream}.{self._variable} has not been better than {best} for {waited}")

    def state_dict(self) -> StateTree:
        """The best value, and the number of epochs since."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on waiting where another attempt stopped."""
        check_state(self, state, {"best": (float, None), "waited": int})
        self._best, self._waited = state["best"], state["waited"]
