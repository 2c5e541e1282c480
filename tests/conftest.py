"""What all tests share: the same surroundings, whatever the machine and the shell they run in."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator

import pytest
from hypothesis import settings

from .processes import Processes

# A busy machine may take any time for one example.
settings.register_profile("emloop", deadline=None)
settings.load_profile("emloop")
# By ``make test-fast``.
settings.register_profile("quick", settings.get_profile("emloop"), max_examples=15)

# TensorFlow chooses its threads once and for all, and with one of them sums are taken in one order.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# What JAX has compiled once is not compiled again in every process, which takes longer than most trainings here.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled = tempfile.mkdtemp(prefix="emloop-jax-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)

# The highest level makes the same numbers, and code that is no quicker here, in several times the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=2")

# Behind TensorFlow, which many modules of tests import, it would end the process.
with contextlib.suppress(ImportError):
    importlib.import_module("triton")

# Whoever runs the tests may be meant to outlive a terminal, as by nohup; what they start is to be interrupted.
for number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGHUP else signal.default_int_handler)


def pytest_collection_finish():
    """Frameworks leave millions of objects that are never garbage; looking for it there took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """Nothing that the caller's shell says about emloop changes a test."""
    monkeypatch.delenv("EMLOOP_OUTPUT_DIR_FORMAT", raising=False)


@pytest.fixture(autouse=True)
def _no_caches_outside(tmp_path_factory, monkeypatch):
    """What is kept between two checks of a config stays among the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "caches"))


@pytest.fixture(autouse=True)
def _logging_as_before():
    """What the command line sets in a test's own process ends with that test."""
    root, ours = logging.getLogger(), logging.getLogger("emloop")
    level, own_level, disabled = root.level, ours.level, root.manager.disable
    yield
    for handler in [each for each in root.handlers if type(each).__module__.startswith("emloop.")]:
        root.removeHandler(handler)
    root.setLevel(level)
    ours.setLevel(own_level)
    logging.disable(disabled)


@pytest.fixture(scope="session")
def one_torch_thread():
    """Sums of PyTorch's, where it is installed, are taken in one order, however many cores there are."""
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def processes():
    """``run`` and ``Popen`` as in :mod:`subprocess`, but quick; ``processes.py`` says for what."""
    processes = Processes()
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def emloop_in(processes):
    """Makes, for a directory, a function that runs the command line there, in one thread, and returns what it said."""

    def make(directory):
        def emloop(*arguments, expect=0, timeout=300):
            done = processes.run(
                [sys.executable, "-m", "emloop", *arguments],
                cwd=directory,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            assert done.returncode == expect, done.stdout + done.stderr
            return done.stdout + done.stderr

        return emloop

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test has logged and printed fit to be sent between processes, which lone surrogates are not."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
