"""Networks that several processes train."""

from torch import nn
from torch.nn import functional

import emloop_torch


class Mlp(nn.Module):
    """Two layers; every example counts as ``counts`` says."""

    def __init__(self, dropout):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))

    def forward(self, points, labels, counts):
        logits = self.layers(points)
        return {"predictions": logits.argmax(1), "loss": functional.cross_entropy(logits, labels, reduction="none")}


class MlpModel(emloop_torch.BaseModel):
    """The model of it."""

    def create_model(self, dropout=0.0):
        return Mlp(dropout)


class Transformer(nn.Module):
    """A point's numbers are its tokens; input and output embedding are one."""

    def __init__(self, dropout):
        super().__init__()
        self.embedding = nn.Embedding(8, 16)
        # That of the keys has no gradient but for rounding, which AdamW makes as large as any.
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout, batch_first=True, bias=False)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 8, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, points):
        tokens = (points * 2 + 4).clamp(0, 7).long()
        logits = self.head(self.encoder(self.embedding(tokens[:, :-1])))
        losses = functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        return {"loss": losses.mean(1)}


class TransformerModel(emloop_torch.BaseModel):
    """The model of it."""

    def create_model(self, dropout=0.0):
        return Transformer(dropout)
