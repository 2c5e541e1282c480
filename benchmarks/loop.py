"""What does the main loop cost per batch, and how close is it to what the machine allows?

Every figure is CPU time per batch, in µs, and a multiple of a limit that was measured in the same run, in turn with it:

* the loop, with a model that does nothing, of the *prototype*: the loop's duties in plain code, without its objects;
* statistics, of the *bare sums*: the same numbers added up in chunks, by hand;
* handing a batch over, of a *bare thread* with a ``SimpleQueue`` in either direction;
* reading ahead, in wall time, of the *ideal*: the longer of loading and computing, measured alone.

Then how costs grow with batches, variables, hooks and streams, and the memory that a million batches leave behind.
"""

from __future__ import annotations

import argparse
import json
import platform
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from statistics import quantiles
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np

from emloop import AbstractHook
from emloop._streams import StreamWrapper
from emloop.hooks import ComputeStats, LogProfile
from emloop.main_loop import MainLoop

ROWS = 32
BATCH = {"x": np.zeros((ROWS, 4), np.float32), "y": np.zeros(ROWS, np.int64)}
OUTPUTS = {"loss": np.zeros(ROWS, np.float32), "accuracy": np.zeros(ROWS, np.float32)}
ALL_FOUR = ["mean", "std", "min", "max"]

Measure = Callable[[int], float]


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


def busy(seconds: float) -> None:
    """Compute, holding the interpreter lock."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


WORKS: dict[str, Callable[[float], None]] = {"waits": sleep, "holds": busy}


def feeding(load: str, step: str, seconds: float, **arguments: Any) -> Measure:
    """Wall time of an epoch whose batches take as long to load as a step takes."""

    def batches(count: int) -> Iterable[Any]:
        for _ in range(count):
            WORKS[load](seconds)
            yield BATCH

    class Steps(Nothing):
        def run(self, batch: Any, train: bool) -> Any:  # type: ignore[override]
            WORKS[step](seconds)
            return OUTPUTS

    def measure(count: int) -> float:
        data: Any = Data(count, kind=batches)
        made = MainLoop(Steps(), data, train_stream_name="s0", **arguments)  # type: ignore[arg-type]
        began = perf_counter()
        made.epoch(["s0"])
        return perf_counter() - began

    return measure


def ideal(load: str, step: str, seconds: float) -> Measure:
    """Wall time of the longer of the two, each measured alone."""

    def measure(count: int) -> float:
        times = []
        for work in (WORKS[load], WORKS[step]):
            began = perf_counter()
            for _ in range(count):
                work(seconds)
            times.append(perf_counter() - began)
        return max(times)

    return measure


# -- the tables -------------------------------------------------------------------------------------------------------

COMPARED: dict[str, tuple[Measure, Measure]] = {
    "null model / prototype": (loop(), prototype()),
    "generator / prototype": (loop(kind=lambda count: (BATCH for _ in range(count))), prototype()),
    "fixed epochs / prototype": (lambda count: loop(fixed_epoch_size=count)(count), prototype()),
    "fixed batch size / prototype": (loop(fixed_batch_size=ROWS), prototype()),
    "a hook / prototype": (loop(Listens), prototype(lambda stream, batch: None)),
    "times kept / prototype": (loop(LogProfile), prototype()),
    "two means / prototype with sums": (
        loop(two_means),
        prototype(Sums(["loss", "accuracy"], all_four=False).add),
    ),
    "two means alone / bare sums": (
        statistics(["loss", "accuracy"], all_four=False),
        sums(["loss", "accuracy"], all_four=False),
    ),
    "mean, std, min, max / bare sums": (
        statistics(["loss", "accuracy"], all_four=True),
        sums(["loss", "accuracy"], all_four=True),
    ),
    "handed over, buffer 2 / bare thread": (handed_over(2), thread_and_queues(2)),
    "handed over, buffer 8 / bare thread": (handed_over(8), thread_and_queues(8)),
    "handed over, buffer 32 / bare thread": (handed_over(32), thread_and_queues(32)),
}


def overlap(seconds: float) -> dict[str, tuple[Measure, Measure]]:
    """Reading ahead by eight batches, and not at all, against the ideal."""
    found = {}
    for load, step in (("waits", "waits"), ("waits", "holds"), ("holds", "waits"), ("holds", "holds")):
        limit = ideal(load, step, seconds)
        name = f"load {load}, step {step}"
        found[f"{name}, buffer 8 / ideal"] = feeding(load, step, seconds, buffer=8), limit
        found[f"{name}, buffer 0 / ideal"] = feeding(load, step, seconds), limit
    return found


def growth(count: int) -> dict[str, dict[int, float]]:
    """Seconds of CPU time over a number of something, all else equal."""

    def many(number: int) -> dict[str, Any]:
        return {f"v{index}": OUTPUTS["loss"] for index in range(number)}

    return {
        "batches": {n: loop(two_means)(n) for n in (count // 10, count, count * 10, count * 100)},
        "variables": {
            n: loop(lambda n=n: ComputeStats(list(many(n))), outputs=many(n))(count // 10) for n in (1, 10, 100)
        },
        "hooks": {n: loop(*[Listens] * n)(count) for n in (0, 3, 10, 30)},
        "streams": {n: loop(two_means, streams=n)(count) for n in (1, 3, 10)},
    }


def memory(count: int, *hooks: Callable[[], Any]) -> int:
    """Bytes that a long epoch has allocated at its end and its peak, more than a short one."""

    def peak(batches: int) -> int:
        measure = loop(*hooks, kind=Repeats)
        tracemalloc.start()
        measure(batches)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)
    return peak(count) - peak(1000)


def compare(
    compared: dict[str, tuple[Measure, Measure]], count: int, repetitions: int
) -> dict[str, dict[str, list[float]]]:
    """Measure pairs in turn, again and again; quartiles of both, in µs a batch, and of their ratio."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in compared}
    for _ in range(repetitions):
        for name, (ours, limit) in compared.items():
            taken[name].append((ours(count) / count * 1e6, limit(count) / count * 1e6))
    return {
        name: {
            "ours": quantiles([one for one, _ in pairs], n=4),
            "limit": quantiles([limit for _, limit in pairs], n=4),
            "ratio": quantiles([one / limit for one, limit in pairs], n=4),
        }
        for name, pairs in taken.items()
    }


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Figures as a table in Markdown: medians, and the quartiles of the ratio."""
    lines = ["| ours / limit | µs | limit, µs | ratio | quartiles |", "| --- | --- | --- | --- | --- |"]
    for name, one in found.items():
        low, middle, high = one["ratio"]
        lines.append(
            f"| {name} | {one['ours'][1]:.2f} | {one['limit'][1]:.2f} | **{middle:.2f}** | {low:.2f} to {high:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print tables, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=5000, help="batches an epoch")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where to write all figures")
    args = parser.parse_args()
    count, repetitions = args.batches, args.repetitions

    compared = compare(COMPARED, count, repetitions)
    print(table(compared), end="\n\n")
    overlapping = compare(overlap(0.002), max(4, count // 50), max(2, repetitions // 5))
    print(table(overlapping), end="\n\n")
    growing = growth(max(10, count))
    for what, times in growing.items():
        print(f"{what}: " + ", ".join(f"{n}: {seconds * 1e3:.1f} ms" for n, seconds in times.items()))
    left = {name: memory(count * 200, *hooks) for name, hooks in (("no hook", ()), ("LogProfile", (LogProfile,)))}
    for name, size in left.items():
        print(f"memory after {count * 200} batches, {name}: {size} bytes more than after 1000")
    if args.json is not None:
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        found = {
            "versions": versions,
            "compared": compared,
            "overlap": overlapping,
            "growth": growing,
            "memory": left,
        }
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
