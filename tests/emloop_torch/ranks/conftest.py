"""Several processes that do the same."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[3]


class Ended(NamedTuple):
    """How a process has ended.

    Args:
        code: Its exit code; ``None`` if it had not ended in time.
        output: What it has written.
        seconds: How long that took.
        result: What the function returned.
    """

    code: int | None
    output: str
    seconds: float
    result: Any


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="session")
def several(processes, tmp_path_factory):
    """Let several processes run a function of ``scenes.py``; returns how each has ended.

    One that is stopped does not end by itself.
    """

    def run(name, *arguments, size=2, timeout=60.0, limit=120.0, is_to_succeed=True, stopped=None, quiet=True):
        directory = tmp_path_factory.mktemp(name)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
        env.pop("GLOO_SOCKET_IFNAME", None)
        port, started, ended = _free_port(), monotonic(), []
        with ExitStack() as entered:
            running = []
            for rank in range(size):
                command = [sys.executable, "-m", "tests.emloop_torch.ranks.scenes", name, str(rank), str(size)]
                command += [str(port), str(timeout), str(directory), *map(repr, arguments)]
                output = entered.enter_context((directory / f"output.{rank}").open("w"))
                process = processes.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
                entered.callback(process.wait)
                entered.callback(process.kill)
                running.append(process)
            left = {rank: process for rank, process in enumerate(running) if rank != stopped}
            seconds = dict.fromkeys(range(size), limit)
            while left and monotonic() - started < limit:
                for rank, process in list(left.items()):
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(0.02)
                        seconds[rank] = monotonic() - started
                        del left[rank]
            for rank, process in enumerate(running):
                result = directory / f"{name}.{rank}"
                found = pickle.loads(result.read_bytes()) if result.exists() else None
                output = (directory / f"output.{rank}").read_text()
                ended.append(Ended(process.poll(), output, seconds[rank], found))
        if is_to_succeed:
            for rank, each in enumerate(ended):
                assert each.code == 0, f"rank {rank}: {each.output}"
                assert not (quiet and each.output), f"rank {rank} writes: {each.output}"
            return [each.result for each in ended]
        return ended

    return run
