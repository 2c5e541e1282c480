"""A loss that is not a number is found where it is computed."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from emloop_torch._running.first_nan import FirstNaN  # noqa: E402


class Echo(torch.nn.Module):
    """Its loss is its source."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, points, labels):
        return {"loss": points[:, 0] * self.weight}


@pytest.mark.parametrize("outputs", [["loss"], []])
@pytest.mark.parametrize("train", [True, False])
def test_a_model_tells_the_first_batch_whose_loss_had_a_nan(create, outputs, train):
    """Whether or not the loss is an output; asking begins anew."""
    model = create(Echo, outputs=outputs, optimizer={"class": "SGD", "learning_rate": 0.0})
    assert model.first_nan() is None
    found = []
    for bad in ((), (3, 5), ()):
        for number in range(1, 7):
            points = np.full((2, 1), np.nan if number in bad else 1.0, np.float32)
            model.run({"points": points, "labels": np.zeros(2)}, train=train)
            if bad and train:
                with torch.no_grad():
                    model.module.weight.fill_(1.0)
        found.append(int(model.first_nan()))

    assert found == [0, 3, 0]
    assert model.first_nan() is None


@pytest.mark.parametrize("first", [1, 2, 63, 64, 65, 128, 129, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_is_found_wherever_it_is(first, dtype):
    """Among any number of batches, of any size."""
    watch = FirstNaN()
    for number in range(1, 201):
        loss = torch.full((number % 3 + 1, 2), torch.nan if number in (first, 199) else 6e4, dtype=dtype)
        watch.look([(loss, None)])

    assert int(watch.take()) == min(first, 199)


def test_a_loss_that_cannot_be_nan_is_none():
    """Integers, or no loss at all."""
    watch = FirstNaN()
    watch.look([(torch.ones(3, dtype=torch.int64), None)])
    watch.look([])

    assert watch.take() is None
