"""What can only be seen with an accelerator; without one, these say that nothing was seen."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("PyTorch sees no CUDA device here", allow_module_level=True)

from emloop_torch._feeding import LazyArray  # noqa: E402

from .nets import deep  # noqa: E402


def test_a_program_moves_to_another_device(create, batches):
    """Saved on one, restored on the other, in both directions."""
    for origin, target in (("cpu", "cuda"), ("cuda", "cpu")):
        model = create(deep, device=origin, outputs=["loss", "logits"])
        for batch in batches[:4]:
            model.run(batch, train=True)
        restored = create(restore_from=model.save("best"), device=target, outputs=["loss", "logits"])
        expected, found = (np.asarray(m.run(batches[0], train=False)["logits"]) for m in (model, restored))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        restored.run(batches[1], train=True)


def test_outputs_come_back_without_stopping_the_device(create, batches):
    """They are on their way when ``run`` returns."""
    outputs = create(deep, device="cuda").run(batches[0], train=True)

    assert isinstance(outputs["loss"], LazyArray)
    assert np.isfinite(np.asarray(outputs["loss"])).all()


@pytest.mark.parametrize("config", [{"precision": "bf16"}, {"precision": "fp16"}, {"precision": "tf32"}], ids=str)
def test_less_precision_trains(create, batches, config):
    """And is saved and restored as any other."""
    model = create(deep, device="cuda", **config)
    for batch in batches:
        model.run(batch, train=True)
    restored = create(restore_from=model.save("best"), device="cuda", **config)
    expected, found = (np.asarray(m.run(batches[0], train=False)["loss"]) for m in (model, restored))
    np.testing.assert_allclose(found, expected, rtol=1e-3)
