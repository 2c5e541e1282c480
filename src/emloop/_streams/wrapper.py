"""The public face of a stream: epochs, read-ahead, times, and the position to resume from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, MutableMapping
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from emloop._state.kinds import check_state
from emloop._state.tree import copy_tree
from emloop._support.interrupting import Interrupted, is_interrupted, uninterrupted
from emloop.types import Batch, StateTree, Stream

from .digest import digest
from .prefetch import Gate, Prefetch
from .reader import Consumed, Reader
from .shares import Sharing
from .source import Level

if TYPE_CHECKING:
    from .workers import Workers  # which starts processes, and is imported where there are to be any

__all__ = ["Cursor", "StreamWrapper"]

_OPEN_GATE = nullcontext()
_KIND = {
    **dict.fromkeys(("pass", "batches", "epoch_batches"), int),
    "digest": (str, None),
    "source": object,
    "generators": ({str: {str: object}}, None),
}


class Cursor(NamedTuple):
    """A position in a stream: the number of the pass, and the batches handed out in it."""

    pass_index: int
    batches: int


class StreamWrapper:
    """An iterator over the epochs of a stream.

    ``next`` raises ``StopIteration`` at the end of an epoch and goes on with the following one afterwards. A loop left
    early can be resumed by iterating again.

    With a buffer, a thread reads batches ahead inside ``with stream:``, whenever code runs inside
    ``with stream.allow_buffering:`` or the consumer waits. What was read is kept when the block is left. The batches
    are the same with and without a buffer. Only one thread at a time may consume a stream.

    Args:
        stream_fn: Called without arguments at the start of every pass; returns an iterable of batches.
        buffer_size: Maximum number of batches to read ahead; 0 reads each when it is asked for.
        epoch_size: Batches per epoch, over as many passes as it takes; 0 or less: an epoch is one pass.
        name: Name of the stream.
        profile: Where to record the seconds that each batch took, under ``read_batch_<name>``.
        training: Whether the batches train the model; an evaluation draws the same random numbers in every pass.
        prefetch: Called with every batch that is read ahead, in the thread that reads it: the model's ``prefetch``.
        gate: When to read ahead: only where code allows it, as said above, or ``open``: whenever there is room.
        workers: Processes that load batches of sequences; ``None``: this one does.
        sharing: How several processes that train one model share in every batch; ``None``: it is this one's own.
    """

    def __init__(
        self,
        stream_fn: Callable[[], Stream],
        buffer_size: int = 0,
        epoch_size: int = -1,
        name: str | None = None,
        profile: MutableMapping[str, Any] | None = None,
        *,
        training: bool = True,
        prefetch: Callable[[Batch], Any] | None = None,
        gate: Gate = "model",
        workers: Workers | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self._own_size = self._epoch_size = epoch_size if epoch_size > 0 else -1
        self._reader = Reader(
            stream_fn,
            name,
            training=training,
            endless=epoch_size > 0,
            ahead=buffer_size > 0,
            workers=workers,
            sharing=sharing,
        )
        self._prefetch = Prefetch(self._reader, buffer_size, prefetch, gate=gate) if buffer_size > 0 else None
        self._gate: AbstractContextManager[None] = self._prefetch if self._prefetch and gate == "model" else _OPEN_GATE
        self._position: Reader | Prefetch = self._prefetch or self._reader
        self._read = self._position.read
        self._before_epoch = 0
        self._limited = False
        self._inside = False  # the last epoch ended inside a pass, so what is left of it may be nothing
        self._loaded: dict[str, Any] | None = None
        self._profile = profile
        self._event = f"read_batch_{name}"

    @property
    def name(self) -> str | None:
        """Name of the stream; may be set if it has none."""
        return self._reader.name

    @name.setter
    def name(self, name: str | None) -> None:
        self._reader.name = name
        self._event = f"read_batch_{name}"

    @property
    def training(self) -> bool:
        """Whether the batches train the model."""
        return self._reader.training

    @property
    def allow_buffering(self) -> AbstractContextManager[None]:
        """Enter this around code that releases the interpreter lock: the stream may be read ahead meanwhile."""
        return self._gate

    @property
    def prefetched(self) -> Any:
        """What ``prefetch`` returned for the batch handed out last; ``None`` if that was not read ahead."""
        return None if self._prefetch is None else self._prefetch.prepared

    @property
    def upcoming(self) -> Any:
        """What ``prefetch`` returned for the next batch; ``None`` until that is read."""
        return None if self._prefetch is None else self._prefetch.upcoming()

    @property
    def cursor(self) -> Cursor:
        """How much of the stream was handed out; what was only read ahead does not count."""
        return Cursor(self._position.pass_index, self._position.batches)

    @property
    def consumed(self) -> Consumed | None:
        """The batch handed out last, also at the end of a training pass; ``None`` before the first."""
        at = self._position
        return at.ended if at.last is None else Consumed(at.pass_index, at.batches - 1, at.last)

    @property
    def length(self) -> int | None:
        """Batches in a pass, where the stream method returned a sequence; ``None`` before the first pass."""
        return self._reader.length

    @property
    def examples(self) -> int | None:
        """Examples in the first batch of a pass, where a process that shares in it knows before it is read."""
        return self._reader.examples

    @property
    def draws_globally(self) -> bool:
        """Whether opening the stream, or reading its first batch, drew from shared random states."""
        return self._reader.draws_globally

    @property
    def undivided(self) -> str:
        """Why workers may not share in loading the stream; empty if they may, or before the first pass."""
        return self._reader.undivided

    def digest_again(self, pass_index: int, index: int) -> str | None:
        """Read a batch once more, apart from the position, and return its digest.

        Returns:
            ``None`` if the stream cannot go there without reading others; an empty text if there is no such batch.
        """
        return self._reader.digest_again(pass_index, index)

    @property
    def level(self) -> Level:
        """How exactly a run can be resumed inside a pass; opens the stream if necessary."""
        while (level := self._reader.level) is None:
            self.open()
        return level

    @property
    def position(self) -> Reader | Prefetch:
        """What counts the batches; whoever iterates over :meth:`spans` sets its ``last``."""
        return self._position

    @uninterrupted  # a batch that counts as handed out is to be run
    def spans(self) -> Generator[Iterator[Batch]]:
        """The rest of the epoch in pieces, each to be iterated over to its end: what ``next`` gives, at less cost.

        The counts are right at any time. A piece that raises has to be :meth:`broken`.
        """
        reader = self._reader
        if self._profile is not None or (self._limited and self._prefetch is not None):
            yield self
        elif self._prefetch is not None:
            ahead = self._prefetch.rest()
            yield ahead if (left := self._left()) is None else islice(ahead, left)
            self._epoch_end()
        else:
            for batch in self:
                yield iter((batch,))
                left, before = self._left(), reader.handed
                yield reader.rest(left)
                reader.recall(ended=reader.handed - before != left)

    def broken(self, error: BaseException) -> None:
        """Stop reading for good after an error in one of :meth:`spans`."""
        if self._reader.lends:
            self._reader.fail(error)

    @property
    def is_done(self) -> bool:
        """Whether the epoch is known to have no more batches; of a pass whose length nobody knows, it never is."""
        left = self._left()
        return self.cursor.batches == self.length if left is None else left == 0

    @property
    def can_stop_here(self) -> bool:
        """Whether a run can go on from the batch handed out last, also where that is inside a pass."""
        return self._position.is_whole and (self.level != "epoch" or not self.cursor.batches)

    def __iter__(self) -> Self:
        return self

    @uninterrupted
    def __next__(self) -> Batch:
        if self._epoch_size > 0 and self._epoch_batches == self._epoch_size:
            self._inside = self._limited
            raise self._epoch_end()
        profile = self._profile
        try:
            if profile is None:
                batch = self._read()
            else:
                began = perf_counter()
                batch = self._read()
                seconds = perf_counter() - began
                try:
                    profile[self._event].append(seconds)
                except KeyError:
                    profile[self._event] = [seconds]
        except StopIteration:
            if self._epoch_batches or not self._inside:
                raise self._epoch_end() from None
            self._inside = False
            return next(self)
        return batch

    @uninterrupted  # a thread that was started is to be ended
    def __enter__(self) -> Self:
        if self._prefetch is not None:
            self._prefetch.start()
        return self

    @uninterrupted
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._prefetch is not None:
            # A signal must not wait for a batch that may never come.
            at_once = isinstance(error, (KeyboardInterrupt, SystemExit)) or is_interrupted()
            with suppress(Interrupted):  # whose signal the loop sees to, where an epoch that has ended counts as that
                self._prefetch.stop(wait=not at_once)

    def limit_epochs(self, batches: int | None) -> None:
        """End epochs after so many batches, unless they end before; the next one goes on there. ``None``: as before."""
        self._limited = batches is not None
        sizes = [size for size in (self._own_size, batches or -1) if size > 0]
        self._epoch_size = min(sizes, default=-1)

    def empty(self) -> bool:
        """Whether nothing has been read ahead."""
        return self._prefetch is None or self._prefetch.empty()

    def open(self) -> None:
        """Call the stream method for the coming pass, and go to the loaded position, unless already done.

        Raises:
            CannotResumeError: If the stream is not what it was when the position was saved; names the first batch
                known to differ. Iterating goes on from a place as near as possible.
        """
        self._position.open()

    def restart(self) -> None:
        """Go on at the start of the first pass, whatever happened before."""
        self._position.restart()
        self._before_epoch = self._position.handed
        self._inside = False
        self._loaded = None

    def state_dict(self) -> StateTree:
        """Position behind the batch handed out last.

        Returns:
            ``pass``, ``batches`` (of the pass) and ``epoch_batches`` (of the epoch) as numbers; for a jump, ``source``
            and ``generators``: the states of the iterable, if it has one, and of the pass's generators; otherwise
            ``digest``: that of the batch. What does not apply is ``None``.
        """
        cursor = self.cursor
        if self._loaded is not None and cursor == (self._loaded["pass"], self._loaded["batches"]):
            return {**copy_tree(self._loaded), "epoch_batches": self._epoch_batches}
        state: dict[str, Any] = dict.fromkeys(("digest", "source", "generators"))
        state |= {"pass": cursor.pass_index, "batches": cursor.batches, "epoch_batches": self._epoch_batches}
        if cursor.batches:
            jump = self._position.snapshot()
            if jump is not None:
                state |= jump
            elif self._position.last is not None:
                state["digest"] = digest(self._position.last)
        return state

    def load_state_dict(self, state: StateTree) -> None:
        """Go on at a saved position with the next batch.

        :meth:`open`, or else the next request, goes there: by a jump, or by reading the pass again from its start.

        Raises:
            StateError: If the state is not that of a stream.
        """
        self._position.seek(check_state("stream", state, _KIND))
        batches = state["epoch_batches"]
        self._before_epoch = self._position.handed - (
            batches if self._epoch_size < 0 else min(batches, self._epoch_size)
        )
        self._inside = self._limited and not batches and state["batches"] > 0
        self._loaded = copy_tree(state)

    def _left(self) -> int | None:
        """Batches left in the epoch; ``None``: all of the pass."""
        return None if self._epoch_size < 0 else self._epoch_size - self._epoch_batches

    @property
    def _epoch_batches(self) -> int:
        return self._position.handed - self._before_epoch

    def _epoch_end(self) -> StopIteration:
        self._before_epoch = self._position.handed
        if self._profile is not None:
            self._profile.setdefault(self._event, [])
        return StopIteration()
