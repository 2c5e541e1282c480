"""``torch.utils.data.DataLoader`` whose passes can be opened at any batch.

The order of a pass is drawn at once, and every batch is fetched and collated while the global generators of PyTorch,
NumPy and Python are seeded by (seed, stream, pass, batch). So a batch depends neither on those before it, nor on the
number of workers.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Thread
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)
from torch.utils.data.distributed import DistributedSampler

from emloop.datasets.loaders import Loader
from emloop.ranks import Share
from emloop.types import Batch

__all__ = ["take_over"]

logger = logging.getLogger(__name__)

_PURE = (BatchSampler, RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler)
"""Samplers that look at nothing but their arguments and generators."""

_KNOWN = {"torch", "torchdata", ""}
"""Whose loaders do nothing but read what a sampler says. Torchdata's forgets the random numbers of its workers."""

_KEPT = (
    *("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator"),
    *("prefetch_factor", "pin_memory_device"),
)
"""What a loader has beside the order."""

_ORDER = 0  # what is drawn before the first batch, whose number gets 1 added


def take_over(iterable: object, key: int) -> Loader | None:
    """Take over a pass of a map-style loader.

    Args:
        iterable: Anything.
        key: Belongs to the seed, the stream and the pass.

    Returns:
        ``None`` for anything else: loaders that keep a state or iterate in a way of the user's, data sets that keep a
        state or are only iterated, samplers without a length (which may never end) or whose order depends on more than
        generators.
    """
    if (
        not isinstance(iterable, DataLoader)
        or not {_home(iterable, "__iter__"), _home(iterable, "state_dict")} <= _KNOWN
    ):
        return None
    if isinstance(iterable.dataset, IterableDataset) or hasattr(iterable.dataset, "state_dict"):
        return None
    if isinstance(iterable.sampler, DistributedSampler):
        iterable = _undistributed(iterable)
    sampler = iterable.sampler if iterable.batch_sampler is None else iterable.batch_sampler
    try:
        len(sampler)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None
    order = _drawn(iterable, sampler, key)
    if {type(sampler), type(iterable.sampler)} - set(_PURE) and order != _drawn(iterable, sampler, key):
        logger.warning(
            "%s gives another order each time it is asked, from the same random numbers: a resume within a pass of its "
            "loader will not be exact",
            type(sampler if type(sampler) not in _PURE else iterable.sampler).__name__,
        )
        return None
    return _Pass(iterable, order, key)


def _undistributed(loader: DataLoader[Any]) -> DataLoader[Any]:
    """A loader of the batches that all processes share, in place of one for the examples of a single process."""
    sampler: Any = loader.sampler
    _say_unneeded(loader.batch_size, sampler.num_replicas)
    return DataLoader(
        loader.dataset,
        loader.batch_size * sampler.num_replicas,
        shuffle=sampler.shuffle,
        drop_last=loader.drop_last or sampler.drop_last,
        **{name: getattr(loader, name) for name in _KEPT},
    )


@cache
def _say_unneeded(examples: int, processes: int) -> None:
    logger.warning(
        "A DistributedSampler is not needed: batches of %s examples, %s for each of %s processes, are shared among "
        "whatever processes there are, and none is repeated to fill up",
        examples * processes,
        examples,
        processes,
    )


def _home(loader: object, method: str) -> str:
    """The package that has defined a method; empty if nobody has."""
    homes = (cls.__module__.partition(".")[0] for cls in type(loader).__mro__ if method in vars(cls))
    return next(homes, "")


class _Pass:
    def __init__(self, loader: DataLoader[Any], order: list[Any], key: int) -> None:
        self._loader = loader
        self._order = order
        self._batches = _Batches(loader, order, key)
        self._key = key
        self.draws_globally = not loader.num_workers

    def __len__(self) -> int:
        return len(self._batches)

    def batch(self, number: int) -> Batch:
        return self._batches[number]

    def size(self, number: int) -> int:
        return len(self._order[number])

    def divided(self, share: Share) -> Loader | None:
        if self._loader.batch_sampler is None:
            return None
        # What is drawn for examples, to augment them, belongs to the share.
        own = np.random.SeedSequence([self._key, share.rank]).generate_state(1, np.uint64) >> np.uint64(1)
        key = int(own[0]) if share.rank else self._key
        return _Pass(self._loader, [list(each)[share.rows(len(each))] for each in self._order], key)

    def batches(self, start: int) -> Iterator[Batch]:
        loader = self._loader
        workers: dict[str, Any] = {}
        if loader.num_workers:
            workers = {
                "num_workers": loader.num_workers,
                "timeout": loader.timeout,
                "worker_init_fn": _WorkerStart(loader.worker_init_fn),
                "multiprocessing_context": loader.multiprocessing_context,
                "prefetch_factor": loader.prefetch_factor,
            }
        return iter(
            DataLoader(
                self._batches,
                batch_size=None,
                sampler=range(start, len(self)),
                collate_fn=_unchanged,
                pin_memory=loader.pin_memory,
                pin_memory_device=loader.pin_memory_device,
                generator=torch.Generator().manual_seed(self._key),
                **workers,
            )
        )


class _Batches(Dataset[Any]):
    """The batches of a pass, by their number."""

    def __init__(self, loader: DataLoader[Any], order: list[Any], key: int) -> None:
        self.dataset = loader.dataset
        self._collate = loader.collate_fn
        self._collates = loader.batch_sampler is not None
        self._order = order
        self._key = key

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: int) -> Any:
        with _keyed(self._key, number + 1):
            return self._collate(self._fetched(self._order[number]))

    def _fetched(self, index: Any) -> Any:
        if not self._collates:
            return self.dataset[index]
        at_once = getattr(self.dataset, "__getitems__", None)
        return at_once(index) if at_once else [self.dataset[i] for i in index]


class _WorkerStart:
    """Lets a worker end with the process that it reads for, and the user's own function see the user's data set."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, worker: int) -> None:
        Thread(target=_end_with_parent, daemon=True).start()
        info: Any = get_worker_info()
        object.__setattr__(info, "dataset", info.dataset.dataset)
        if self._function is not None:
            self._function(worker)


def _end_with_parent() -> None:
    """PyTorch's own watchdog looks every five seconds, and not while a batch is read."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _drawn(loader: DataLoader[Any], sampler: Any, key: int) -> list[Any]:
    """The order of a pass: a list of indices for every batch."""
    owners = (loader, sampler, loader.sampler)
    found = (getattr(owner, "generator", None) for owner in owners)
    own = {id(generator): generator for generator in found if isinstance(generator, torch.Generator)}
    before = [(generator, generator.get_state()) for generator in own.values()]
    try:
        with _keyed(key, _ORDER):
            for number, generator in enumerate(own.values()):
                generator.manual_seed(key + number)
            return list(sampler)
    finally:
        for generator, state in before:
            generator.set_state(state)


@contextmanager
def _keyed(key: int, number: int) -> Iterator[None]:
    """Seed the global generators inside the block, and put them back."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    words = np.random.SeedSequence([key, number]).generate_state(8)
    torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:6])
    random.seed(int(words[6]) << 32 | int(words[7]))
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def _unchanged(batch: Any) -> Any:
    return batch
