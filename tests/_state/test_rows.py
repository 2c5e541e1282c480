"""Of arrays that are cut among processes, each writes its rows, and whoever reads the commit has them whole."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from emloop._state import commit as commit_module
from emloop._state.commit import newest_commit, open_commit, write_encoded, write_rows
from emloop._state.tree import Lasting, Rows, encode_components, equal_trees
from emloop.errors import CheckpointError

WHOLE = {
    "weight": np.arange(12, dtype=np.float32).reshape(6, 2),
    "bits": {"dtype": "bfloat16", "bits": np.arange(5, dtype=np.uint16)},
    "short": np.array([1.5]),
    "base": np.zeros((100, 200)),
    "step": 7,
}
CUTS = {"weight": (0, 2, 4, 6), "bits": (0, 2, 4, 5), "short": (0, 1, 1, 1)}


def part(rank):
    """What a process of three has of it."""

    def rows(name, array):
        return array[CUTS[name][rank] : CUTS[name][rank + 1]].view(Rows)

    bits = {"dtype": "bfloat16", "bits": rows("bits", WHOLE["bits"]["bits"])}
    own = {name: rows(name, WHOLE[name]) for name in ("weight", "short")}
    return {**WHOLE, **own, "bits": bits, "base": WHOLE["base"].view(Lasting)}


def commit(directory, seq, other=part):
    def begin(temporary):
        return lambda: [write_rows(temporary, rank, other(rank)) for rank in (1, 2)]

    encoded = encode_components({"loop": {"epochs": seq}, "model": part(0)})
    return write_encoded(directory, seq, encoded, {}, begin)


def test_who_reads_a_commit_has_whole_arrays(tmp_path):
    """Also of bits, of no rows at all, and beside what is kept once."""
    made = commit(tmp_path / "checkpoints", 1)

    assert equal_trees(made.load("model"), WHOLE)
    assert equal_trees(made.load("loop"), {"epochs": 1})
    assert equal_trees(newest_commit(tmp_path / "checkpoints", set_aside=False)[0].states()["model"], WHOLE)
    assert open_commit(made.path) == made
    assert made.bytes == sum(path.stat().st_size for path in made.path.iterdir() if path.name != "manifest.json")


def test_a_process_that_cannot_write_leaves_the_commits_as_they_were(tmp_path):
    """Nothing remains of its attempt."""
    commit(tmp_path / "checkpoints", 1)

    def failing(_temporary):
        def wait():
            raise CheckpointError("rank 2 cannot write its rows: No space left on device")

        return wait

    encoded = encode_components({"model": part(0)})
    with pytest.raises(CheckpointError, match="rank 2 cannot write its rows: No space left"):
        write_encoded(tmp_path / "checkpoints", 2, encoded, {}, failing)

    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000001"]


def test_the_answers_of_a_failed_attempt_are_taken(tmp_path, monkeypatch):
    """Else the next commit would take them for its own."""
    taken = []
    encoded, begin = encode_components({"model": part(0)}), lambda _temporary: lambda: taken.append("an answer") or []

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(commit_module, "write_new", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_encoded(tmp_path / "checkpoints", 1, encoded, {}, begin)

    assert taken == ["an answer"]


def test_a_commit_counts_only_with_the_rows_of_all(tmp_path):
    """A damaged or a missing file is found before anything is restored."""
    commit(tmp_path / "checkpoints", 1)
    for seq, harm in ((2, lambda path: path.unlink()), (3, lambda path: path.write_bytes(path.read_bytes()[::-1]))):
        harm(commit(tmp_path / "checkpoints", seq).path / "rows-00002.safetensors")

    found, damaged = newest_commit(tmp_path / "checkpoints", set_aside=False)

    assert found.seq == 1
    assert [name for name, _ in damaged] == ["00000003", "00000002"]
    assert all("rows-00002.safetensors" in reason for _, reason in damaged)


def test_rows_of_different_arrays_do_not_go_together(tmp_path):
    """As where a process trains another model."""

    def other(rank):
        return part(rank) if rank == 1 else {"weight": WHOLE["weight"][4:].view(Rows)}

    made = commit(tmp_path / "checkpoints", 1, other)

    with pytest.raises(CheckpointError, match="the processes had rows of different arrays"):
        made.load("model")
