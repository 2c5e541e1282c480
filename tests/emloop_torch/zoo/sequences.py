"""Networks that follow signals and sequences.

``B`` is the number of examples, ``C`` channels, ``T`` time steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.distributions import Normal, StudentT
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .catalogue import architecture, signals, texts
from .vision import classified


def with_lengths(rng, examples):
    """Texts and their lengths."""
    batch = texts()(rng, examples)
    return {**batch, "lengths": (batch["tokens"] != 0).sum(1)}


@architecture("lstm-packed", with_lengths, outputs=["logits"], everyday=True)
class PackedLstm(nn.Module):
    """Texts without their padding, as packed sequences."""

    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Embedding(30, 8, padding_idx=0), nn.Linear(16, 3)
        self.lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True)

    def forward(self, tokens, labels, lengths):
        packed = pack_padded_sequence(self.embed(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)
        return classified(self.fc(torch.cat([hidden[-2], hidden[-1]], dim=1)), labels)


@architecture("lstm-packed-tagger", with_lengths)
class PackedTagger(nn.Module):
    """Packed, padded again, attended to."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.fc = nn.Embedding(30, 8), nn.GRU(8, 8, num_layers=2, dropout=0.2), nn.Linear(8, 3)

    def forward(self, tokens, labels, lengths):
        packed = pack_padded_sequence(self.embed(tokens.t()), lengths.cpu(), enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.rnn(packed)[0])
        mask = torch.arange(outputs.size(0))[:, None] < lengths[None, :]
        return classified(self.fc((outputs * mask[..., None]).sum(0) / lengths[:, None]), labels)


@architecture("lstm-last-of-length", with_lengths, outputs=["logits"])
class GatheredLstm(nn.Module):
    """What the net says at the last word of each text."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm, self.fc = nn.Embedding(30, 8), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, tokens, labels, lengths):
        outputs, _ = self.lstm(self.embed(tokens))
        return classified(self.fc(outputs[torch.arange(len(tokens)), lengths - 1]), labels)


@architecture("gru-attention", signals(), outputs=["logits"])
class GruAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 8, 2, batch_first=True, dropout=0.2)
        self.attention, self.fc = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)), nn.Linear(8, 3)

    def forward(self, signals, labels):
        x = signals.transpose(1, 2)
        h0 = torch.zeros(2, x.size(0), 8).to(x.device)
        out, _ = self.gru(x, h0)
        weights = self.attention(out).softmax(dim=1)
        return classified(self.fc((weights * out).sum(1)), labels)


class Chomp1d(nn.Module):
    def __init__(self, chomp_size):
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


@architecture("tcn", signals(), outputs=["logits"])
class Tcn(nn.Module):
    """Dilated causal convolutions, weight norm, residuals."""

    def __init__(self):
        super().__init__()
        layers = []
        for level in range(2):
            conv = nn.Conv1d(2 if level == 0 else 8, 8, 3, padding=2 * 2**level, dilation=2**level)
            layers += [nn.utils.parametrizations.weight_norm(conv), Chomp1d(2 * 2**level), nn.ReLU(), nn.Dropout(0.2)]
        self.net, self.skip, self.fc = nn.Sequential(*layers), nn.Conv1d(2, 8, 1), nn.Linear(8, 3)

    def forward(self, signals, labels):
        return classified(self.fc((self.net(signals) + self.skip(signals)).relu()[:, :, -1]), labels)


@architecture("wavenet", signals())
class WaveNet(nn.Module):
    """Foretells each value of a signal, quantised by mu-law, from those before."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 1)
        self.filters = nn.ModuleList([nn.Conv1d(8, 8, 2, dilation=2**n) for n in range(3)])
        self.gates = nn.ModuleList([nn.Conv1d(8, 8, 2, dilation=2**n) for n in range(3)])
        self.residuals, self.skips = (nn.ModuleList([nn.Conv1d(8, 8, 1) for _ in range(3)]) for _ in range(2))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(8, 16, 1), nn.ReLU(), nn.Conv1d(16, 16, 1))

    def forward(self, signals, labels):
        x = signals[:, 0].clamp(-1, 1)
        encoded = torch.sign(x) * torch.log1p(255 * torch.abs(x)) / np.log1p(255)
        target = ((encoded + 1) / 2 * 15 + 0.5).long()
        h, skip = self.first(signals), 0
        for number in range(3):
            padded = F.pad(h, (2**number, 0))
            out = torch.tanh(self.filters[number](padded)) * torch.sigmoid(self.gates[number](padded))
            skip = skip + self.skips[number](out)
            h = self.residuals[number](out) + h
        logits = self.last(skip)
        return {"loss": F.cross_entropy(logits[:, :, :-1], target[:, 1:], reduction="none").mean(1)}


def spoken(rng, examples):
    """Sound, ``[B, T, C]``, what was said, and how long both are."""
    return {
        "sound": rng.normal(size=(examples, 20, 4)).astype(np.float32),
        "text": rng.integers(1, 6, (examples, 5)),
        "sound_lengths": rng.integers(14, 21, examples),
        "text_lengths": rng.integers(2, 6, examples),
    }


@architecture("ctc-speech", spoken)
class Ctc(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.rnn, self.fc = (
            nn.Conv1d(4, 8, 3, padding=1),
            nn.LSTM(8, 8, bidirectional=True),
            nn.Linear(16, 6),
        )

    def forward(self, sound, text, sound_lengths, text_lengths):
        x = F.relu(self.conv(sound.transpose(1, 2))).permute(2, 0, 1)
        log_probs = self.fc(self.rnn(x)[0]).log_softmax(2)
        return {"loss": F.ctc_loss(log_probs, text, sound_lengths, text_lengths, reduction="none", zero_infinity=True)}


def tagged(rng, examples):
    """Texts of up to seven words, and a tag for each word."""
    batch = texts(longest=7)(rng, examples)
    tokens = np.zeros((examples, 7), dtype=np.int64)
    tokens[:, : batch["tokens"].shape[1]] = batch["tokens"]
    return {"tokens": tokens, "tags": tokens % 4}


@architecture("lstm-crf", tagged)
class LstmCrf(nn.Module):
    """The probability of a sequence of tags, by the forward algorithm over the words of each text."""

    def __init__(self, tags=4):
        super().__init__()
        self.embed, self.lstm, self.fc = (
            nn.Embedding(30, 8),
            nn.LSTM(8, 4, bidirectional=True, batch_first=True),
            nn.Linear(8, tags),
        )
        self.start_transitions, self.end_transitions = nn.Parameter(torch.empty(tags)), nn.Parameter(torch.empty(tags))
        self.transitions = nn.Parameter(torch.empty(tags, tags))
        for p in (self.start_transitions, self.end_transitions, self.transitions):
            nn.init.uniform_(p, -0.1, 0.1)

    def forward(self, tokens, tags):
        emissions = self.fc(self.lstm(self.embed(tokens))[0]).transpose(0, 1)
        mask, tags = (tokens != 0).t(), tags.t()
        seq_length, batch_size = tags.shape
        score = self.start_transitions[tags[0]] + emissions[0, torch.arange(batch_size), tags[0]]
        total = self.start_transitions + emissions[0]
        for i in range(1, seq_length):
            step = self.transitions[tags[i - 1], tags[i]] + emissions[i, torch.arange(batch_size), tags[i]]
            score = score + step * mask[i]
            nxt = torch.logsumexp(total.unsqueeze(2) + self.transitions + emissions[i].unsqueeze(1), dim=1)
            total = torch.where(mask[i].unsqueeze(1), nxt, total)
        seq_ends = mask.long().sum(dim=0) - 1
        score = score + self.end_transitions[tags[seq_ends, torch.arange(batch_size)]]
        return {"loss": torch.logsumexp(total + self.end_transitions, dim=1) - score}


def series(rng, examples):
    """Positive numbers over time, ``[B, T]``."""
    return {"past": np.abs(rng.normal(size=(examples, 12)).cumsum(1)).astype(np.float32) + 1}


@architecture("deepar", series)
class DeepAr(nn.Module):
    """Foretells the distribution of the next value, of numbers that are scaled by their mean."""

    def __init__(self):
        super().__init__()
        self.rnn, self.mu, self.sigma = nn.LSTM(1, 8, 1, batch_first=True), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, past):
        scale = past.mean(1, keepdim=True)
        x = past / scale
        out, _ = self.rnn(x[:, :-1, None])
        distribution = Normal(self.mu(out).squeeze(2), F.softplus(self.sigma(out)).squeeze(2) + 1e-3)
        return {"loss": -distribution.log_prob(x[:, 1:]).mean(1) + scale.log().squeeze(1)}


@architecture("deepar-student", series)
class StudentAr(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.fc = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, past):
        df, loc, scale = self.fc(self.rnn(past[:, :-1, None])[0]).unbind(-1)
        return {"loss": -StudentT(2 + F.softplus(df), loc, F.softplus(scale) + 1e-3).log_prob(past[:, 1:]).mean(1)}


@architecture("mamba-scan", signals(), outputs=["logits"])
class SelectiveScan(nn.Module):
    """A state space that chooses what it keeps, computed step by step."""

    def __init__(self, dim=8, state=4):
        super().__init__()
        self.in_proj, self.conv1d = nn.Linear(2, 2 * dim), nn.Conv1d(dim, dim, 4, groups=dim, padding=3)
        self.x_proj, self.dt_proj, self.out_proj = nn.Linear(dim, 1 + 2 * state), nn.Linear(1, dim), nn.Linear(dim, 3)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1, dtype=torch.float32).repeat(dim, 1)))
        self.D, self.state = nn.Parameter(torch.ones(dim)), state

    def forward(self, signals, labels):
        b, _, length = signals.shape
        x, res = self.in_proj(signals.transpose(1, 2)).split([8, 8], dim=-1)
        x = F.silu(self.conv1d(x.transpose(1, 2))[:, :, :length].transpose(1, 2))
        A = -torch.exp(self.A_log.float())
        delta, B, C = self.x_proj(x).split([1, self.state, self.state], dim=-1)
        delta = F.softplus(self.dt_proj(delta))
        deltaA = torch.exp(torch.einsum("bld,dn->bldn", delta, A))
        deltaB_u = torch.einsum("bld,bln,bld->bldn", delta, B, x)
        h, ys = torch.zeros((b, 8, self.state), device=x.device), []
        for i in range(length):
            h = deltaA[:, i] * h + deltaB_u[:, i]
            ys.append(torch.einsum("bdn,bn->bd", h, C[:, i, :]))
        y = (torch.stack(ys, dim=1) + x * self.D) * F.silu(res)
        return classified(self.out_proj(y.mean(1)), labels)


def films(rng, examples):
    """Films of four pictures, ``[B, T, C, H, W]``."""
    return {"film": rng.normal(size=(examples, 4, 1, 8, 8)).astype(np.float32)}


@architecture("conv-lstm", films)
class ConvLstm(nn.Module):
    """Foretells the last picture of a film."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(5, 16, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, film):
        b, seq_len, _, height, width = film.size()
        h, c = (torch.zeros(b, 4, height, width, device=self.conv.weight.device) for _ in range(2))
        for t in range(seq_len - 1):
            i, f, o, g = torch.split(self.conv(torch.cat([film[:, t], h], dim=1)), 4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return {"loss": F.mse_loss(self.out(h), film[:, -1], reduction="none").mean((1, 2, 3))}


@architecture("neural-ode", signals(), outputs=["logits"])
class NeuralOde(nn.Module):
    """Ten steps of Runge and Kutta."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(48, 8), nn.Linear(8, 3)
        self.field = nn.Sequential(nn.Linear(9, 16), nn.Tanh(), nn.Linear(16, 8))

    def derivative(self, t, y):
        return self.field(torch.cat([y, t.expand(y.shape[0], 1)], 1))

    def forward(self, signals, labels):
        y = self.encode(signals.flatten(1))
        times = torch.linspace(0.0, 1.0, 11)
        for t0, t1 in zip(times[:-1], times[1:], strict=True):
            dt = t1 - t0
            k1 = self.derivative(t0, y)
            k2 = self.derivative(t0 + dt / 2, y + dt * k1 / 2)
            k3 = self.derivative(t0 + dt / 2, y + dt * k2 / 2)
            k4 = self.derivative(t1, y + dt * k3)
            y = y + dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        return classified(self.decode(y), labels)


@architecture("fourier-operator", signals())
class FourierOperator(nn.Module):
    """Weights for the lowest frequencies, complex."""

    def __init__(self):
        super().__init__()
        self.lift, self.weight, self.project = (
            nn.Conv1d(1, 8, 1),
            nn.Parameter(torch.randn(8, 8, 5, dtype=torch.cfloat) / 64),
            nn.Conv1d(8, 1, 1),
        )
        self.w = nn.Conv1d(8, 8, 1)

    def forward(self, signals, labels):
        x = self.lift(signals[:, :1])
        x_ft = torch.fft.rfft(x)
        out_ft = torch.zeros(x.shape[0], 8, x.size(-1) // 2 + 1, device=x.device, dtype=torch.cfloat)
        out_ft[:, :, :5] = torch.einsum("bix,iox->box", x_ft[:, :, :5], self.weight)
        x = F.gelu(torch.fft.irfft(out_ft, n=x.size(-1)) + self.w(x))
        return {"loss": (self.project(x) - signals[:, 1:]).square().mean((1, 2))}


@architecture("informer-decomposition", signals())
class Decomposition(nn.Module):
    """A trend by a moving average and the rest, each foretold by a layer; normalised by each series' own statistics."""

    def __init__(self):
        super().__init__()
        self.avg, self.trend, self.rest = nn.AvgPool1d(5, 1), nn.Linear(20, 4), nn.Linear(20, 4)

    def forward(self, signals, labels):
        past, future = signals[:, :, :20], signals[:, :, 20:]
        mean = past.mean(2, keepdim=True).detach()
        std = torch.sqrt(torch.var(past, dim=2, keepdim=True, unbiased=False) + 1e-5).detach()
        x = (past - mean) / std
        front, end = x[:, :, :1].repeat(1, 1, 2), x[:, :, -1:].repeat(1, 1, 2)
        trend = self.avg(torch.cat([front, x, end], dim=2))
        return {"loss": ((self.trend(trend) + self.rest(x - trend)) * std + mean - future).abs().mean((1, 2))}
