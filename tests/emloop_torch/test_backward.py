"""Backward passes and means of losses take a shorter way where it leads to the same bits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from emloop_torch._tensors.means import live_mean, weighted_mean  # noqa: E402
from emloop_torch._training.backward import back_propagate  # noqa: E402


class Greedy(torch.autograd.Function):
    """Writes to the gradient that it is given."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.mul_(3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 3, 7, 32, 1000])
@pytest.mark.parametrize("left_out", [0, 1])
def test_a_mean_and_its_gradient_have_the_bits_of_the_weighted_one(dtype, size, left_out):
    """Whether all examples count, or not."""
    torch.manual_seed(size)
    values = torch.randn(size, dtype=dtype).requires_grad_()
    weight = torch.ones(size, dtype=torch.bool)
    weight[:left_out] = False
    found = []
    for mean in (weighted_mean, live_mean):
        values.grad = None
        back_propagate(mean(values, weight), None, keeps_graph=False)
        found.append(values.grad)

    assert torch.equal(weighted_mean(values, weight), live_mean(values, weight))
    assert torch.equal(*found)


def test_a_function_that_writes_to_its_gradient_spoils_no_later_pass():
    """Every pass begins with a one of its own."""
    value = torch.ones((), requires_grad=True)
    for _ in range(2):
        value.grad = None
        back_propagate(Greedy.apply(value), None, keeps_graph=False)
        assert value.grad == 3


def test_what_stands_in_for_backward_is_called(monkeypatch):
    """As a library that hooks into PyTorch expects."""
    called = []
    monkeypatch.setattr(torch.Tensor, "backward", lambda self, **given: called.append(given))

    back_propagate(torch.ones((), requires_grad=True) * 2, None, keeps_graph=False)

    assert called == [{"retain_graph": False, "inputs": None}]


def test_a_loss_without_a_gradient_is_refused_as_pytorch_does():
    """No shorter way around its message."""
    with pytest.raises(RuntimeError, match="does not require grad"):
        back_propagate(torch.ones(()), None, keeps_graph=False)
