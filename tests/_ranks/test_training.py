"""What is told, asked and refused where several processes train one model."""

from __future__ import annotations

import re

import numpy as np
import pytest

from emloop._ranks import scene_of
from emloop.errors import UsageError


@pytest.mark.parametrize("reading", ["main_loop.workers=2", "main_loop.buffer=4", "main_loop.overfit=2"])
def test_whoever_reads_the_rows_the_training_is_the_same(world, reading):
    """Workers, threads ahead, or nobody but the loop."""
    noise = ["model.noise=0.1", *([reading] if "overfit" in reading else [])]

    world.train("ahead", 2, reading, *noise).require_same(world.train("usual", 2, *noise))


@pytest.mark.parametrize("rank", [0, 1])
def test_what_fails_in_one_process_is_told_by_all(world, rank):
    """With the name of the process, and in the run's log."""
    words = ("train", "config.yaml", "--output_dir", "failed", f"model.fails_on=[{rank}, 11]")

    said = world.run(2, *words, expect=1)

    log = (world.directory / "log" / "failed" / "train.log").read_text()
    for text in (said[1 - rank], log):
        assert "this is where it breaks" in text
    assert f"rank {rank}" in said[1 - rank]


def test_a_process_of_another_config_is_named_before_the_first_batch(world):
    """With what differs."""
    said = world.run(2, "train", "config.yaml", ["model.rate=0.1", "model.rate=0.2"], expect=[2, 1])

    assert "on rank 1, model.rate is 0.2, and 0.1 on rank 0" in said[0]


def test_a_process_of_other_data_is_named_before_the_first_batch(world):
    """By the number of batches."""
    said = world.run(2, "train", "config.yaml", "dataset.class=toy.Growing", expect=[2, 1])

    assert "the number of batches of stream 'train' is 9, and 8 on rank 0" in said[0]


def test_a_rank_that_cannot_be_is_refused():
    """As one that a launcher was given by hand may be."""
    told = {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "29500"}

    with pytest.raises(UsageError, match=r"RANK=2 and WORLD_SIZE=2; ranks count from 0 to 1"):
        scene_of(told)


def test_a_model_that_one_process_trains_says_so(world):
    """As early as its class is known."""
    said = world.run(2, "train", "config.yaml", "model.class=toy.Alone", expect=2)

    assert "Alone is trained by one process" in said[0]


@pytest.mark.parametrize(("kind", "codes"), [("index", [2, 1, 1, 1]), ("generator", 1)])
def test_batches_too_small_for_all_are_refused(world, kind, codes):
    """Only the last of a pass may be. Before anything is read, where that can be known."""
    said = world.run(4, "train", "config.yaml", "dataset.batch_size=3", f"dataset.kind={kind}", expect=codes)

    assert "4 processes cannot share batches of 3 examples" in said[0]


@pytest.mark.parametrize("words", [["--nproc", "3"], ["--nproc=3"]])
def test_a_launcher_gets_the_same_command_line(world, words):
    """But for the number."""
    said = world.run(1, "train", *words, "config.yaml", "model.rate=0.2")

    assert "would start 3 -m emloop train config.yaml model.rate=0.2" in said[0]


def test_a_warning_is_said_once(world):
    """And under the name of its process, where rank 0 has not said it."""
    said = world.run(3, "train", "config.yaml", "--output_dir", "warned")

    log = (world.directory / "log" / "warned" / "train.log").read_text()
    assert [each.count("it is only a toy") for each in said] == [1, 0, 0]
    assert [each.count("rank 1: it is not the first one") for each in (said[0], log)] == [1, 1]
    assert "rank 2" not in said[0]


@pytest.mark.parametrize("command", ["verify", "profile", "find-lr", "train --dry-run"])
def test_what_one_process_does_is_refused_to_several(world, command):
    """Each of them would do all of it."""
    said = world.run(2, *command.split(), *["1"] * ("--dry" in command), "config.yaml", expect=2)

    assert all(f"emloop {command} is run by one process, and torchrun has started 2" in each for each in said)


@pytest.mark.parametrize("kind", ["index", "generator"])
def test_hooks_may_do_with_batches_and_the_model_what_they_may_in_one_process(world, kind):
    """Change, copy and pickle batches, and set what the model computes with."""
    words = ("model.class=toy.Phased", f"dataset.kind={kind}", "hooks=[toy.Meddling]")
    words = (*words, "main_loop.epochs_count=3")

    said = [world.run(count, "train", "config.yaml", "--output_dir", f"by{count}", *words) for count in (1, 2)]

    one, two = ((world.directory / "log" / f"by{count}" / "meddling.txt").read_text() for count in (1, 2))
    numbers = re.compile(r"-?[0-9]+\.?[0-9]*(?:e[-+][0-9]+)?")
    assert numbers.sub("", one) == numbers.sub("", two)
    np.testing.assert_allclose(*(np.array(numbers.findall(text), float) for text in (one, two)), rtol=1e-5, atol=1e-6)
    assert [each[0].count("Phased.rename is called in rank 0 alone") for each in said] == [0, 1]
    assert [each[0].count("model.noted_by is set in rank 0 alone: a Meddling") for each in said] == [0, 1]


@pytest.mark.parametrize("kind", ["index", "generator"])
def test_processes_that_read_other_examples_are_stopped(world, kind):
    """Though they have as many batches."""
    said = world.run(2, "train", "config.yaml", "dataset.class=toy.Sharded", f"dataset.kind={kind}", expect=1)

    assert "rank 1 failed: BatchError: stream 'train': the first batch read here is not that of rank 0" in said[0]


def test_a_rehearsal_takes_no_number_of_processes(world):
    """It would be ignored."""
    (said,) = world.run(1, "train", "--dry-run", "1", "--nproc", "2", "config.yaml", expect=2)

    assert "--dry-run is run by one process; leave --nproc out" in said


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "code", "words"), [
    ("Linear", 0, "Proven: in 3 batches of 2 processes, 0 resumes and 1 kill changed nothing"),
    ("Forgetful", 3, "NOT EXACT: "),
])  # fmt: skip
def test_an_exact_resume_of_several_processes_can_be_proven(world, cls, code, words):
    """What one of them does not restore is found."""
    options = ("--batches", "3", "--kills", "1", "--nproc", "2")
    (said,) = world.run(1, "verify", "config.yaml", *options, f"model.class=toy.{cls}", "model.noise=0.5", expect=code)

    assert words in said
