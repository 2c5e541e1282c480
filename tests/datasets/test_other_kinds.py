"""Images, lines, frames, map-style datasets and data sets of Hugging Face: what is particular to each."""

from __future__ import annotations

import numpy as np
import pytest

from emloop._state.random import use_seed
from emloop.api import create_dataset
from emloop.errors import BatchError, ConfigError

MAKERS = """
import pandas
import polars


def frame(kind="pandas"):
    columns = {"age": [1, 2, 3], "class": ["a", "b", "a"]}
    if kind == "odd":
        return pandas.DataFrame({"age": [1, "x", 2.5]})
    if kind == "number":
        return 3
    if kind == "category":
        return pandas.DataFrame(columns).astype({"class": "category"})
    return {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "mapping": dict}[kind](columns)


class Pairs:
    def __init__(self, size: int = 4):
        self._size = size

    def __len__(self):
        return self._size

    def __getitem__(self, index):
        return (index, str(index), [0] * index)


def one(size: int):
    return [float(n) for n in range(size)]
"""


@pytest.fixture(autouse=True)
def _seeded(project, monkeypatch):
    for package in ("pyarrow", "PIL", "pandas", "polars"):
        pytest.importorskip(package)
    (project / "makers.py").write_text(MAKERS)
    with use_seed(5):
        yield


def dataset(name, **options):
    return create_dataset({"dataset": {"class": name, "shuffle": False, **options}})


def problem(name, **options):
    with pytest.raises(ConfigError) as caught:
        dataset(name, **options)
    return str(caught.value)


@pytest.fixture
def pictures(project):
    """Two classes of two images, of two sizes."""
    image = pytest.importorskip("PIL.Image")
    for kind, color in {"cats": (10, 20, 30), "dogs": (200, 100, 0)}.items():
        (project / "pets" / kind).mkdir(parents=True)
        for number, size in enumerate([(4, 3), (8, 6)]):
            image.new("RGB", size, color).save(project / "pets" / kind / f"{number}.png")
    return project / "pets"


def test_a_subfolder_is_a_class(pictures):
    """In the order of their names; images of several sizes are a list, scaled ones an array."""
    data = dataset("Images", path="pets")
    batch = data.train_stream()[0]
    assert [0, 0, 1, 1] == batch["label"].tolist()
    assert [(3, 4, 3), (6, 8, 3)] * 2 == [image.shape for image in batch["image"]]
    assert ["cats", "dogs"] == data.classes_names()

    batch = dataset("Images", path="pets", size=[2, 5], layout="CHW", dtype="float32").train_stream()[0]
    assert (4, 3, 2, 5) == batch["image"].shape
    np.testing.assert_array_equal(batch["image"][0, :, 0, 0], np.float32([10, 20, 30]) / np.float32(255))
    grey = dataset("Images", path="pets", size=[2, 2], mode="L").train_stream()[0]["image"]
    assert (4, 2, 2, 1) == grey.shape
    assert np.uint8 == grey.dtype
    normal = dataset("Images", path="pets", size=[2, 2], mode="L", dtype="float32", mean=[0.5], std=[0.25])
    np.testing.assert_allclose(normal.train_stream()[0]["image"], (grey / 255 - 0.5) / 0.25, rtol=1e-5)


def test_a_folder_for_each_stream_has_the_classes_of_the_training(pictures, project):
    """And one of images alone has none."""
    (project / "later" / "dogs").mkdir(parents=True)
    (pictures / "dogs" / "0.png").rename(project / "later" / "dogs" / "0.png")
    data = dataset("Images", path={"train": "pets", "later": "later"})

    assert [1] == data.later_stream()[0]["label"].tolist()
    assert ["image"] == list(dataset("Images", path="pets/cats").train_stream()[0])


def test_what_is_no_image_is_named(pictures, project):
    """When it is read, with the way out."""
    (pictures / "cats" / "0.png").write_bytes(b"nothing")
    with pytest.raises(BatchError, match=r"^pets/cats/0\.png cannot be read as an image: .*; repair it, or remove it$"):
        dataset("Images", path="pets").train_stream()[0]
    image = pytest.importorskip("PIL.Image")
    whole = pictures / "cats" / "1.png"
    whole.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(BatchError, match=r"^pets/cats/1\.png cannot be read as an image: "):
        dataset("Images", path="pets", batch_size=1).train_stream()[1]
    image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(pictures / "cats" / "0.png")
    with pytest.raises(BatchError, match=r"has pixels of more than 8 bits \(I;16\), which RGB would cut"):
        dataset("Images", path="pets", batch_size=1).train_stream()[0]


def test_folders_and_settings_of_images_are_checked(pictures, project):
    """When the dataset is built."""
    (project / "empty").mkdir()

    assert problem("Images", path="no") == "dataset.path: there is no folder no"
    assert problem("Images", path="empty").startswith(
        "dataset.path: there are no images in empty: no files that end in"
    )
    assert problem("Images", path="pets", mean=[0.5]).startswith("dataset.mean: expected 3 numbers, one for each")
    assert problem("Images", path="pets", size=[0, 3]).startswith("dataset.size[0]: expected whole number >= 1")


def test_lines_are_texts(project):
    """Of any line end, the last one too; with their file."""
    (project / "a.txt").write_bytes("eins\r\n\n  \nžwei".encode())
    (project / "b.txt").write_text("drei\n")
    batch = dataset("TextLines", path="*.txt", columns={"text": "text", "of": "file"}).train_stream()[0]

    assert {"text": ["eins", "", "  ", "žwei", "drei"], "of": ["a", "a", "a", "a", "b"]} == batch
    assert ["eins", "žwei", "drei"] == dataset("TextLines", path="*.txt", skip_blank=True).train_stream()[0]["text"]
    (project / "b.txt").write_bytes(b"good\n\xff\n")
    assert problem("TextLines", path="*.txt").startswith(
        "dataset.path: b.txt, line 2: invalid start byte: it is no UTF-8"
    )


@pytest.mark.parametrize("kind", ["pandas", "polars", "mapping", "category"])
def test_a_frame_may_be_of_any_library(kind):
    """Columns keep their names and types; categories become texts, or numbers where that is asked for."""
    columns = {"age": "age", "label": {"name": "class", "categories": True}, "class": "class"}
    batch = dataset("Frame", frame={"class": "makers.frame", "kind": kind}, columns=columns).train_stream()[0]

    assert [1, 2, 3] == batch["age"].tolist()
    assert [0, 1, 0] == batch["label"].tolist()
    assert ["a", "b", "a"] == batch["class"]


def test_what_is_no_frame_is_refused():
    """Mixed types by their column."""
    assert problem("Frame", frame={"class": "makers.frame", "kind": "number"}) == (
        "dataset.frame: expected a frame of pandas or Polars, got int"
    )
    assert "column age" in problem("Frame", frame={"class": "makers.frame", "kind": "odd"})
    assert problem("Frame", frame={"class": "makers.frame", "kid": 1}).startswith(
        "dataset.frame: unknown argument 'kid'"
    )


def test_a_frame_for_each_stream():
    """By a mapping."""
    data = dataset("Frame", frame={"train": "makers.frame", "test": {"class": "makers.frame", "kind": "polars"}})

    assert [1, 2, 3] == data.test_stream()[0]["age"].tolist()


def test_parts_of_an_example_have_names():
    """Numbers become an array, what differs in length a list."""
    batch = dataset("Examples", source="makers.Pairs", names=["n", "text", "list"]).train_stream()[0]
    assert [0, 1, 2, 3] == batch["n"].tolist()
    assert ["0", "1", "2", "3"] == batch["text"]
    assert [[], [0], [0, 0], [0, 0, 0]] == batch["list"]
    alone = dataset("Examples", source={"class": "makers.one", "size": 3}, names=["x"]).train_stream()[0]
    assert [0.0, 1.0, 2.0] == alone["x"].tolist()

    with pytest.raises(BatchError, match=r"^example 0 has 3 parts and no names; dataset\.names has 1: n$"):
        dataset("Examples", source="makers.Pairs", names=["n"]).train_stream()[0]
    assert problem("Examples", source="makers.Pairs", names=["n", "t", "l"], balance="x") == (
        "dataset.balance: there is no 'x'; an example has: n, t, l"
    )


def test_a_data_set_of_hugging_face_is_told_from_other_folders(project, monkeypatch):
    """And a split from another."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = datasets.Dataset.from_dict({"n": [1, 2], "text": ["a", "b"]})
    datasets.DatasetDict({"fit": rows}).save_to_disk("saved")
    rows.save_to_disk("alone")

    assert ["a", "b"] == dataset("HuggingFace", path="alone").train_stream()[0]["text"]
    assert [1, 2] == dataset("HuggingFace", path="saved", splits={"train": "fit"}).train_stream()[0]["n"].tolist()
    assert problem("HuggingFace", path="saved") == "dataset.path: there is no split 'train' in saved; there is: fit"
    (project / "other").mkdir()
    assert problem("HuggingFace", path="other").startswith("dataset.path: other: save_to_disk wrote no data set there")
