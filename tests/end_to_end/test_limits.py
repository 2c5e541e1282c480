"""No room, no rights, no memory: the run says so, what was committed stays, and afterwards it goes on exactly."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from .conftest import CONFIG, MODULE, SAVING, saved_result

LIMITED = """
import resource, sys
kind, size = sys.argv[1:3]
if kind == "file":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
if kind == "memory":
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(size), resource.RLIM_INFINITY))
from emloop.cli.app import main
code = main(sys.argv[3:])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sys.exit(code)
"""

GREEDY = '''

class Greedy(Saving):
    """Needs more and more memory, as a leak would have it."""

    def run(self, batch, train, stream=None):
        if train and os.path.exists("greedy") and self._steps == 9:
            np.ones(1 << 33, np.uint8)
        return super().run(batch, train, stream)
'''

WORDS = ("train", "config.yaml", "-o", ".", "--output_dir", "run", "--auto-resume", "model.pause=0")


def write_project(path):
    (path / "toy.py").write_text(MODULE + SAVING + GREEDY)
    (path / "config.yaml").write_text(CONFIG.replace("toy.Stateful", "toy.Greedy").replace("1ep", "4"))


def train(processes, path, kind="none", size=0):
    """Train, or go on, under a limit; returns exit code and what was said."""
    done = processes.run(
        [sys.executable, "-c", LIMITED, kind, str(size), *WORDS],
        cwd=path,
        # Where files may not grow, Python 3.11 leaves half a file of bytecode behind, and stumbles over it.
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, processes):
    """The result of a training without limits."""
    path = tmp_path_factory.mktemp("untouched")
    write_project(path)
    assert train(processes, path)[0] == 0
    return saved_result(path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 100, 700, 1500, 2500, 4096])
def test_files_may_not_grow_beyond_a_limit(tmp_path, processes, untouched, size):
    """As by a quota: two clear lines, and with room again the run ends as if untouched."""
    write_project(tmp_path)

    code, said = train(processes, tmp_path, "file", size)

    assert code == 1
    assert "File too large" in said
    assert "Traceback" not in said
    assert train(processes, tmp_path)[0] == 0
    assert saved_result(tmp_path / "run") == untouched


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory can be set elsewhere")
def test_memory_runs_out_inside_an_epoch(tmp_path, processes, untouched):
    """The error is the user's to see, the commits before it are there."""
    write_project(tmp_path)
    (tmp_path / "greedy").touch()

    code, said = train(processes, tmp_path, "memory", 1 << 30)

    assert code == 1
    assert "MemoryError" in said
    (tmp_path / "greedy").unlink()
    assert "from commit 2" in train(processes, tmp_path)[1]
    assert saved_result(tmp_path / "run") == untouched


def mount(*words):
    try:
        subprocess.run(["mount", *map(str, words)], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing can be mounted here: {getattr(error, 'stderr', '') or error}".strip())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a size, as a context."""
    place = tmp_path / "disk"
    place.mkdir()
    yield place
    subprocess.run(["umount", place], check=False, capture_output=True)


def fills_up(small_disk, processes, untouched, options, more):
    """Train where there is too little room, and then enough."""
    mount("-t", "tmpfs", "-o", options, "tmpfs", small_disk)
    write_project(small_disk)

    code, said = train(processes, small_disk)

    assert code == 1, "there is room enough"
    assert "No space left on device" in said
    assert "Traceback" not in said
    mount("-o", f"remount,{more}", small_disk)
    code, said = train(processes, small_disk)
    assert code == 0, said
    assert saved_result(small_disk / "run") == untouched


@pytest.mark.slow
@pytest.mark.parametrize("options", ["size=60k", "size=100k", "size=8m,nr_inodes=20"])
def test_a_disk_fills_up(small_disk, processes, untouched, options):
    """Of bytes, or of files."""
    fills_up(small_disk, processes, untouched, options, "size=8m,nr_inodes=900")


@pytest.mark.torture
@pytest.mark.parametrize(
    "options", [*(f"size={size}k" for size in range(32, 128, 8)), *(f"nr_inodes={n}" for n in range(8, 40, 4))]
)
def test_a_disk_of_any_size_fills_up(small_disk, processes, untouched, options):
    """In the middle of anything."""
    fills_up(small_disk, processes, untouched, options, "size=8m,nr_inodes=900")


@pytest.mark.slow
def test_a_disk_becomes_read_only(small_disk, processes, untouched):
    """Before a run, and with a run in it: a line, and nothing is lost."""
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", small_disk)
    write_project(small_disk)
    for prepare in (None, "file"):
        if prepare:
            assert train(processes, small_disk, prepare, 2500)[0] == 1
        mount("-o", "remount,ro", small_disk)
        code, said = train(processes, small_disk)
        assert code in (1, 2)
        assert "Read-only file system" in said
        assert "Traceback" not in said
        mount("-o", "remount,rw", small_disk)
    assert train(processes, small_disk)[0] == 0
    assert saved_result(small_disk / "run") == untouched


@contextlib.contextmanager
def read_only(place):
    """A directory in which nothing can be written, by root neither."""
    folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
    if os.geteuid():
        for folder in folders:
            folder.chmod(0o555)
        yield
        for folder in folders:
            folder.chmod(0o755)
        return
    mount("--bind", place, place)
    try:
        mount("-o", "remount,bind,ro", place)
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def files(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.fixture
def cut(tmp_path, emloop_in):
    """A run that ended before its time, behind some commits."""
    write_project(tmp_path)
    emloop_in(tmp_path)(*WORDS, "model.fail_at=15", expect=1)
    return tmp_path / "run"


@pytest.mark.slow
def test_a_run_is_read_where_nothing_can_be_written(cut, emloop_in):
    """As on somebody else's share: it is listed, compared, judged, evaluated and forked, and nothing of it changes."""
    emloop, before = emloop_in(cut.parent), files(cut)

    with read_only(cut):
        assert "failed" in emloop("ls", ".", "-v")
        emloop("show", "run")
        emloop("diff", "run", "run")
        emloop("doctor", "run")
        assert "evaluates run" in emloop("eval", "valid", "run", "-o", "elsewhere")
        emloop("resume", "run", "--fork", "-o", "elsewhere", "--output_dir", "fork", "main_loop.epochs_count=2")

    assert files(cut) == before


@pytest.mark.slow
@pytest.mark.parametrize("part", ["", "checkpoints"])
def test_a_resume_of_a_run_that_is_read_only_says_so_at_once(cut, emloop_in, processes, untouched, part):
    """In a line, with the way to go on elsewhere, before anything is trained; afterwards nothing is lost."""
    emloop, before = emloop_in(cut.parent), files(cut)

    with read_only(cut / part):
        said = emloop("resume", "run", expect=1)

    reason = "Permission denied" if os.geteuid() else "Read-only file system"
    way_out = f"to go on elsewhere: emloop resume {cut} --fork -o DIR"
    assert said == f"{cut / part}: cannot be written: {reason}; {way_out}\n"
    assert files(cut) == before
    assert train(processes, cut.parent)[0] == 0
    assert saved_result(cut) == untouched
