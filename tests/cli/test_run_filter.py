"""Filters: what they compare, and what they say to those who mistype."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._run_dir.summary import list_runs
from emloop._yaml.flow import one_line
from emloop.cli._runs.filters import parse_condition, select
from emloop.cli._runs.ls import split_words
from emloop.errors import UsageError

CONFIGS = {
    "a": "model: {class: nets.Net, lr: 0.1, layers: [32, 64], since: 2026-01-31}\nhooks: [{StopAfter: {epochs: 3}}]\n",
    "b": "model: {class: nets.Net, lr: 0.01, dropout: 0.5, layers: [8]}\nhooks: [{my.Own: {name: first, x: 1}}]\n",
    "c": "model: {class: nets.Other, lr: auto, dropout: null, flag: true}\nhooks: [SaveBest, {SaveBest: {k: 2}}]\n",
    "12": "model: {class: nets.Net, lr: 1}\nrates: {slow: 5}\nhooks: null\n",
}
METRICS = {
    "a": [
        {"epoch_id": i, "valid": {"loss": {"mean": m, "std": 0.1}, "f1.x": m}} for i, m in enumerate((0.9, 0.2, 0.4))
    ],
    "b": [{"epoch_id": 0, "valid": {"loss": {"mean": float("nan")}, "accuracy": 0.95, "word": "good"}}],
    "c": [{"epoch_id": 0, "valid": {"loss": 0.3, "accuracy": 0.5}, "eval": {"loss": 7}}],
}


@pytest.fixture
def runs(log):
    """Four runs; only the first three have metrics."""
    for age, (name, config) in enumerate(CONFIGS.items(), start=1):
        log.run(name, hours=24 * age, took=age, epochs_done=age, config=config, metrics=METRICS.get(name, ()))
    (log.root / "c" / "trace.yaml").unlink()
    return list_runs(log.root)


def matching(runs, *conditions):
    return sorted(run.name for run in select(runs, [parse_condition(text) for text in conditions]))


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("model.lr > 0.05", ["12", "a"]),
        ("model.lr>=1", ["12"]),
        ("model.lr == auto", ["c"]),
        ("model.lr != 0.1", ["12", "b", "c"]),
        ("model.class == nets.Net", ["12", "a", "b"]),
        ("model == Net", ["12", "a", "b"]),
        ("model.layers == [32, 64]", ["a"]),
        ("model.layers < [9]", ["b"]),
        ("model.flag == true", ["c"]),
        ("model.flag == 1", []),
        ("model.dropout == null", ["12", "a", "c"]),
        ("model.dropout < 1", ["b"]),
        ("model.since > 2026-01-30", ["a"]),
        ("model.since <= 2026-01-31", ["a"]),
        ("hooks.StopAfter.epochs == 3", ["a"]),
        ("hooks.first.x == 1", ["b"]),
        ("hooks.0 != null", ["c"]),
        ("hooks.1.k == 2", ["c"]),
        ("rates.slow == 5", ["12"]),
        ("valid.loss < 0.5", ["a", "c"]),
        ("valid.loss.mean == 0.4", ["a"]),
        ("valid.loss.std == 0.1", ["a"]),
        ("valid.f1.x == 0.4", ["a"]),
        ("min:valid.loss <= 0.2", ["a"]),
        ("max:valid.loss >= 0.9", ["a"]),
        ("valid.accuracy > 0.9", ["b"]),
        ("valid.word == good", ["b"]),
        ("last:eval.loss == 7", ["c"]),
        ("epochs_done > 1", ["12", "b"]),
        ("status == lost", ["c"]),
        ("status != lost", ["12", "a", "b"]),
        ("kind == training", ["12", "a", "b", "c"]),
        ("name == 12", ["12"]),
        ('name == "a"', ["a"]),
        ("name > b", ["c"]),
        ("age < 36h", ["a"]),
        ("age > 2.5d", ["12", "c"]),
        ("age <= 1w", ["12", "a", "b", "c"]),
        ("duration < 100min", ["a"]),
        ("begin > 2000-01-01", ["12", "a", "b", "c"]),
        ("end < 2000-01-01 12:00:00", []),
    ],
)
def test_a_filter_finds_what_it_says(runs, condition, names):
    """In the run itself, its configuration, its last epoch or all its epochs."""
    assert matching(runs, condition) == names


def test_several_filters_must_all_hold(runs):
    """They are joined by "and"."""
    assert matching(runs, "model.lr > 0.05", "epochs_done < 3") == ["a"]


def test_a_diverged_run_is_neither_good_nor_bad(runs):
    """NaN is not smaller than anything, as in any comparison of numbers."""
    assert "b" not in matching(runs, "valid.loss < 1000") + matching(runs, "valid.loss >= -1000")


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        ("valid.los > 1", "none of the 4 runs has 'valid.los'; did you mean 'valid.loss'? There are: "),
        ("loss > 1", "none of the 4 runs has 'loss'; did you mean 'valid.loss'? There are: "),
        ("accuracy > 1", "none of the 4 runs has 'accuracy'; did you mean 'valid.accuracy'? There are: "),
        ("min:valid.los > 1", "none of the 4 runs has 'min:valid.los'; did you mean 'min:valid.loss'? There are: "),
        (
            "model.rl > 1",
            "none of the 4 runs has 'model.rl'; did you mean 'model.lr'? There are: model, model.class, model.lr, ",
        ),
        ("zzz == 1", "none of the 4 runs has 'zzz'. There are: "),
        (
            "avg:valid.loss > 1",
            "'avg:valid.loss': expected min:, max: or last: before the name of a metric, got 'avg:'",
        ),
        ("status=done", "'status=done': to compare, write status == done"),
        ("valid.loss >", "'valid.loss >': expected a field, a comparison and a value, such as 'valid.accuracy > 0.9'"),
        ("age < 3", "'age < 3': expected a span of time such as 30s, 10min, 2h, 3d or 1w, got '3'"),
        ("age < 3y", "'age < 3y': expected a span of time such as 30s, 10min, 2h, 3d or 1w, got '3y'"),
        ("epochs_done > x", "'epochs_done > x': epochs_done is 1, which is neither smaller nor larger than 'x'"),
        ("valid.loss > [", "valid.loss > [:1:2: "),
        ("begin > 2026-02-31", "'begin > 2026-02-31': there is no such date"),
    ],
)
def test_a_filter_that_makes_no_sense_is_explained(runs, condition, complaint):
    """What was found, what is accepted, and what was probably meant."""
    with pytest.raises(UsageError) as error:
        matching(list(reversed(runs)), condition)

    assert str(error.value).startswith(complaint)


def test_one_run_in_which_a_value_makes_no_sense_is_left_out(runs):
    """``model.lr`` is a word in one of them, which is no mistake of the filter."""
    assert matching(runs, "model.lr <= 1") == ["12", "a", "b"]


def test_without_runs_every_filter_is_met_by_none():
    """There is nothing to say about its field."""
    assert matching([], "valid.anything > 1") == []


def test_words_are_a_directory_or_filters(tmp_path, monkeypatch):
    """What exists is a directory, even if it looks like a filter; what compares is a filter; else it is a directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr==1").mkdir()

    assert split_words([]) == (None, [])
    assert split_words(["a > 1", "log", "b<2"]) == ("log", ["a > 1", "b<2"])
    assert split_words(["lr==1", "lr==2"]) == ("lr==1", ["lr==2"])
    with pytest.raises(UsageError, match="'log' is the directory, and 'bog' is no filter; a filter compares, such as"):
        split_words(["log", "bog"])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("yes"),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(values)
def test_every_value_can_be_asked_for(value):
    """Whatever a configuration holds, some filter finds it."""
    condition = parse_condition(f"model.x == {one_line(value)}")

    assert condition is not None
    assert condition.holds(value)


@given(st.text(max_size=12))
def test_any_text_is_a_filter_or_a_mistake_that_is_explained(text):
    """Nothing that is typed ends in a traceback."""
    with contextlib.suppress(UsageError):
        condition = parse_condition(text)
        assert condition is None or condition.holds(datetime.now(UTC)) in (True, False)
