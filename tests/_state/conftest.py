"""Checkpoints of a run that anybody could have: a model, a hook, a stream, the random generators."""

from __future__ import annotations

import numpy as np
import pytest

from emloop._state.commit import write_commit


@pytest.fixture
def checkpoints(tmp_path):
    """Where the run keeps its checkpoints; not yet there."""
    return tmp_path / "checkpoints"


@pytest.fixture
def state():
    """The run's state as it is at a checkpoint: a function of the checkpoint's number."""

    def at(seq):
        return {
            "loop": {"epochs_done": seq},
            "model": {"weights": np.full((40, 5), float(seq)), "step": seq},
            "hooks/SaveBest": {"best": float("inf"), "message": f"number {seq}"},
            "streams/train": {"pass": seq, "digest": None},
        }

    return at


@pytest.fixture
def commit(checkpoints, state):
    """Write a checkpoint of a number."""
    return lambda seq: write_commit(checkpoints, seq, state(seq), {"epoch": seq, "files": []})
