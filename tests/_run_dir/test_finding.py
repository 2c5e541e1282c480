"""The number by which a run is judged, and runs named by what is known of them."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from emloop._run_dir.finding import find_restorable, find_run, is_selector
from emloop._run_dir.headline import headline
from emloop._run_dir.info import RunInfo, to_line, write_info
from emloop._run_dir.summary import RunSummary
from emloop._run_dir.trace import Trace, Watched, write_trace
from emloop.errors import RunDirError, UsageError


def make(root, name, *, day=0, kind="training", monitored=(), epochs=()):
    """A run with hooks that watch these metrics, and the lines of metrics given."""
    directory = root / name
    directory.mkdir(parents=True)
    created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    write_info(directory, RunInfo(kind, seed=1, created=created))
    write_trace(directory, Trace(monitored=[Watched(*seen) for seen in monitored]))
    lines = [{"epoch_id": number, **streams} for number, streams in enumerate(epochs)]
    (directory / "metrics.jsonl").write_text("".join(map(to_line, lines)))
    return directory


@pytest.mark.parametrize(
    ("monitored", "streams", "expected"),
    [
        pytest.param([["valid.b"]], {"train": {"a": 1}, "valid": {"a": 1, "b": 2}}, "valid.b", id="watched"),
        pytest.param([["valid.c"], ["valid.b"]], {"valid": {"a": 1, "b": 2}}, "valid.b", id="the-first-there-is"),
        pytest.param([["dev.a.std"]], {"dev": {"a": {"mean": 1, "std": 2}}}, "dev.a.std", id="an-aggregation"),
        pytest.param([["valid.c"]], {"train": {"a": 1}, "validation": {"b": 2}}, "validation.b", id="not-in-the-epoch"),
        pytest.param([], {"test": {"c": 1}, "train": {"a": 1}}, "train.a", id="no-validation"),
        pytest.param([], {"test": {"c": 1}}, "test.c", id="an-evaluation"),
        pytest.param([], {"valid": {"text": "x", "flag": True, "n": 1}}, "valid.n", id="only-numbers"),
        pytest.param([], {"valid": {"deep": {"x": 1}, "n": {"mean": "nan"}}}, "valid.n", id="a-mean"),
        pytest.param([], {}, None, id="nothing"),
    ],
)
def test_a_run_is_judged_by_what_its_hooks_watch(tmp_path, monitored, streams, expected):
    """Else by the first number of its validation, else of its training."""
    assert headline(RunSummary(make(tmp_path, "run", monitored=monitored, epochs=[streams]))) == expected


def test_half_a_million_metrics_cost_no_more_than_reading_them(tmp_path):
    """The first one will do."""
    run = make(tmp_path, "run", epochs=[{"valid": {f"v{number}": number for number in range(500_000)}}])
    assert headline(RunSummary(run)) == "valid.v0"


def test_trainings_are_counted_from_the_latest(tmp_path):
    """``@-1`` is the one before the latest; evaluations do not count."""
    for day, name in enumerate(("b", "group/c", "a")):
        make(tmp_path, name, day=day)
    make(tmp_path, "scores", day=9, kind="evaluation")
    assert [find_run(spec, tmp_path).name for spec in ("@", "@-0", "@-1", "@-2")] == ["a", "a", "c", "b"]
    with pytest.raises(RunDirError) as caught:
        find_run("@-3", tmp_path)
    assert str(caught.value) == f"'@-3': there are only 3 trainings in {tmp_path}, so the first of them is '@-2'"


def test_a_run_may_be_called_like_files(tmp_path, monkeypatch):
    """Such as the config beside which one stands; without such a run, they are a model's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("boosted.yaml", "weights.index", "weights.data"):
        (tmp_path / name).touch()
    make(tmp_path / "log", "boosted")
    assert find_restorable("boosted", tmp_path / "log").path == tmp_path / "log" / "boosted"
    assert find_restorable("weights", tmp_path / "log").path.name == "weights"


def sweep(root):
    """Three trainings, and an evaluation that is better than any."""
    for name, losses in {"a": [3, 2, 9], "b": [3, 1, 4], "c": ["nan", 5, 5]}.items():
        epochs = [{"valid": {"loss": loss, "score": 7, "a/b": 1 if name == "c" else 0}} for loss in losses]
        make(root, name, epochs=epochs)
    make(root, "scores", kind="evaluation", epochs=[{"valid": {"loss": 0}}])


def test_the_best_training_is_that_with_the_best_epoch(tmp_path):
    """Less of a loss is better; what the name does not tell, the user has to say, or a hook that watches it."""
    sweep(tmp_path)
    for spec, name in {
        "best:valid.loss": "b",
        "best:valid/loss": "b",
        "best:min:valid.loss": "b",
        "best:max:valid/loss": "a",
        "best:max:valid.a/b": "c",
        "best:valid.score": "a",
    }.items():
        assert find_run(spec, tmp_path).name == name, spec
        assert find_restorable(spec, tmp_path).path.name == name
    with pytest.raises(UsageError) as caught:
        find_run("best:valid.a/b", tmp_path)
    assert str(caught.value) == "valid.a/b: is less of it better, or more? Write min:valid.a/b or max:valid.a/b"


def test_whether_less_is_better_is_up_to_the_hook_that_watches(tmp_path):
    """Its word counts more than the name; where hooks disagree, the user has to say."""
    for name, value in (("a", 1), ("b", 2)):
        make(tmp_path, name, monitored=[("valid.loss", "max")], epochs=[{"valid": {"loss": value}}])
    assert find_run("best:valid.loss", tmp_path).name == "b"
    make(tmp_path, "c", monitored=[("valid.loss", "min")], epochs=[{"valid": {"loss": 0}}])
    with pytest.raises(UsageError, match="is less of it better, or more"):
        find_run("best:valid.loss", tmp_path)
    assert find_run("best:min:valid.loss", tmp_path).name == "c"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("best:valid.los", "no training in {root} has 'valid.los'; did you mean 'valid.loss'?; there are: valid.loss"),
        ("best:", "no training in {root} has ''; there are: valid.loss, valid.score, valid.a/b"),
        ("best:last:valid.loss", "'best:last:valid.loss': expected min: or max: before the metric, got 'last:'"),
        ("best::valid.loss", "'best::valid.loss': expected min: or max: before the metric, got ':'"),
    ],
)
def test_a_best_that_cannot_be_found_is_explained(tmp_path, spec, message):
    """With the metrics there are."""
    sweep(tmp_path)
    with pytest.raises((RunDirError, UsageError)) as caught:
        find_run(spec, tmp_path)
    assert str(caught.value).startswith(message.format(root=tmp_path))


def test_a_selector_is_no_path():
    """What only looks like one is a name."""
    assert [is_selector(spec) for spec in ("@", "@-1", "best:x", "@x", "@-", "@-x", "best", "./@", "log/@-1")] == [
        *[True] * 3,
        *[False] * 6,
    ]


def test_broken_runs_stand_in_nobodys_way(tmp_path):
    """They have no metric."""
    sweep(tmp_path)
    for name in ("run.json", "metrics.jsonl", "config.yaml"):
        (make(tmp_path, f"broken_{name}", epochs=[{"valid": {"loss": -1}}]) / name).write_bytes(
            b"\0" + bytes(range(255))
        )
    (make(tmp_path, "torn") / "metrics.jsonl").write_text(json.dumps({"valid": {"loss": -5}}))
    assert find_run("best:min:valid.score", tmp_path).name in ("a", "b", "c")
