"""Timing of blocks."""

from __future__ import annotations

import pytest

from emloop.utils import Timer


def test_every_block_appends_its_seconds():
    """A timer that is used twice leaves two figures, neither negative."""
    profile: dict[str, list[float]] = {"other": [1.0]}
    timer = Timer("read", profile)
    for _ in range(2):
        with timer as entered:
            assert entered is timer

    assert profile["other"] == [1.0]
    assert len(profile["read"]) == 2
    assert all(0 <= seconds < 5 for seconds in profile["read"])


def test_blocks_of_different_and_of_one_timer_nest():
    """What lies inside is measured as shorter than, or as long as, what lies around it."""
    profile: dict[str, list[float]] = {}
    timer = Timer("same", profile)
    with Timer("outer", profile), timer, timer:
        pass
    inner, around = profile["same"]

    assert inner <= around <= profile["outer"][0]


def test_a_block_that_fails_is_measured_too():
    """The time of a failed block is kept and the error goes on."""
    profile: dict[str, list[float]] = {}
    with pytest.raises(KeyError), Timer("read", profile):
        raise KeyError

    assert len(profile["read"]) == 1


def test_stopping_what_was_not_started_says_so():
    """Calling ``__exit__`` alone is an error that names the timer."""
    with pytest.raises(ValueError, match="timer 'read' was stopped but never started; use it in a with statement"):
        Timer("read", {}).__exit__(None, None, None)
