"""Networks of every kind, each a few lines."""

import torch
from torch import nn
from torch.nn import functional

import emloop_torch


class Classifier(nn.Module):
    """Tells which of four classes a signal is of."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def predict(self, signals):
        logits = self.body(signals)
        return {"logits": logits, "predictions": logits.argmax(1)}

    def forward(self, signals, labels):
        outputs = self.predict(signals)
        loss = functional.cross_entropy(outputs["logits"], labels, reduction="none")
        return {**outputs, "loss": loss, "accuracy": (outputs["predictions"] == labels).float()}


class Mlp(emloop_torch.BaseModel):
    def create_model(self, hidden=16):
        layers = [nn.Flatten(), nn.Linear(48, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 4)]
        return Classifier(nn.Sequential(*layers))


class ConvNet(emloop_torch.BaseModel):
    def create_model(self):
        convolution = [nn.Unflatten(1, (1, 6)), nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)]
        return Classifier(nn.Sequential(*convolution, nn.Flatten(), nn.Dropout(0.3), nn.Linear(36, 4)))


class CharacterModel(nn.Module):
    """Says what follows each token; the table of tokens is used on the way in and on the way out."""

    def __init__(self, width=16):
        super().__init__()
        self.tokens = nn.Embedding(16, width)
        self.places = nn.Parameter(torch.zeros(8, width))
        layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 16, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens):
        read, following = tokens[:, :-1], tokens[:, 1:]
        mask = nn.Transformer.generate_square_subsequent_mask(8)
        logits = self.head(self.layers(self.tokens(read) + self.places, mask=mask, is_causal=True))
        loss = functional.cross_entropy(logits.transpose(1, 2), following, reduction="none").mean(1)
        return {"loss": loss, "predictions": logits.argmax(2)}


class Transformer(emloop_torch.BaseModel):
    def create_model(self):
        return CharacterModel()


class Recurrent(nn.Module):
    """The last state of a recurrent network."""

    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = kind(8, 10, batch_first=True, **options)
        self.head = nn.Linear(20 if options.get("bidirectional") else 10, 4)

    def forward(self, signals):
        states, _ = self.rnn(signals)
        return self.head(states[:, -1])


class Lstm(emloop_torch.BaseModel):
    def create_model(self):
        return Classifier(Recurrent(nn.LSTM, bidirectional=True, num_layers=2, dropout=0.2))


class Gru(emloop_torch.BaseModel):
    def create_model(self):
        return Classifier(Recurrent(nn.GRU))


class Spectral(emloop_torch.BaseModel):
    def create_model(self):
        first = nn.utils.parametrizations.spectral_norm(nn.Linear(48, 12))
        return Classifier(nn.Sequential(nn.Flatten(), first, nn.Tanh(), nn.Linear(12, 4)))


class OldSpectral(emloop_torch.BaseModel):
    """The kind that computes the weight in a hook and keeps it as an attribute."""

    def create_model(self):
        first = nn.utils.spectral_norm(nn.Linear(48, 12))
        return Classifier(nn.Sequential(nn.Flatten(), first, nn.Tanh(), nn.Linear(12, 4)))


class FrozenBackbone(emloop_torch.BaseModel):
    def create_model(self):
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 4)))


class Rounded(torch.autograd.Function):
    """Rounds on the way in, and lets gradients pass as if it had not."""

    @staticmethod
    def forward(ctx, values):
        return (values * 4).round() / 4

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class RoundedLayer(nn.Module):
    def forward(self, values):
        return Rounded.apply(values)


class StraightThrough(emloop_torch.BaseModel):
    def create_model(self):
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 12), RoundedLayer(), nn.Linear(12, 4)))


class Penalised(Classifier):
    """A loss with a penalty on how steep the answer is."""

    def forward(self, signals, labels):
        with torch.enable_grad():
            signals = signals.detach().requires_grad_(True)
            outputs = super().forward(signals, labels)
            (slope,) = torch.autograd.grad(outputs["logits"].sum(), signals, create_graph=True)
            penalty = slope.square().flatten(1).sum(1)
        return {**outputs, "loss": outputs["loss"] + 0.1 * penalty}


class GradientPenalty(emloop_torch.BaseModel):
    def create_model(self):
        return Penalised(nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.Tanh(), nn.Linear(12, 4)))


class Branching(nn.Module):
    """Goes one way or the other, as the numbers say."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(48, 4), nn.Linear(48, 4)

    def forward(self, signals):
        flat = signals.flatten(1)
        return self.one(flat) if flat.sum() > 0 else self.other(flat)


class ControlFlow(emloop_torch.BaseModel):
    def create_model(self):
        return Classifier(Branching())


class PartlyCompiled(emloop_torch.BaseModel):
    def create_model(self):
        part = torch.compile(nn.Sequential(nn.Linear(48, 12), nn.GELU()), backend="aot_eager")
        return Classifier(nn.Sequential(nn.Flatten(), part, nn.Linear(12, 4)))
