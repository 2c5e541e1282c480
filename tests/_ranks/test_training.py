"""Several processes train one model as one would; every promise of a run holds for all of them together."""

from __future__ import annotations

import signal

import numpy as np
import pytest


@pytest.fixture
def alone(project):
    """The training by one process."""
    return project.train("alone", 1)


@pytest.mark.parametrize("kind", ["index", "generator"])
@pytest.mark.parametrize("count", [2, 4])
def test_a_training_is_that_of_one_process_but_for_rounding(project, alone, count, kind):
    """Batches of five examples, and a last one of three, which is too few for four."""
    together = project.train("together", count, f"dataset.kind={kind}")

    assert together.ids == alone.ids
    np.testing.assert_allclose(together.losses, alone.losses, rtol=1e-10)
    assert together.directory.joinpath("model_best", "parameters.npy").exists()


@pytest.mark.parametrize("reading", ["main_loop.workers=2", "main_loop.buffer=4", "main_loop.overfit=2"])
def test_reading_ahead_changes_nothing(project, reading):
    """Whoever reads the rows."""
    plain = [word for word in [reading] if "overfit" in word]

    ahead, usual = (
        project.train("ahead", 2, reading, "model.noise=0.1"),
        project.train("usual", 2, "model.noise=0.1", *plain),
    )

    assert (ahead.csv, ahead.ids) == (usual.csv, usual.ids)


def test_hooks_read_what_they_would_in_one_process(project, alone):
    """Sources and outputs, gathered when somebody looks at them."""
    together = project.train("together", 3)

    assert together.ids == alone.ids
    assert {len(seen) - 1 for seen in together.ids} == {5, 3}


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", ["index", "generator"])
def test_a_killed_process_ends_all_and_the_run_goes_on_exactly(project, rank, kind):
    """Each has random numbers of its own, which a commit keeps."""
    words = ("model.noise=0.5", f"dataset.kind={kind}", "main_loop.commit.every=2")
    untouched = project.train("untouched", 2, *words)

    killed = project.start(2, "train", "config.yaml", "--output_dir", "killed", *words, DIES=f"{rank} 13")
    codes = [1, 1]
    codes[rank] = -signal.SIGKILL
    said = project.ended(killed, expect=codes)
    project.run(2, "resume", "log/killed")

    assert "another process is gone" in said[1 - rank]
    found = project.result("killed")
    assert (found.csv, found.ids, found.parameters) == (untouched.csv, untouched.ids, untouched.parameters)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_any_process_stops_all_at_one_batch(project, rank):
    """And the run goes on as if it had not been."""
    words = ("model.noise=0.5", "main_loop.commit.every=1000000")
    untouched = project.train("untouched", 2, *words)

    stopped = project.start(2, "train", "config.yaml", "--output_dir", "stopped", *words, STOPS=f"{rank} 13")
    said = project.ended(stopped, expect=75)
    project.run(2, "resume", "log/stopped")

    assert "SIGTERM" in said[0]
    found = project.result("stopped")
    assert (found.csv, found.ids) == (untouched.csv, untouched.ids)


@pytest.mark.parametrize("rank", [0, 1])
def test_what_fails_in_one_process_is_told_by_all(project, rank):
    """With the name of the process."""
    words = ("train", "config.yaml", "--output_dir", "failed", f"model.fails_on=[{rank}, 11]")

    said = project.run(2, *words, expect=1)

    assert "this is where it breaks" in said[1 - rank]
    assert f"rank {rank}" in said[1 - rank] if rank else True
    log = (project.directory / "log" / "failed" / "train.log").read_text()
    assert "this is where it breaks" in log


@pytest.mark.parametrize(("before", "after"), [(2, 1), (2, 3), (1, 2), (3, 4)])
def test_a_run_goes_on_with_other_processes(project, alone, before, after):
    """No example is lost or seen twice, and nothing but rounding differs."""
    project.train("moved", before, "hooks.StopAfter.epochs=1")

    said = project.run(after, "resume", "log/moved", "hooks.StopAfter.epochs=3")

    found = project.result("moved")
    assert found.ids == alone.ids
    np.testing.assert_allclose(found.losses, alone.losses, rtol=1e-10)
    assert f"so far: {before}, now: {after}" in " ".join(said[0].split())


def test_an_evaluation_by_several_counts_every_example_once(project, alone):
    """Also where there are more processes than examples in the last batch."""
    said = project.run(4, "eval", "valid", "log/alone/model_best", "--output_dir", "evaluated")

    best = min(alone.losses[1::2])
    assert f"{best:.4f}" in said[0]


def test_a_process_of_another_config_is_named_before_the_first_batch(project):
    """With what differs."""
    words = ("train", "config.yaml", "--output_dir", "other", ("model.rate=0.1", "model.rate=0.2"))

    said = project.run(2, *words, expect=[2, 1])

    assert "on rank 1, model.rate is 0.2, and 0.1 on rank 0" in " ".join(said[0].split())


def test_a_model_that_one_process_trains_says_so(project):
    """As early as its class is known."""
    said = project.run(2, "train", "config.yaml", "model.class=toy.Alone", expect=2)

    assert "Alone is trained by one process" in " ".join(said[0].split())


def test_batches_too_small_for_all_are_refused(project):
    """Only the last of a pass may be."""
    said = project.run(4, "train", "config.yaml", "dataset.batch_size=3", expect=1)

    assert "4 processes cannot share batches of 3 examples" in " ".join(said[0].split())


@pytest.mark.parametrize("words", [["--nproc", "3"], ["--nproc=3"]])
def test_a_launcher_gets_the_same_command_line(project, words):
    """But for the number."""
    said = project.run(1, "train", *words, "config.yaml", "model.rate=0.2")

    assert "would start 3 -m emloop train config.yaml model.rate=0.2" in said[0]


def test_a_warning_is_said_once(project):
    """And under the name of its process, where rank 0 has not said it."""
    said = project.run(3, "train", "config.yaml", "--output_dir", "warned")

    assert [each.count("it is only a toy") for each in said] == [1, 0, 0]
    assert "rank 1: it is not the first one" in said[0]
    assert "rank 2" not in said[0]
    assert "rank 1: it is not the first one" in (project.directory / "log" / "warned" / "train.log").read_text()
