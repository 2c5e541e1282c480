"""No test of a thread may hang, or leave a thread behind."""

from __future__ import annotations

import faulthandler
import signal
import threading
from time import monotonic

import pytest

_PATIENCE = 60.0


def _give_up(_signum, _frame):
    faulthandler.dump_traceback()
    raise TimeoutError(f"the test hangs: nothing for {_PATIENCE:g} s")


@pytest.fixture(autouse=True)
def _watchdog():
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    left = [thread for thread in threading.enumerate() if thread.name.startswith("stream ")]
    deadline = monotonic() + _PATIENCE / 6
    for thread in left:
        thread.join(max(0.0, deadline - monotonic()))
    assert not [thread for thread in left if thread.is_alive()], "a reading thread was left behind"
