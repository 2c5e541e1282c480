"""Several processes learn from a batch what one would, and stay the same to the bit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from .scenes import TRAININGS, created, going_on, trained, values


@pytest.fixture(scope="module")
def in_two(several):
    return several("all_trainings", size=2)


@pytest.fixture(scope="module")
def in_four(several):
    return several("all_trainings", size=4)


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", TRAININGS)
def test_processes_learn_what_one_does(request, name, size):
    """The gradient is that of the whole batch, whatever its examples weigh, and however few there are."""
    found = [each[name] for each in request.getfixturevalue({2: "in_two", 4: "in_four"}[size])]
    model = created(**TRAININGS[name])
    losses = trained(model, **TRAININGS[name])
    tolerance = 2e-2 if name == "bf16" else 2e-5

    for number, loss in enumerate(losses):
        together = np.concatenate([each[0][number] for each in found])
        if name != "the mean of a batch":  # a process tells that of its own rows
            np.testing.assert_allclose(together, loss, rtol=tolerance, atol=tolerance)
    for expected, value in zip(values(model), found[0][1], strict=True):
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)
    assert len({each[2] for each in found}) == 1


def test_one_process_alone_ignores_how_several_would_train():
    """``distributed`` changes no bit."""
    plain, configured = created(), created(distributed={"timeout": 5, "bucket_cap_mb": 1})
    trained(plain)
    trained(configured)

    for expected, value in zip(values(plain), values(configured), strict=True):
        assert np.array_equal(expected, value)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    ("module", "accumulate", "cut"), [("dropped", 1, 7), ("dropped", 3, 8), ("wide", 1, 5)], ids=["", "window", "wide"]
)
def test_a_training_goes_on_to_the_bit(several, tmp_path, size, module, accumulate, cut):
    """Masks and gradients that wait for a step are each process's own; wherever a gradient lies in a bucket."""
    arguments = module, accumulate, cut, str(tmp_path)
    whole = several("exactness", *arguments, size=size)
    rest = several("continuation", *arguments, size=size)

    assert {*whole} == {*rest}
    assert len({*whole}) == 1


def test_a_save_on_rank_0_changes_nothing_and_is_enough(several, tmp_path):
    """The others need not know; what was saved goes on to the bit on two processes, with and without its source."""
    for untouched, saved, with_source, without in several("saving", str(tmp_path)):
        assert untouched == saved == with_source == without


@pytest.mark.usefixtures("one_torch_thread")
def test_another_number_of_processes_goes_on_from_what_some_have_left(several, tmp_path):
    """Gradients that wait for a step are those of all; so it is with one process, too."""
    expected, *_ = several("other_numbers", str(tmp_path), size=2)
    results = [*several("going_on", 2, str(tmp_path), size=3), going_on(None, 2, str(tmp_path))]

    for found in results:
        for value, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.slow
def test_a_compiled_module_learns_as_well(several):
    """The compiler has a warning of its own."""
    model = created(accumulate=2)
    trained(model)

    for found in several("compiled", quiet=False):
        for value, wanted in zip(found, values(model), strict=True):
            np.testing.assert_allclose(value, wanted, rtol=2e-5, atol=2e-5)


def test_the_program_of_rank_0_is_compared_with_its_own_rows(several, tmp_path):
    """No false alarm, wherever gradients wait for others; and one that parts from the training still falls."""
    (kept, fallen), _ = several("comparing", str(tmp_path), quiet=False)

    assert (kept, fallen) == ("exported", "inference")


def test_what_a_hook_of_rank_0_thaws_is_trained_from_the_next_epoch_on(several):
    """By all."""
    (first, is_trained), (other, _) = several("thawing_on_rank_0")

    assert is_trained
    assert first == other
