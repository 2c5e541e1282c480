"""`emloop predict` does what a loaded model does, from file to file."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest

import emloop
from emloop.api import create_emloop_training
from emloop.cli.app import main

DATA = """
import numpy as np

import emloop as el


class Data(el.BaseDataset):
    def _configure_dataset(self, **kwargs):
        self.points = np.random.default_rng(0).normal(size=(64, 2))

    def train_stream(self):
        for start in range(0, 64, 8):
            part = self.points[start : start + 8]
            yield {"points": part, "labels": (part.sum(axis=1) > 0).astype(int)}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of an estimator."""
    pytest.importorskip("skops")
    directory = tmp_path_factory.mktemp("project")
    (directory / "predict_data.py").write_text(DATA)
    sys.path.insert(0, str(directory))
    config = {
        "dataset": {"class": "predict_data.Data"},
        "model": {
            "class": "emloop_sklearn.BaseModel",
            "name": "bayes",
            "estimator": {"class": "sklearn.naive_bayes.GaussianNB"},
            "classes": 2,
            "inputs": ["points", "labels"],
            "outputs": ["predictions", "loss"],
        },
        "hooks": ["SaveLatest"],
        "main_loop": {"seed": 5, "epochs_count": 1, "extra_streams": []},
    }
    training = create_emloop_training(config, directory / "log", output_dir_name="bayes")
    training.main_loop.run_training()
    yield training.output_dir
    sys.path.remove(str(directory))


@pytest.fixture
def points():
    """Points of no training."""
    return np.random.default_rng(1).normal(size=(11, 2))


@pytest.fixture
def expected(run, points):
    """What the model says of them."""
    return emloop.load(run).predict({"points": points})


@pytest.fixture(params=["npz", "csv", "csv-of-lists", "folder-of-arrays", "folder-of-files"])
def data(request, points, tmp_path):
    """The points in a file, or in several."""
    folder = tmp_path / "data"
    folder.mkdir()

    def table(name, rows, header=("id", "points[0]", "points[1]")):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return folder / name

    rows = [(f"no. {number}", *map(repr, map(float, point))) for number, point in enumerate(points)]
    match request.param:
        case "npz":
            np.savez(folder / "a.npz", points=points, others=np.zeros(3))
            return folder / "a.npz"
        case "csv":
            return table("a.csv", rows)
        case "csv-of-lists":
            return table("a.csv", [[str(point.tolist())] for point in points], ["points"])
        case "folder-of-arrays":
            np.save(folder / "points.npy", points)
        case "folder-of-files":
            table("a.csv", rows[:4])
            np.savez(folder / "b.npz", points=points[4:])
    return folder


@pytest.mark.parametrize("batch", [(), ("--batch-size", "3")])
def test_it_predicts_from_a_file_as_the_loaded_model_does(run, data, expected, batch, tmp_path, capsys):
    """Whatever the kind of the file, and into whatever kind."""
    assert main(["predict", run, str(data), "-o", str(tmp_path / "out.npz"), *batch]) == 0
    assert capsys.readouterr().out == (
        f"Wrote 11 predictions by {run}/model_latest to {tmp_path / 'out.npz'}: predictions, probabilities\n"
    )
    assert main(["predict", run, "-o", str(tmp_path / "out.csv"), str(data), *batch]) == 0
    with np.load(tmp_path / "out.npz") as found:
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)
    header, *rows = csv.reader((tmp_path / "out.csv").read_text().splitlines())
    assert header == ["predictions", "probabilities[0]", "probabilities[1]"]
    np.testing.assert_array_equal(np.array(rows, float)[:, 1:], expected["probabilities"])
    assert [int(row[0]) for row in rows] == expected["predictions"].tolist()


def test_without_a_file_to_write_the_table_is_on_the_screen(run, tmp_path, capsys):
    """So that it can be read, or piped."""
    (tmp_path / "a.csv").write_text("points[0],points[1]\n9,9\n-9,-9\n")

    assert main(["predict", run, str(tmp_path / "a.csv")]) == 0

    header, first, second = capsys.readouterr().out.splitlines()
    assert header == "predictions,probabilities[0],probabilities[1]"
    assert (first[:2], second[:2]) == ("1,", "0,")


def test_a_file_that_is_there_is_written_over_only_by_force(run, tmp_path, capsys):
    """Before the model is loaded."""
    (tmp_path / "a.csv").write_text("points[0],points[1]\n9,9\n")
    out = tmp_path / "out.csv"
    out.write_text("mine")
    command = ["predict", run, str(tmp_path / "a.csv"), "-o", str(out)]

    assert main(command) == 2
    assert capsys.readouterr().err == f"{out} is there already; --force writes over it\n"
    assert out.read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert out.read_text().startswith("predictions,")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out.csv"]


def test_without_data_it_names_the_evaluation(run, capsys):
    """Which the command of emloop 0.2 was."""
    assert main(["predict", run]) == 2
    assert capsys.readouterr().err == (
        f"there are no data to predict from; name a file: emloop predict {run} DATA -o FILE. The streams of its "
        f"dataset are predicted by the section `eval: predict: …`: emloop eval predict {run}\n"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param(
            "a.csv",
            "point[0],points[1]\n1,2\n",
            "no column for the input 'points' (float64 [any, 2]): expected points[0]; there is point[0], points[1]; "
            "did you mean 'point[0]'?",
            id="misspelt",
        ),
        pytest.param(
            "a.csv",
            "x,y\n1,2\n",
            "no column for the input 'points' (float64 [any, 2]): expected points[0] to points[1]; there is x, y",
            id="others",
        ),
        pytest.param(
            "a.csv", "points[0],points[1]\n1,2\n1,b\n", "points[1], row 2: expected a number, got 'b'", id="text"
        ),
        pytest.param("a.csv", "points[0],points[1]\n1,2\n1\n", "row 2 has 1 cells, the header 2", id="torn"),
        pytest.param("a.csv", "", "no column for the input 'points' (float64 [any, 2])", id="empty"),
        pytest.param("a.npz", "nothing", "cannot be read", id="no-archive"),
        pytest.param("a.txt", "1", "expected a file that ends in .npz, .csv, .parquet", id="another-kind"),
        pytest.param("b.csv", None, "there is no such file or folder", id="not-there"),
        pytest.param("", None, "expected points.npy, or files that end in .npz, .csv, .parquet", id="empty-folder"),
    ],
)
def test_a_file_that_does_not_fit_is_told_where(run, name, content, message, tmp_path, capsys):
    """With the column and the row, and nothing is written."""
    path = tmp_path / "data" / name
    (tmp_path / "data").mkdir()
    if content is not None:
        path.write_text(content)

    assert main(["predict", run, str(path), "-o", str(tmp_path / "out.csv")]) == 2

    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(("name", "message"), [("gone.npz", "there is no such file or folder"), ("a.txt", "ends in")])
def test_data_are_looked_for_before_the_model_is_loaded(tmp_path, capsys, name, message):
    """Which may take long: here it is not even there."""
    (tmp_path / "a.txt").touch()

    assert main(["predict", str(tmp_path / "no-model"), str(tmp_path / name)]) == 2

    assert message in capsys.readouterr().err


def test_a_table_of_no_rows_makes_one_of_none(run, tmp_path, capsys):
    """An empty day is no error."""
    (tmp_path / "a.csv").write_text("points[0],points[1]\n")

    assert main(["predict", run, str(tmp_path / "a.csv")]) == 0

    assert capsys.readouterr().out == "predictions,probabilities[0],probabilities[1]\n"


def test_parquet_goes_in_and_out(run, points, expected, tmp_path):
    """With columns of lists, or one for every number."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"points": points.tolist()}), tmp_path / "a.parquet")

    assert main(["predict", run, str(tmp_path / "a.parquet"), "-o", str(tmp_path / "out.parquet")]) == 0

    found = parquet.read_table(tmp_path / "out.parquet")
    np.testing.assert_array_equal(found.column("probabilities[1]").to_numpy(), expected["probabilities"][:, 1])
