"""Backward passes and means of losses take a shorter way where it leads to the same bits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from emloop_torch._tensors.means import is_plain, live_mean, weighted_mean  # noqa: E402
from emloop_torch._training.backward import back_propagate  # noqa: E402
from emloop_torch._training.optimizers import take_step  # noqa: E402


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_weighed", [False, True])
def test_losses_that_count_the_same_stand_for_their_mean(dtype, is_weighed):
    """Their gradients are those of the mean, to the bit, whatever their number."""
    for size in (*range(1, 130), 1000, 4099):
        weight = torch.ones(size, dtype=torch.bool) if is_weighed else None
        values = torch.linspace(0, 1, size, dtype=dtype).requires_grad_()
        found = []
        for followed in (weighted_mean(values, weight), values * 1.0):
            values.grad = None
            back_propagate(followed, None, keeps_graph=False)
            found.append(values.grad)
        assert is_plain(values, weight)
        assert torch.equal(*found)


@pytest.mark.parametrize(
    ("loss", "weight"),
    [
        pytest.param(torch.ones(()), None, id="a mean"),
        pytest.param(torch.ones(0), None, id="none"),
        pytest.param(torch.ones(3, dtype=torch.bfloat16), None, id="rounded twice"),
        pytest.param(torch.ones(3), torch.tensor([True, False, True]), id="one does not count"),
        pytest.param(torch.ones(3), torch.ones(3), id="weights that are numbers"),
        pytest.param(torch.ones(3), torch.ones(3, 2, dtype=torch.bool), id="weights with further axes"),
    ],
)
def test_other_losses_do_not_stand_for_their_mean(loss, weight):
    """Their mean has another gradient, or may have."""
    assert not is_plain(loss, weight)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "Rprop", "NAdam"])
def test_a_lean_step_has_the_bits_of_the_whole_one(name):
    """And leaves the settings of the groups as they were, which are a part of the state."""
    found = []
    for step in (lambda whole: whole.step(), take_step):
        parameters = [torch.linspace(-1, 1, size).requires_grad_() for size in (5, 7)]
        optimizer = getattr(torch.optim, name)(parameters, lr=0.1)
        settings = [dict(group) for group in optimizer.param_groups]
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = parameter.detach().cos()
            step(optimizer)
        assert [dict(group) for group in optimizer.param_groups] == settings
        found.append(parameters)

    assert all(map(torch.equal, *found))


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
