"""Processes that train on GPUs by NCCL; where there is none, these say that nothing was seen."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("PyTorch sees no CUDA device here", allow_module_level=True)


@pytest.mark.parametrize("size", [1, 2])
def test_processes_on_gpus_learn_what_one_does(several, tmp_path, size):
    """By each strategy; and what is saved goes on in as many."""
    if size > torch.cuda.device_count():
        pytest.skip(f"{size} processes need {size} CUDA devices, and there is {torch.cuda.device_count()}")
    found = several("on_cuda", str(tmp_path), size=size, quiet=False)
    alone = found[0]["alone"]

    for name in ("ddp", "fsdp"):
        for part, expected in ((0, alone[0]), (2, alone[2])):
            for number, losses in enumerate(expected):
                together = np.concatenate([each[name][part][number] for each in found])
                np.testing.assert_allclose(together, losses, rtol=1e-3, atol=1e-4)
        assert found[0][name][1].keys() == alone[1].keys()
        for key, value in alone[1].items():
            np.testing.assert_allclose(found[0][name][1][key], value, rtol=1e-3, atol=1e-4)
