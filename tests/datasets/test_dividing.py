"""Dividing examples among streams."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from emloop.datasets._ready.dividing import divided, shares_of
from emloop.errors import ConfigError

SHARES = st.lists(st.integers(1, 9), min_size=2, max_size=5).map(
    lambda parts: {f"part {n}": part / sum(parts) for n, part in enumerate(parts)}
)


def divide(*arguments):
    try:
        return divided(*arguments)
    except ConfigError as error:
        assume("would be empty" not in str(error))
        raise


@given(st.integers(1, 300), SHARES, st.integers(0, 5), st.data())
def test_every_example_is_in_one_part_that_has_its_share_of_every_class(count, shares, seed, data):
    """Sizes, and numbers of each class, differ from the exact ones by less than two; the seed says which are where."""
    strata = np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
    parts = divide(count, shares, seed, strata)

    assert list(range(count)) == sorted(np.concatenate(list(parts.values())).tolist())
    totals = Counter(strata.tolist())
    for name, share in shares.items():
        assert abs(len(parts[name]) - share * count) < 2 * len(totals)
        for label, found in Counter(strata[parts[name]].tolist()).items():
            assert abs(found - share * totals[label]) < 2
    again = divided(count, shares, seed, strata)
    assert all(np.array_equal(parts[name], again[name]) for name in shares)


def test_without_classes_the_sizes_are_rounded_shares():
    """And another seed takes others."""
    parts = divided(1000, {"train": 0.8, "valid": 0.1, "test": 0.1}, 0)

    assert {name: len(indices) for name, indices in parts.items()} == {"train": 800, "valid": 100, "test": 100}
    assert not np.array_equal(parts["test"], divided(1000, {"train": 0.8, "valid": 0.1, "test": 0.1}, 1)["test"])
    assert (np.diff(parts["train"]) > 0).all()


@given(SHARES, st.integers(0, 5), st.data())
def test_a_group_is_never_torn_apart(shares, seed, data):
    """However many examples groups have."""
    groups = np.array(data.draw(st.lists(st.integers(0, 40), min_size=30, max_size=200)))
    strata = groups % 3
    parts = divide(len(groups), shares, seed, strata, groups)

    owners = [set(groups[indices].tolist()) for indices in parts.values()]
    assert sum(map(len, owners)) == len(set(groups.tolist()))
    assert list(range(len(groups))) == sorted(np.concatenate(list(parts.values())).tolist())


def test_groups_of_one_size_are_spread_by_the_shares():
    """Classes too, where groups are of one class."""
    groups = np.repeat(np.arange(100), 5)
    strata = (groups % 10 == 0).astype(np.int64)
    parts = divided(500, {"train": 0.6, "valid": 0.2, "test": 0.2}, 3, strata, groups)

    assert {name: len(indices) for name, indices in parts.items()} == {"train": 300, "valid": 100, "test": 100}
    assert {name: int(strata[indices].sum()) for name, indices in parts.items()} == {
        "train": 30,
        "valid": 10,
        "test": 10,
    }


def test_folds_are_equal_parts_of_what_is_not_set_aside():
    """Each is a part of its own."""
    parts = divided(110, shares_of({"test": 1 / 11}, 5, 0), 0)

    assert {name: len(indices) for name, indices in parts.items()} == {
        "0": 20, "1": 20, "2": 20, "3": 20, "4": 20, "test": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("split", "folds", "fold", "message"),
    [
        ({"train": 0.8, "valid": 0.1}, None, 0, "split: the shares add up to 0.9, not to 1"),
        ({"train": 1.5}, None, 0, "split.train: expected a share between 0 and 1, got 1.5"),
        ({"train": True}, None, 0, "split.train: expected a share between 0 and 1, got True"),
        ({"valid": "a"}, None, 0, "split.valid: expected a share between 0 and 1, got 'a'"),
        ({"fit": 0.5, "valid": 0.5}, None, 0, "split: expected a share of 'train', got fit, valid"),
        ({}, 5, 5, "fold: expected a fold from 0 to 4, got 5"),
        (
            {"valid": 0.1},
            5,
            0,
            (
                "split.valid: with folds, split says what is set aside before, such as 'test'\n"
                "  leave it out: fold 'fold' is 'valid', and the other folds are 'train'"
            ),
        ),
    ],
)
def test_shares_that_make_no_sense_are_refused(split, folds, fold, message):
    """By the key that is wrong."""
    with pytest.raises(ConfigError) as caught:
        shares_of(split, folds, fold)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("count", "groups", "message"),
    [
        (4, None, "split.valid: 0.1 of 4 examples is not one; it would be empty"),
        (40, np.zeros(40, np.int64), "split.valid: 0.1 of 1 groups is not one; it would be empty"),
    ],
)
def test_a_part_without_examples_is_refused(count, groups, message):
    """Before a training that would never be evaluated."""
    with pytest.raises(ConfigError) as caught:
        divided(count, {"train": 0.9, "valid": 0.1}, 0, None, groups)

    assert message == str(caught.value)
