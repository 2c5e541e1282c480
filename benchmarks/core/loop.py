"""What does the main loop cost per batch, and how close is it to what the machine allows?

CPU time of a batch, as a multiple of a limit that was measured in the same run, in turn with it:

* the loop, with a model that does nothing, of the *prototype*: the loop's duties in plain code, without its objects;
* statistics, of the *bare sums*: the same numbers added up in chunks, by hand;
* handing a batch over, of a *bare thread* with a ``SimpleQueue`` in either direction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from queue import SimpleQueue
from time import process_time
from typing import Any

import numpy as np

from emloop import AbstractHook
from emloop._streams import StreamWrapper
from emloop.hooks import ComputeStats, LogProfile
from emloop.main_loop import MainLoop

from ..figures import Figure, Measure, compare

ROWS = 32
BATCH = {"x": np.zeros((ROWS, 4), np.float32), "y": np.zeros(ROWS, np.int64)}
OUTPUTS = {"loss": np.zeros(ROWS, np.float32), "accuracy": np.zeros(ROWS, np.float32)}
ALL_FOUR = ["mean", "std", "min", "max"]


class Repeats(Sequence[Any]):
    """As many batches as asked for, all the same, in no memory."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return BATCH

    def __iter__(self) -> Any:
        return repeat(BATCH, self._count)


class Data:
    """A dataset with streams of as many batches."""

    def __init__(self, count: int, streams: int = 1, kind: Callable[[int], Iterable[Any]] | None = None) -> None:
        make = kind or (lambda count: [BATCH] * count)
        for number in range(streams):
            setattr(self, f"s{number}_stream", lambda: make(count))


class Nothing:
    """A model that computes nothing."""

    input_names = ("x", "y")
    output_names = ("loss", "accuracy")

    def __init__(self, outputs: dict[str, Any] = OUTPUTS) -> None:
        self._outputs = outputs

    def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
        """Outputs made beforehand."""
        return self._outputs


class Listens(AbstractHook):
    """A hook that hears every batch and does nothing."""

    stateless = True

    def after_batch(self, stream_name: str, batch_data: Any) -> None:
        """Nothing."""


def cpu(function: Callable[..., Any], *args: Any) -> float:
    """Seconds of CPU time that a call takes."""
    began = process_time()
    function(*args)
    return process_time() - began


# -- the loop ---------------------------------------------------------------------------------------------------------


def prototype(*listeners: Callable[[str, Any], Any]) -> Measure:
    """The duties of the loop in plain code: sizes, layout, merging, the stop flag, counters, a NaN, listeners."""

    def run(count: int) -> None:
        model, batches, names = Nothing(), [BATCH] * count, list(BATCH)
        values, width, stop, nan = itemgetter(*names), len(names), [], None
        for done, batch in enumerate(batches):
            sizes = tuple(map(len, values(batch)))
            if len(batch) != width or not sizes[0] or sizes.count(sizes[0]) != width:
                raise ValueError(sizes)
            outputs = model.run(batch=batch, train=True, stream=None)
            data = {**batch, **outputs}
            if len(data) != width + len(outputs):
                raise ValueError(data)
            loss = outputs["loss"]
            if nan is None and loss.size:
                largest = loss.item(loss.argmax())
                if largest != largest:  # noqa: PLR0124 - NaN is unequal to itself
                    nan = done
            for listener in listeners:
                listener("train", data)
            if stop:
                return

    return lambda count: cpu(run, count)


def loop(
    *hooks: Callable[[], Any], streams: int = 1, outputs: dict[str, Any] = OUTPUTS, kind: Any = None, **arguments: Any
) -> Measure:
    """One epoch of the main loop; as many batches in every stream."""

    def measure(count: int) -> float:
        data: Any = Data(count, streams, kind)
        names = [f"s{number}" for number in range(streams)]
        made = MainLoop(Nothing(outputs), data, [hook() for hook in hooks], names[0], **arguments)  # type: ignore[arg-type]
        for name in names:
            made.streams.get(name, training=True).open()
        return cpu(made.epoch, names)

    return measure


def two_means() -> Any:
    """The hook that most configurations have."""
    return ComputeStats(["loss", "accuracy"])


class Sums:
    """Statistics in chunks of 64 rows, by hand.

    Args:
        names: Variables.
        all_four: Mean, deviation, minimum and maximum; otherwise the mean only.
    """

    def __init__(self, names: Sequence[str], *, all_four: bool) -> None:
        self._chunks = {name: np.empty((64, ROWS), np.float32) for name in names}
        self._found = {name: [0.0, 0.0, np.inf, -np.inf] for name in names}
        self._all_four, self._filled = all_four, 0

    def add(self, stream: str, batch: Any) -> None:
        """Take a batch."""
        for name, chunk in self._chunks.items():
            chunk[self._filled] = batch[name]
        self._filled += 1
        if self._filled == 64:
            self._filled = 0
            for name, chunk in self._chunks.items():
                found = self._found[name]
                found[0] += chunk.sum(dtype=np.float64).item()
                if self._all_four:
                    found[1] += np.square(chunk, dtype=np.float64).sum().item()
                    found[2], found[3] = min(found[2], chunk.min().item()), max(found[3], chunk.max().item())


def sums(names: Sequence[str], *, all_four: bool) -> Measure:
    """Bare sums of the outputs."""
    return lambda count: cpu(
        lambda: [add("train", OUTPUTS) for add in repeat(Sums(names, all_four=all_four).add, count)]
    )


def statistics(names: Sequence[str], *, all_four: bool) -> Measure:
    """The same by a hook."""

    def run(count: int) -> None:
        hook = ComputeStats([{name: ALL_FOUR if all_four else ["mean"] for name in names}])
        for after_batch in repeat(hook.after_batch, count):
            after_batch(stream_name="train", batch_data=OUTPUTS)
        hook.after_epoch({"train": {}})

    return lambda count: cpu(run, count)


# -- feeding ----------------------------------------------------------------------------------------------------------


def thread_and_queues(size: int) -> Measure:
    """A thread that hands batches over through a queue, and gets back room through another."""

    def run(count: int) -> None:
        ready: SimpleQueue[Any] = SimpleQueue()
        room: SimpleQueue[None] = SimpleQueue()
        for _ in range(size):
            room.put(None)

        def read() -> None:
            for batch in repeat(BATCH, count):
                room.get()
                ready.put(batch)

        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(count):
            ready.get()
            room.put(None)
        thread.join()

    return lambda count: cpu(run, count)


def handed_over(size: int) -> Measure:
    """The same by a stream with an open gate."""

    def run(count: int) -> None:
        stream = StreamWrapper(lambda: iter([BATCH] * count), size, gate="open")
        with stream:
            for batches in stream.spans():
                for _ in batches:
                    pass

    return lambda count: cpu(run, count)


# -- what is compared -------------------------------------------------------------------------------------------------


def measure(quick: bool) -> list[Figure]:
    """Epochs of many batches, since an epoch has a cost of its own, which is to be small."""
    count, turns = (50, 2) if quick else (20_000, 15)
    names = ["loss", "accuracy"]
    groups: list[dict[str, Measure]] = [
        {
            "prototype": prototype(),
            "null model": loop(),
            "generator": loop(kind=lambda count: (BATCH for _ in range(count))),
            "fixed epochs": lambda count: loop(fixed_epoch_size=count)(count),
            "fixed batch size": loop(fixed_batch_size=ROWS),
            "times kept": loop(LogProfile),
        },
        {"prototype with a listener": prototype(lambda stream, batch: None), "a hook": loop(Listens)},
        {"prototype with sums": prototype(Sums(names, all_four=False).add), "two means": loop(two_means)},
        {"bare sums": sums(names, all_four=False), "two means alone": statistics(names, all_four=False)},
        {"bare sums": sums(names, all_four=True), "mean, std, min, max alone": statistics(names, all_four=True)},
        *({"bare thread": thread_and_queues(n), f"handed over, buffer {n}": handed_over(n)} for n in (2, 8, 32)),
    ]
    asked = {"null model": 1.25, "two means": 1.25, "mean, std, min, max alone": 3.0}
    asked |= {f"handed over, buffer {n}": 2.0 for n in (2, 8, 32)}
    return compare(groups, count, turns, most=asked)
