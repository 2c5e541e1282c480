"""A model that remembers all that one can: statistics, noise, an average, a window of gradients, a schedule."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

import emloop_torch


class Net(nn.Module):
    """Tells points of two classes apart."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Tanh(), nn.Linear(6, 2))

    def forward(self, x, y):
        return {"loss": functional.cross_entropy(self.body(x), y, reduction="none")}


class Model(emloop_torch.BaseModel):
    """The same as a model."""

    def create_model(self):
        return Net()
