"""Do something in every n-th epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from emloop._contracts import AbstractHook
from emloop.declare import Positive
from emloop.types import EpochData

from ._checks.arguments import at_least

__all__ = ["EveryNEpoch"]


class EveryNEpoch(AbstractHook, ABC):
    """Call ``_after_n_epoch`` after every n-th epoch, including the zeroth; to be extended.

    .. code-block:: python

        class Announce(EveryNEpoch):
            stateless = True

            def _after_n_epoch(self, epoch_id, epoch_data):
                logging.info("%d epochs done", epoch_id)

    Args:
        n_epochs: Number of epochs from one call to the next.
    """

    def __init__(self, n_epochs: Positive = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._n_epochs = at_least("n_epochs", 1, n_epochs)

    @abstractmethod
    def _after_n_epoch(self, epoch_id: int, *args: Any, **kwargs: Any) -> None:
        """What to do; called with the arguments that ``after_epoch`` was given, by name."""

    def after_epoch(self, epoch_id: int, epoch_data: EpochData | None = None) -> None:
        """Call ``_after_n_epoch`` if it is its turn."""
        if epoch_id % self._n_epochs == 0:
            received = {} if epoch_data is None else {"epoch_data": epoch_data}
            self._after_n_epoch(epoch_id=epoch_id, **received)
