"""Training, stopping, going on: the command line in real processes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from contextlib import suppress
from time import monotonic

import pytest
from tests.kills import Killing

from .conftest import interrupt, wait_for


def test_a_run_directory_holds_all_that_happened(project):
    """The files of the documentation are there, and say what they should."""
    project.emloop("train", "config.yaml", "--output_dir", "a")

    run = project.run("a")
    expected = {
        ".lock",
        "attempts.jsonl",
        "checkpoints",
        "config.source.yaml",
        "config.json",
        "config.yaml",
        "environment.txt",
        "metrics.jsonl",
        "model_best.npy",
        "run.json",
        "status.json",
        "trace.yaml",
        "train.log",
        "training.csv",
    }
    assert expected <= {path.name for path in run.iterdir()}
    assert (project.path / "config.yaml").read_bytes() == (run / "config.source.yaml").read_bytes()
    assert "epochs_done: 3\nexit_status: 0" in (run / "trace.yaml").read_text()
    assert [0, 1, 2, 3] == [json.loads(line)["epoch_id"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert (
        '"epoch_id",train_loss,train_accuracy,valid_loss,valid_accuracy'
        == ((run / "training.csv").read_text().splitlines()[0])
    )
    assert ["start", "end"] == [line["event"] for line in project.attempts("a")]
    assert "Epoch 1 done" in (run / "train.log").read_text()
    assert 7 == json.loads((run / "run.json").read_text())["seed"]


def test_a_seed_that_is_not_given_is_drawn_and_recorded(project):
    """The recorded seed repeats the run exactly."""
    project.emloop("train", "config.yaml", "--output_dir", "a", "~main_loop.seed")
    seed = json.loads((project.run("a") / "run.json").read_text())["seed"]

    project.emloop("train", "config.yaml", "--output_dir", "b", f"main_loop.seed={seed}")

    assert project.result("a")["csv"] == project.result("b")["csv"]


def test_a_finished_run_says_how_to_go_on_and_writes_nothing(project):
    """Exit code 0, one line, not a byte changed."""
    project.emloop("train", "config.yaml", "--output_dir", "a")
    before = {path: path.read_bytes() for path in project.run("a").rglob("*") if path.is_file()}

    said = project.emloop("resume", "@")

    assert "a is finished, after epoch 3 (main_loop.epochs_count = 3 is reached)" in said
    assert "emloop resume log/a main_loop.epochs_count=6" in said
    assert before == {path: path.read_bytes() for path in project.run("a").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("limit", "raised"),
    [
        ("main_loop.epochs_count=3", "main_loop.epochs_count=5"),
        ("hooks+='StopAfter: {epochs: 3}'", "hooks.StopAfter.epochs=5"),
        ("hooks+='StopAfter: {iterations: 15}'", "hooks.StopAfter.iterations=30"),
    ],
    ids=["epochs_count", "StopAfter-epochs", "StopAfter-iterations-within-an-epoch"],
)
def test_raising_the_limit_equals_having_had_it_from_the_start(project, limit, raised):
    """Weights, CSV, metrics and the whole committed state are the same, to the byte."""
    base = [] if limit.startswith("main_loop") else ["~main_loop.epochs_count"]
    limit = limit.replace("'", "")
    project.emloop("train", "config.yaml", "--output_dir", "short", *base, limit)
    project.emloop("train", "config.yaml", "--output_dir", "long", *base, limit, raised)

    project.emloop("resume", "short", raised)

    assert project.result("long") == project.result("short")


def test_an_unraised_limit_beside_a_raised_one_still_holds(project):
    """Raising one of two limits trains no batch more than the other one allows."""
    project.emloop("train", "config.yaml", "--output_dir", "a", "hooks+=StopAfter: {epochs: 3}")

    project.emloop("resume", "a", "main_loop.epochs_count=9")

    assert 5 == len((project.run("a") / "training.csv").read_text().splitlines())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_the_run_can_be_resumed(project, number):
    """Exit code 75, status stopped; a resume ends like the run that was never stopped."""
    project.emloop("train", "config.yaml", "--output_dir", "whole")
    process = project.start("train", "config.yaml", "--output_dir", "cut", "model.pause=0.05")
    wait_for(process, project.run("cut") / "checkpoints" / "00000002")

    code, err = interrupt(process, number)

    assert 75 == code
    assert f"{number.name}: stopping as soon as the batch in progress is done" in err
    assert "a resume repeats nothing" in err
    assert "status: stopped" in (project.run("cut") / "trace.yaml").read_text()
    project.emloop("resume", "cut", "model.pause=0.0")
    assert project.result("whole") == project.result("cut")


def test_the_second_signal_stops_at_once(project):
    """Even in the middle of a batch: exit code 128 + n."""
    process = project.start("train", "config.yaml", "--output_dir", "a", "model.stop_at=8")
    wait_for(process, project.run("a") / "reached")
    process.send_signal(signal.SIGINT)
    while "stopping as soon as" not in process.stderr.readline():
        assert process.poll() is None

    code, _ = interrupt(process, signal.SIGINT)

    assert 130 == code


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.torture)])
def test_killed_again_and_again_the_run_ends_as_if_untouched(project, kills):
    """SIGKILL at random instants in every part of a training: nothing committed is lost, nothing else differs."""
    killing = Killing(project, "cut", ("main_loop.commit={every: 14ba}", "model.pause=0.001", "dataset.batches=12"))
    killing.run(kills)
    project.emloop("train", "config.yaml", "--output_dir", "whole", "dataset.batches=12", killing.limit(0))

    assert project.result("whole") == project.result("cut")
    print(killing.fell)


def test_a_kill_while_the_run_is_created_leaves_nothing_that_is_in_the_way(project):
    """Whatever the instant: the same command line, with --auto-resume, gets the run done."""
    project.emloop("train", "config.yaml", "--output_dir", "whole")
    arguments = ("train", "config.yaml", "--output_dir", "cut", "--auto-resume")
    process = project.start(*arguments)
    started = monotonic()
    wait_for(process, project.run("cut"))
    birth = monotonic() - started
    process.kill()
    process.communicate()
    for step in range(6):
        shutil.rmtree(project.run("cut"))
        process = project.start(*arguments)
        with suppress(subprocess.TimeoutExpired):
            process.wait(birth * (0.9 + 0.04 * step))
        process.kill()
        process.communicate()

        project.emloop(*arguments)

        assert project.result("whole") == project.result("cut")


def test_a_run_that_was_killed_between_its_first_two_files_is_begun(project):
    """It has an identity and a seed, and no config yet but the one that is given again."""
    project.emloop("train", "config.yaml", "--output_dir", "whole")
    cut = project.run("cut")
    cut.mkdir()
    shutil.copy(project.run("whole") / "run.json", cut)

    project.emloop("train", "config.yaml", "--output_dir", "cut", "--auto-resume")

    assert project.result("whole") == project.result("cut")


def test_a_run_killed_before_its_first_commit_starts_again(project):
    """Files that only grow are cut back to nothing; what they held is kept aside."""
    project.emloop("train", "config.yaml", "--output_dir", "whole")
    process = project.start(
        "train", "config.yaml", "--output_dir", "cut", "main_loop.commit.every=9ep", "model.stop_at=8"
    )
    wait_for(process, project.run("cut") / "reached")
    process.kill()
    process.communicate()

    project.emloop("resume", "cut", "model.stop_at=null", "main_loop.commit.every=1ep")

    assert project.result("whole")["csv"] == project.result("cut")["csv"]
    assert list((project.run("cut") / "discarded").iterdir())


def test_a_model_without_state_is_resumed_by_its_own_save(project):
    """Committed at epoch ends with its own files; said at the start."""
    project.emloop("train", "config.yaml", "--output_dir", "whole", "model.class=toy.Noisy", "main_loop.epochs_count=5")
    said = project.emloop("train", "config.yaml", "--output_dir", "cut", "model.class=toy.Noisy")

    project.emloop("resume", "cut", "main_loop.epochs_count=5")

    assert "Resume of the model: weights only, since Noisy has no state_dict" in said
    assert project.result("whole")["csv"] == project.result("cut")["csv"]
    assert {"model_checkpoint-0.npy", "model_checkpoint-1.npy"} <= {path.name for path in project.run("cut").iterdir()}


def test_a_damaged_commit_is_set_aside_and_the_one_before_it_used(project):
    """Loudly; the result is the same."""
    project.emloop("train", "config.yaml", "--output_dir", "whole", "main_loop.epochs_count=5")
    project.emloop("train", "config.yaml", "--output_dir", "cut")
    newest = project.run("cut") / "checkpoints" / f"{project.commits('cut')[-1]:08d}"
    damaged = bytearray((newest / "state.safetensors").read_bytes())
    damaged[-1] ^= 1
    (newest / "state.safetensors").write_bytes(damaged)

    said = project.emloop("resume", "cut", "main_loop.epochs_count=5")

    assert "cannot be used and is set aside" in said
    assert project.result("whole")["csv"] == project.result("cut")["csv"]


def test_a_lost_state_is_an_error_unless_told_otherwise(project):
    """Exit code 3 names what does not take its state back, and how to go on without."""
    project.emloop("train", "config.yaml", "--output_dir", "a")
    source = (project.path / "toy.py").read_text()
    (project.path / "toy.py").write_text(source.replace('state["steps"]', 'state["number"]'))

    said = project.emloop("resume", "a", "main_loop.epochs_count=5", expect=3)

    assert "model Stateful does not take its state back" in said
    assert "main_loop.on_inexact_resume=warn" in said
    project.emloop("resume", "a", "main_loop.epochs_count=5", "main_loop.on_inexact_resume=warn")


def test_a_fork_goes_on_in_a_new_directory_with_the_full_state(project):
    """Numbering, CSV and state go on; the parent is recorded and left as it is."""
    project.emloop("train", "config.yaml", "--output_dir", "whole", "main_loop.epochs_count=5")
    project.emloop("train", "config.yaml", "--output_dir", "a")
    before = {path: path.read_bytes() for path in project.run("a").rglob("*") if path.is_file()}

    project.emloop("resume", "a", "--fork", "--output_dir", "b", "main_loop.epochs_count=5")

    assert before == {path: path.read_bytes() for path in project.run("a").rglob("*") if path.is_file()}
    assert project.result("whole") == project.result("b")
    parent = json.loads((project.run("b") / "run.json").read_text())["parent"]
    assert json.loads((project.run("a") / "run.json").read_text())["run_id"] == parent["run_id"]
    assert project.commits("a")[-1] == parent["commit"]


def test_a_fork_can_start_from_a_named_commit(project):
    """The directory of an older commit names it."""
    project.emloop("train", "config.yaml", "--output_dir", "a")
    older = project.commits("a")[0]

    project.emloop("resume", f"log/a/checkpoints/{older:08d}", "--fork", "--output_dir", "b")

    assert older == json.loads((project.run("b") / "run.json").read_text())["parent"]["commit"]
    assert project.result("a") == project.result("b")


def test_a_fork_killed_before_its_own_first_commit_can_be_resumed(project):
    """The copied commit is the fork's own."""
    project.emloop("train", "config.yaml", "--output_dir", "whole", "main_loop.epochs_count=5")
    project.emloop("train", "config.yaml", "--output_dir", "a")
    process = project.start(
        "resume", "a", "--fork", "--output_dir", "b", "main_loop.epochs_count=5", "model.stop_at=20"
    )
    wait_for(process, project.run("b") / "reached")
    process.kill()
    process.communicate()

    project.emloop("resume", "b", "model.stop_at=null")

    assert project.result("whole") == project.result("b")


def test_resume_with_a_restore_from_starts_a_new_run_from_epoch_zero(project):
    """As in the reference: only the model is restored."""
    project.emloop("train", "config.yaml", "--output_dir", "a")

    project.emloop("resume", "config.yaml", "log/a", "--output_dir", "b", "main_loop.epochs_count=1")

    lines = (project.run("b") / "training.csv").read_text().splitlines()
    assert ["0", "1"] == [line.split(",")[0] for line in lines[1:]]
    assert "log/a" == json.loads((project.run("b") / "run.json").read_text())["parent"]["path"]


def test_auto_resume_starts_goes_on_and_finishes(project):
    """The same command line, whatever has happened before."""
    project.emloop("train", "config.yaml", "--output_dir", "whole")
    process = project.start("train", "config.yaml", "--output_dir", "a", "--auto-resume", "model.pause=0.05")
    wait_for(process, project.run("a") / "checkpoints" / "00000002")
    process.kill()
    process.communicate()

    project.emloop("train", "config.yaml", "--output_dir", "a", "--auto-resume")
    said = project.emloop("train", "config.yaml", "--output_dir", "a", "--auto-resume")

    assert project.result("whole") == project.result("a")
    assert "a is finished" in said


def test_auto_resume_gives_up_on_a_run_that_never_gets_anywhere(project):
    """After three attempts from the same commit, it asks for a person."""
    arguments = ("train", "config.yaml", "--output_dir", "a", "--auto-resume", "model.fail_at=1")
    for _ in range(4):  # the first one gets as far as the commit after the zeroth epoch
        project.emloop(*arguments, expect=1)

    said = project.emloop(*arguments, expect=3)

    assert "the last 3 attempts on" in said
    assert "emloop resume" in said


def test_auto_resume_does_not_give_up_on_a_run_that_signals_stop_early(project):
    """A scheduler that takes the machine away again and again is no fault of the run."""
    (project.path / "slow.py").write_text(SLOW)
    arguments = ("train", "config.yaml", "dataset.class=slow.Slow", "--output_dir", "a", "--auto-resume")
    for _ in range(4):
        process = project.start(*arguments)
        wait_for(process, project.path / "reached")
        assert interrupt(process, signal.SIGTERM)[0] == 75
        (project.path / "reached").unlink()
    (project.path / "goes on").touch()

    project.emloop(*arguments)

    assert "status: done" in (project.run("a") / "trace.yaml").read_text()


SLOW = """
import time
from pathlib import Path

import toy


class Slow(toy.Data):
    def _configure_dataset(self, **kwargs):
        super()._configure_dataset(**kwargs)
        Path("reached").touch()
        time.sleep(0 if Path("goes on").exists() else 60)
"""


def test_an_evaluation_reports_what_training_reported_for_the_restored_model(project):
    """The best model's validation loss; hooks that save step aside; the run is marked as an evaluation."""
    project.emloop("train", "config.yaml", "--output_dir", "a")

    said = project.emloop("eval", "valid", "a", "--output_dir", "e")

    assert "Hooks that save, steer or stop step aside in an evaluation: SaveBest" in said
    losses = [line.split(",")[3] for line in (project.run("a") / "training.csv").read_text().splitlines()[1:]]
    evaluated = (project.run("e") / "training.csv").read_text().splitlines()[1].split(",")[1]
    assert min(map(float, losses)) == float(evaluated)
    assert "evaluation" == json.loads((project.run("e") / "run.json").read_text())["kind"]
    assert not (project.run("e") / "checkpoints").exists()


def test_a_copied_run_can_be_resumed(project):
    """Nothing in it says where it was."""
    project.emloop("train", "config.yaml", "--output_dir", "whole", "main_loop.epochs_count=5")
    project.emloop("train", "config.yaml", "--output_dir", "a")
    shutil.move(project.run("a"), project.run("moved"))

    project.emloop("resume", "moved", "main_loop.epochs_count=5")

    assert project.result("whole") == project.result("moved")
