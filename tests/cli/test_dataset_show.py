"""`emloop dataset show`: a page of the streams."""

from __future__ import annotations

import numpy as np
import pytest

from emloop.cli.app import main

MODULE = """
import numpy as np

import emloop as el


class Data(el.BaseDataset):
    def _configure_dataset(self, size: int = 4):
        self._size = size

    def train_stream(self):
        for start in range(0, 300, 2):
            yield {"n": np.arange(start, start + 2), "text": ["a\\x1b[31m", "b"], "x": [np.zeros(1), np.zeros(2)]}

    def valid_stream(self):
        yield {"y": np.array([1.0, np.nan, 3.0, np.nan]), "image": np.zeros((4, 8, 8), np.uint8)}

    def empty_stream(self):
        return iter(())


class Own(Data):
    def show(self):
        return "its own"
"""


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    (tmp_path / "shown.py").write_text(MODULE)
    (tmp_path / "config.yaml").write_text("dataset: {class: shown.Data}\nmodel: {class: shown.Data}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delitem(__import__("sys").modules, "shown", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))


def lines_of(text):
    return [" ".join(line.replace("│", " ").split()) for line in text.splitlines()]


def test_every_stream_is_drawn_with_its_statistics(capsys):
    """Of at most a hundred batches; what a terminal would obey is spelt out."""
    assert main(["dataset", "show", "config.yaml"]) == 0
    told = capsys.readouterr().out
    lines = lines_of(told)

    assert "train: 200 examples in 100 batches" in lines
    assert "n int64 0 to 199, mean 99.5" in lines
    assert any(line.startswith("text str 'a") and line.endswith("50.0%, 'b': 50.0%") for line in lines)
    assert "x float64 various" in lines
    assert "valid: 4 examples in 1 batches" in lines
    assert "y float64 1 to 3, mean 2, 50.0% missing" in lines
    assert "image uint8 [8, 8] 0: 100.0%" in lines
    assert "empty: 0 examples in 0 batches" in lines
    assert "\x1b[31m" not in told


def test_no_number_of_a_table_with_many_columns_is_broken(tmp_path, monkeypatch, capsys):
    """Examples stand side by side, as many as a terminal has room for."""
    monkeypatch.setenv("COLUMNS", "80")
    wide = {f"measurement_{number}": np.array([-1.23456789e-30, 10.0**number, 2.5]) for number in range(14)}
    np.savez(tmp_path / "wide.npz", **wide, text=np.array(["some words of which there are many"] * 3))
    assert main(["dataset", "show", "config.yaml", "dataset.class=Arrays", "dataset.path=wide.npz"]) == 0
    told = capsys.readouterr().out
    lines = lines_of(told)

    assert max(map(len, told.splitlines())) <= 80
    words = [sorted(line.split()) for line in lines]
    assert ["-1.23457e-30", "1000", "2.5", "measurement_3"] in words
    assert ["-1.23457e-30", "1e+13", "2.5", "measurement_13"] in words


def test_the_page_may_be_a_file(tmp_path, capsys):
    """Of HTML; nothing is drawn then."""
    assert main(["dataset", "show", "config.yaml", "--html", "data.html"]) == 0

    assert "train: 200 examples" in (tmp_path / "data.html").read_text()
    assert capsys.readouterr().out == ""


def test_a_dataset_may_have_a_method_of_that_name(capsys):
    """Which is called as any other; only the page goes into a file."""
    assert main(["dataset", "show", "config.yaml", "dataset.class=shown.Own"]) == 0
    assert capsys.readouterr().out == "its own\n"
    assert main(["dataset", "stream_info", "config.yaml", "--html", "x.html"]) == 2
    assert "--html goes with show, not with stream_info" in capsys.readouterr().err


def test_ready_datasets_are_drawn_divided(tmp_path, capsys):
    """With all of their streams."""
    np.savez(tmp_path / "n.npz", n=np.arange(40) % 4)
    section = "dataset.class=Arrays", "dataset.path=n.npz", "dataset.split={train: 0.75, dev: 0.25, stratify: n}"
    assert main(["dataset", "show", "config.yaml", *section]) == 0
    lines = lines_of(capsys.readouterr().out)

    assert "train: 30 examples in 1 batches" in lines
    assert "dev: 10 examples in 1 batches" in lines
    assert any(line.startswith("n int64 0: 2") for line in lines)
