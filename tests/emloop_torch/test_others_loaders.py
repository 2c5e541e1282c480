"""Loaders of torchdata and data sets of Hugging Face, as they are installed: a resume within a pass changes nothing."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import emloop_torch  # noqa: E402, F401 - adds PyTorch's generators to those of a run
from emloop._state.random import random_state, restore_random_state, seed_everything, use_seed  # noqa: E402
from emloop._state.tree import dump_tree, load_tree  # noqa: E402
from emloop._streams import StreamWrapper  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # they have their own opinions of each other


class Noisy(torch.utils.data.Dataset):
    """Examples with noise of the worker that reads them."""

    def __len__(self):
        return 26

    def __getitem__(self, index):
        return {"x": torch.tensor([float(index)]), "noise": torch.rand(1)}


def loader(workers, **options):
    module = importlib.import_module("torchdata.stateful_dataloader")
    return lambda: module.StatefulDataLoader(Noisy(), batch_size=4, num_workers=workers, **options)


def shuffled(workers):
    module = importlib.import_module("torchdata.stateful_dataloader")

    def stream():
        return module.StatefulDataLoader(
            Noisy(), batch_size=4, num_workers=workers, shuffle=True, generator=torch.Generator()
        )

    return stream


def numbers():
    yield from ({"x": float(number), "id": number} for number in range(26))


def iterable():
    return importlib.import_module("datasets").IterableDataset.from_generator(numbers).batch(4)


def buffered():
    return (
        importlib.import_module("datasets")
        .IterableDataset.from_generator(numbers)
        .shuffle(seed=3, buffer_size=5)
        .batch(4)
    )


def sharded():
    module = importlib.import_module("datasets")
    whole = module.Dataset.from_dict({"x": [float(number) for number in range(26)]})
    return whole.to_iterable_dataset(num_shards=3).shuffle(seed=1, buffer_size=6).batch(4)


STREAMS = {
    "torchdata": (lambda: loader(0), "exact"),
    "torchdata-workers": (lambda: loader(2), "exact"),
    "torchdata-shuffled": (lambda: shuffled(0), "exact"),
    "torchdata-shuffled-workers": (lambda: shuffled(2), "exact"),
    "datasets": (lambda: iterable, "exact"),
    # Its state lacks what the buffer holds.
    "datasets-buffered": (lambda: buffered, "replay"),
    "datasets-sharded": (lambda: sharded, "replay"),
}


def read(stream, count, state=None, buffer=0):
    wrapper, found = StreamWrapper(stream, buffer_size=buffer, name="train"), []
    if state is not None:
        wrapper.load_state_dict(state)
    with wrapper:
        while len(found) < count:
            for batch in wrapper:
                found.append({name: np.asarray(values).tolist() for name, values in batch.items()})
                if len(found) == count:
                    break
        return found, wrapper.state_dict(), wrapper.level


@pytest.mark.parametrize("buffer", [0, 3])
@pytest.mark.parametrize("cut", [3, 9])
@pytest.mark.parametrize("name", STREAMS)
def test_a_pass_goes_on_from_any_batch(name, cut, buffer):
    """Also in another pass, and whatever was read ahead."""
    pytest.importorskip(name.partition("-")[0])  # not where a thread reads: it could not say so
    make, level = STREAMS[name]
    stream, before = make(), random_state()
    try:
        with use_seed(3):
            seed_everything(3)
            whole, _, found = read(stream, 14, buffer=buffer)
            seed_everything(3)
            first, state, _ = read(stream, cut, buffer=buffer)
            kept, state = random_state(), load_tree(*dump_tree(state))
            torch.rand(7)  # another process is somewhere else
            restore_random_state(kept)
            rest, _, _ = read(stream, 14 - cut, state, buffer=buffer)
    finally:
        restore_random_state(before)

    assert first + rest == whole
    assert found == level
