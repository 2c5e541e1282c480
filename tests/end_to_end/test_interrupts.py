"""A signal is heard at once where what is in progress can be thrown away, and the run can always be resumed."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from time import monotonic

import pytest

from .conftest import interrupt, wait_for

MODULE = '''
import os
import signal
import sys
import threading
from pathlib import Path

import toy

import emloop as el
from emloop._support import interrupting
from emloop.interrupting import interruptible


def wait(place):
    """Tell that a place is reached, and stay there."""
    if Path("blocked").exists() and Path("blocked").read_text() == place:
        if threading.current_thread() is not threading.main_thread():
            wait_for_the_loop()
        Path("reached").touch()
        threading.Event().wait(60)


def wait_for_the_loop():
    """Return once the loop has taken what was read ahead, and waits for more."""
    loop = threading.main_thread().ident
    while interrupting._in_progress(sys._current_frames()[loop]) != interrupting.WAITING:
        threading.Event().wait(0.01)


wait("importing")


class Data(toy.Data):
    def train_stream(self):
        for number, batch in enumerate(super().train_stream()):
            if number == 3:
                wait("reading")
            yield batch


class Rows(toy.Data):
    """Streams that are sequences, read in place."""

    def train_stream(self):
        batches = list(super().train_stream())

        class Batches:
            __len__ = lambda _: len(batches)

            def __getitem__(self, number):
                if number == 3:
                    wait("reading")
                return batches[number]

        return Batches()


class Net(toy.Stateful):
    def __init__(self, *args, **kwargs):
        wait("building")
        super().__init__(*args, **kwargs)

    def run(self, batch, train, stream=None):
        if train and self._steps == 8 and Path("blocked").exists():
            place = Path("blocked").read_text()
            if place == "raising":
                raise KeyboardInterrupt
            if place == "swallowing":
                Path("blocked").unlink()
                interrupting.PATIENCE = 0.1
                swallow()
        return super().run(batch, train, stream)


def swallow():
    with interruptible("a long computation"):
        try:
            Path("reached").touch()
            threading.Event().wait(60)
        except BaseException:
            threading.Event().wait(1)


class Hook(el.AbstractHook):
    """Begins, or sees an epoch, for as long as it takes until a signal has arrived."""

    stateless = True

    def register_mainloop(self, main_loop):
        self._loop = main_loop

    def before_training(self):
        self._go_on("beginning")

    def after_epoch(self, epoch_id, epoch_data):
        self._go_on(f"epoch {epoch_id}")

    def _go_on(self, place):
        if Path("blocked").exists() and Path("blocked").read_text() == place:
            Path("reached").touch()
            while not self._loop.interrupted:
                threading.Event().wait(0.01)


class Second(Hook):
    def before_training(self):
        if self._loop.interrupted:
            raise AssertionError("it should not have begun")
'''


@pytest.fixture
def slow(project):
    """The project, with places where it can be made to wait."""
    (project.path / "slow.py").write_text(MODULE)
    config = (project.path / "config.yaml").read_text()
    config = config.replace("toy.Data", "slow.Data").replace("toy.Stateful", "slow.Net")
    (project.path / "config.yaml").write_text(config.replace("hooks:", "hooks:\n  - slow.Hook\n  - slow.Second"))
    return project


def stopped(project, place, number, *words):
    """Start a run that waits at a place, send it a signal there, and return what it said; it has to end at once."""
    (project.path / "blocked").write_text(place)
    process = project.start("train", "config.yaml", "--output_dir", "cut", *words)
    wait_for(process, project.path / "reached")
    sent = monotonic()
    code, err = interrupt(process, number)
    assert 75 == code, err
    assert monotonic() - sent < 10, "it has waited"  # of 60 seconds; a second where the machine has nothing else to do
    assert "Traceback" not in err
    assert f"{number.name}: stopping" in err
    # There is no run yet while its classes are looked up.
    trace = project.run("cut") / "trace.yaml"
    assert "status: stopped" in trace.read_text() if place != "importing" else not trace.parent.exists()
    return err


@pytest.mark.parametrize(
    ("number", "words"),
    [
        pytest.param(signal.SIGINT, (), id="generator"),
        pytest.param(signal.SIGTERM, ("main_loop.buffer=1",), id="buffer"),
        pytest.param(signal.SIGHUP, ("dataset.class=slow.Rows",), id="sequence"),
    ],
)
def test_waiting_for_a_batch_ends_at_once(slow, number, words):
    """Whoever reads the stream: the loop, or a thread ahead of it; a resume ends like an untouched run."""
    slow.emloop("train", "config.yaml", "--output_dir", "whole", *words)

    said = stopped(slow, "reading", number, *words)

    assert "Gave up waiting for the next batch" in said
    (slow.path / "blocked").unlink()
    slow.emloop("resume", "cut")
    assert slow.result("whole") == slow.result("cut")


@pytest.mark.parametrize(
    ("number", "place"),
    [(signal.SIGINT, "importing"), (signal.SIGTERM, "building"), (signal.SIGHUP, "beginning")],
    ids=str,
)
def test_importing_and_building_end_in_one_line(slow, place, number):
    """What was built is thrown away; the run is stopped, and the same command line begins it anew."""
    said = stopped(slow, place, number)

    given_up = {"importing": "Gave up importing and checking", "building": "Gave up importing and building"}
    assert given_up.get(place, "") in said
    assert re.search(rf"(Stopped|terminated): interrupted by {number.name}", said)
    (slow.path / "blocked").unlink()
    slow.emloop("train", "config.yaml", "--output_dir", "cut", "--auto-resume")
    assert "status: done" in (slow.run("cut") / "trace.yaml").read_text()


def test_a_signal_at_the_end_of_an_epoch_commits_it(slow):
    """The hooks in progress see the epoch to its end, and nothing is repeated."""
    (slow.path / "blocked").write_text("epoch 2")
    process = slow.start("train", "config.yaml", "--output_dir", "cut", "main_loop.commit.every=3ep")
    wait_for(process, slow.path / "reached")

    code, err = interrupt(process, signal.SIGINT)

    assert 75 == code
    assert "Stopped after commit 1 (epoch 2); a resume repeats nothing" in err


def test_a_keyboard_interrupt_of_user_code_is_the_signal_that_it_stands_for(slow):
    """Debuggers, libraries and tests raise it themselves: no traceback, and the run can be resumed."""
    slow.emloop("train", "config.yaml", "--output_dir", "whole")
    (slow.path / "blocked").write_text("raising")

    said = slow.emloop("train", "config.yaml", "--output_dir", "cut", expect=75)

    assert "Training terminated: KeyboardInterrupt" in said
    assert "Traceback" not in said
    (slow.path / "blocked").unlink()
    slow.emloop("resume", "cut")
    assert slow.result("whole") == slow.result("cut")


def test_code_that_swallows_the_interruption_is_named(slow):
    """After a while, one line says where it is, and the batch in progress ends."""
    (slow.path / "blocked").write_text("swallowing")
    process = slow.start("train", "config.yaml", "--output_dir", "cut")
    wait_for(process, slow.path / "reached")

    code, err = interrupt(process, signal.SIGTERM)

    assert 75 == code
    assert re.search(
        r"SIGTERM: still in [\w ]+, at [\w./-]+threading.py:\d+ \(wait\); a second signal stops at once", err
    )


def test_a_run_that_is_to_outlive_its_terminal_does(slow):
    """``nohup`` ignores SIGHUP before the run begins."""
    (slow.path / "blocked").write_text("reading")
    command = ["nohup", sys.executable, "-m", "emloop", "train", "config.yaml", "--output_dir", "cut"]
    process = subprocess.Popen(
        command, cwd=slow.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    wait_for(process, slow.path / "reached")
    process.send_signal(signal.SIGHUP)

    code, err = interrupt(process, signal.SIGTERM)

    assert 75 == code
    assert "SIGHUP" not in err


def test_a_terminal_that_is_closed_stops_its_run(slow):
    """Also where a live line is drawn, which has nowhere to go any more."""
    (slow.path / "blocked").write_text("reading")
    child, master = pty.fork()
    if child == 0:
        os.chdir(slow.path)
        words = ["emloop", "train", "config.yaml", "--output_dir", "cut", "hooks+=ShowProgress"]
        os.execv(sys.executable, [sys.executable, "-m", *words])
    while not (slow.path / "reached").exists():
        if select.select([master], [], [], 0.01)[0]:
            os.read(master, 4096)
    os.close(master)

    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert 75 == code, (slow.run("cut") / "train.log").read_text()
    assert "status: stopped" in (slow.run("cut") / "trace.yaml").read_text()


def test_ctrl_c_ends_any_command_in_one_line(slow):
    """Also one that has nothing to stop, such as a dataset's method."""
    (slow.path / "blocked").write_text("importing")
    process = slow.start("dataset", "describe", "config.yaml")
    wait_for(process, slow.path / "reached")

    assert (130, "interrupted\n") == interrupt(process, signal.SIGINT)
