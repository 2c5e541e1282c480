"""Power cuts: whatever they leave of a run, no commit that was acknowledged is lost, and the run ends as if untouched.

Once by enumerating all that a file system may leave of a whole training; once with a real file system, whose disk is
copied at a random instant and mounted again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
from tests.crash_states import Recorder, crash_states

from emloop._state.commit import newest_commit
from emloop._state.random import restore_random_state
from emloop.cli.app import main
from emloop.errors import EmloopError
from emloop.main_loop import commits, run_record
from emloop.main_loop.commits import restore_streams

from .conftest import CONFIG, MODULE, SAVING, saved_result

WORDS = ["train", "config.yaml", "-o", ".", "--output_dir", "run", "--auto-resume"]

# A stream that goes to its place by itself, and draws from the global generator on the way, as a worker's start does.
SEEKING = (
    (MODULE + SAVING).replace(
        """        return self._read("train")
""",
        """        return Seeking(self._read("train"))
""",
    )
    + """

class Seeking:
    def __init__(self, batches):
        self._batches, self._done = batches, 0

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self._batches)
        self._done += 1
        return batch

    def state_dict(self):
        return {"done": self._done}

    def load_state_dict(self, state):
        np.random.random()
        while self._done < state["done"]:
            next(self)
"""
)


def write_project(path, module, *changes):
    """A module of a name that no other test has imported, and its config."""
    (path / f"{module}.py").write_text(SEEKING)
    config = CONFIG.replace("toy.Stateful", "toy.Saving").replace("toy.", f"{module}.")
    for change in changes:
        config = config.replace(*change)
    (path / "config.yaml").write_text(config)


class Acknowledged(logging.Handler):
    """Hears which commits are durable."""

    def __init__(self, heard):
        super().__init__(logging.DEBUG)
        self._heard = heard

    def emit(self, record):
        if "is durable" in record.getMessage():
            self._heard(record.args[0])

    @contextlib.contextmanager
    def listening(self):
        """Listen for the duration of the block."""
        logger = logging.getLogger("emloop.main_loop.run_record")
        level = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(level)


class Cuts:
    """A training that was recorded, and all that a power cut may leave of it."""

    def __init__(self, path):
        self.path = path
        run = path / "run"
        recorder = Recorder(path)
        with recorder.recording(), Acknowledged(recorder.mark).listening():
            assert main(WORDS) == 0
        self.untouched = saved_result(run)
        shutil.rmtree(run)
        self.states = list(crash_states(recorder))

    def complaint(self, state):
        """What is wrong with a state, once it is there, and with what becomes of it; ``None`` if nothing is."""
        run = self.path / "run"
        shutil.rmtree(run, ignore_errors=True)
        for name, content in sorted(state.files.items()):
            if content is None:
                (self.path / name).mkdir()
            else:
                (self.path / name).write_bytes(content)
        where = f"{state.at}, {state.what}"
        commit, rejected = newest_commit(run / "checkpoints", set_aside=False)
        if rejected or (commit.seq if commit else 0) < max(state.marks, default=0):
            return f"{where}: lost: {state.marks[-1:]}, {commit}, {rejected}"
        try:
            code = main(WORDS)
        except EmloopError as error:
            return f"{where}: {error}"
        if code or (found := saved_result(run)) != self.untouched:
            return f"{where}: code {code}, or another result"
        assert found
        left = [path.name for path in run.rglob(".*") if path.name.startswith((".tmp-", ".del-"))]
        was_finished = (run / "attempts.jsonl").read_bytes() == state.files.get("run/attempts.jsonl")
        return f"{where}: left behind: {left}" if left and not was_finished else None


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    """The recorded training, in its directory."""
    path = tmp_path_factory.mktemp("cuts")
    write_project(path, "cuts", ("every: 1ep", "every: 4"), ("epochs_count: 3", "epochs_count: 2"))
    with contextlib.chdir(path):
        yield Cuts(path)


EVERY = 60
"""Of so many states, one is tried every day."""


@pytest.mark.slow
def test_a_power_cut_costs_nothing_that_was_acknowledged(cuts):
    """A sample of all states that a file system may leave."""
    assert len(cuts.states) > 1000
    assert [found for state in cuts.states[::EVERY] if (found := cuts.complaint(state))] == []


@pytest.mark.torture
def test_no_power_cut_costs_anything_that_was_acknowledged(cuts):
    """All of them, in as much time as that takes."""
    assert [found for state in cuts.states if (found := cuts.complaint(state))] == []


@pytest.mark.slow
def test_random_state_that_is_restored_before_streams_are_in_place_is_found(cuts, monkeypatch):
    """A planted mistake: what reaching the place draws is then missing in the first batch."""

    def restored_before(loop, states, streams, **options):
        restored = []
        with monkeypatch.context() as patch:
            patch.setattr(commits, "restore_random_state", restored.append)
            restore_random_state(states["random"])
            restore_streams(loop, states, streams, **options)

    monkeypatch.setattr(run_record, "restore_streams", restored_before)
    inside = next(state for state in cuts.states if state.marks == (1,))
    assert "another result" in (cuts.complaint(inside) or "")


# With a real file system

LISTENING = """
import logging, os, sys
class Acknowledged(logging.Handler):
    def emit(self, record):
        if "is durable" in record.getMessage():
            print(record.args[0], flush=True)
logger = logging.getLogger("emloop.main_loop.run_record")
logger.setLevel(logging.DEBUG)
logger.addHandler(Acknowledged(logging.DEBUG))
if sys.argv[1] == "unsafe":
    os.fsync = lambda descriptor: None
from emloop.cli.app import main
sys.exit(main(sys.argv[2:]))
"""


class Disk:
    """A file system in a file, mounted below a directory."""

    def __init__(self, path):
        self.path, self.image, self.now, self.after = path, path / "disk", path / "now", path / "after"
        for folder in (self.now, self.after):
            folder.mkdir(exist_ok=True)

    def call(self, *words):
        """Run a command of the system."""
        return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)

    @contextlib.contextmanager
    def mounted(self, image, place):
        """Mount an image; its journal is replayed, as after a power cut."""
        self.call("mount", "-o", "loop,commit=1", image, place)
        try:
            yield
        finally:
            self.call("umount", place)

    def cut(self, processes, seconds, mode):
        """Train, and cut the power after some seconds; returns the run that is left in its surroundings, and what was
        acknowledged.
        """
        self.call("truncate", "-s", "32M", self.image)
        self.call("mkfs.ext4", "-q", "-F", self.image)
        copy = self.path / "copy"
        with self.mounted(self.image, self.now):
            write_project(self.now, "powerless", ("class: powerless.Saving", "class: powerless.Saving\n  pause: 0.02"))
            os.sync()
            process = processes.Popen(
                [sys.executable, "-c", LISTENING, mode, *WORDS],
                cwd=self.now,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGSTOP)
            self.call("cp", "--sparse=always", self.image, copy)
            process.kill()
            acknowledged = [int(line) for line in process.communicate()[0].split()]
        return copy, max(acknowledged, default=0)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A disk whose power can be cut; skips where nothing may be mounted."""
    disk = Disk(tmp_path_factory.mktemp("disk"))
    try:
        disk.call("truncate", "-s", "32M", disk.image)
        disk.call("mkfs.ext4", "-q", "-F", disk.image)
        with disk.mounted(disk.image, disk.now):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', '') or error}".strip())
    return disk


def train(processes, path):
    """Train, or go on, to the end."""
    return processes.run(
        [sys.executable, "-c", LISTENING, "safe", *WORDS],
        cwd=path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def cut_power(disk, processes, draw, mode="safe"):
    """Cut the power and go on; returns what was acknowledged, what was left, what the resume said, and the result."""
    copy, acknowledged = disk.cut(processes, draw.uniform(0.3, 2.5), mode)
    with disk.mounted(copy, disk.after):
        commit, rejected = newest_commit(disk.after / "run" / "checkpoints", set_aside=False)
        done = train(processes, disk.after)
        result = (done.stderr, None) if done.returncode else ("", saved_result(disk.after / "run"))
    return acknowledged, 0 if commit is None or rejected else commit.seq, *result


def hold(disk, processes, number):
    """Cut the power so often, and compare."""
    draw, left = random.Random(0), []
    with disk.mounted(disk.image, disk.now):
        write_project(disk.now, "powerless")
        train(processes, disk.now).check_returncode()
        untouched = saved_result(disk.now / "run")
    for _ in range(number):
        acknowledged, found, said, result = cut_power(disk, processes, draw)
        assert said == ""
        assert result == untouched
        assert found >= acknowledged
        left.append(found)
    print(f"what was left: {left}")
    return left


@pytest.mark.slow
def test_power_cuts_cost_nothing_on_a_real_file_system(disk, processes):
    """A few of them."""
    hold(disk, processes, 3)


@pytest.mark.torture
def test_a_hundred_power_cuts_cost_nothing_on_a_real_file_system(disk, processes):
    """And they come when some commits are there, and others are not."""
    assert len(set(hold(disk, processes, 100))) > 2


@pytest.mark.torture
def test_power_cuts_cost_commits_where_nothing_is_synced(disk, processes):
    """The test above can fail: without syncs, commits that were acknowledged are gone."""
    draw = random.Random(1)
    cuts = (cut_power(disk, processes, draw, "unsafe") for _ in range(40))
    assert any(found < acknowledged for acknowledged, found, _, _ in cuts)
