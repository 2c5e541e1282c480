"""How fast are ready datasets, beside PyTorch's DataLoader written by hand, and how dear is a place in the middle?

*Feeding*: CPU time for a batch of 64 in shuffled order, as a multiple of that of a ``DataLoader`` without workers over
a ``Dataset`` of a few lines: of arrays mapped into memory, of a Parquet file read into memory, of a folder of images.
Of images, also the time until a batch is there, with as many processes on both sides.

*Seeking*: time to open a shuffled pass and read its batch in the middle, as a multiple of its first batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from torch.utils.data import DataLoader, Dataset

from emloop._build import start_workers
from emloop._streams import StreamWrapper
from emloop.api import create_dataset

from ..figures import Found, Measure, compare, repeated

SIZE = 64
IMAGES = "images"
WORKERS = 2


def write(folder: Path, rows: int, images: int) -> None:
    """The same examples as arrays and as a table; and images in two folders."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 8)).astype(np.float32), rng.integers(0, 2, rows)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    parquet.write_table(pa.table({**{f"x{n}": x[:, n] for n in range(8)}, "y": y}), folder / "data.parquet")
    for number in range(images):
        (folder / "images" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / str(number % 2) / f"{number}.png")


def sections_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Sections of the datasets, by what they read."""
    columns = {"x": [f"x{n}" for n in range(8)], "y": "y"}
    sections = {
        "arrays": {"class": "Arrays", "path": [str(folder / "x.npy"), str(folder / "y.npy")]},
        "Parquet": {"class": "Table", "path": str(folder / "data.parquet"), "columns": columns},
        IMAGES: {"class": "Images", "path": str(folder / "images")},
    }
    return {name: {"dataset": {**section, "batch_size": SIZE}} for name, section in sections.items()}


def theirs(folder: Path) -> dict[str, Any]:
    """Datasets as one writes them for PyTorch."""

    class Rows(Dataset):
        def __init__(self, x: Any, y: Any) -> None:
            self._x, self._y = x, y

        def __len__(self) -> int:
            return len(self._x)

        def __getitem__(self, index: int) -> Any:
            return torch.from_numpy(np.array(self._x[index])), self._y[index]

    class Pictures(Dataset):
        def __init__(self) -> None:
            self._files = sorted((folder / "images").rglob("*.png"))

        def __len__(self) -> int:
            return len(self._files)

        def __getitem__(self, index: int) -> Any:
            with Image.open(self._files[index]) as image:
                pixels = np.array(image.convert("RGB"))
            return torch.from_numpy(pixels), int(self._files[index].parent.name)

    table = parquet.read_table(folder / "data.parquet")
    x = np.stack([table.column(f"x{n}").to_numpy() for n in range(8)], axis=1)
    mapped = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy"]
    return {"arrays": Rows(*mapped), "Parquet": Rows(x, table.column("y").to_numpy()), IMAGES: Pictures()}


def endless(passes: Callable[[], Iterable[Any]]) -> Callable[[], Any]:
    """Returns the next batch, pass after pass."""
    return partial(next, (batch for _ in count() for batch in passes()))


def feeding(datasets: dict[str, Any], sets: dict[str, Any]) -> list[dict[str, Measure]]:
    """Batches of one after the other."""
    loaders = {name: DataLoader(rows, SIZE, shuffle=True) for name, rows in sets.items()}
    return [
        {
            f"{name}: DataLoader": repeated(endless(lambda name=name: loaders[name])),
            name: repeated(endless(data.train_stream)),
        }
        for name, data in datasets.items()
    ]


@contextmanager
def with_workers(section: dict[str, Any], rows: Any) -> Iterator[list[dict[str, Measure]]]:
    """Batches that processes load, once all of them do."""
    loader = DataLoader(rows, SIZE, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    workers = start_workers(WORKERS, section, None, 1)
    assert workers is not None
    stream = StreamWrapper(create_dataset(section).train_stream, name="train", workers=workers)
    names = [f"{IMAGES}, {WORKERS} workers: DataLoader", f"{IMAGES}, {WORKERS} workers"]
    measures = dict(zip(names, (endless(lambda: loader), endless(lambda: stream)), strict=True))
    try:
        with stream:
            while not all(worker.is_ready() for worker in workers.start()):
                measures[names[1]]()
            yield [{name: repeated(call, perf_counter) for name, call in measures.items()}]
    finally:
        workers.close()


def seeking(datasets: dict[str, Any]) -> list[dict[str, Measure]]:
    """A pass is opened each time."""

    def read(data: Any, part: float) -> None:
        stream = data.train_stream()
        stream[int(len(stream) * part)]

    return [
        {
            f"{name}: seek to the start": repeated(partial(read, data, 0)),
            f"{name}: seek to the middle": repeated(partial(read, data, 0.5)),
        }
        for name, data in datasets.items()
    ]


def measure(quick: bool) -> Found:
    """Ten million rows, in the quick form ten thousand."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, 10_000 if quick else 10_000_000, 130 if quick else 2_000)
        sections, sets = sections_of(folder), theirs(folder)
        datasets = {name: create_dataset(section) for name, section in sections.items()}
        asked = {"arrays": 1.0, "Parquet": 1.0, IMAGES: 1 / 0.9, f"{IMAGES}, {WORKERS} workers": 1 / 0.9}
        fed = compare(feeding(datasets, sets), 4 if quick else 50, 2 if quick else 7, "ms", asked)
        with with_workers(sections[IMAGES], sets[IMAGES]) as groups:
            fed += compare(groups, 4 if quick else 60, 2 if quick else 7, "ms", asked)
        asked = {f"{name}: seek to the middle": 3.0 for name in datasets}
        return [*fed, *compare(seeking(datasets), 1, 2 if quick else 5, "ms", asked)]
