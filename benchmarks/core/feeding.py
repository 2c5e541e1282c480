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

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from time import perf_counter, sleep
from typing import Any

import numpy as np

from emloop import BaseDataset, _build
from emloop._streams import StreamWrapper
from emloop._streams.workers import Workers
from emloop.main_loop import MainLoop

from ..figures import Found, Measure, Skipped, compare, repeated
from .loop import BATCH, OUTPUTS, Nothing

SECONDS = 0.002
AHEAD = 8
SQUARE = np.random.default_rng(0).normal(size=(96, 96))

Work = Callable[[], None]

timed = partial(repeated, clock=perf_counter)


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
    while timed(partial(work, turns))(1) < SECONDS:
        turns *= 2
    taken = timed(partial(work, turns))
    return max(1, round(turns * SECONDS / min(taken(1) for _ in range(9))))


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
    found = _build.start_workers(1, {"dataset": {"class": f"{__name__}.Data", **arguments}}, None, 0)
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
        timed(load)(count)
        os._exit(0)
    timed(step)(count)
    os.waitpid(other, 0)
    return perf_counter() - began


def overlap(data: Data, workers: Workers, turns: int, with_torch: bool) -> list[dict[str, Measure]]:
    """Every kind of loading and computing, in every way, and the ideal."""
    loads: dict[str, Work] = {"waits": lambda: sleep(SECONDS), "holds": lambda: hold(turns)}
    squares = turns_of(compute)
    steps: dict[str, Work] = {"waits": lambda: sleep(SECONDS), "computes": lambda: compute(squares)}

    def ways(stream: str, load: Work, step: Work) -> dict[str, Measure]:
        loaders: dict[str, Measure] = {"DataLoader": lambda count: with_loader(Batches(count, load), step)}
        return {
            "no read-ahead": lambda _: epoch(data, stream, step),
            f"buffer {AHEAD}": lambda _: epoch(data, stream, step, buffer=AHEAD),
            "workers 1": lambda _: epoch(data, stream, step, workers),
            **(loaders if with_torch else {}),
            "both at once": lambda count: at_once(load, step, count),
        }

    def ideal(load: Work, step: Work) -> Measure:
        return lambda count: max(timed(load)(count), timed(step)(count))

    return [
        {
            "ideal": ideal(load, step),
            **{f"step {what}, loader {stream}: {way}": one for way, one in ways(stream, load, step).items()},
        }
        for what, step in steps.items()
        for stream, load in loads.items()
    ]


def handed_over(data: Data, workers: Workers, name: str, size: str) -> dict[str, Measure]:
    """CPU time of an epoch of batches from a worker, and of copying as many."""
    method = getattr(data, f"{name}_stream")
    batch = method()[0]

    def read() -> None:
        for _ in StreamWrapper(method, name=name, workers=workers):
            pass

    def copy() -> None:
        for array in batch.values():
            array.copy()

    return {"copied": repeated(copy), f"from a worker, {size}": lambda _: repeated(read)(1)}


def measure(quick: bool) -> Found:
    """The ``DataLoader`` takes more time than all the rest, and is left out of the quick form."""
    count, turns = (4, 2) if quick else (100, 7)
    arguments = {"turns": turns_of(hold), "count": count}
    data, workers = Data(json.dumps(arguments)), worker(arguments)
    with_torch = not quick and find_spec("torch") is not None
    sizes = {"small": "1 KiB", "middle": "32 KiB", "large": "1 MiB"}
    asked = {
        f"step {what}, loader {stream}: {way}": most
        for (what, stream, way), most in {
            ("waits", "waits", f"buffer {AHEAD}"): 1.05,
            ("waits", "holds", "workers 1"): 1.08,
            ("computes", "waits", f"buffer {AHEAD}"): 1.08,
            ("computes", "holds", "workers 1"): 1.15,
        }.items()
    }
    try:
        overlapping = compare(overlap(data, workers, arguments["turns"], with_torch), count, turns, "ms", asked)
        handing = compare([handed_over(data, workers, *one) for one in sizes.items()], count, turns)
    finally:
        workers.close()
    return [*overlapping, *handing, *([] if with_torch else [Skipped("DataLoader", "it needs torch, and time")])]
