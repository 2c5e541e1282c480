"""Metrics of a run are found by name, whatever state the file is in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._run_dir.info import to_line
from emloop._run_dir.summary import RunSummary, metric_names

LINE = {
    "epoch_id": 3,
    "valid": {
        "loss": {"mean": 0.5, "std": 0.1},
        "accuracy": 0.9,
        "f1.x": {"mean": 0.7},
        "word": "good",
        "per": {"a": 1},
    },
    "train": {"loss": {"mean": float("inf")}},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("valid.loss", 0.5),
        ("valid.loss.mean", 0.5),
        ("valid.loss.std", 0.1),
        ("valid.accuracy", 0.9),
        ("valid.f1.x", 0.7),
        ("valid.f1.x.mean", 0.7),
        ("valid.word", "good"),
        ("valid.per.a", 1),
        ("train.loss", float("inf")),
        ("epoch_id", 3),
        ("valid.per", None),
        ("valid", None),
        ("valid.loss.mean.more", None),
        ("valid.missing", None),
        ("", None),
        (".", None),
    ],
)
def test_a_metric_goes_by_its_name(tmp_path, name, value):
    """The mean stands for a variable; names may hold dots; numbers that JSON lacks come back as numbers."""
    (tmp_path / "metrics.jsonl").write_text(to_line(LINE))

    assert RunSummary(tmp_path).metric(name) == value


def test_all_names_lead_to_their_metrics():
    """Whoever mistypes a name is shown those."""
    names = list(metric_names(json.loads(to_line(LINE))))

    assert names == [
        "valid.loss",
        "valid.loss.std",
        "valid.accuracy",
        "valid.f1.x",
        "valid.word",
        "valid.per.a",
        "train.loss",
    ]


def test_the_extremes_are_those_of_all_epochs(tmp_path):
    """NaN, text and epochs without the metric are left out."""
    values = [3, 1.5, float("nan"), "word", 7, None, 2]
    (tmp_path / "metrics.jsonl").write_text("".join(to_line({"valid": {"loss": value}}) for value in values))

    assert RunSummary(tmp_path).metric("valid.loss", "min") == 1.5
    assert RunSummary(tmp_path).metric("valid.loss", "max") == 7
    assert RunSummary(tmp_path).metric("valid.f1", "max") is None
    assert RunSummary(tmp_path / "nowhere").metric("valid.loss", "max") is None


@given(st.lists(st.integers(0, 9), max_size=6), st.binary(max_size=20), st.sampled_from([0, 1, 70_000, 300_000]))
def test_the_last_whole_line_counts(tmp_path_factory, values, torn, width):
    """However long lines are, and whatever a crash or a writer at work has left behind them."""
    directory = tmp_path_factory.mktemp("run")
    lines = [to_line({"a": value, "text": "x" * width}) for value in values]
    (directory / "metrics.jsonl").write_bytes("".join(lines).encode() + torn.replace(b"\n", b""))

    assert RunSummary(directory).metrics.get("a") == (values[-1] if values else None)


def test_lines_that_are_damaged_are_passed_over(tmp_path):
    """The one before them counts."""
    (tmp_path / "metrics.jsonl").write_bytes(b'{"a": 1}\n\xff\xfe\n[2]\n{}\n{"a": \n' + b'{"a":' * 5000 + b"\n")

    assert RunSummary(tmp_path).metrics == {"a": 1}
    assert RunSummary(tmp_path).metric("a", "max") == 1


def test_without_metrics_there_are_none(tmp_path):
    """Neither from a missing file, nor from a link that leads elsewhere."""
    other = tmp_path / "other"
    other.write_text('{"a": 1}\n')
    (tmp_path / "metrics.jsonl").symlink_to(other)

    assert RunSummary(tmp_path).metrics == RunSummary(tmp_path / "nowhere").metrics == {}
    assert RunSummary(tmp_path).metric("a", "max") is None
