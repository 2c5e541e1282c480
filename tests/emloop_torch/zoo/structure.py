"""Networks over graphs, sets and tables.

``B`` is the number of examples, ``N`` that of nodes or points, ``E`` of edges.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .catalogue import architecture, rows
from .vision import classified


def graphs(rng, examples):
    """Graphs of five nodes with three features, eight edges each, and their classes."""
    return {
        "nodes": rng.normal(size=(examples, 5, 3)).astype(np.float32),
        "edges": rng.integers(0, 5, (examples, 8, 2)),
        "labels": rng.integers(0, 3, examples),
    }


def joined(nodes, edges):
    """All graphs of a batch as one: features, sources, targets, and to which graph a node belongs."""
    count, size = nodes.shape[:2]
    offset = torch.arange(count, device=nodes.device) * size
    source, target = (edges + offset[:, None, None]).reshape(-1, 2).unbind(1)
    return nodes.flatten(0, 1), source, target, torch.arange(count).repeat_interleave(size)


class GraphConv(nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.lin = nn.Linear(inside, outside, bias=False)

    def forward(self, x, source, target):
        degree = torch.ones(x.shape[0], device=x.device).index_add_(0, target, torch.ones_like(target, dtype=x.dtype))
        norm = degree.pow(-0.5)
        x = self.lin(x)
        out = torch.zeros_like(x)
        out.index_add_(0, target, x[source] * (norm[source] * norm[target])[:, None])
        return out + x * norm[:, None] ** 2


@architecture("graph-convolution", graphs, outputs=["logits"], everyday=True)
class Gcn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = GraphConv(3, 8), GraphConv(8, 8), nn.Linear(8, 3)

    def forward(self, nodes, edges, labels):
        x, source, target, batch = joined(nodes, edges)
        x = F.dropout(self.conv1(x, source, target).relu(), training=self.training)
        x = self.conv2(x, source, target)
        pooled = x.new_zeros(len(labels), 8).index_add_(0, batch, x)
        return classified(self.fc(pooled), labels)


@architecture("graph-attention", graphs, outputs=["logits"])
class Gat(nn.Module):
    """A softmax over the edges of each node, by ``scatter_reduce`` and ``scatter_add``."""

    def __init__(self):
        super().__init__()
        self.lin, self.att_src, self.att_dst = (
            nn.Linear(3, 8),
            nn.Parameter(torch.randn(8)),
            nn.Parameter(torch.randn(8)),
        )
        self.fc = nn.Linear(8, 3)

    def forward(self, nodes, edges, labels):
        x, source, target, batch = joined(nodes, edges)
        num_nodes = int(batch.shape[0])
        x = self.lin(x)
        alpha = F.leaky_relu((x * self.att_src).sum(-1)[source] + (x * self.att_dst).sum(-1)[target], 0.2)
        src_max = torch.full((num_nodes,), float("-inf")).scatter_reduce(0, target, alpha.detach(), "amax")
        out = (alpha - src_max[target]).exp()
        out_sum = torch.zeros(num_nodes).scatter_add_(0, target, out) + 1e-16
        alpha = F.dropout(out / out_sum[target], 0.2, self.training)
        x = torch.zeros_like(x).index_add(0, target, x[source] * alpha[:, None])
        size = int(batch.max()) + 1
        pooled = x.new_zeros(size, 8).scatter_add_(0, batch.view(-1, 1).expand_as(x), x)
        return classified(self.fc(pooled), labels)


@architecture("graph-message-passing", graphs, outputs=["logits"])
class MessagePassing(nn.Module):
    """Three rounds of messages, which a recurrent cell takes up."""

    def __init__(self):
        super().__init__()
        self.lift, self.message, self.cell, self.fc = (
            nn.Linear(3, 8),
            nn.Linear(16, 8),
            nn.GRUCell(8, 8),
            nn.Linear(8, 3),
        )

    def forward(self, nodes, edges, labels):
        x, source, target, batch = joined(nodes, edges)
        h = self.lift(x)
        for _ in range(3):
            m = self.message(torch.cat([h[source], h[target]], dim=-1)).relu()
            h = self.cell(torch.zeros(h.size(0), m.size(1)).index_reduce_(0, target, m, "amax", include_self=True), h)
        pooled = torch.zeros(nodes.size(0), 8).index_add_(0, batch, h)
        return classified(self.fc(pooled), labels)


@architecture("graph-dense-pooling", graphs, outputs=["logits"])
class DensePooling(nn.Module):
    """Adjacency as a matrix, nodes pooled by learned assignments."""

    def __init__(self):
        super().__init__()
        self.embed, self.assign, self.fc = nn.Linear(3, 8), nn.Linear(3, 2), nn.Linear(8, 3)

    def forward(self, nodes, edges, labels):
        adj = torch.zeros(nodes.size(0), 5, 5)
        adj[torch.arange(len(adj))[:, None], edges[..., 0], edges[..., 1]] = 1.0
        adj = (adj + adj.transpose(1, 2) + torch.eye(5)).clamp(max=1)
        x = torch.bmm(adj / adj.sum(-1, keepdim=True), self.embed(nodes)).relu()
        s = torch.softmax(self.assign(nodes), dim=-1)
        pooled = torch.matmul(s.transpose(1, 2), x)
        link = torch.norm(adj - torch.matmul(s, s.transpose(1, 2)), p=2, dim=(1, 2)) / adj[0].numel()
        out = classified(self.fc(pooled.amax(1)), labels)
        return {**out, "loss": out["loss"] + link}


def clouds(rng, examples):
    """Clouds of twelve points and their classes."""
    labels = rng.integers(0, 3, examples)
    points = rng.normal(size=(examples, 12, 3)) * (labels[:, None, None] + 1)
    return {"points": points.astype(np.float32), "labels": labels}


class TNet(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k, self.conv, self.bn, self.fc = k, nn.Conv1d(k, 16, 1), nn.BatchNorm1d(16), nn.Linear(16, k * k)

    def forward(self, x):
        batchsize = x.size()[0]
        x = torch.max(F.relu(self.bn(self.conv(x))), 2, keepdim=True)[0].view(-1, 16)
        iden = (
            torch.from_numpy(np.eye(self.k).flatten().astype(np.float32)).view(1, self.k * self.k).repeat(batchsize, 1)
        )
        return (self.fc(x) + iden).view(-1, self.k, self.k)


@architecture("pointnet", clouds, outputs=["logits"])
class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stn, self.conv1, self.fstn = TNet(3), nn.Conv1d(3, 8, 1), TNet(8)
        self.conv2, self.bn, self.fc, self.dropout = (
            nn.Conv1d(8, 16, 1),
            nn.BatchNorm1d(16),
            nn.Linear(16, 3),
            nn.Dropout(p=0.3),
        )

    def forward(self, points, labels):
        x = points.transpose(2, 1)
        x = torch.bmm(x.transpose(2, 1), self.stn(x)).transpose(2, 1)
        x = F.relu(self.conv1(x))
        trans = self.fstn(x)
        x = torch.bmm(x.transpose(2, 1), trans).transpose(2, 1)
        x = torch.max(self.bn(self.conv2(x)), 2)[0]
        d = trans.size()[1]
        apart = torch.norm(torch.bmm(trans, trans.transpose(2, 1)) - torch.eye(d)[None, :, :], dim=(1, 2))
        out = classified(self.fc(self.dropout(x)), labels)
        return {**out, "loss": out["loss"] + 0.001 * apart}


def square_distance(src, dst):
    return torch.sum((src[:, :, None] - dst[:, None]) ** 2, dim=-1)


@architecture("pointnet++", clouds, outputs=["logits"])
class PointNetPlusPlus(nn.Module):
    """Furthest points as centres, found one by one, and the neighbours of each."""

    def __init__(self):
        super().__init__()
        self.mlp, self.fc = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU()), nn.Linear(16, 3)

    def forward(self, points, labels):
        B, N, _ = points.shape
        centroids = torch.zeros(B, 4, dtype=torch.long)
        distance = torch.ones(B, N) * 1e10
        farthest = torch.randint(0, N, (B,), dtype=torch.long)
        batch_indices = torch.arange(B, dtype=torch.long)
        for i in range(4):
            centroids[:, i] = farthest
            centroid = points[batch_indices, farthest, :].view(B, 1, 3)
            dist = torch.sum((points - centroid) ** 2, -1)
            mask = dist < distance
            distance[mask] = dist[mask]
            farthest = torch.max(distance, -1)[1]
        new = points[batch_indices[:, None], centroids]
        index = square_distance(new, points).topk(3, largest=False)[1]
        grouped = points[batch_indices[:, None, None], index] - new[:, :, None]
        x = self.mlp(grouped.permute(0, 3, 2, 1)).amax(2).amax(2)
        return classified(self.fc(x), labels)


@architecture("deep-sets", clouds, outputs=["logits"])
class DeepSets(nn.Module):
    def __init__(self):
        super().__init__()
        self.phi, self.rho = (
            nn.Sequential(nn.Linear(3, 16), nn.ELU()),
            nn.Sequential(nn.Linear(16, 16), nn.ELU(), nn.Linear(16, 3)),
        )

    def forward(self, points, labels):
        x = self.phi(points)
        x, _ = (x - x.max(dim=1, keepdim=True)[0]).sort(dim=1)
        return classified(self.rho(x.mean(dim=1)), labels)


@architecture("perceiver", clouds, outputs=["logits"])
class Perceiver(nn.Module):
    """Learned latents that look at the points by crossed attention, twice by the same weights."""

    def __init__(self):
        super().__init__()
        self.latents, self.fourier = nn.Parameter(torch.randn(4, 16)), 3
        self.cross, self.block = (
            nn.MultiheadAttention(16, 2, kdim=21, vdim=21, batch_first=True),
            nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True),
        )
        self.fc = nn.Linear(16, 3)

    def forward(self, points, labels):
        scales = torch.linspace(1.0, 5.0, self.fourier, device=points.device) * torch.pi
        x = points.unsqueeze(-1) * scales
        data = torch.cat([x.sin().flatten(2), x.cos().flatten(2), points], dim=-1)
        x = self.latents.unsqueeze(0).repeat(points.shape[0], 1, 1)
        for _ in range(2):
            x = x + self.cross(x, data, data, need_weights=False)[0]
            x = self.block(x)
        return classified(self.fc(x.mean(1)), labels)


def mixed(rng, examples):
    """Numbers, categories and a class."""
    return {
        "numbers": rng.normal(size=(examples, 4)).astype(np.float32),
        "categories": np.stack([rng.integers(0, n, examples) for n in (3, 5)], 1),
        "labels": rng.integers(0, 2, examples),
    }


@architecture("tabular-embeddings", mixed, outputs=["logits"])
class Tabular(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(n, 3, max_norm=2.0) for n in (3, 5)])
        self.bn_cont, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.1)
        self.layers = nn.Sequential(nn.Linear(10, 16), nn.ReLU(inplace=True), nn.BatchNorm1d(16), nn.Linear(16, 2))

    def forward(self, numbers, categories, labels):
        x = [e(categories[:, i]) for i, e in enumerate(self.embeds)]
        x = self.drop(torch.cat(x, 1))
        return classified(self.layers(torch.cat([x, self.bn_cont(numbers)], 1)), labels)


@architecture("deepfm", mixed)
class DeepFm(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("offsets", torch.tensor([0, 3]))
        self.embedding, self.linear, self.bias = nn.Embedding(8, 4), nn.Embedding(8, 1), nn.Parameter(torch.zeros((1,)))
        self.mlp = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(p=0.2), nn.Linear(8, 1))

    def forward(self, numbers, categories, labels):
        x = categories + self.offsets.unsqueeze(0)
        e = self.embedding(x)
        fm = 0.5 * (e.sum(dim=1) ** 2 - (e**2).sum(dim=1)).sum(dim=1, keepdim=True)
        logit = self.linear(x).sum(dim=1) + self.bias + fm + self.mlp(e.view(-1, 8))
        return {"loss": F.binary_cross_entropy_with_logits(logit.squeeze(1), labels.float(), reduction="none")}


def sparsemax(x):
    number = torch.arange(1, x.size(-1) + 1, device=x.device, dtype=x.dtype)
    ordered, _ = torch.sort(x, dim=-1, descending=True)
    support = 1 + number * ordered > ordered.cumsum(-1)
    k = support.sum(-1, keepdim=True)
    tau = (ordered.cumsum(-1).gather(-1, k - 1) - 1) / k.to(x.dtype)
    return torch.clamp(x - tau, min=0)


class GhostBatchNorm(nn.Module):
    def __init__(self, size, virtual=4):
        super().__init__()
        self.bn, self.virtual = nn.BatchNorm1d(size, momentum=0.02), virtual

    def forward(self, x):
        chunks = x.chunk(int(np.ceil(x.shape[0] / self.virtual)), 0)
        return torch.cat([self.bn(chunk) for chunk in chunks], dim=0)


class TabNet(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm, self.attention, self.gate, self.fc = norm(6), nn.Linear(4, 6), nn.Linear(6, 8), nn.Linear(4, 1)

    def forward(self, features, target):
        x = self.norm(features)
        prior, out, a = torch.ones_like(x), 0, x[:, :4]
        for _ in range(3):
            mask = sparsemax(self.attention(a) * prior)
            prior = prior * (1.3 - mask)
            h = F.glu(self.gate(mask * x), 1)
            out, a = out + h.relu(), h
        return {"loss": (self.fc(out)[:, 0] - target).square()}


@architecture("tabnet", rows())
def tabnet():
    """Features chosen by a sparse softmax."""
    return TabNet(nn.BatchNorm1d)


@architecture("tabnet-ghost-batches", rows())
def tabnet_of_ghosts():
    """The same, normalised in parts of the batch, whose number depends on its size."""
    return TabNet(GhostBatchNorm)


@architecture("quantile-regression", rows())
class Quantiles(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.quantiles = (
            nn.Sequential(nn.Linear(6, 16), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(16, 3)),
            [0.1, 0.5, 0.9],
        )

    def forward(self, features, target):
        foretold = self.net(features).cumsum(1)
        losses = []
        for i, q in enumerate(self.quantiles):
            errors = target - foretold[:, i]
            losses.append(torch.max((q - 1) * errors, q * errors).unsqueeze(1))
        return {"loss": torch.sum(torch.cat(losses, dim=1), dim=1)}


def rays(rng, examples):
    """Rays, ``[B, 6]`` as origin and direction, and their colours."""
    return {
        "rays": rng.normal(size=(examples, 6)).astype(np.float32),
        "colours": rng.uniform(size=(examples, 3)).astype(np.float32),
    }


@architecture("nerf", rays)
class Nerf(nn.Module):
    """Points at random depths along each ray, positional encodings, and light that adds up."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3 + 3 * 2 * 4, 32), nn.ReLU(), nn.Linear(32, 4))
        self.freq_bands = 2.0 ** torch.linspace(0.0, 3, steps=4)

    def encode(self, x):
        return torch.cat([x, *[f(x * freq) for freq in self.freq_bands for f in (torch.sin, torch.cos)]], -1)

    def forward(self, rays, colours):
        o, d = rays.split(3, dim=-1)
        t = torch.linspace(0.5, 2.0, steps=8).expand([o.shape[0], 8])
        mids = 0.5 * (t[..., 1:] + t[..., :-1])
        upper, lower = torch.cat([mids, t[..., -1:]], -1), torch.cat([t[..., :1], mids], -1)
        z = lower + (upper - lower) * torch.rand(t.shape) if self.training else t
        raw = self.net(self.encode(o[..., None, :] + d[..., None, :] * z[..., :, None]))
        dists = z[..., 1:] - z[..., :-1]
        dists = torch.cat([dists, torch.Tensor([1e10]).expand(dists[..., :1].shape)], -1) * torch.norm(
            d[..., None, :], dim=-1
        )
        alpha = 1.0 - torch.exp(-F.relu(raw[..., 3]) * dists)
        clear = torch.cumprod(torch.cat([torch.ones((alpha.shape[0], 1)), 1.0 - alpha + 1e-10], -1), -1)[:, :-1]
        rgb = torch.sum((alpha * clear)[..., None] * torch.sigmoid(raw[..., :3]), -2)
        return {"loss": (rgb - colours).square().mean(1)}


@architecture("gaussian-process", rows())
class DeepKernel(nn.Module):
    """A Gaussian process over what a net makes of the features: a Cholesky factor of as many rows as examples."""

    def __init__(self):
        super().__init__()
        self.net, self.noise, self.scale = nn.Linear(6, 2), nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, features, target):
        z = self.net(features)
        k = self.scale.exp() * torch.exp(-0.5 * torch.cdist(z, z).pow(2))
        k = k + (F.softplus(self.noise) + 1e-3) * torch.eye(k.shape[0], device=k.device)
        chol = torch.linalg.cholesky(k)
        alpha = torch.cholesky_solve(target[:, None], chol)
        loss = 0.5 * (target[None] @ alpha).sum() + chol.diagonal().log().sum()
        return {"loss": (loss / len(target)).expand(len(target))}
