"""In a commit of a sharded training, every process has written its own rows."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from emloop._state.commit import newest_commit
from emloop.testing.ranks import World

from ..test_ranks_contract import SHARDED

FULL = """
import resource

from emloop.testing.ranks import Numbers


class Full(Numbers):
    passes = 0

    def valid_stream(self):
        self.passes += 1
        if self.shard.rank == 1 and self.passes == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        return super().valid_stream()
"""


@pytest.fixture
def world(tmp_path, processes):
    (tmp_path / "full.py").write_text(FULL)
    return World(SHARDED[0], tmp_path, processes.Popen, 120.0)


def test_each_process_writes_its_part(world):
    """And nobody all of it; one process goes on from them."""
    world.train("run", 2, "hooks.StopAfter.epochs=1")
    commit, _ = newest_commit(world.directory / "log" / "run" / "checkpoints", set_aside=False)
    sizes = {path.name: path.stat().st_size for path in commit.path.glob("*.safetensors")}
    shapes = {name: value.shape for name, value in commit.load("model")["parameters"].items()}

    world.run(1, "resume", "log/run", "hooks.StopAfter.epochs=2")

    assert sorted(sizes) == ["rows-00001.safetensors", "state.safetensors"]
    alone = world.train("alone", 1, "hooks.StopAfter.epochs=1").states["model"]["parameters"]
    assert shapes == {name: value.shape for name, value in alone.items()}
    whole = sum(value.nbytes for value in alone.values())
    assert sizes["rows-00001.safetensors"] > whole, "parameters, two moments and gradients, of which it has half"


def test_where_one_process_cannot_write_no_commit_counts(world):
    """All end, and say who it was; the commit of before, that of the first epoch, stays."""
    words = ("--output_dir", "run", "main_loop.commit.every=1")
    said = world.run(2, "train", "config.yaml", "dataset.class=full.Full", *words, expect=1)

    assert "rank 1 cannot write its rows: [Errno 27] File too large" in said[0]
    commit, _ = newest_commit(world.directory / "log" / "run" / "checkpoints", set_aside=False)
    assert commit.info["epoch"] == 1
