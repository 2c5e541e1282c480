"""One process of a training is killed, or gets a signal, again and again, at random instants in each of its parts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
from tests.emloop_torch.test_ranks_contract import MLP
from tests.end_to_end.conftest import Project
from tests.kills import REACH, Killing, require_none_left, wait_for_end

pytest.importorskip("torch")

from emloop._state.tree import equal_trees
from emloop._yaml import documents as yaml
from emloop.constants import EXIT_STOPPED
from emloop.saved_models import find_saved
from emloop.testing.ranks import World

pytestmark = pytest.mark.torture

TIMEOUT = 20.0
"""Seconds within which processes answer one another."""

MARKED = '''
import os
from pathlib import Path

import marks
import ranks_nets


class Marks(marks.Marks):
    """Comes first of all hooks, so what follows an epoch is saving."""

    def after_epoch(self, epoch_id, epoch_data):
        self._note("save")


class Net(ranks_nets.MlpModel):
    """Notes that a process has joined the others."""

    @classmethod
    def join_ranks(cls, scene, timeout):
        ranks = super().join_ranks(scene, timeout)
        Path(f"joined.{scene.rank}").write_text(str(os.getpid()))
        return ranks
'''


@dataclass
class KillingOne(Killing):
    """Ends one of two processes.

    Args:
        world: Where they train.
        number: The signal.

    Attributes:
        seconds: The longest that it took until both had ended.
    """

    noting = ()
    warming = ("--output_dir", "warm", "main_loop.epochs_count=1")

    world: World = field(kw_only=True)
    number: signal.Signals = field(kw_only=True, default=signal.SIGKILL)
    seconds: float = field(init=False, default=0.0)

    def run_alone(self, *words: str) -> None:
        """Both of them."""
        self.world.run(2, *words)

    def start(self, *words: str) -> list[subprocess.Popen[str]]:
        """Both of them."""
        for path in self.project.path.glob("joined.*"):
            path.unlink()
        return self.world.start(2, *words)

    def strike(self, processes: list[subprocess.Popen[str]], *, may_have_ended: bool) -> str | None:
        """The other one ends in time, too, and says why."""
        victim = self._random.randrange(2)
        other, place = processes[1 - victim], self.at(processes[0].pid)
        have_joined = all((self.project.path / f"joined.{rank}").exists() for rank in range(2))
        processes[victim].send_signal(self.number)
        began = monotonic()
        if not have_joined:
            processes[victim].wait()
            other.terminate()  # as launchers do
        try:
            said = [process.communicate(timeout=2 * TIMEOUT)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        codes = [process.returncode for process in processes]
        seconds = monotonic() - began
        told = "\n".join([f"{place}, rank {victim}, joined: {have_joined}, {codes} after {seconds:.1f} s", *said])
        self.seconds = max(self.seconds, seconds)
        if may_have_ended and 0 in codes:  # all was done
            assert {*codes} <= {0, -self.number}, told
            return None
        assert seconds < TIMEOUT, told
        if not have_joined:
            assert all(codes), told
        elif self.number == signal.SIGKILL:
            assert codes[victim] == -9, told
            assert codes[1 - victim] == 1, told
            assert re.search(rf"rank {victim}\b", said[1 - victim]), told
        else:
            assert codes == [EXIT_STOPPED, EXIT_STOPPED], told
        return place


@pytest.fixture
def killing(tmp_path, processes):
    """What ends one process of a training, as a strategy says it is trained."""

    def made(strategy: str, **options) -> KillingOne:
        model = {**MLP.model, "class": "marked.Net", "distributed": {"strategy": strategy, "timeout": TIMEOUT}}
        case = replace(MLP, model=model, modules={**MLP.modules, "marked": MARKED})
        world = World(case, tmp_path, partial(processes.Popen, start_new_session=True), 120.0)
        path = tmp_path / "config.yaml"
        config = yaml.load(path.read_text(), str(path))
        hooks = ["marked.Marks", *config["hooks"][:-1], "SaveLatest"]
        path.write_text(yaml.dump({**config, "hooks": hooks}))
        words = (*MLP.noisy, "main_loop.commit={every: 5ba}")
        return KillingOne(Project(tmp_path, processes), "cut", words, world=world, **options)

    return made


def require_untouched(killing: KillingOne) -> None:
    """The run has ended as one that was left alone."""
    words = ("train", "config.yaml", "--output_dir", "whole", *killing.words, killing.limit(0))
    killing.world.run(2, *words)

    killing.world.left("cut").require_same(killing.world.left("whole"))
    for name in ("model_best", "model_latest"):
        cut, whole = (find_saved(killing.project.run(run) / name).tree() for run in ("cut", "whole"))
        assert equal_trees(cut, whole)


@pytest.mark.parametrize(("strategy", "kills"), [("ddp", 40), ("fsdp", 20)])
def test_one_process_killed_again_and_again_the_run_ends_as_if_untouched(killing, strategy, kills):
    """SIGKILL in every part of a training: the other one names it, and nothing committed is lost."""
    one = killing(strategy, reach={**REACH, "save": 0.05})

    one.run(kills)

    require_untouched(one)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_process_stopped_again_and_again_the_run_ends_as_if_untouched(killing, strategy):
    """SIGTERM in every part of a training: both commit, and end with 75."""
    reach = {"epoch": 0.03, "evaluation": 0.002, "commit": 0.004, "save": 0.05}
    one = killing(strategy, number=signal.SIGTERM, seed=1, reach=reach)

    one.run(15)

    require_untouched(one)


def test_a_launcher_that_starts_all_anew_gets_the_run_done(killing):
    """Each time from the last commit."""
    one = killing("ddp")
    path = one.project.path
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "2", "-m", "emloop", "train", "config.yaml", "--output_dir", "cut", "--auto-resume"]
    started, at = set(), 0
    with (path / "said").open("w") as said:
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        launcher = subprocess.Popen([*command, *one.words, one.limit(12)], cwd=path, env=env, stdout=said, stderr=said)
        try:
            for victim in (1, 0):
                began = monotonic()
                while not ((commit := one.commit()) and commit.seq > at and started.isdisjoint(joined(path))):
                    assert launcher.poll() is None, (path / "said").read_text()
                    assert monotonic() - began < 120
                    wait_for_end(launcher, 0.01)
                pids, at = joined(path), commit.seq
                started.update(pids)
                os.kill(pids[victim], signal.SIGKILL)
            launcher.wait(120)
        finally:
            launcher.kill()

    assert launcher.returncode == 0, (path / "said").read_text()
    for pid in (*started, *joined(path)):
        require_none_left(pid)
    starts = [attempt["commit"] for attempt in one.project.attempts("cut") if attempt["event"] == "start"]
    assert len(starts) == 3
    assert starts == sorted({*starts}, key=lambda seq: seq or 0)
    require_untouched(one)


def joined(path: Path) -> list[int]:
    """Numbers of the processes that have joined."""
    return [int(each.read_text() or 0) for each in sorted(path.glob("joined.*"))]
