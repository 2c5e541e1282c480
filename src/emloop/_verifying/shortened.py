"""The hook that makes a training short enough to be verified, and commits after everything it does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Set
from typing import Any, ClassVar

from emloop._contracts import SAFE, AbstractHook, ResumeChanges
from emloop._streams import StreamWrapper, digest
from emloop._support.intervals import Interval
from emloop.declare import Positive
from emloop.main_loop import CommitPolicy, Keep, MainLoop
from emloop.types import Batch, EpochData, StateTree, TrainingTerminated

__all__ = ["Shortened"]


class _Always(CommitPolicy):
    """Commits whenever the loop asks."""

    def due(self, **_: Any) -> bool:
        """Say that it is time."""
        return True


class Shortened(AbstractHook):
    """Cut epochs and evaluations, end the training after some batches, and commit after every batch and epoch.

    An epoch is one pass, or a third of the batches if that ends before. A stream that can be resumed only between its
    passes is not cut, and trains for two of them at least.

    The hook's state has digests of all that the batches held, so that a difference is found where it comes from.

    Args:
        batches: Number of training batches.
        evaluated: Number of batches of every evaluation, at most.
        keep: Number of commits to keep.
    """

    steers_training = True
    reads = writes = ()
    resume_changes: ClassVar[ResumeChanges] = {"*": SAFE}

    on_start: Callable[[], None] | None = None
    """Called when all hooks before this one have been told of the start."""
    on_batch: Callable[[], None] | None = None
    """Called when all hooks before this one have seen a batch."""
    stops_in: Set[str] | None = None
    """Streams in which a signal stops the training after one batch, so that it commits and ends; elsewhere it does at
    the end of the epoch. ``None``: no signal is sent."""

    def __init__(self, batches: Positive, evaluated: Positive, keep: Positive) -> None:
        super().__init__()
        self._batches = batches
        self._evaluated = evaluated
        self._keep = keep
        self.ran = 0
        """Batches so far, those of evaluations included."""
        self._trained = self._before = 0
        self._seen: dict[str, dict[str, dict[str, str]]] = {"sources": {}, "outputs": {}}
        self._stream: StreamWrapper | None = None
        self._loop: MainLoop

    def register_mainloop(self, main_loop: MainLoop) -> None:  # type: ignore[override]  # it changes what others look at
        """Attach the hook to the loop that it shortens."""
        super().register_mainloop(main_loop)
        self._loop = main_loop

    def before_training(self) -> None:
        """Cut the streams."""
        self._loop.commit_policy = _Always(Interval(1, "batches"), Keep(self._keep))
        self._loop.epochs_count = None
        train, _, everything = self._loop.look_up_streams()
        for stream in everything.values():
            stream.limit_epochs(self._evaluated)
        self._stream = train[self._loop.train_stream_name]
        self._cut()
        if self.on_start is not None:
            self.on_start()

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Count the batch, and add it to the digests."""
        self.ran += 1
        if self._loop.is_training and self._stream is not None:
            self._trained += 1
            if self._stream.level == "epoch":
                self._stream.limit_epochs(None)
        outputs = set(self._loop.model.output_names)
        for name in batch_data:
            seen = self._seen["outputs" if name in outputs else "sources"].setdefault(stream_name, {})
            seen[name] = digest({"before": seen.get(name, ""), "now": batch_data[name]})
        if self.on_batch is not None:
            self.on_batch()
        if self.stops_in is not None and stream_name in self.stops_in:
            self.stop()

    def after_epoch(self, epoch_id: int, epoch_data: EpochData | None = None) -> None:  # noqa: ARG002
        """Cut the next epoch.

        Raises:
            TrainingTerminated: If that was the last one.
        """
        is_whole = self._stream is not None and self._stream.level == "epoch"
        if self._trained >= self._batches and not (is_whole and self._loop.training_epochs_done < 2):
            raise TrainingTerminated(f"{self._trained} batches are enough to verify")
        self._before = self._trained
        self._cut()
        if self.stops_in is not None:
            self.stop()

    def state_dict(self) -> StateTree:
        """Batches, those that trained, those before the epoch in progress, and digests of all."""
        return {"ran": self.ran, "trained": self._trained, "before": self._before, "seen": self._seen}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on counting."""
        self.ran, self._trained, self._before = state["ran"], state["trained"], state["before"]
        self._seen = state["seen"]

    def stop(self) -> None:
        """Stop the training as a signal does."""
        self.stops_in = None  # a second signal would be obeyed at once
        signal.raise_signal(signal.SIGTERM)

    def _cut(self) -> None:
        if self._stream is not None:
            left = max(self._batches - self._before, 1)
            self._stream.limit_epochs(min(-(-self._batches // 3), left))
