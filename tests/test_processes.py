"""A forked command line cannot be told from one in a fresh interpreter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec

import pytest

LOOK = """
import atexit, json, logging, os, signal, sys, threading
known = [name for name in ("numpy", "yaml", "emloop", "emloop.api") if name in sys.modules]
import emloop.api
report = {
    "argv": sys.argv, "directory": os.getcwd(), "path": sys.path, "known": known,
    "main": [name for name in vars() if name[0] != "_"],
    "loaded": "numpy" in sys.modules, "setting": os.environ.get("SETTING"), "handlers": logging.root.handlers,
    "threads": threading.active_count(), "leads": os.getpid() == os.getsid(0),
    "signals": [str(signal.getsignal(number)) for number in (2, 15, signal.SIGCHLD, signal.SIGPIPE)],
    "loader": type(emloop.api.__loader__).__name__, "origin": emloop.api.__spec__.origin,
}
atexit.register(print, json.dumps(report))
"""


@pytest.fixture
def run(processes, tmp_path):
    """Runs a program in both ways; what is the same, or what each says."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "SETTING": "on"}

    def run(*arguments, **options):
        for start in (subprocess.run, processes.run):
            done = start(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                check=False,
                **options,
            )
            yield done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("options", [{}, {"start_new_session": True}], ids=["same-session", "own-session"])
def test_a_process_finds_the_same_surroundings(run, options):
    """Also the second time, when what it imports is waiting for it."""
    for _ in "12":
        expected, found = (json.loads(out) for _, out, _ in run("-c", LOOK, "an argument", **options))

        assert expected == found


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("1 / 0", id="error"),
        pytest.param("raise SystemExit('enough')", id="exit-with-a-message"),
        pytest.param("raise SystemExit(75)", id="exit-with-a-code"),
        pytest.param("raise KeyboardInterrupt", id="interrupt"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", id="signal"),
        pytest.param("import sys; print(input()); print('b', file=sys.stderr)", id="outputs"),
        pytest.param("import threading; threading.Thread(target=print, args=['late']).start()", id="thread"),
    ],
)
def test_a_process_ends_in_the_same_way(run, program):
    """Code, outputs and traceback."""
    expected, found = run("-c", program, input="a\n")

    assert expected == found


@pytest.mark.slow
def test_what_others_have_imported_is_not_there(run):
    """A backend registers with the core when it is imported, and only there."""
    pytest.importorskip("torch")
    program = "from emloop._state.random import random_state; import sys; print(sorted(random_state()), len(sys.argv))"

    for _ in "12":
        expected, found = run("-c", f"import emloop_torch.base_model; {program}")
        assert expected == found
    expected, found = run("-c", program)

    assert expected == found
    assert "torch" not in found[1]


def test_no_two_processes_draw_the_same_numbers(processes, tmp_path):
    """Whoever asks for no seed gets a new one."""
    program = "import random, uuid, numpy; print(random.random(), uuid.uuid4(), numpy.random.rand())"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    drawn = [
        processes.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True).stdout
        for _ in range(3)
    ]

    assert len({number for line in drawn for number in line.split()}) == 9


FRAMEWORKS = """
import sys
assert not {"jax", "keras", "tensorflow"} & set(sys.modules)
import jax, tensorflow as tf
print(jax.jit(lambda x: x @ x)(jax.numpy.eye(8)).sum(), jax.device_count())
layer = tf.keras.layers.Dense(1)
print(float(tf.reduce_sum(tf.function(layer)(tf.ones([4, 8])))), float(tf.random.uniform([])))
"""


@pytest.mark.slow
def test_frameworks_that_wait_compute_like_those_just_imported(processes, tmp_path):
    """They obey the settings of the child, and nothing random is the same twice."""
    for needed in ("jax", "tensorflow"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    drawn = set()
    for devices in (1, 1, 2):
        flags = f"--xla_force_host_platform_device_count={devices}"
        env = {**os.environ, "OMP_NUM_THREADS": "1", "XLA_FLAGS": flags}
        command = [sys.executable, "-c", FRAMEWORKS]
        done = processes.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        total, found, *numbers = done.stdout.split() or [done.stderr]
        assert ("8.0", str(devices)) == (total, found)
        drawn.update(numbers)

    assert len(drawn) == 6


def test_a_process_that_runs_can_be_watched_and_killed(processes):
    """With all that Popen offers."""
    waiting = [sys.executable, "-c", "print('up', flush=True); input()"]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with processes.Popen(waiting, env={**os.environ, "OMP_NUM_THREADS": "1"}, **options) as process:
        assert process.stdout.readline() == "up\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.kill()

        assert process.wait(30) == -signal.SIGKILL
