"""How well do loading and computing overlap, and what does a batch from another process cost?

*Overlap*: wall time of an epoch whose batches take 2 ms to load and whose steps take 2 ms, as a multiple of the ideal
of the same run: the longer of the two, each done alone, as often. A step waits (as for a GPU) or computes (NumPy,
without the interpreter lock); a loader waits (as for a disk) or holds the lock (a loop in Python). Work is a number
of turns, found out at the start, so whoever is held up takes longer. Beside each other: reading when it is needed,
``buffer: 8``, ``workers: 1``, PyTorch's ``DataLoader`` with one worker in a bare loop, and both at once in two
processes that hand nothing over, which is the limit. Workers are ready before, and the clock starts with the first
batch.

*Handing over*: CPU time of this process for a batch that a worker hands over, by its size, as a multiple of copying it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
from loop import BATCH, OUTPUTS, Measure, Nothing, compare, cpu, table

from emloop import BaseDataset, _build
from emloop._streams import StreamWrapper
from emloop._streams.workers import Workers
from emloop.main_loop import MainLoop

SECONDS = 0.002
AHEAD = 8
SQUARE = np.random.default_rng(0).normal(size=(96, 96))

Work = Callable[[], None]


def hold(turns: int) -> None:
    """Keep the interpreter lock."""
    for _ in range(turns):
        pass


def compute(turns: int) -> None:
    """Compute without it."""
    for _ in range(turns):
        SQUARE @ SQUARE


def turns_of(work: Callable[[int], None]) -> int:
    """How many turns take as long as a batch is to take."""
    turns = 1
    while timed(partial(work, turns), 1) < SECONDS:
        turns *= 2
    return max(1, round(turns * SECONDS / min(timed(partial(work, turns), 1) for _ in range(9))))


def timed(work: Work, count: int) -> float:
    """Seconds that so much work takes."""
    began = perf_counter()
    for _ in range(count):
        work()
    return perf_counter() - began


class Batches(Sequence[Any]):
    """The same batch again and again, and the work of loading it."""

    def __init__(self, count: int, work: Work | None = None, batch: Any = BATCH) -> None:
        self._count, self._work, self._batch = count, work, batch

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self._count:
            raise IndexError(number)
        if self._work is not None:
            self._work()
        return self._batch


class Data(BaseDataset):
    """What this process and the worker load."""

    def _configure_dataset(self, turns: int = 1, count: int = 1) -> None:
        self._turns, self._count = turns, count

    def waits_stream(self) -> Batches:
        """Batches that are waited for."""
        return Batches(self._count, lambda: sleep(SECONDS))

    def holds_stream(self) -> Batches:
        """Batches that Python computes."""
        return Batches(self._count, lambda: hold(self._turns))

    def small_stream(self) -> Batches:
        """Batches of 1 KiB, in no time."""
        return self._sized(1)

    def middle_stream(self) -> Batches:
        """Batches of 32 KiB."""
        return self._sized(32)

    def large_stream(self) -> Batches:
        """Batches of 1 MiB."""
        return self._sized(1024)

    def _sized(self, rows: int) -> Batches:
        return Batches(self._count, None, {"x": np.zeros((rows, 256), np.float32), "y": np.zeros(rows, np.int64)})


class Steps(Nothing):
    """A model written by hand, whose steps take their time."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work, self.began = work, 0.0

    def run(self, batch: Any, train: bool, stream: Any = None) -> Any:
        """One step; the clock starts when the first batch has come."""
        self.began = self.began or perf_counter()
        self._work()
        return OUTPUTS


def worker(arguments: dict[str, int]) -> Workers:
    """One worker, ready."""
    found = _build.start_workers(1, {"dataset": {"class": "feeding.Data", **arguments}}, None, 0)
    assert found is not None
    for one in found.start():
        while not one.is_ready():
            sleep(0.01)
    return found


def epoch(data: Data, stream: str, step: Work, workers: Workers | None = None, buffer: int = 0) -> float:
    """Wall time of an epoch from its first batch on."""
    model = Steps(step)
    made = MainLoop(model, data, (), stream, buffer=buffer)  # type: ignore[arg-type]
    made.streams.workers = workers
    made.epoch([stream])
    return perf_counter() - model.began


def with_loader(batches: Batches, step: Work) -> float:
    """The same by a ``DataLoader`` and a bare loop."""
    from torch.utils.data import DataLoader  # noqa: PLC0415 - the worker has no need of it

    loader = iter(DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=AHEAD))  # type: ignore[arg-type]
    next(loader)
    began = perf_counter()
    step()
    for _ in loader:
        step()
    return perf_counter() - began


def at_once(load: Work, step: Work, count: int) -> float:
    """Wall time of both in two processes that hand nothing over."""
    began = perf_counter()
    if not (other := os.fork()):
        timed(load, count)
        os._exit(0)
    timed(step, count)
    os.waitpid(other, 0)
    return perf_counter() - began


def overlap(data: Data, workers: Workers, turns: int, torch_too: bool) -> dict[str, tuple[Measure, Measure]]:
    """Every kind of loading and computing, in every way, and the ideal."""
    loads: dict[str, Work] = {"waits": lambda: sleep(SECONDS), "holds": lambda: hold(turns)}
    squares = turns_of(compute)
    steps: dict[str, Work] = {"waits": lambda: sleep(SECONDS), "computes": lambda: compute(squares)}
    found: dict[str, tuple[Measure, Measure]] = {}
    for what, step in steps.items():
        for stream, load in loads.items():
            found |= {
                f"step {what}, loader {stream}: {way} / ideal": (measure, _ideal(load, step))
                for way, measure in _ways(data, stream, workers, load, step).items()
                if torch_too or way != "DataLoader"
            }
    return found


def _ways(data: Data, stream: str, workers: Workers, load: Work, step: Work) -> dict[str, Measure]:
    return {
        "no read-ahead": lambda _: epoch(data, stream, step),
        f"buffer {AHEAD}": lambda _: epoch(data, stream, step, buffer=AHEAD),
        "workers 1": lambda _: epoch(data, stream, step, workers),
        "DataLoader": lambda count: with_loader(Batches(count, load), step),
        "both at once": lambda count: at_once(load, step, count),
    }


def _ideal(load: Work, step: Work) -> Measure:
    return lambda count: max(timed(load, count), timed(step, count))


def handed_over(data: Data, workers: Workers, name: str) -> tuple[Measure, Measure]:
    """CPU time of an epoch of batches from a worker, and of copying as many."""
    method = getattr(data, f"{name}_stream")
    batch = method()[0]

    def read() -> None:
        for _ in StreamWrapper(method, name=name, workers=workers):
            pass

    def copy() -> None:
        for array in batch.values():
            array.copy()

    return lambda _: cpu(read), lambda count: cpu(timed, copy, count)


def main() -> None:
    """Measure, print tables, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=100, help="batches an epoch")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--no-torch", action="store_true", help="leave the DataLoader out")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    args = parser.parse_args()

    arguments = {"turns": turns_of(hold), "count": args.batches}
    data, workers = Data(json.dumps(arguments)), worker(arguments)
    ways = overlap(data, workers, arguments["turns"], not args.no_torch)
    sizes = {
        f"from a worker, {size} / copied": handed_over(data, workers, name)
        for name, size in (("small", "1 KiB"), ("middle", "32 KiB"), ("large", "1 MiB"))
    }
    overlapping = compare(ways, args.batches, args.repetitions)
    print(table(overlapping), end="\n\n")
    handing = compare(sizes, args.batches, args.repetitions)
    print(table(handing))
    workers.close()
    if args.json is not None:
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        found = {"versions": versions, "overlap": overlapping, "handed over": handing}
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
