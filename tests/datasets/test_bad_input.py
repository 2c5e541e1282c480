"""Files as people have them: each fault is told in one message, with its place and the way out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from emloop._state.random import use_seed
from emloop._support.problems import no_module
from emloop.api import create_dataset
from emloop.cli.app import main
from emloop.errors import BatchError, ConfigError, MissingExtraError
from emloop.utils import yaml_to_file

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")
pd = pytest.importorskip("pandas")

HALVES = {"train": 0.5, "valid": 0.5}
FRAMES = """
import pandas as pd

def twice():
    return pd.DataFrame([[1, 2]], columns=["a", "a"])

def indexed():
    return pd.DataFrame({"a": [1, 2]}, index=pd.Index([5, 6], name="id"))

class Uneven:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"x": [0] * index, "y": None if index == 2 else "a"}
"""


@pytest.fixture(autouse=True)
def _seeded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "frames.py").write_text(FRAMES)
    with use_seed(1):
        yield
    sys.modules.pop("frames", None)


def table(content):
    """A section that reads a table of such content."""
    data = content if isinstance(content, bytes) else content.encode()
    Path("data.csv").write_bytes(data)
    return {"class": "Table", "path": "data.csv", "shuffle": False}


def rows(**columns):
    """A section that reads a Parquet file of such columns."""
    parquet.write_table(pa.table(columns), "data.parquet")
    return {"class": "Table", "path": "data.parquet", "shuffle": False}


def arrays(**columns):
    """A section that reads such arrays."""
    np.savez("data.npz", **columns)
    return {"class": "Arrays", "path": "data.npz", "shuffle": False}


def picture(path, mode="RGB", size=(4, 4)):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def pictures(*changes, **options):
    """A section that reads two classes of images of three channels, and whatever the changes make beside them."""
    for kind in "ab":
        picture(f"pictures/{kind}/0.png")
    for change in changes:
        change()
    return {"class": "Images", "path": "pictures", "shuffle": False, **options}


def dataset(section, **options):
    return create_dataset({"dataset": {**section, **options}})


def written(path, data=b""):
    return lambda: Path(path).write_bytes(data)


def drawn(path, mode="RGB", size=(4, 4)):
    return lambda: picture(path, mode, size)


NAN = {"x": np.arange(6.0), "y": np.array([0, 1, np.nan, np.nan, 1, 0]), "two": np.zeros((6, 2))}

REFUSED = {
    "twice": (lambda: table("a,b,b\n1,2,3\n"), {}, "path: data.csv has two columns 'b'"),
    "nameless": (
        lambda: table(",a\n0,1\n"),
        {},
        "columns: column 1 has no name\n  name those to read in `columns`; pandas",
    ),
    "semicolon": (
        lambda: table("a;b\n1;2\n"),
        {"columns": ["a"]},
        "columns[0]: there is no column 'a'; the table has: a;b\n  is ';' what stands between the cells? Say so: `",
    ),
    "no-utf-8": (lambda: table(b"a\n\xe9\n"), {}, "path: data.csv cannot be read: "),
    "empty-file": (lambda: table(""), {}, "path: data.csv cannot be read: Empty CSV file"),
    "header": (lambda: table("a,b\n"), {}, "path: the stream 'train' has no examples"),
    "ragged": (
        lambda: table("a,b\n1,2\n3\n"),
        {},
        "path: data.csv cannot be read: CSV parse error: Row #3: Expected 2",
    ),
    "mixed": (
        lambda: table("a\n1\nx\n"),
        {"columns": {"a": {"dtype": "float32"}}},
        "columns: data.csv, row 2: column 'a' has 'x', which is no float32\n  say what the column holds",
    ),
    "unlabelled": (
        lambda: table("a,y\n1,p\n2,\n"),
        {"columns": {"y": {"categories": True}}},
        "columns.y: data.csv, row 2: column 'y' has no value\n  say what stands for it: `missing: unknown`",
    ),
    "nested": (
        lambda: rows(n=[{"u": 1}]),
        {},
        "columns.n: column 'n' holds struct<u: int64>, which a batch cannot hold",
    ),
    "uneven-lists": (
        lambda: rows(n=[[1, 2], [3]]),
        {},
        "columns.n: data.parquet, row 2: column 'n' has a list of 1, and",
    ),
    "empty-split": (
        lambda: table("a\n1\n2\n"),
        {"split": {"train": 0.99, "valid": 0.01}},
        "split.valid: 0.01 of 2 examples is not one; it would be empty",
    ),
    "nothing-left": (
        lambda: table("a\n1\n2\n"),
        {"drop_last": True},
        "drop_last: the stream 'train' has 2 examples, less than a batch of 32",
    ),
    "nan-stratify": (
        lambda: arrays(**NAN),
        {"split": {**HALVES, "stratify": "y"}},
        "split.stratify: 'y' has no value for 2 of 6 examples, first for number 3\n  leave these out, or say",
    ),
    "nan-group": (
        lambda: arrays(**NAN),
        {"split": {**HALVES, "group": "y"}},
        "split.group: 'y' has no value for 2 of 6",
    ),
    "nan-balance": (lambda: arrays(**NAN), {"balance": "y"}, "balance: 'y' has no value for 2 of 6"),
    "nan-weights": (lambda: arrays(**NAN), {"weights": "y"}, "weights: 'y' has no value for 2 of 6"),
    "matrix": (
        lambda: arrays(**NAN),
        {"balance": "two"},
        "balance: expected one value for each example, and 'two' has several",
    ),
    "text-weights": (lambda: table("a\nx\n"), {"weights": "a"}, "weights: expected a number for each example, got 'x'"),
    "frame": (
        lambda: {"class": "Frame", "frame": "frames.twice"},
        {},
        "frame: the frame cannot be read: Duplicate column names found: ['a', 'a']",
    ),
    "examples": (
        lambda: {"class": "Examples", "source": "frames.Uneven"},
        {"balance": "y"},
        "balance: 'y' has no value for 1 of 4 examples, first for number 3",
    ),
    "uneven": (
        lambda: {"class": "Examples", "source": "frames.Uneven"},
        {"balance": "x"},
        "balance: expected one value for each example, and 'x' has several",
    ),
    "no-images": (
        lambda: {"class": "Images", "path": "."},
        {},
        "path: there are no images in .: no files that end in .bmp",
    ),
    "no-folder": (lambda: {"class": "Images", "path": "nowhere"}, {}, "path: there is no folder nowhere"),
    "loose": (
        lambda: pictures(drawn("pictures/9.png")),
        {},
        "path: pictures/9.png lies beside folders of classes, and has none\n  move it into one of them",
    ),
    "unlisted": (
        lambda: pictures(written("t.csv", b"file,y\na/0.png,1\n3,2\n"), table="t.csv"),
        {},
        "table: row 2 of train names the image '3', which is not in pictures\n  names are relative to `path`",
    ),
    "no-names": (
        lambda: pictures(written("t.csv", b"name,y\na/0.png,1\n"), table="t.csv"),
        {},
        "file: there is no column 'file'; the table has: name, y",
    ),
    "folder": (
        lambda: {"class": "TextLines", "path": str(Path("pictures").mkdir() or "pictures")},
        {},
        "path: pictures is a folder; name its files: pictures/*.txt",
    ),
    "no-arrays": (arrays, {}, "columns: expected an array, or several, got none"),
    "lengths": (
        lambda: arrays(x=np.zeros(3), y=np.zeros(4)),
        {},
        "path: all arrays must have the same number of examples: 'x' has 3, 'y' has 4",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_is_told_with_its_place_before_the_training(name):
    """Where the configuration says so, what was found, and what to do."""
    make, options, expected = REFUSED[name]
    section = make()
    with pytest.raises(ConfigError) as caught:
        dataset(section, **options)

    assert str(caught.value).startswith(f"dataset.{expected}")


def test_damaged_arrays_are_told_whatever_is_damaged():
    """One byte of the archive after the other."""
    section = arrays(x=np.arange(40.0))
    np.savez_compressed("data.npz", x=np.random.default_rng(0).random((10, 9)))
    whole = Path("data.npz").read_bytes()
    for place in range(0, len(whole), 7):
        Path("data.npz").write_bytes(whole[:place] + b"\x00\xff\x00" + whole[place + 3 :])
        said = ""
        try:
            dataset(section)
        except ConfigError as error:
            said = str(error)
        assert not said or said.startswith(("dataset.path: ", "dataset.columns: "))


READ = {
    "bom": (lambda: table(b"\xef\xbb\xbfa,b\n1,2\n"), {"a": [1], "b": [2]}),
    "crlf": (lambda: table("a,b\r\n1,2\r\n3,4\r\n"), {"a": [1, 3], "b": [2, 4]}),
    "empty-lines": (lambda: table("a,b\n1,2\n\n3,4\n\n"), {"a": [1, 3], "b": [2, 4]}),
    "unicode": (lambda: table("věk,年\n1,ž\n"), {"věk": [1], "年": ["ž"]}),
    "one-class": (
        lambda: {**table("a,y\n1,0\n2,0\n"), "split": {**HALVES, "stratify": "y"}, "columns": ["y"]},
        {"y": [0]},
    ),
    "index": (
        lambda: (
            pd.DataFrame({"a": [1, 2]}, index=[7, 8]).to_parquet("i.parquet")
            or {"class": "Table", "path": "i.parquet", "shuffle": False}
        ),
        {"a": [1, 2]},
    ),
    "frame-index": (lambda: {"class": "Frame", "frame": "frames.indexed", "shuffle": False}, {"a": [1, 2]}),
    "struct-aside": (lambda: {**rows(a=[1], n=[{"u": 1}]), "columns": ["a"]}, {"a": [1]}),
    "text-bom": (
        lambda: (
            written("t.txt", b"\xef\xbb\xbfhi\r\nyou\n")() and {"class": "TextLines", "path": "t.txt", "shuffle": False}
        ),
        {"text": ["hi", "you"]},
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_other_programs_write_is_read(name):
    """Marks of byte order, line ends, numbers of rows."""
    make, expected = READ[name]
    (batch,) = dataset(make()).train_stream()

    assert expected == {name: list(values) for name, values in batch.items()}


@pytest.mark.parametrize("mode", ["CMYK", "P", "1", "L", "LA", "RGBA"])
def test_images_of_any_mode_become_what_is_asked_for(mode):
    """Among others, in one array; hidden files, and folders without images, are no classes."""
    name = "9.jpg" if mode == "CMYK" else "9.png"
    section = pictures(drawn(f"pictures/a/{name}", mode), drawn("pictures/.cache/1.png"), Path("pictures/c").mkdir)
    data = dataset(section)
    (batch,) = data.train_stream()

    assert (3, 4, 4, 3) == batch["image"].shape
    assert ["a", "b"] == data.classes_names()


def test_images_of_several_sizes_are_a_list_unless_a_size_is_named():
    """Of arrays."""
    section = pictures(drawn("pictures/a/9.png", size=(5, 3)))

    assert [(4, 4, 3), (3, 5, 3), (4, 4, 3)] == [image.shape for image in dataset(section).train_stream()[0]["image"]]
    assert dataset(section, size=[6, 2]).train_stream()[0]["image"].shape == (3, 6, 2, 3)


BROKEN = {
    "empty": (written("pictures/a/0.png"), "pictures/a/0.png cannot be read as an image: "),
    "text": (written("pictures/a/0.png", b"hello"), "pictures/a/0.png cannot be read as an image: "),
    "16-bit": (drawn("pictures/a/0.png", "I;16"), "pictures/a/0.png has pixels of more than 8 bits (I;16), which RGB"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_named(name):
    """In the batch that it belongs to."""
    change, expected = BROKEN[name]
    with pytest.raises(BatchError) as caught:
        dataset(pictures(change)).train_stream()[0]

    assert str(caught.value).startswith(expected)


def test_the_rest_of_an_image_that_was_cut_off_is_not_made_up():
    """It is broken."""
    section = pictures(drawn("pictures/a/0.png", size=(64, 64)))
    Image.effect_noise((64, 64), 50).convert("RGB").save("pictures/a/0.png")
    whole = Path("pictures/a/0.png").read_bytes()
    Path("pictures/a/0.png").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(BatchError, match=r"^pictures/a/0.png cannot be read as an image: .*; repair it, or remove it$"):
        dataset(section).train_stream()[0]


CONFIG = {
    "dataset": {"class": "Table", "path": "data.csv", "columns": {"features": ["a", "b"], "label": "y", "city": "c"}},
    "model": {
        "class": "emloop_sklearn.BaseModel",
        "inputs": ["features", "label"],
        "outputs": ["predictions"],
        "classes": 2,
        "estimator": "sklearn.linear_model.SGDClassifier",
    },
    "hooks": [{"ComputeStats": {"variables": ["city"]}}],
}


def checked(capsys, **changes):
    """What the check says of a config with other sections."""
    yaml_to_file({**CONFIG, **changes}, ".", "config.yaml")
    code = main(["check", "config.yaml"])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_check_knows_the_sources_that_a_config_names(capsys):
    """So what the model and hooks read is found, or missed, before anything is imported."""
    pytest.importorskip("sklearn")
    assert checked(capsys)[0] == 0

    code, said = checked(
        capsys,
        model={**CONFIG["model"], "inputs": ["featurs", "label"]},
        hooks=[{"ComputeStats": {"variables": ["town"]}}],
    )
    assert code == 2
    assert "model.inputs[0]: no source of the dataset is called 'featurs'" in said
    assert "did you mean 'features'?\n  the dataset's sources: city, features, label" in said
    assert "hooks[0].ComputeStats.variables[0]: no output of the model and no source is called 'town'" in said
    # A transform may add a source, and without `columns` nobody knows them.
    dataset = CONFIG["dataset"]
    for other in ({**dataset, "transforms": {"train": ["frames.twice"]}}, {**dataset, "columns": None}):
        assert checked(capsys, dataset=other, hooks=[{"ComputeStats": {"variables": ["town"]}}])[0] == 0


@pytest.mark.parametrize(
    ("module", "section", "extra"),
    [
        ("pyarrow", {"class": "Table", "path": "data.csv"}, "tables"),
        ("PIL", {"class": "Images", "path": "pictures"}, "images"),
        ("datasets", {"class": "HuggingFace", "path": "reviews"}, "huggingface"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(capsys, monkeypatch, module, section, extra):
    """By the check, and by whoever builds the dataset without one."""
    monkeypatch.setitem(sys.modules, module, None)
    name = section["class"]
    _, said = checked(capsys, dataset=section)

    assert f"dataset: {name} needs the package {module!r}, which is not installed" in said
    assert f"pip install 'emloop[{extra}]'" in said
    with pytest.raises(MissingExtraError, match=rf"^{name} needs a package that is not installed: pip install"):
        dataset(section)


def test_an_extra_is_named_for_an_estimator_of_a_package_that_is_missing():
    """That which brings the least besides."""
    hints = {
        module: no_module(f"{module}.Any", module).hints[0] for module in ("lightgbm", "xgboost", "sklearn", "torch")
    }
    extras = {"lightgbm": "boosting", "xgboost": "boosting", "sklearn": "sklearn", "torch": "torch"}

    assert hints == {module: f"pip install 'emloop[{extra}]'" for module, extra in extras.items()}
    assert "pip" not in " ".join(no_module("nothing.Any", "nothing").hints)
