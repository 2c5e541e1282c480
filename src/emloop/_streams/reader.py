"""Reading a stream pass after pass, in whichever thread asks; one at a time.

This is the only place where a stream's own code runs: its method is called, and every batch read, with the pass set.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from functools import partial
from itertools import compress, count, islice, repeat
from operator import length_hint
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from emloop._state.random import random_state, restore_random_state
from emloop._state.tree import copy_tree, equal_trees
from emloop._support.interrupting import WAITING, interruptible_function, uninterrupted
from emloop.errors import CannotResumeError, ProducerError
from emloop.types import Batch, StateTree, Stream

from .passes import CURRENT_PASS, Pass, entered
from .shares import Sharing
from .source import DRAWS_GLOBALLY, Level, Source, digest_at, open_source

if TYPE_CHECKING:
    from .workers import Workers  # which starts processes, and is imported where there are to be any

__all__ = ["Consumed", "Reader", "Snapshot"]

logger = logging.getLogger(__name__)

Snapshot = Mapping[str, Any]
"""What it takes to jump to a batch: the states of the iterable (``source``) and of the pass's ``generators``."""

_END: Any = object()
_NO_STATE: Snapshot = {"source": None, "generators": {}}
_UNLIMITED = sys.maxsize


class Consumed(NamedTuple):
    """A batch that was handed out: its pass, its number in the pass, itself."""

    pass_index: int
    number: int
    batch: Batch


class Reader:
    """Reads a stream.

    Args:
        stream_fn: Called without arguments at the start of every pass; returns an iterable of batches.
        name: Name of the stream, for messages.
        training: Whether the batches train the model.
        endless: Whether a pass that held a batch runs on into the next one without a break.
        ahead: Whether batches may be read while others compute; then the end of a pass always raises.
        workers: What loads batches in other processes, if there are any.
        sharing: How several processes that train one model share in every batch, if there are any.
    """

    def __init__(
        self,
        stream_fn: Callable[[], Stream],
        name: str | None,
        *,
        training: bool,
        endless: bool,
        ahead: bool,
        workers: Workers | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self.name = name
        self.training = training
        self.pass_index = 0
        self.last: Batch | None = None
        """The batch read last; whoever iterates over :meth:`rest` sets it."""
        self.ended: Consumed | None = None
        """The last batch of the training pass that ended last."""
        self.draws_globally = False
        """Whether opening the first pass, or reading its first batch, drew from shared random states."""
        self.failure: BaseException | None = None
        """Why nothing can be read any more."""
        self.on_demand = False
        """Whether to read a batch only when it is waited for, since reading draws from shared random states."""
        self.draws_at_start = False
        """Whether opening a pass, or reading its first batch, draws from shared random states."""
        self.turned = False
        """Whether the pass that ended last runs on into the next one without a break."""
        self._stream_fn = stream_fn
        self._endless = endless
        self._ahead = ahead
        self._workers = workers
        self._sharing = sharing
        self._pass = Pass(training=training, index=0)
        self._source: Source | None = None
        self._opened: Iterator[Batch] | None = None  # the rest of the pass
        self._iterator: Iterator[Batch] | None = None  # the same, once its first batch was asked for
        self._lent: Iterator[bool] | None = None  # loses an element with every batch of rest()
        self._handed = self._before_pass = 0
        self._target: Mapping[str, Any] | None = None
        self._drawn_at_start: Any = None
        self._probe = True
        self._draws_globally = False  # and what it drew is not drawn again inside a pass
        self._failed_at: TracebackType | None = None

    @property
    def level(self) -> Level | None:
        """How exactly a run can be resumed inside the pass opened last; ``None`` before the first."""
        source = self._source
        if source is None:
            return None
        return "epoch" if self._draws_globally else source.level

    @property
    def handed(self) -> int:
        """Batches handed out so far, in all passes."""
        return self._handed if self._lent is None else self._handed + _UNLIMITED - length_hint(self._lent)

    @property
    def batches(self) -> int:
        """Batches read in this pass."""
        return self.handed - self._before_pass

    @batches.setter
    def batches(self, batches: int) -> None:
        self._before_pass = self.handed - batches

    @property
    def length(self) -> int | None:
        """Batches in the pass opened last, where known."""
        return None if self._source is None else self._source.length

    @property
    def examples(self) -> int | None:
        """Those in the first batch of the pass opened last, where that is known before it is read."""
        return None if self._source is None else self._source.examples

    @property
    def undivided(self) -> str:
        """Why workers may not share in loading the pass opened last; empty if they may, or before the first."""
        why = "" if self._source is None else self._source.undivided
        return why or (DRAWS_GLOBALLY if self.draws_globally else "")

    @property
    def seeking(self) -> bool:
        """Whether a position was loaded that the stream has yet to be brought to."""
        return self._target is not None

    # What was read counts, and is to be run.
    @interruptible_function(lambda frame: None if "batch" in frame.f_locals else WAITING)
    def read(self) -> Batch:
        """Return the next batch.

        Raises:
            StopIteration: At the end of a pass; with ``endless`` and without ``ahead``, only if it held no batch. The
                next call goes on with the next pass.
        """
        iterator = self._iterator
        if iterator is None:
            return self._read_first()
        before = CURRENT_PASS.get()
        try:
            # Inside the block, since a signal may be raised as soon as it is set.
            CURRENT_PASS.set(self._pass)
            batch = next(iterator, _END)
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            CURRENT_PASS.set(before)
        if batch is _END:
            if self.training and self.last is not None:
                self.ended = Consumed(self.pass_index, self.batches - 1, self.last)
            self.turned = self._endless and self.batches > 0
            self._begin(self.pass_index + 1)
            if self._ahead or not self.turned:
                raise StopIteration
            return self.read()
        self._handed += 1
        self.last = batch
        return batch

    def rest(self, most: int | None) -> Iterator[Batch]:
        """What is left of the pass, as an iterator that costs no Python frame for a batch of its own.

        Nothing, before the first batch is read. :meth:`read` goes on where it is left; at its end, :meth:`recall` it.
        An error in it belongs to :meth:`fail`.

        Args:
            most: Most batches to give; ``None`` for all.
        """
        iterator = self._iterator
        if iterator is None or self._source is None:
            return iter(())
        reads: Iterator[Batch] = iterator
        if self._source.runs_code:
            # Entered in C; the stream's code sees its pass, and the consumer's code does not.
            context = copy_context()
            context.run(CURRENT_PASS.set, self._pass)
            reads = map(context.run, repeat(next), repeat(iterator))
        self.recall(ended=False)
        self._lent = repeat(True, _UNLIMITED)
        # Only a batch that was read takes an element from the second one.
        counted = compress(reads, self._lent)
        return counted if most is None else islice(counted, most)

    @property
    def lends(self) -> bool:
        """Whether :meth:`rest` is being iterated over."""
        return self._lent is not None

    def recall(self, *, ended: bool) -> None:
        """Take back what is left of :meth:`rest`, which may have come to its end."""
        self._handed, self._lent = self.handed, None
        if ended and self._iterator is not None:
            self._iterator = iter(())  # not every iterator that has ended ends again

    def open(self) -> None:
        """Call the stream method for the coming pass, and go to the loaded position, unless already done.

        If that draws from a global random state, it is repeated for the first batch, from the state in force then.

        Raises:
            CannotResumeError: If the stream is not what it was when the position was saved. Reading can go on after
                that, from a place as near as possible.
        """
        if self._opened is not None:
            return
        drawn_from = self._open()
        if drawn_from is not None and not self.batches:
            restore_random_state(drawn_from)
            self._begin(self.pass_index)

    def digest_again(self, pass_index: int, index: int) -> str | None:
        """Digest of a batch, read by a further call of the stream method; see :func:`digest_at`."""
        with entered(Pass(training=self.training, index=pass_index)) as reading:
            iterable = self._stream_fn()
            generators = reading.state()
            found = digest_at(iterable, index, partial(reading.key, str(self.name)))
            # What was drawn for the batch depends on the batches that came before.
            return None if index and reading.state() != generators else found

    @property
    def is_whole(self) -> bool:
        """Whether the position can be kept: not inside a batch whose reading was given up and has left traces."""
        source = self._source
        if self.failure is None or source is None or self.draws_globally:
            return self.failure is None
        # Of a pass that has given nothing yet, nothing is kept: it is opened anew.
        return (
            not self.batches
            or self.level == "replay"
            or (source.capture is None and self._pass.state() == self._drawn_at_start)
        )

    def snapshot(self) -> Snapshot | None:
        """What it takes to jump to the batch after the one read last; ``None`` if that is impossible."""
        source = self._source
        if source is None or self._draws_globally or source.level != "exact":
            return None
        if source.capture is None and not self._pass.has_drawn:
            return _NO_STATE
        captured = None if source.capture is None else copy_tree(source.capture())
        return {"source": captured, "generators": self._pass.state()}

    def snapshots(self) -> Iterator[Snapshot | None]:
        """:meth:`snapshot`, again and again, at less cost where that is the same for the rest of the pass."""
        source = self._source
        is_fixed = source is None or source.level != "exact" or self._draws_globally or not source.runs_code
        return repeat(self.snapshot()) if is_fixed else iter(self.snapshot, _END)

    def seek(self, target: Mapping[str, Any]) -> None:
        """Go on at a saved position, or at the start of its pass; forgets what was read."""
        self._begin(target["pass"])
        self.ended = None
        self.batches = target["batches"]
        self._target = target
        self.failure = None

    def restart(self) -> None:
        """Go on at the start of the first pass; one that is open and unread is kept."""
        if self.pass_index or self.batches or self._target is not None or self.failure is not None:
            self._begin(0)
            self._target = None
            self.failure = None

    def fail(self, error: BaseException) -> None:
        """Stop reading for good, and remember why."""
        self.recall(ended=False)
        self.failure = error
        self._failed_at = error.__traceback__
        self._opened = self._iterator = None

    def _key(self) -> int:
        return self._pass.key(str(self.name))

    def _begin(self, pass_index: int) -> None:
        self.recall(ended=False)
        self.pass_index = pass_index
        self.batches = 0
        self.last = None
        self._opened = self._iterator = None
        self._pass = Pass(training=self.training, index=pass_index)

    @interruptible_function(WAITING)
    def _open(self) -> StateTree | None:
        """Open the pass.

        Returns:
            The global random state before, if opening drew from it.
        """
        if self.failure is not None:
            self._raise_again(self.failure)
        target = self._target
        try:
            with entered(self._pass):
                before = random_state() if self._probe else None
                iterable = self._stream_fn()
                share = None if self._sharing is None else self._sharing.share
                self._source = source = open_source(iterable, target if self.batches else None, self._key, share)
                drew = before is not None and not equal_trees(before, random_state())
                self.draws_at_start |= drew
                self.draws_globally |= drew
                # What it drew, such as an order, is lost to another process unless the iterable's state holds it.
                if drew and source.capture is None:
                    self._lose_level()
                if target is not None and target["generators"]:
                    self._pass.load_state(target["generators"])
        except BaseException as error:
            self.fail(error)
            raise
        self._opened = source.batches
        if self._workers is not None:
            self._opened = self._workers.read(
                source, str(self.name), self.pass_index, self.batches, training=self.training, undivided=self.undivided
            )
        if self._sharing is not None and source.shared is not None:
            parts = map(source.shared, count(self.batches), self._opened)
            self._opened = map(self._sharing.hand, parts)
        self.on_demand |= source.reads_alone
        self._drawn_at_start = self._pass.state()
        self._target = None
        if source.doubt is not None:
            raise CannotResumeError(
                f"stream {self.name!r} cannot go on exactly where it stopped: in pass {self.pass_index} it "
                f"{source.doubt}. Draw its random numbers from self.rng({self.name!r}), or return a sequence of "
                "batches; main_loop.on_inexact_resume: warn goes on nevertheless"
            )
        return before if drew else None

    @uninterrupted  # but while it opens or reads
    def _read_first(self) -> Batch:
        if self._opened is None:
            self._open()
        self._iterator = self._opened
        if not self._probe:
            return self.read()
        before = random_state()
        try:
            return self.read()
        finally:
            self._judge(drew=not equal_trees(before, random_state()))

    def _judge(self, *, drew: bool) -> None:
        """Learn from a batch whether reading draws from the global random state: at the start of a pass, or always."""
        again, self._probe = self.on_demand, False
        self.draws_globally |= drew
        if drew and self.level != "exact":  # a jump skips nothing, and the global state is restored with the run
            self._lose_level()
        if again and drew:
            logger.warning(
                "Stream `%s` draws from the global random state of Python, NumPy or a framework, as others do, so the "
                "buffer does not read it ahead; draw from self.rng(%r) instead",
                self.name,
                self.name,
            )
        elif drew and self._ahead:
            # A loader may have drawn only its order, once per pass; the next batch, also read on demand, will tell.
            self.draws_at_start = self._probe = self.on_demand = True
            self._iterator = None
        else:
            self.on_demand = self._source is not None and self._source.reads_alone

    def _lose_level(self) -> None:
        first, self._draws_globally = not self._draws_globally, True
        if first and self.training:  # an evaluation is never resumed inside a pass
            logger.warning(
                "Stream `%s` draws from the global random state of Python, NumPy or a framework, so it can be resumed "
                "exactly only at the start of a pass; draw from self.rng(%r) instead",
                self.name,
                self.name,
            )

    def _raise_again(self, failure: BaseException) -> None:
        if isinstance(failure, Exception):
            raise failure.with_traceback(self._failed_at)
        raise ProducerError(
            f"stream {self.name!r} was interrupted while it was read (pass {self.pass_index}, batch {self.batches}); "
            "restart it, or load a saved position"
        ) from failure
