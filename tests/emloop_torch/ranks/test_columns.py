"""What hooks see of tensors whose rows lie in several processes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import emloop_torch  # noqa: F401 - says how tensors travel
from emloop._ranks.columns import Column, Held


def gathered(own, *others):
    """A column whose rows have come together."""
    column = Column(Held(None, None), "points", own, sum(map(len, (own, *others))))
    column.keep([np.asarray(each) for each in others])
    return column


def test_a_column_of_tensors_is_used_like_a_tensor():
    """By methods, operators and functions of PyTorch."""
    whole = torch.arange(10.0).reshape(5, 2)
    column = gathered(whole[:3], whole[3:])

    assert isinstance(column, torch.Tensor)
    for one, other in [
        (whole.float().mean(dim=1), column.float().mean(dim=1)),
        (torch.cat([whole, whole], dim=1), torch.cat([column, column], dim=1)),
        (torch.sigmoid(input=whole), torch.sigmoid(input=column)),
        (whole * 2, column * 2),
        (whole, copy.copy(column)),
        (whole, pickle.loads(pickle.dumps(column))),
    ]:
        assert isinstance(other, torch.Tensor)
        assert torch.equal(one, other)


def test_a_column_of_arrays_becomes_a_tensor_at_once(recwarn):
    """Not number by number."""
    column = gathered(np.ones((2, 3)), np.zeros((1, 3)))

    assert torch.equal(torch.tensor([[1.0] * 3, [1.0] * 3, [0.0] * 3], dtype=torch.float64), torch.as_tensor(column))
    assert not recwarn
