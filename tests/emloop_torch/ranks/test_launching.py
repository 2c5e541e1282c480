"""Processes that ``--nproc`` has started do not outlive what has started them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

pytest.importorskip("torch")

from emloop._state.commit import list_commits
from emloop.testing.ranks import World

from ..test_ranks_contract import MLP

pytestmark = [pytest.mark.torture, pytest.mark.skipif(sys.platform != "linux", reason="no other system tells children")]


def test_a_killed_launcher_takes_its_processes_along(tmp_path):
    """They commit and end, as at a signal."""
    world = World(MLP, tmp_path, subprocess.Popen, 120.0)
    words = ("--nproc", "2", "--output_dir", "run", "hooks=[]", "main_loop.commit.every=1")
    (launcher,) = world.start(1, "train", "config.yaml", *words)
    run, began = tmp_path / "log" / "run", monotonic()
    while not list_commits(run / "checkpoints"):
        assert monotonic() - began < 60
        with suppress(subprocess.TimeoutExpired):
            launcher.wait(0.01)
    started = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    ends = [os.pidfd_open(int(pid)) for pid in started]

    launcher.kill()

    assert len(started) == 2
    for end in ends:
        assert select.select([end], [], [], 60)[0]
        os.close(end)
    launcher.communicate()
    assert "a resume repeats nothing" in (run / "train.log").read_text()
    world.run(2, "resume", "log/run", "main_loop.epochs_count=1")
