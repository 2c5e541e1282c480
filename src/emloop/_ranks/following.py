"""What the other processes do: obey rank 0, see :mod:`.leading`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path
from typing import Any, Protocol

from emloop._contracts.model import bind_run
from emloop._contracts.ranks import Ranks
from emloop._state.commit import write_rows
from emloop._state.random import random_state, restore_random_state
from emloop._streams import StreamWrapper, digest
from emloop._streams.shares import Part, Share, Sharing
from emloop.errors import BatchError, StateError
from emloop.saved_models import borrowing, taking_rows
from emloop.types import Batch, StateTree

from .channel import Channel
from .columns import plain
from .leading import number_of
from .saying import warnings_so_far

__all__ = ["follow"]

_Released = Sequence[tuple[int, str]]
_Describe = Callable[[Sequence[str]], Mapping[str, Any]]


class _Streams(Protocol):
    sharing: Sharing | None

    def get(self, name: str, *, training: bool) -> StreamWrapper: ...


def follow(model: Any, streams: _Streams, ranks: Ranks, describe: _Describe) -> int:
    """Obey rank 0 until it says that this is the end.

    Args:
        model: This process's model.
        streams: The streams of its dataset.
        ranks: The processes.
        describe: Tells what this process is made of, and how long streams are.

    Returns:
        The exit code of rank 0.

    Raises:
        RankError: If another process has failed or is gone.
    """
    streams.sharing = Sharing(Share(ranks.rank, ranks.size), lambda part: part)
    with ExitStack() as entered:
        channel = Channel(ranks)
        follower = _Follower(model, streams, channel, describe, entered)
        while True:
            kind, *arguments = channel.hear()
            if kind == "end":
                return int(arguments[0])
            getattr(follower, kind)(*arguments)


class _Follower:
    """Each public method is a message."""

    def __init__(
        self,
        model: Any,
        streams: _Streams,
        ranks: Channel,
        describe: _Describe,
        entered: ExitStack,
    ) -> None:
        self._model, self._streams, self._ranks = model, streams, ranks
        self._describe, self._said = describe, warnings_so_far()
        self._entered = entered
        self._run_model = bind_run(model)
        self._held: dict[int, dict[str, Any]] = {}
        self._open: dict[tuple[str, bool], StreamWrapper] = {}

    def run(
        self,
        number: int,
        name: str,
        training: bool,
        pass_index: int,
        batches: int,
        train: bool,
        released: _Released,
        wanted: Sequence[str],
        first: str | None,
    ) -> None:
        stream = self._stream(name, training=training)
        batch = _read(stream, pass_index, batches)
        if first is not None:
            _require_same(batch, first, stream)
        self._compute(number, batch, train, stream, released)
        if wanted:
            self.gather([(number, name) for name in wanted])

    def run_whole(self, number: int, batch: Batch, train: bool, released: _Released) -> None:
        share = Share(self._ranks.rank, self._ranks.size)
        self._compute(number, share.of(batch), train, None, released)

    def gather(self, wanted: _Released) -> None:
        self._ranks.gather(
            [None if (each := self._held[number][name]) is None else plain(each) for number, name in wanted]
        )

    def assign(self, name: str, value: Any) -> None:
        setattr(self._model, name, value)

    def do(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        getattr(self._model, name)(*args, **kwargs)

    def first_nan(self) -> None:
        self._answer(number_of(self._model.first_nan()))

    def state(self) -> None:
        self._ranks.gather({"model": self._model.rank_state(), "random": random_state()})

    def write_rows(self, directory: str) -> None:
        try:
            with borrowing(), taking_rows():
                found: Any = astuple(write_rows(Path(directory), self._ranks.rank, self._model.state_dict()))
        except (OSError, StateError) as error:
            hint = "is it on a disk that all machines share?" if isinstance(error, FileNotFoundError) else ""
            found = f"rank {self._ranks.rank} cannot write its rows: {error}{hint and '; ' + hint}"
        self._ranks.gather(found)

    def load_state(self, states: Sequence[Mapping[str, StateTree]]) -> None:
        own = states[self._ranks.rank]
        self._model.load_rank_state(own["model"])
        if own["random"] is not None:
            restore_random_state(own["random"])

    def seek(self, name: str, training: bool, state: StateTree) -> None:
        stream = self._stream(name, training=training)
        stream.load_state_dict({**dict(state), "epoch_batches": 0})

    def describe(self, streams: Sequence[str]) -> None:
        self._answer(self._describe(streams))

    def _answer(self, value: Any) -> None:
        self._ranks.gather((value, self._said.news()))

    def _compute(
        self, number: int, batch: Batch, train: bool, stream: StreamWrapper | None, released: _Released
    ) -> None:
        for each, name in released:
            held = self._held[each]
            del held[name]
            if not held:
                del self._held[each]
        outputs = self._run_model(batch=batch, train=train, stream=stream)
        part = batch if isinstance(batch, Part) else None
        values = {**({} if part is not None and part.is_read else batch), **outputs}
        self._held[number] = dict.fromkeys(values) if part is not None and part.is_filler else values

    def _stream(self, name: str, *, training: bool) -> StreamWrapper:
        key = name, training
        if key not in self._open:
            self._open[key] = self._entered.enter_context(self._streams.get(name, training=training))
        return self._open[key]


def _read(stream: StreamWrapper, pass_index: int, batches: int) -> Part:
    """Go where the stream of rank 0 is, and read this process's rows of the batch that it has read.

    Raises:
        BatchError: If there is no such batch.
    """
    at = stream.cursor
    if (pass_index, batches) == (0, 1) and at != (0, 0):
        stream.restart()
    elif pass_index > at.pass_index + 1 or (pass_index, batches) <= at:
        place = {"pass": pass_index, "batches": batches - 1, "epoch_batches": 0}
        stream.load_state_dict({**dict.fromkeys(("digest", "source", "generators")), **place})
    ends = 0
    while ends < 2:
        try:
            batch = next(stream)
        except StopIteration:
            ends += 1
            continue
        if stream.cursor == (pass_index, batches):
            if isinstance(batch, Part):
                return batch
            break
    raise BatchError(
        f"stream {stream.name!r} has no batch {batches - 1} in pass {pass_index} here, which rank 0 has read; do the "
        "processes read the same data?"
    )


def _require_same(batch: Part, first: str, stream: StreamWrapper) -> None:
    """Compare a batch with that of rank 0, unless it is another one each time it is read.

    Args:
        batch: This process's rows.
        first: The digest of the whole batch on rank 0.
        stream: The stream.

    Raises:
        BatchError: If they differ.
    """
    own = digest(batch)
    if own != first and own == digest(batch):
        hint = "give all processes the whole batches, in one order: do not shard them, and sort sets and folders"
        raise BatchError(f"stream {stream.name!r}: the first batch read here is not that of rank 0; {hint}")
