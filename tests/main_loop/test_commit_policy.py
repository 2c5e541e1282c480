"""Which commits of a run are kept: the newest ones, one of so many epochs, the best, and what fits into a budget."""

from __future__ import annotations

import numpy as np
import pytest

from emloop._state.commit import write_commit
from emloop.errors import ConfigError
from emloop.main_loop.commit_policy import CommitPolicy


@pytest.fixture
def run(tmp_path_factory):
    """Commit epoch after epoch under a policy; returns the numbers of those kept after each.

    A value per epoch: by what ``best`` chooses, the smaller the better.
    """

    def kept(keep, values, *, epochs=None, size=10):
        policy, commits, history = CommitPolicy.parse({"keep": keep}), [], []
        checkpoints = tmp_path_factory.mktemp("checkpoints")
        for number, value in enumerate(values):
            info = {"epoch": epochs[number] if epochs else number + 1, "value": value}
            commit = write_commit(checkpoints, number + 1, {"model": np.zeros(size)}, info)
            commits = policy.keep.chosen([commit, *commits])
            history.append(sorted(commit.seq for commit in commits))
        return history, commit.bytes

    return kept


NONE = [None] * 9


@pytest.mark.parametrize(("keep", "left"), [(2, [8, 9]), ({"last": 3}, [7, 8, 9]), (20, list(range(1, 10)))])
def test_the_newest_are_kept(run, keep, left):
    """As many as asked for."""
    assert run(keep, NONE)[0][-1] == left


def test_one_of_so_many_epochs_is_kept(run):
    """The first commit at or after each, also where epochs are skipped; none of those before the first."""
    assert run({"every": "3ep"}, NONE)[0][-1] == [3, 6, 8, 9]
    assert run({"every": "3ep"}, NONE[:4], epochs=[0, 2, 2, 2])[0][-1] == [3, 4]


def test_one_of_so_many_epochs_is_kept_where_commits_are_rare(run):
    """Commits after epochs 2, 5, 7, 8, 9, 14, 20, 21."""
    history, _ = run({"every": "3ep"}, NONE[:8], epochs=[2, 5, 7, 8, 9, 14, 20, 21])

    assert history[-1] == [2, 3, 5, 6, 7, 8]


def test_the_best_is_kept(run):
    """An equal value is no better, and what has no value is not compared."""
    history, _ = run({"best": {}}, [3.0, 1.0, 2.0, None, 1.0, 4.0, 4.0, 0.5, 9.0])

    assert history == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [2, 5, 6], [2, 6, 7], [7, 8], [8, 9]]


def test_a_budget_is_kept_to(run):
    """Of those kept for good the oldest goes first, and the best last; the two newest stay whatever they take."""
    values = [2.0, 1.0, *[3.0] * 7]
    _, size = run(2, [None])
    assert run({"last": 9, "bytes": 3 * size}, NONE)[0][-1] == [7, 8, 9]
    assert run({"every": "1ep", "best": {}, "bytes": 5 * size + 1}, values)[0][-1] == [2, 6, 7, 8, 9]
    assert run({"every": "1ep", "best": {}, "bytes": 3 * size}, values)[0][-1] == [2, 8, 9]
    assert run({"every": "1ep", "best": {}, "bytes": 3 * size - 1}, values)[0][-1] == [8, 9]
    assert run({"bytes": "0.001kB"}, NONE)[0][-1] == [8, 9]


@pytest.mark.parametrize(
    ("size", "number"), [(7, 7), ("12", 12), ("500MB", 5e8), ("1.5GB", 1.5e9), ("0.5kB", 500), ("3TB", 3e12)]
)
def test_sizes_are_read(size, number):
    """In units of a thousand."""
    assert CommitPolicy.parse({"keep": {"bytes": size}}).keep.limit == number


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (1, "keep: expected whole number >= 2 or mapping, got 1"),
        ({"last": 1}, "keep.last: expected whole number >= 2, got 1"),
        ({"every": "10"}, "keep.every: expected a number of epochs such as 10ep or null, got '10'"),
        ({"every": "10min"}, "keep.every: expected a number of epochs such as 10ep or null, got '10min'"),
        ({"best": {"condition": "least"}}, "keep.best.condition: expected one of 'min', 'max', got 'least'"),
        ({"bytes": "20 GiB"}, "keep.bytes: expected a number of bytes such as 20GB or null, got '20 GiB'"),
        ({"bytes": 0}, "keep.bytes: expected a number of bytes such as 20GB or null, got 0"),
        ({"newest": 3}, "keep: unknown argument 'newest'"),
    ],
)
def test_what_cannot_be_meant_is_refused(keep, message):
    """With the words of the declaration."""
    with pytest.raises(ConfigError) as caught:
        CommitPolicy.parse({"keep": keep})

    assert f"main_loop.commit.{message}" in str(caught.value)


@pytest.mark.parametrize(
    ("best", "metrics", "value"),
    [
        ({}, {"valid": {"loss": {"mean": 2.0, "max": 5.0}}}, 2.0),
        ({"aggregation": "max"}, {"valid": {"loss": {"mean": 2.0, "max": 5.0}}}, 5.0),
        ({"condition": "max"}, {"valid": {"loss": 2}}, -2.0),
        ({}, {"valid": {"loss": float("nan")}}, None),
        ({}, {"valid": {"loss": "low"}}, None),
        ({}, {"valid": {"loss": True}}, 1.0),
        ({}, {"valid": {"loss": {"min": 1.0}}}, None),
        ({}, {"train": {"loss": 1.0}}, None),
        ({}, {}, None),
    ],
)
def test_the_value_of_an_epoch_is_found(best, metrics, value):
    """A mean, another aggregation or a plain number; NaN and what is no number are none."""
    assert CommitPolicy.parse({"keep": {"best": best}}).keep.best.value(metrics) == value
