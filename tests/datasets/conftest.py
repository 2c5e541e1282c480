"""The same examples in files of every kind, and what trains on them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COUNT = 103
"""Examples; no multiple of any batch size in use."""

NUMBERS = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, COUNT)

MODULE = '''
"""Changes of examples, and a model whose state tells of every batch that it was trained with, in order."""

import hashlib
import os
import signal

import numpy as np

import emloop as el
from emloop._streams import digest


def noisy(example, rng, strength: float = 1.0):
    return {**example, "noise": rng.normal(0, strength, 2), "other": rng.integers(9)}


def as_pandas():
    import pandas

    return pandas.read_feather("frame.feather")


def as_polars():
    import polars

    return polars.read_ipc("frame.feather")


class Pairs:
    def __init__(self, path: str):
        with np.load(path) as file:
            self._file = dict(file)

    def __len__(self):
        return len(self._file["label"])

    def __getitem__(self, index):
        return self._file["x"][index], index, int(self._file["label"][index])


class Rolled:
    def __init__(self, most: int):
        self._most = most

    def __call__(self, batch, rng):
        return {**batch, "rolled": np.full(len(batch["number"]), rng.integers(self._most))}


class Recorder(el.AbstractModel):
    input_names = ("number",)
    output_names = ("loss",)

    def __init__(self, dataset, log_dir, restore_from=None):
        self._seen, self._steps = "", 0

    def run(self, batch, train, stream=None):
        if train:
            self._seen = hashlib.sha256((self._seen + digest(batch)).encode()).hexdigest()
            self._steps += 1
        return {"loss": np.asarray(batch["number"], float)}

    def save(self, name_suffix):
        return ""

    def state_dict(self):
        return {"seen": self._seen, "steps": self._steps}

    def load_state_dict(self, state):
        self._seen, self._steps = state["seen"], state["steps"]


class Interrupt(el.AbstractHook):
    """Ctrl-C after so many batches of this process."""

    stateless = True

    def __init__(self, after):
        super().__init__()
        self._left = after

    def after_batch(self, stream_name, batch_data):
        if stream_name == "train":
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGINT)
'''


def save_arrays(folder: Path) -> dict[str, Any]:
    np.savez(folder / "data.npz", x=NUMBERS, number=np.arange(COUNT), label=LABELS)
    return {"class": "Arrays", "path": "data.npz"}


def save_npy(folder: Path) -> dict[str, Any]:
    np.save(folder / "x.npy", np.asfortranarray(NUMBERS))
    np.save(folder / "number.npy", np.arange(COUNT))
    np.save(folder / "label.npy", LABELS)
    return {"class": "Arrays", "path": "*.npy"}


def table_of(count: int = COUNT) -> Any:
    arrow = pytest.importorskip("pyarrow")
    columns = {f"x{n}": NUMBERS[:count, n] for n in range(3)}
    names = [f"n°{n}" for n in range(count)]
    return arrow.table({**columns, "number": np.arange(count), "label": LABELS[:count], "name": names})


TABLE = {"columns": {"x": ["x0", "x1", "x2"], "number": "number", "label": "label", "name": "name"}}


def save_csv(folder: Path) -> dict[str, Any]:
    csv = pytest.importorskip("pyarrow.csv")
    csv.write_csv(table_of(), folder / "data.csv")
    return {"class": "Table", "path": "data.csv", **TABLE}


def save_parquet(folder: Path) -> dict[str, Any]:
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(table_of().slice(0, 50), folder / "part-0.parquet", row_group_size=20)
    parquet.write_table(table_of().slice(50), folder / "part-1.parquet", row_group_size=7)
    return {"class": "Table", "path": "part-*.parquet", **TABLE}


def save_feather(folder: Path) -> dict[str, Any]:
    feather = pytest.importorskip("pyarrow.feather")
    feather.write_feather(table_of(), folder / "data.feather", chunksize=30)
    return {"class": "Table", "path": "data.feather", **TABLE}


def save_images(folder: Path) -> dict[str, Any]:
    image = pytest.importorskip("PIL.Image")
    csv = pytest.importorskip("pyarrow.csv")
    (folder / "pictures").mkdir()
    for number in range(COUNT):
        image.fromarray(np.full((4, 3, 3), number, np.uint8)).save(folder / "pictures" / f"{number}.png")
    names = pytest.importorskip("pyarrow").array([f"{number}.png" for number in range(COUNT)])
    csv.write_csv(table_of().append_column("file", names), folder / "pictures.csv")
    return {"class": "Images", "path": "pictures", "table": "pictures.csv", **TABLE}


def save_pandas(folder: Path) -> dict[str, Any]:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow.feather").write_feather(table_of(), folder / "frame.feather")
    return {"class": "Frame", "frame": "mine.as_pandas", **TABLE}


def save_polars(folder: Path) -> dict[str, Any]:
    pytest.importorskip("polars")
    pytest.importorskip("pyarrow.feather").write_feather(table_of(), folder / "frame.feather")
    return {"class": "Frame", "frame": {"class": "mine.as_polars"}, **TABLE}


def save_examples(folder: Path) -> dict[str, Any]:
    np.savez(folder / "pairs.npz", x=NUMBERS, label=LABELS)
    return {
        "class": "Examples",
        "source": {"class": "mine.Pairs", "path": "pairs.npz"},
        "names": ["x", "number", "label"],
    }


def save_hugging_face(folder: Path) -> dict[str, Any]:
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({"all": datasets.Dataset(table_of())}).save_to_disk(folder / "saved")
    return {"class": "HuggingFace", "path": "saved", "splits": {"train": "all"}, **TABLE}


KINDS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "npz": save_arrays,
    "npy": save_npy,
    "csv": save_csv,
    "parquet": save_parquet,
    "feather": save_feather,
    "images": save_images,
    "pandas": save_pandas,
    "polars": save_polars,
    "examples": save_examples,
    "hugging-face": save_hugging_face,
}
"""Kind → what writes the files into a folder, and returns the section ``dataset`` that reads them."""


@pytest.fixture(params=KINDS)
def section(request, tmp_path):
    """The section ``dataset`` for files of each kind, which lie in the working directory."""
    return KINDS[request.param](tmp_path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory with a module to be named in configurations."""
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    yield tmp_path
    sys.modules.pop("mine", None)
