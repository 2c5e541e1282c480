"""Rank 0's model: what is asked of it, all processes do.

A message is a tuple: the name of a method of the :class:`~.following.Follower`, and its arguments. The others wait for
the next one whenever they have done the last, so nothing else has to be agreed: a stop, a save or an evaluation is
simply what rank 0 does next. A batch costs one message, and values that hooks have read of the batch before come back
with it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from emloop._contracts import abilities
from emloop._contracts.model import bind_run
from emloop._contracts.ranks import Ranks, Shared
from emloop._state.manifest import FileRecord
from emloop._streams import StreamWrapper, digest
from emloop._streams.handover import to_bytes
from emloop._streams.shares import Part, Share, Sharing
from emloop.errors import BatchError, CheckpointError, ConfigError
from emloop.saved_models import taking_rows
from emloop.types import Batch, StateTree

from .channel import Channel
from .columns import Column, Held, WholeBatch, plain
from .saying import warnings_so_far

__all__ = ["OTHER_RANKS", "Leader", "lead", "number_of"]

logger = logging.getLogger(__name__)

OTHER_RANKS = (
    "Processes that have trained the run so far: %s, now: %s. They get the same examples in the same order, and the "
    "same result but for rounding; random numbers of the model are others"
)
_ALONE = "if it changes what the model computes, name it in on_all_ranks of the class"
_TOGETHER = ("end_epoch", "set_variable", "load_state_dict")
"""What every process has to do to its model."""
_PROTOCOLS = [vars(getattr(abilities, name)) for name in abilities.__all__]
_ABILITIES = sorted({m for each in _PROTOCOLS for m in (*each, *each.get("__annotations__", ())) if m[0] != "_"})
"""Members of all protocols of abilities."""
_Purpose = tuple[str | None, bool, bool] | None


class Leader:
    """The model of a training on several processes, as hooks and the main loop of rank 0 see it.

    It has the abilities of the model that it stands for, and passes on whatever else it is asked; see :func:`lead`.

    Args:
        model: This process's model.
        ranks: The processes.
        on_signal: Called when another process has got a signal that asks to stop, with its number.
    """

    _is_made = False

    def __init__(self, model: Any, ranks: Ranks, on_signal: Callable[[int], None]) -> None:
        self._model = model
        self._ranks = Channel(ranks)
        self._on_signal = on_signal
        self._said = warnings_so_far()
        self._run_model = bind_run(model)
        self._together = frozenset((*_TOGETHER, *model.on_all_ranks))
        self._backend = next((cls for cls in type(model).__mro__ if "join_ranks" in vars(cls)), type(model))
        self._number = 0
        self._released: list[tuple[int, str]] = []
        self._living: dict[str, WeakValueDictionary[int, Column]] = {}
        self._current: Held | None = None
        self._read: dict[_Purpose, set[str]] = {}
        self._coming: list[Column] = []  # what the others send without being asked again
        self._compared: set[tuple[Any, ...]] = set()
        self._is_made = True

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._model)

    def __getattr__(self, name: str) -> Any:
        return self._passed_on(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or not self._is_made:
            object.__setattr__(self, name, value)
            return
        try:
            to_bytes(value)
        except TypeError:
            self._warn_once(f"model.{name} is set in rank 0 alone: a {type(value).__name__} cannot go to others")
        else:
            self._tell("assign", name, value)
        setattr(self._model, name, value)

    @property
    def sharing(self) -> Sharing:
        """How this process shares in the batches of streams."""
        return Sharing(Share(0, self._ranks.size), self._handed)

    def run(self, batch: Batch, train: bool, stream: StreamWrapper | None = None) -> dict[str, Any]:
        """Let every process compute its rows of a batch; with ``train``, learn from them together.

        Returns:
            Columns for every output, ``B`` values each.
        """
        if (number := self._ranks.asked_to_stop()) is not None:
            self._on_signal(number)
        if isinstance(batch, WholeBatch) and stream is not None:
            part, held = batch.part, batch.held
            purpose = held.purpose = (stream.name, stream.training, train)
            wanted = sorted(self._read.pop(purpose, ()))
            place = stream.name, stream.training, *stream.cursor
            if train and part.rows < self._ranks.size and not _may_be_last(stream):
                raise BatchError(self._too_small(stream, part.rows))
            if stream.draws_globally:
                message = f"stream {stream.name!r} draws from global generators, which processes do not share"
                hint = f"draw from self.rng({stream.name!r}), which is the same in all, or give a loader a generator"
                raise ConfigError(f"{message}; {hint}")
            first = None if place[:2] in self._compared else digest(part)
            self._compared.add(place[:2])
            call: tuple[Any, ...] = ("run", self._next(held), *place, train, self._take_released(), wanted, first)
            sources: Mapping[str, Any] = batch
        else:
            sources = {name: plain(column) for name, column in batch.items()}
            shared = Share(0, self._ranks.size).of(sources)
            if not isinstance(shared, Part):
                raise BatchError("columns of different lengths cannot be shared among processes")
            part, wanted, held = shared, [], Held(self, shared.whole)
            call = ("run_whole", self._next(held), sources, train, self._take_released())
        self._tell(*call)
        outputs = self._run_model(batch=part, train=train, stream=stream)
        columns = {name: self._lives(Column(held, name, own, part.rows)) for name, own in outputs.items()}
        self._current = held
        if wanted:
            there = {**sources, **columns}
            self._coming = [there[name] for name in wanted]
        return columns

    def first_nan(self) -> int | None:
        """The first batch since the last call in which the loss of any process was not a number."""
        self._tell("first_nan")
        found = [each for each in self._collected(number_of(self._model.first_nan())) if each is not None]
        return min(filter(None, found), default=0) if found else None

    def prefetch(self, batch: Batch) -> object:
        """Prepare this process's rows of a batch."""
        return self._model.prefetch(batch.part if isinstance(batch, WholeBatch) else batch)

    def rank_states(self) -> list[StateTree]:
        """The state of every process beside the model's, in order."""
        self._tell("state")
        return list(self._ranks.gather({"model": self._model.rank_state(), "random": None}))

    def own_state(self) -> StateTree:
        """The state of the model, of which arrays that are cut among the processes are this one's rows."""
        with taking_rows():
            return self._model.state_dict()

    def write_rows(self, directory: Path) -> Callable[[], list[FileRecord]]:
        """Let the others write theirs to a directory.

        Returns:
            What waits for them. It raises a CheckpointError if one cannot; names it.
        """
        self._tell("write_rows", str(directory))

        def wait() -> list[FileRecord]:
            _, *found = self._ranks.gather(None)
            if failed := next((each for each in found if isinstance(each, str)), None):
                raise CheckpointError(failed)
            return [FileRecord(*each) for each in found]

        return wait

    def load_rank_states(self, states: Sequence[StateTree]) -> None:
        """Take up what :meth:`rank_states` returned, where that was of as many processes."""
        if len(states) != self._ranks.size:
            logger.warning(OTHER_RANKS, max(len(states), 1), self._ranks.size)
            if not states:
                return
            merged = {"model": self._model.merged_rank_states([each["model"] for each in states]), "random": None}
            states = [merged] * self._ranks.size
        self._tell("load_state", list(states))
        self._model.load_rank_state(states[0]["model"])

    def seek(self, name: str, state: StateTree, *, training: bool) -> None:
        """Let the others go where this process's stream has gone."""
        self._tell("seek", name, training, state)

    def require_rows(self, stream: StreamWrapper) -> None:
        """Refuse batches of a training that are known to have fewer examples than there are processes.

        Raises:
            ConfigError: If they have.
        """
        if stream.length != 1 and stream.examples is not None and stream.examples < self._ranks.size:
            raise ConfigError(self._too_small(stream, stream.examples))

    def describe(self, own: Mapping[str, Any], streams: Sequence[str]) -> list[Mapping[str, Any]]:
        """What every process is made of, in order, see :mod:`.agreement`."""
        self._tell("describe", streams)
        return self._collected(own)

    def end(self, exit_status: int) -> None:
        """Let the others end as well."""
        self._tell("end", exit_status)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _too_small(self, stream: StreamWrapper, rows: int) -> str:
        return (
            f"stream {stream.name!r}: {self._ranks.size} processes cannot share batches of {rows} examples; give them "
            "larger batches, or start fewer processes"
        )

    def _collected(self, own: Any) -> list[Any]:
        """What every process answers; what it has warned of is said here."""
        found = self._ranks.gather((own, []))
        for rank, (_, warnings) in enumerate(found):
            for text in warnings:
                if text not in self._said.texts:
                    logger.warning("rank %s: %s", rank, text)
                    self._said.texts[text] = None
        return [answer for answer, _ in found]

    def _passed_on(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._model, name)
        if name not in self._together and not hasattr(self._backend, name) and inspect.ismethod(found):
            self._warn_once(f"{type(self._model).__name__}.{name} is called in rank 0 alone; {_ALONE}")
        return partial(self._do_together, name, found) if name in self._together and callable(found) else found

    def _warn_once(self, text: str) -> None:
        if text not in self._said.texts:
            logger.warning("%s", text)

    def _do_together(self, name: str, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._tell("do", name, args, kwargs)
        return own(*args, **kwargs)

    def _handed(self, batch: Batch) -> Batch:
        if not isinstance(batch, Part):
            return batch
        whole = WholeBatch(batch, Held(self, batch.whole))
        for column in () if batch.is_read else whole.values():
            self._lives(column)
        return whole

    def _next(self, held: Held) -> int:
        self._number = held.number = self._number + 1
        return self._number

    def _take_released(self) -> list[tuple[int, str]]:
        released, self._released = self._released, []
        return released

    def _tell(self, *message: Any) -> None:
        self._settle()
        self._ranks.tell(*message)

    def released(self, number: int, name: str) -> None:
        """Let the others forget a column with the next batch."""
        self._released.append((number, name))

    def fetch(self, column: Column) -> Any:
        """The rows of all processes of a column; those of other batches that somebody keeps come with them."""
        self._settle()
        if column.gathered is None and column.held.number is None:
            return column.held.whole()[column.name]  # nobody else has read it yet
        if column.gathered is None:
            if column.held is self._current:
                self._read.setdefault(column.held.purpose, set()).add(column.name)
            alike = [each for each in self._living[column.name].values() if self._goes_with(each, column)]
            alike.sort(key=lambda each: each.held.number or 0)
            self._tell("gather", [(each.held.number, each.name) for each in alike])
            self._keep(alike)
        elif column.held is self._current:
            self._read.setdefault(column.held.purpose, set()).add(column.name)
        return column.gathered

    def _goes_with(self, other: Column, column: Column) -> bool:
        return other.gathered is None and other.held.number is not None and other.held.purpose == column.held.purpose

    def _lives(self, column: Column) -> Column:
        self._living.setdefault(column.name, WeakValueDictionary())[id(column)] = column
        return column

    def _settle(self) -> None:
        """Take what the others send of a batch, so that they can go on."""
        coming, self._coming = self._coming, []
        if coming:
            self._keep(coming)

    def _keep(self, columns: Sequence[Column]) -> None:
        rows = zip(*self._ranks.gather([None] * len(columns)), strict=True)
        for column, (_, *others) in zip(columns, rows, strict=True):
            column.keep(others)


def lead(model: Any, ranks: Ranks, on_signal: Callable[[int], None]) -> Any:
    """A :class:`Leader` that has the abilities of a model, found without ``__getattr__`` as those of any.

    Raises:
        ConfigError: If the model cannot be trained by several processes.
    """
    if not isinstance(model, Shared):
        hint = "start one, or take a model of emloop_torch"
        raise ConfigError(f"{type(model).__name__} is trained by one process, and there are {ranks.size}; {hint}")
    own = [name for name in _ABILITIES if name not in vars(Leader) and getattr(model, name, None) is not None]
    members: dict[str, Any] = {name: property(partial(Leader._passed_on, name=name)) for name in own}
    members |= {name: None for name in ("prefetch", "first_nan") if getattr(model, name, None) is None}
    return type(type(model).__name__, (Leader,), members)(model, ranks, on_signal)


def _may_be_last(stream: StreamWrapper) -> bool:
    """Whether the batch handed out last may be the remainder that ends its pass."""
    return stream.length == stream.cursor.batches if stream.length is not None else stream.cursor.batches > 1


def number_of(found: Any) -> int | None:
    """What ``first_nan`` has found."""
    return None if found is None else int(found)
