"""Networks of a few lines that know what to do without labels."""

from __future__ import annotations

import numpy as np
from torch import nn
from torch.nn import functional

import emloop_torch
from emloop._state.random import use_seed


class Classifier(nn.Module):
    """Two classes, told apart by a body that gives two numbers for every example."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def predict(self, points):
        logits = self.body(points)
        return {"logits": logits, "predictions": logits.argmax(1), "sure": logits.abs().amax(1) > 0.5}

    def forward(self, points, labels):
        outputs = self.predict(points)
        return {**outputs, "loss": functional.cross_entropy(outputs["logits"], labels, reduction="none")}


def perceptron():
    """Numbers in, numbers out."""
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)))


def convolutional():
    """With statistics of its batches, which training and evaluation use in different ways."""
    first = [nn.Unflatten(1, (1, 6)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    return Classifier(nn.Sequential(*first, nn.Flatten(), nn.Dropout(0.3), nn.Linear(24, 2)))


class Reader(nn.Module):
    """What follows each of some tokens; the same table is used on the way in and on the way out."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(16, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 16, bias=False)
        self.head.weight = self.table.weight

    def predict(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        logits = self.head(self.layers(self.table(tokens), mask=mask, is_causal=True))
        return {"logits": logits, "predictions": logits.argmax(2)}

    def forward(self, tokens, labels):
        outputs = self.predict(tokens)
        loss = functional.cross_entropy(outputs["logits"].transpose(1, 2), labels, reduction="none")
        return {**outputs, "loss": loss.mean(1)}


def signals(examples=6, seed=0):
    """A batch for the classifiers."""
    rng = np.random.default_rng(seed)
    return {"points": rng.normal(size=(examples, 6, 8)).astype(np.float32), "labels": rng.integers(0, 2, examples)}


def sentences(examples=6, length=7, seed=0):
    """A batch for the reader."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 16, (examples, length + 1))
    return {"tokens": tokens[:, :-1], "labels": tokens[:, 1:]}


def trained(make, batches, log_dir=None, **config):
    """A model that has seen some batches."""
    names = list(batches[0])
    config = {"inputs": names, "outputs": ["loss"], "device": "cpu"} | config
    cls = type("Model", (emloop_torch.BaseModel,), {"create_model": lambda self: make()})
    with use_seed(7):
        model = cls(None, None if log_dir is None else str(log_dir), **config)
    for batch in batches:
        model.run(batch, train=True)
    return model


def restored(path, batch, **config):
    """The same without its source."""
    config = {"inputs": list(batch), "outputs": ["loss"], "device": "cpu"} | config
    return emloop_torch.BaseModel(None, None, str(path), **config)
