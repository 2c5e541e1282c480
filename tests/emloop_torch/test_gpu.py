"""What can only be seen with an accelerator; without one, these say that nothing was seen."""

from __future__ import annotations

from time import monotonic

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("PyTorch sees no CUDA device here", allow_module_level=True)

from torch import nn  # noqa: E402

from emloop._state.tree import equal_trees  # noqa: E402
from emloop.datasets import StreamWrapper  # noqa: E402
from emloop_torch._tensors.transfers import LazyArray  # noqa: E402

from .nets import Net, deep  # noqa: E402


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
    """They are on their way when ``run`` returns, and right when they arrive, however much is computed meanwhile."""
    model, watched = create(deep, device="cuda"), create(deep, device="cuda")
    outputs = [model.run(batch, train=True)["loss"] for batch in batches]
    expected = [np.array(watched.run(batch, train=True)["loss"]) for batch in batches]

    assert all(isinstance(loss, LazyArray) for loss in outputs)
    np.testing.assert_array_equal(outputs, expected)


def slow():
    """A net that keeps a device busy for some milliseconds."""
    return Net(nn.Sequential(nn.Linear(3, 4096), *(nn.Linear(4096, 4096) for _ in range(20)), nn.Linear(4096, 2)))


def test_launching_a_batch_does_not_wait_for_it(create, batches):
    """The host is done with many batches before the device is."""
    model = create(slow, device="cuda", optimizer={"class": "SGD", "learning_rate": 1e-6})
    large = [{name: np.tile(values.T, 256).T for name, values in batch.items()} for batch in batches]
    for batch in large[:4]:
        np.asarray(model.run(batch, train=True)["loss"])

    losses = [model.run(batch, train=True)["loss"] for batch in large[4:]]

    assert not losses[-1].is_ready()
    assert np.isfinite(losses).all()


def test_the_next_batch_moves_while_this_one_is_computed(create, batches):
    """It was pinned by the thread that reads, and is on its way when ``run`` returns."""
    model = create(deep, device="cuda")
    with StreamWrapper(lambda: batches, 4, name="train", prefetch=model.prefetch) as stream, stream.allow_buffering:
        model.run(next(stream), train=True, stream=stream)
        for batch in (batches[1], batches[2]):
            upcoming = wait_for(lambda: stream.upcoming)
            model.run(next(stream), train=True, stream=stream)
            assert stream.prefetched is upcoming
            assert upcoming.is_of(batch)
            following = wait_for(lambda: stream.upcoming)
            model.run(batch, train=False, stream=stream)
            assert (upcoming.started, following.started) == (True, True)


def wait_for(look):
    """What ``look`` finds, as soon as it finds something."""
    deadline = monotonic() + 30
    while (found := look()) is None:
        assert monotonic() < deadline
    return found


def test_reading_ahead_changes_no_number(create, batches):
    """With a buffer and without, to the bit."""
    states = []
    for buffer in (0, 4):
        model = create(deep, device="cuda", deterministic=True)
        with StreamWrapper(lambda: batches, buffer, name="train", prefetch=model.prefetch) as stream:
            for _ in range(3):
                for batch in stream:
                    model.run(batch, train=True, stream=stream)
        states.append(model.state_dict())

    assert equal_trees(*states)


def test_a_compiled_model_trains_and_is_saved(create, batches):
    """Its saved model is that of the module inside."""
    model = create(deep, device="cuda", compile=True)
    for batch in batches[:4]:
        model.run(batch, train=True)
    restored = create(restore_from=model.save("best"), device="cuda")
    expected, found = (np.asarray(m.run(batches[0], train=False)["loss"]) for m in (model, restored))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [{"precision": "bf16"}, {"precision": "fp16"}, {"precision": "tf32"}], ids=str)
def test_less_precision_trains(create, batches, config):
    """And is saved and restored as any other."""
    model = create(deep, device="cuda", **config)
    for batch in batches:
        model.run(batch, train=True)
    restored = create(restore_from=model.save("best"), device="cuda", **config)
    expected, found = (np.asarray(m.run(batches[0], train=False)["loss"]) for m in (model, restored))
    np.testing.assert_allclose(found, expected, rtol=1e-3)
