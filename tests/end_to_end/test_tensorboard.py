"""TensorBoard's files of runs that were killed, resumed, forked and evaluated by the command line."""

from __future__ import annotations

import random
import shutil
import signal
from contextlib import suppress
from subprocess import TimeoutExpired

import pytest

from .conftest import wait_for

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

HOOKS = """\
  - toy.Paint
  - WriteTensorBoard: {histogram_variables: [loss], image_variables: [painting]}
"""
PAINT = '''

class Paint(el.AbstractHook):
    """Leaves a picture of the epoch."""

    stateless = True

    def after_epoch(self, epoch_id, epoch_data):
        for data in epoch_data.values():
            data["painting"] = np.arange(epoch_id + 12, dtype=np.uint8).reshape(1, -1)
'''


@pytest.fixture
def project(project):
    """The small project, with a hook that paints and TensorBoard at the end of the list."""
    (project.path / "toy.py").write_text((project.path / "toy.py").read_text() + PAINT)
    config = (project.path / "config.yaml").read_text()
    (project.path / "config.yaml").write_text(config.replace("  - SaveBest\n", f"  - SaveBest\n{HOOKS}"))
    return project


def files_of(run):
    return {path.relative_to(run).as_posix(): path for path in sorted(run.rglob("*tfevents*"))}


def events_of(path):
    return list(LegacyEventFileLoader(str(path)).Load())


def shown(run):
    """File → its length and its events, apart from the times, which are all that may differ."""
    contents = {}
    for name, path in files_of(run).items():
        events = events_of(path)
        for event in events:
            event.ClearField("wall_time")
        contents[name] = (path.stat().st_size, events)
    return contents


def steps(run, stream="train"):
    path = run / "tensorboard" / stream / "events.out.tfevents.emloop"
    return [event.step for event in events_of(path) if event.summary.value]


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_epochs_after_the_last_commit_are_cut_off_and_not_doubled(project):
    """The files of a run killed two epochs after its commit and resumed are those of one never touched."""
    limits = ("main_loop.epochs_count=5", "main_loop.commit.every=3ep")
    project.emloop("train", "config.yaml", "--output_dir", "whole", *limits)
    process = project.start("train", "config.yaml", "--output_dir", "cut", *limits, "model.stop_at=27")
    wait_for(process, project.run("cut") / "reached")
    wait_for(process, project.run("cut") / "checkpoints" / "00000001")
    kill(process)
    assert steps(project.run("cut")) == [0, 1, 2, 3, 4]
    assert project.commits("cut") == [1]

    project.emloop("resume", "cut", "model.stop_at=null")

    assert list(shown(project.run("whole"))) == [
        f"tensorboard/{stream}/events.out.tfevents.emloop" for stream in ("train", "valid")
    ]
    assert steps(project.run("whole")) == [0, 1, 2, 3, 4, 5]
    assert shown(project.run("whole")) == shown(project.run("cut"))


def test_killed_again_and_again_the_files_end_as_if_untouched(project):
    """At random instants between two commits."""
    instants, limits = random.Random(5), ("main_loop.epochs_count=20", "main_loop.commit.every=2ep")
    project.emloop("train", "config.yaml", "--output_dir", "whole", *limits)
    command = ("train", "config.yaml", "--output_dir", "cut", *limits, "model.pause=0.01", "--auto-resume")
    for commit in (1, 3, 5, 7):
        process = project.start(*command)
        wait_for(process, project.run("cut") / "checkpoints" / f"{commit:08d}")
        with suppress(TimeoutExpired):
            process.wait(instants.uniform(0.0, 0.12))
        assert process.poll() is None
        kill(process)

    project.emloop(*command)

    assert steps(project.run("cut")) == list(range(21))
    assert shown(project.run("whole")) == shown(project.run("cut"))


@pytest.mark.parametrize("damage", ["removed", "another"])
def test_a_run_whose_files_are_gone_or_damaged_is_resumed_all_the_same(project, damage):
    """They begin anew with the next epoch; a line says so, and everything else is exact."""
    project.emloop("train", "config.yaml", "--output_dir", "whole", "main_loop.epochs_count=4")
    project.emloop("train", "config.yaml", "--output_dir", "a")
    project.emloop("train", "config.yaml", "--output_dir", "b")
    for path in files_of(project.run("a")).values():
        path.write_bytes(b"?" * 5000)
    if damage == "removed":
        shutil.rmtree(project.run("a") / "tensorboard")

    said = project.emloop("resume", "a", "main_loop.epochs_count=4")

    assert said.count("it begins anew") == 2
    assert steps(project.run("a")) == [4]
    assert project.result("whole")["csv"] == project.result("a")["csv"]
    assert project.result("whole")["weights"] == project.result("a")["weights"]


@pytest.mark.parametrize("removed", [False, True], ids=["whole", "removed"])
def test_a_fork_takes_the_files_along(project, removed):
    """As long as they are there; without them it begins its own."""
    project.emloop("train", "config.yaml", "--output_dir", "a")
    if removed:
        shutil.rmtree(project.run("a") / "tensorboard")

    project.emloop("resume", "a", "--fork", "--output_dir", "b", "main_loop.epochs_count=4")

    assert steps(project.run("b")) == ([4] if removed else [0, 1, 2, 3, 4])


def test_an_evaluation_has_files_of_its_own(project):
    """One point at step 0; those of the training stay as they are."""
    project.emloop("train", "config.yaml", "--output_dir", "a")
    before = {path: path.read_bytes() for path in files_of(project.run("a")).values()}

    project.emloop("eval", "valid", "a", "--output_dir", "e")

    assert list(files_of(project.run("e"))) == ["tensorboard/valid/events.out.tfevents.emloop"]
    assert steps(project.run("e"), "valid") == [0]
    assert before == {path: path.read_bytes() for path in files_of(project.run("a")).values()}


def test_a_name_that_no_hook_computes_is_told_before_anything_is_written(project):
    """With the nearest one."""
    said = project.emloop("train", "config.yaml", "~hooks.Paint", "hooks.WriteTensorBoard.variables=[los]", expect=2)

    assert "hooks[3].WriteTensorBoard.variables[0]: no hook computes 'los' of stream 'train', 'valid'" in said
    assert "did you mean 'loss'?" in said
    assert not (project.path / "log").exists()
