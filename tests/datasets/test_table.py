"""Tables: what their columns become, and what is wrong with them."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pytest

from emloop._state.commit import list_commits
from emloop._state.tree import equal_trees
from emloop.api import create_dataset
from emloop.errors import ConfigError

pa = pytest.importorskip("pyarrow")
csv, parquet = pytest.importorskip("pyarrow.csv"), pytest.importorskip("pyarrow.parquet")

PEOPLE = """\
age,income,class,zip,name
31,1.5,poor,00100,Ann
42,,rich,00200,"B, jr."
53,2.5,poor,00300,
64,3.5,rich,00100,NA
"""


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text(PEOPLE)


def table(path="people.csv", columns=None, **options):
    return create_dataset({"dataset": {"class": "Table", "path": path, "columns": columns, **options}})


def whole(path="people.csv", columns=None, **options):
    """All rows, in their order."""
    (batch,) = table(path, columns, shuffle=False, batch_size=10**6, **options).train_stream()
    return batch


def problem(*arguments, **options):
    with pytest.raises(ConfigError) as caught:
        table(*arguments, **options)
    return str(caught.value)


def test_without_words_each_column_is_a_source():
    """Numbers as numbers, texts as texts, letter by letter; a missing float is NaN."""
    batch = whole()

    assert batch["age"].tolist() == [31, 42, 53, 64]
    assert batch["age"].dtype == np.int64
    assert [1.5, True, 2.5, 3.5] == [value if value == value else True for value in batch["income"].tolist()]
    assert batch["name"] == ["Ann", "B, jr.", "", "NA"]
    assert batch["class"] == ["poor", "rich", "poor", "rich"]


def test_columns_are_put_together_converted_and_numbered():
    """By name, dtype, categories and what stands for missing values."""
    dataset = table(
        columns={
            "features": {"name": ["age", "income"], "dtype": "float32", "missing": -1},
            "label": {"name": "class", "categories": ["rich", "poor"]},
            "zip": {"dtype": "str"},
            "area": {"name": "zip", "categories": True},
            "old": {"name": "age", "dtype": "uint8"},
            "who": {"name": "name", "missing": "nobody"},
        },
        shuffle=False,
    )
    batch = dataset.train_stream()[0]

    assert batch["features"].dtype == np.float32
    assert batch["features"].tolist() == [[31, 1.5], [42, -1], [53, 2.5], [64, 3.5]]
    assert batch["features"].flags.c_contiguous
    assert batch["label"].tolist() == [1, 0, 1, 0]
    assert batch["label"].dtype == np.int64
    assert batch["zip"] == ["00100", "00200", "00300", "00100"]
    assert batch["area"].tolist() == [0, 1, 2, 0]
    assert batch["old"].dtype == np.uint8
    assert dataset.classes_names() == ["rich", "poor"]


def test_the_only_classes_are_the_dataset_s():
    """For confusion matrices, and metrics of classes."""
    dataset = table(columns={"label": {"name": "class", "categories": True}})

    assert dataset.classes_names() == ["poor", "rich"]
    assert dataset.num_classes() == 2


def test_arrow_types_become_what_a_batch_can_hold():
    """Dates, truth values, decimals, bytes, lists of one length, dictionaries; nulls within floats as NaN."""
    parquet.write_table(
        pa.table(
            {
                "day": [date(2020, 1, 2), date(2021, 3, 4)],
                "time": pa.array([datetime(2020, 1, 2, 3), datetime(2021, 1, 1)], pa.timestamp("ms")),
                "flag": [True, False],
                "price": [Decimal("1.25"), Decimal("2.50")],
                "blob": [b"\x00\xff", b""],
                "vector": pa.array([[1.0, None], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
                "loose": pa.array([[1, 2, 3], [4, 5, 6]]),
                "kind": pa.array(["b", "a"]).dictionary_encode(),
                "half": pa.array([1.5, None], pa.float16()),
                "nothing": pa.nulls(2),
            }
        ),
        "t.parquet",
    )
    batch = whole("t.parquet")

    assert batch["day"].tolist() == [date(2020, 1, 2), date(2021, 3, 4)]
    assert batch["time"].dtype == np.dtype("datetime64[ms]")
    assert batch["flag"].tolist() == [True, False]
    assert batch["price"].tolist() == [1.25, 2.5]
    assert batch["blob"] == [b"\x00\xff", b""]
    assert np.array_equal(batch["vector"], np.array([[1, np.nan], [3, 4]], np.float32), equal_nan=True)
    assert batch["loose"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert batch["kind"] == ["b", "a"]
    assert batch["half"].dtype == np.float16
    assert np.isnan(batch["nothing"]).all()
    assert whole("t.parquet", {"k": {"name": "kind", "categories": ["a", "b"]}})["k"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            ["agee"],
            (
                "dataset.columns[0]: there is no column 'agee'; the table has: age, income, class, zip, name\n"
                "  did you mean 'age'?"
            ),
        ),
        (
            {"x": ["age", "inc"]},
            "dataset.columns.x: there is no column 'inc'; the table has: age, income, class, zip, name",
        ),
        (
            {"x": ["age", "class"]},
            (
                "dataset.columns.x: column 'class' holds texts, which cannot lie beside numbers in one array\n"
                "  say what it is: `categories: true` for classes, or a dtype; or name it alone"
            ),
        ),
        (
            {"x": {"name": "class", "dtype": "float32"}},
            (
                "dataset.columns: people.csv, row 1: column 'class' has 'poor', which is no float32\n"
                "  say what the column holds: `class: {dtype: str}`, or another dtype"
            ),
        ),
        (
            {"x": {"name": "income", "dtype": "int64"}},
            (
                "dataset.columns: people.csv, row 1: column 'income' has '1.5', which is no int64\n"
                "  say what the column holds: `income: {dtype: str}`, or another dtype"
            ),
        ),
        (
            {"x": {"name": "age", "dtype": "int8", "categories": False}, "y": {"name": "income", "dtype": "bool"}},
            (
                "dataset.columns: people.csv, row 1: column 'income' has '1.5', which is no bool\n"
                "  say what the column holds: `income: {dtype: str}`, or another dtype"
            ),
        ),
        (
            {"x": {"name": "class", "categories": ["poor"]}},
            (
                "dataset.columns.x: people.csv, row 2: column 'class' has the unknown category 'rich'\n"
                "  its categories: 'poor'"
            ),
        ),
        (
            {"x": {"name": "name", "categories": True}},
            (
                "dataset.columns.x: people.csv, row 3: column 'name' has no value\n"
                "  say what stands for it: `missing: unknown`"
            ),
        ),
        (
            {"x": {"name": "income", "dtype": "float32", "missing": "none"}},
            "dataset.columns.x.missing: 'none' is no float, as column 'income' holds",
        ),
        (
            {"x": {"name": "age", "categories": ["young"]}},
            "dataset.columns.x.categories: 'young' is no int64, as column 'age' holds",
        ),
        ({"x": {"nam": "age"}}, "dataset.columns.x: unknown argument 'nam'"),
        ({}, "dataset.columns: expected a column, or several, got none"),
        ({"x": []}, "dataset.columns.x: expected a column, or a list of columns, got none"),
    ],
)
def test_a_wrong_column_is_named_with_its_place_and_the_fix(columns, expected):
    """And with the row, before the training begins."""
    assert problem(columns=columns).startswith(expected)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "", "dataset.path: a.csv cannot be read: Empty CSV file"),
        ("a.csv", "x,y\n", "dataset.path: the stream 'train' has no examples"),
        ("a.csv", "x,y\n1,2\n3\n", "dataset.path: a.csv cannot be read: CSV parse error: Row #3: Expected 2 columns"),
        ("a.csv", "x,x\n1,2\n", "dataset.path: a.csv has two columns 'x'"),
        ("a.parquet", "x", "dataset.path: a.parquet cannot be read: Parquet "),
        ("a.arrow", "x", "dataset.path: a.arrow cannot be read: "),
        ("a.xlsx", "x", "dataset.path: a.xlsx: expected a file that ends in .csv, .tsv, .parquet, .arrow, .feather"),
    ],
)
def test_a_wrong_file_is_named(name, text, expected, tmp_path):
    """With what is wrong with it."""
    (tmp_path / name).write_text(text)

    assert problem(name).startswith(expected)


def test_files_that_are_not_there_are_named():
    """A pattern, too, and the stream that should have them."""
    assert problem({"train": "people.csv", "valid": "no.csv"}).startswith("dataset.path.valid: there is no file ")
    assert problem("no-*.csv") == "dataset.path: no file has a name like no-*.csv"
    assert problem([]) == "dataset.path: expected a file, or a list of files, got none"


def test_a_column_of_mixed_types_is_refused_wherever_it_changes(tmp_path):
    """Also far behind what its type was judged by; said as text, it is read."""
    lines = [f"{number},{'x' * 50}" for number in range(400_000)]
    (tmp_path / "long.csv").write_text("\n".join(["n,t", *lines, "oops,x"]) + "\n")

    assert problem("long.csv") == (
        "dataset.columns: long.csv, row 400001: column 'n' has 'oops', which is no int64\n"
        "  say what the column holds: `n: {dtype: str}`, or another dtype"
    )
    assert table("long.csv", {"n": {"dtype": "str"}}).train_stream()


def test_tables_one_below_the_other_are_one(tmp_path):
    """By a pattern, in the order of their names; a column that one lacks is an error."""
    (tmp_path / "a-1.csv").write_text("x,y\n1,a\n")
    (tmp_path / "a-2.tsv").write_text("y\tx\nb\t2\n")
    batch = whole("a-*")
    assert batch["x"].tolist() == [1, 2]
    assert batch["y"] == ["a", "b"]
    assert whole(["a-2.tsv", "a-1.csv"])["y"] == ["b", "a"]

    (tmp_path / "a-3.csv").write_text("x,z\n1,a\n")
    assert problem("a-*").startswith("dataset.path: a-3.csv has no column 'y', as a-1.csv has")


def test_text_may_be_compressed_and_have_another_delimiter(tmp_path):
    """As the name, and the configuration, say."""
    with gzip.open("semi.csv.gz", "wt") as file:
        file.write("x;y\n1;2\n")

    assert whole("semi.csv.gz", delimiter=";")["y"].tolist() == [2]
    assert problem("semi.csv.gz", delimiter=";;") == "dataset.delimiter: expected one character, got ';;'"


def test_classes_are_those_of_the_training(tmp_path):
    """So that a table with others, or fewer, does not change what their numbers mean."""
    (tmp_path / "valid.csv").write_text("class,age\nrich,1\n")
    columns = {"label": {"name": "class", "categories": True}}
    dataset = table({"valid": "valid.csv", "train": "people.csv"}, columns)
    assert dataset.valid_stream()[0]["label"].tolist() == [1]

    (tmp_path / "valid.csv").write_text("class,age\nvain,1\n")
    assert problem({"valid": "valid.csv", "train": "people.csv"}, columns).startswith(
        "dataset.columns.label: valid.csv, row 1: column 'class' has the unknown category 'vain'"
    )


def test_a_group_in_two_files_is_refused(tmp_path):
    """One would tell of the other."""
    (tmp_path / "valid.csv").write_text("zip,age\n00300,1\n9,3\n")
    columns = ["age"]

    assert problem({"train": "people.csv", "valid": "valid.csv"}, columns, split={"group": "zip"}) == (
        "dataset.split.group: train and valid share 1 groups, so one tells of the other: 300\n"
        "  keep each group in one file, or let `split` divide"
    )


def test_groups_stay_together_and_are_no_source():
    """What only divides is in no batch."""
    dataset = table(columns=["age"], split={"train": 0.5, "valid": 0.5, "group": "zip"})
    sides = [
        {age for batch in stream() for age in batch["age"].tolist()}
        for stream in (dataset.train_stream, dataset.valid_stream)
    ]

    assert {31, 64} <= sides[0] or {31, 64} <= sides[1]
    assert list(dataset.train_stream()[0]) == ["age"]


def test_a_table_is_converted_once_until_it_changes(caplog, monkeypatch, tmp_path):
    """What belongs to the content before is removed then; without a cache, each process converts by itself."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("EMLOOP_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        assert whole(columns=["age"])["age"].tolist() == [31, 42, 53, 64]
    assert caplog.text.count("Converting people.csv, once, into") == 1
    whole(columns=["zip"])
    assert len(list((tmp_path / "cache" / "data").iterdir())) == 2

    (tmp_path / "people.csv").write_text(PEOPLE.replace("31", "32"))
    assert whole(columns=["age"])["age"].tolist() == [32, 42, 53, 64]
    assert len(list((tmp_path / "cache" / "data").iterdir())) == 1

    monkeypatch.setenv("EMLOOP_CACHE", "off")
    assert whole(columns=["age"])["age"].tolist() == [32, 42, 53, 64]


def test_a_conversion_that_failed_leaves_nothing_that_would_be_taken_for_one(tmp_path, monkeypatch):
    """The next one begins anew."""
    monkeypatch.setenv("EMLOOP_CACHE", str(tmp_path / "cache"))
    problem(columns={"x": {"name": "class", "categories": ["poor"]}})

    assert [path for path in (tmp_path / "cache" / "data").iterdir() if not path.name.startswith(".")] == []


READS_MUCH = """
import resource
import numpy as np
import pyarrow.parquet
from emloop.api import create_dataset
resource.setrlimit({which}, ({limit}, {limit}))
dataset = create_dataset({{"dataset": {{"class": "Table", "path": "{path}", "batch_size": 1000}}}})
stream = dataset.train_stream()
print(len(stream), stream[3]["x"].shape, sum(int(batch["n"].sum()) for batch in stream))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A Parquet file larger than the limit below, and the number of its rows."""
    path, rows, width = tmp_path_factory.mktemp("large") / "large.parquet", 1 << 18, 320
    schema = pa.schema([("n", pa.int64()), ("x", pa.list_(pa.float64(), width))])
    values = pa.array(np.random.default_rng(0).normal(size=(1 << 14) * width))
    lists = pa.FixedSizeListArray.from_arrays(values, width)
    with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, 1 << 14):
            numbers = pa.array(np.arange(start, start + (1 << 14)))
            writer.write_table(pa.table([numbers, lists], schema=schema), row_group_size=1 << 12)
    yield path, rows
    path.unlink()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="macOS keeps no such limits")
@pytest.mark.parametrize("which", ["resource.RLIMIT_DATA", "resource.RLIMIT_AS"])
def test_a_table_may_be_larger_than_the_memory(which, large, tmp_path):
    """The limit is for what is allocated, or for all that is addressed."""
    (path, rows), limit = large, 640 << 20
    assert path.stat().st_size > limit
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", READS_MUCH.format(limit=limit, which=which, path=path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "EMLOOP_CACHE": str(cache)},
    )
    shutil.rmtree(cache)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{-(-rows // 1000)} (1000, 320) {rows * (rows - 1) // 2}"


TRAINS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({limit}, {limit}))
from emloop.cli.app import main
sys.exit(main(sys.argv[1:]))
"""
STOPPED = """
import os
import signal
import emloop as el

class Stop(el.AbstractHook):
    stateless = True

    def after_batch(self, stream_name, batch_data):
        if os.path.exists("stop") and batch_data["n"][-1] > {middle}:
            os.remove("stop")
            os.kill(os.getpid(), signal.SIGINT)
"""
MUCH = """
dataset: {{class: Table, path: {path}, batch_size: 1000, shuffle: false}}
model:
  class: emloop_sklearn.BaseModel
  name: much
  estimator: {{class: sklearn.linear_model.SGDRegressor, learning_rate: constant, eta0: 1.0e-9}}
  inputs: [x, n]
  outputs: [predictions, loss]
hooks:
  - ComputeStats: {{variables: [loss]}}
  - stopping.Stop
main_loop: {{seed: 1, epochs_count: 1, on_unused_sources: ignore, skip_zeroth_epoch: true}}
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="macOS keeps no such limits")
def test_a_run_may_train_on_more_than_its_memory(large, tmp_path):
    """Stopped amid the epoch and resumed, with the limit set for each process, it ends as a run that was not."""
    (path, rows), limit = large, 640 << 20
    assert path.stat().st_size > limit
    (tmp_path / "stopping.py").write_text(STOPPED.format(middle=rows // 2))
    (tmp_path / "config.yaml").write_text(MUCH.format(path=path))
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "EMLOOP_CACHE": str(tmp_path / "cache")}

    def emloop(*words):
        command = [sys.executable, "-c", TRAINS.format(limit=limit), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, cwd=tmp_path
        )
        return done.returncode, done.stderr

    train = ["train", "config.yaml", "-o", ".", "--output_dir"]
    codes = [emloop(*train, "untouched")]
    (tmp_path / "stop").touch()
    codes += [emloop(*train, "stopped"), emloop("resume", "stopped")]
    shutil.rmtree(tmp_path / "cache")

    assert [code for code, _ in codes] == [0, 75, 0], codes
    states = [list_commits(tmp_path / name / "checkpoints")[0].states()["model"] for name in ("untouched", "stopped")]
    assert states[0]["examples"] == rows
    assert equal_trees(*states)
