"""Stop the training when a variable stops improving."""

from __future__ import annotations

from emloop.declare import Amount, Names, Positive, Statistics
from emloop.types import EpochData, Objective, TrainingTerminated

from .on_plateau import OnPlateau

__all__ = ["StopOnPlateau"]


class StopOnPlateau(OnPlateau):
    """Stop the training on a plateau, as ``OnPlateau`` defines it.

    .. code-block:: yaml

        hooks:
          - StopOnPlateau: {variable: loss, long_term: 20, short_term: 5}

    Args:
        long_term: Number of epochs of the long average.
        short_term: Number of epochs of the short average, which is worse than the long one on a plateau.
        stream: Name of the stream whose mean is observed.
        variable: Name of the variable.
        objective: Whether smaller (``min``) or larger (``max``) is better.
        min_delta: By how much the short average must be worse; exactly as much does not count.
        streams: Names of the streams for which the mean is computed; by default all, which then need the variable.
    """

    writes = (Statistics("{variable}", stream="{streams}"),)

    def __init__(
        self,
        long_term: Positive = 50,
        short_term: Positive = 10,
        stream: str = "valid",
        variable: str = "loss",
        objective: Objective = "min",
        *,
        min_delta: Amount = 0.0,
        streams: Names | None = None,
    ) -> None:
        super().__init__(long_term, short_term, stream, variable, objective, min_delta=min_delta, streams=streams)

    def _on_plateau_action(self, epoch_id: int, epoch_data: EpochData) -> None:
        raise TrainingTerminated(f"{self._stream}.{self._variable} is on a plateau after epoch {epoch_id}")
