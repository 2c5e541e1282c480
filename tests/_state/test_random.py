"""One seed makes the global generators repeat themselves, and their state can be taken up where it was left."""

from __future__ import annotations

import contextvars
import random

import numpy as np
import pytest

from emloop._state.random import RUN_SEED, current_seed, random_state, restore_random_state, seed_everything
from emloop._state.tree import dump_tree, load_tree
from emloop.errors import ConfigError, StateError


@pytest.fixture(autouse=True)
def _as_before():
    """The other tests' generators go on undisturbed."""
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    yield
    random.setstate(python)
    np.random.set_state(numpy)


def draw():
    """Numbers of every kind that keeps something back."""
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), np.random.randint(99)]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**64 - 1, np.int64(7), np.uint64(2**63)])
def test_a_seed_makes_both_generators_repeat_themselves(seed):
    """Also one that is larger than NumPy takes."""
    seed_everything(seed)
    first = [draw() for _ in range(3)]
    seed_everything(seed)

    assert first == [draw() for _ in range(3)]


def test_different_seeds_are_different_for_both():
    """All 64 bits count, for NumPy too."""
    draws = []
    for seed in (0, 1, 2**32, 2**32 + 1, 2**33, 2**63):
        seed_everything(seed)
        draws.append((random.random(), np.random.rand()))

    assert len({python for python, _ in draws}) == len({numpy for _, numpy in draws}) == len(draws)


def test_a_small_seed_is_the_one_that_users_know():
    """``seed: 7`` gives what ``random.seed(7)`` and ``np.random.seed(7)`` give."""
    seed_everything(7)
    ours = random.random(), np.random.rand()
    random.seed(7)
    np.random.seed(7)

    assert ours == (random.random(), np.random.rand())


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", None, True])
def test_anything_else_is_no_seed(seed):
    """The message says what is accepted."""
    with pytest.raises(ConfigError) as caught:
        seed_everything(seed)

    assert str(caught.value) == f"seed: expected a whole number from 0 to 2**64 - 1, got {seed!r}"


def test_the_generators_go_on_where_they_were_left():
    """Through the files of a checkpoint; also between the two normal variates that come from one draw."""
    seed_everything(3)
    draw()
    skeleton, arrays = dump_tree(random_state())
    expected = [draw() for _ in range(700)]
    seed_everything(4)
    restore_random_state(load_tree(skeleton, arrays))

    assert expected == [draw() for _ in range(700)]


def test_a_taken_state_does_not_move():
    """Drawing afterwards does not change it."""
    state = random_state()
    before = dump_tree(state)
    draw()

    assert before == dump_tree(state)


@pytest.mark.parametrize(
    "changes",
    [
        {"numpy": None},
        {"python": None},
        {"python": {}},
        {"python": {"version": 9, "words": [1], "gauss": None}},
        {"python": {"version": 3, "words": [1, 2], "gauss": None}},
        {"python": {"version": 3, "words": ["x"], "gauss": None}},
        {"numpy": {"bit_generator": "PCG64", "state": {"state": 1, "inc": 1}}},
        {"numpy": {"bit_generator": "MT19937"}},
    ],
)
def test_what_is_no_state_of_the_generators_is_refused(changes):
    """By one error, whatever is wrong with it."""
    with pytest.raises(StateError, match="not a state of the random generators: "):
        restore_random_state({**random_state(), **changes})


def test_the_run_s_seed_is_known_in_its_own_context_only():
    """Two runs in two threads or tasks do not see each other's."""

    def run(seed):
        RUN_SEED.set(seed)
        return current_seed()

    assert [contextvars.copy_context().run(run, seed) for seed in (1, 2)] == [1, 2]
    assert current_seed() is None
