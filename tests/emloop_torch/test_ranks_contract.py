"""Networks of PyTorch keep what is promised of trainings on several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emloop.testing import RanksCase, RanksContract
from emloop.testing.ranks import World

MODULES = {"ranks_nets": Path(__file__).with_name("ranks_nets.py").read_text()}
OPTIMIZER = {"optimizer": {"class": "AdamW", "learning_rate": 0.01}, "clip_gradient": {"norm": 1.0}, "accumulate": 3}
MLP = RanksCase(
    "Mlp",
    model={
        "class": "ranks_nets.MlpModel",
        "inputs": ["points", "labels", "counts"],
        "outputs": ["predictions", "loss"],
        "weights": {"loss": "counts"},
        **OPTIMIZER,
    },
    noisy=["model.dropout=0.5"],
    modules=MODULES,
    tolerance=1e-4,
)
TRANSFORMER = RanksCase(
    "Transformer",
    model={"class": "ranks_nets.TransformerModel", "inputs": ["points"], "outputs": ["loss"], **OPTIMIZER},
    noisy=["model.dropout=0.5"],
    modules=MODULES,
    tolerance=1e-4,
)
SHARDED = [
    replace(case, name=f"{case.name}, sharded", model={**case.model, "distributed": {"strategy": "fsdp"}})
    for case in (MLP, TRANSFORMER)
]


@pytest.mark.slow
class TestPyTorch(RanksContract):
    """With AdamW, a limit of the gradient's norm, and three batches in a step."""

    cases = (MLP,)

    @pytest.fixture
    def world(self, case, tmp_path, processes):
        """With processes that are forked."""
        return World(case, tmp_path, processes.Popen, 120.0)


@pytest.mark.torture
class TestTransformer(TestPyTorch):
    """The same with embeddings that are tied."""

    cases = (TRANSFORMER,)


@pytest.mark.torture
class TestSharded(TestPyTorch):
    """The same with a part of the parameters in each process."""

    cases = SHARDED
