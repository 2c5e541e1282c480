"""Stop the training after a number of epochs, iterations or minutes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ClassVar

from emloop._contracts import SAFE, AbstractHook, ResumeChanges
from emloop._state.kinds import check_state
from emloop.constants import EL_DEFAULT_TRAIN_STREAM, EL_LOG_ONLY
from emloop.declare import Amount, Count
from emloop.errors import ConfigError
from emloop.types import Batch, EpochData, StateTree, TrainingTerminated

from ._checks.arguments import at_least

__all__ = ["StopAfter"]

_LOGGER = logging.getLogger(__name__)


class StopAfter(AbstractHook):
    """Stop the training at the first of the given limits.

    .. code-block:: yaml

        hooks:
          - StopAfter: {epochs: 20, minutes: 90}

    Args:
        epochs: Number of training epochs.
        iterations: Number of training batches; those of the zeroth epoch do not count.
        minutes: Time spent in the run's attempts, not between them.
        train_stream_name: Name of the stream whose batches are iterations.
        clock: Seconds since some moment, never going back.

    Raises:
        ConfigError: If no limit is given.
    """

    steers_training = True
    reads = writes = ()
    resume_changes: ClassVar[ResumeChanges] = {
        "train_stream_name": "the batches so far stay counted, and those of the new stream are added",
        "*": SAFE,
    }

    def __init__(
        self,
        epochs: Count | None = None,
        iterations: Count | None = None,
        minutes: Amount | None = None,
        train_stream_name: str = EL_DEFAULT_TRAIN_STREAM,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        if epochs is None and iterations is None and minutes is None:
            raise ConfigError("StopAfter: expected at least one of 'epochs', 'iterations', 'minutes'")
        self._epochs = None if epochs is None else at_least("epochs", 0, epochs)
        self._iterations = None if iterations is None else at_least("iterations", 0, iterations)
        self._minutes = None if minutes is None else at_least("minutes", 0.0, minutes)
        self._train_stream_name = train_stream_name
        self.idle_events = [StopAfter.after_batch] if iterations is None and minutes is None else []
        self._clock = clock
        self._iterations_done = 0
        self._seconds_before = 0.0
        self._started: float | None = None

    def before_training(self) -> None:
        """Start counting the attempt's time.

        Raises:
            TrainingTerminated: If a limit was reached before, as in a resumed run that had ended.
        """
        self._seconds_before = self._seconds_spent()
        self._started = self._clock()
        done = self._main_loop.training_epochs_done if self._main_loop else 0
        if self._epochs is not None and 0 < self._epochs <= done:
            raise TrainingTerminated(f"Training terminated after epoch {done}")
        if self._iterations is not None and 0 < self._iterations <= self._iterations_done:
            raise TrainingTerminated(f"Training terminated after iteration {self._iterations_done}")

    def after_batch(self, stream_name: str, batch_data: Batch | None = None) -> None:
        """Count the batch.

        Raises:
            TrainingTerminated: If the iterations or the minutes are used up.
        """
        trains = self._main_loop is None or self._main_loop.is_training
        if self._iterations is not None and stream_name == self._train_stream_name and trains:
            self._iterations_done += 1
            if self._iterations_done >= self._iterations:
                raise TrainingTerminated(f"Training terminated after iteration {self._iterations_done}")
        self._check_minutes()

    def after_epoch(self, epoch_id: int, epoch_data: EpochData | None = None) -> None:
        """Compare the epochs and the time with their limits.

        Raises:
            TrainingTerminated: If the epochs or the minutes are used up.
        """
        if self._epochs is not None and epoch_id >= self._epochs:
            _LOGGER.info("EpochStopperHook triggered", extra=EL_LOG_ONLY)
            raise TrainingTerminated(f"Training terminated after epoch {epoch_id}")
        self._check_minutes()

    def after_training(self, success: bool) -> None:
        """Stop counting the attempt's time."""
        self._seconds_before = self._seconds_spent()
        self._started = None

    def _seconds_spent(self) -> float:
        return self._seconds_before + (0.0 if self._started is None else self._clock() - self._started)

    def _check_minutes(self) -> None:
        if self._minutes is not None and self._seconds_spent() > self._minutes * 60:
            raise TrainingTerminated(f"Training terminated after more than {self._minutes:g} minutes")

    def state_dict(self) -> StateTree:
        """The iterations of all attempts so far, and their time where it is limited."""
        # Equal runs have equal states; only a limit of time needs the time.
        seconds = None if self._minutes is None else self._seconds_spent()
        return {"iterations": self._iterations_done, "seconds": seconds}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on counting where another attempt stopped."""
        check_state(self, state, {"iterations": int, "seconds": (float, None)})
        self._iterations_done = state["iterations"]
        self._seconds_before = float(state["seconds"] or 0)
        self._started = None
