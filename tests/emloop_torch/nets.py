"""Modules of a few lines, for tests."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    """Two classes of points, told apart by a body that gives two numbers."""

    def __init__(self, body=None):
        super().__init__()
        self.body = nn.Linear(3, 2) if body is None else body

    def predict(self, points):
        return {"logits": self.body(points)}

    def forward(self, points, labels):
        outputs = self.predict(points)
        return {**outputs, "loss": functional.cross_entropy(outputs["logits"], labels, reduction="none")}


def deep():
    """A net with dropout and normalisation."""
    return Net(nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.ReLU(), nn.Linear(6, 2)))


def constant():
    """A net whose weights are known."""
    net = Net()
    with torch.no_grad():
        net.body.weight.copy_(torch.tensor([[0.1, 0.2, 0.3], [0.5, -0.4, 0.7]]))
        net.body.bias.zero_()
    return net
