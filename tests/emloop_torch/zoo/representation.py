"""Networks that learn what is alike: with teachers, queues, pairs and triplets."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import emloop_torch

from .catalogue import architecture, images, rows


def views(rng, examples):
    """Two views of each picture."""
    pictures = images(8)(rng, examples)["images"]
    return {f"view{n}": pictures + rng.normal(size=pictures.shape).astype(np.float32) / 10 for n in (1, 2)}


def encoder(outside=8):
    """A small encoder."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, outside),
    )


@architecture("simclr", views)
class SimClr(nn.Module):
    """Every other view of the batch is a negative; logits sorted by masks, as in the well-known code."""

    def __init__(self):
        super().__init__()
        self.backbone, self.temperature = encoder(), 0.5

    def forward(self, view1, view2):
        features = F.normalize(self.backbone(torch.cat([view1, view2], dim=0)), dim=1)
        labels = torch.cat([torch.arange(len(view1)) for _ in range(2)], dim=0)
        labels = (labels.unsqueeze(0) == labels.unsqueeze(1)).float()
        similarity = torch.matmul(features, features.T)
        mask = torch.eye(labels.shape[0], dtype=torch.bool)
        labels = labels[~mask].view(labels.shape[0], -1)
        similarity = similarity[~mask].view(similarity.shape[0], -1)
        positives = similarity[labels.bool()].view(labels.shape[0], -1)
        negatives = similarity[~labels.bool()].view(similarity.shape[0], -1)
        logits = torch.cat([positives, negatives], dim=1) / self.temperature
        loss = F.cross_entropy(logits, torch.zeros(logits.shape[0], dtype=torch.long), reduction="none")
        return {"loss": loss.view(2, -1).mean(0)}


@architecture("simclr-masked", views)
class MaskedSimClr(nn.Module):
    """The same by ``masked_fill``."""

    def __init__(self):
        super().__init__()
        self.backbone = encoder()

    def forward(self, view1, view2):
        n = view1.shape[0]
        z = F.normalize(self.backbone(torch.cat([view1, view2])), dim=1)
        sim = (z @ z.t() / 0.5).masked_fill(torch.eye(2 * n, dtype=torch.bool), float("-inf"))
        target = torch.cat([torch.arange(n) + n, torch.arange(n)])
        return {"loss": F.cross_entropy(sim, target, reduction="none").view(2, n).mean(0)}


@architecture("moco", views)
class Moco(nn.Module):
    """A momentum encoder and a queue of keys, both changed in ``forward``, as in the well-known code."""

    def __init__(self, dim=8, K=64, m=0.9, T=0.07):
        super().__init__()
        self.K, self.m, self.T = K, m, T
        self.encoder_q, self.encoder_k = encoder(dim), encoder(dim)
        for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters(), strict=True):
            param_k.data.copy_(param_q.data)
            param_k.requires_grad = False
        self.register_buffer("queue", F.normalize(torch.randn(dim, K), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def _momentum_update_key_encoder(self):
        for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters(), strict=True):
            param_k.data = param_k.data * self.m + param_q.data * (1.0 - self.m)

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys):
        batch_size = keys.shape[0]
        ptr = int(self.queue_ptr)
        self.queue[:, ptr : ptr + batch_size] = keys.T
        ptr = (ptr + batch_size) % self.K
        self.queue_ptr[0] = ptr

    def forward(self, view1, view2):
        q = F.normalize(self.encoder_q(view1), dim=1)
        with torch.no_grad():
            if self.training:
                self._momentum_update_key_encoder()
            k = F.normalize(self.encoder_k(view2), dim=1)
        l_pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        l_neg = torch.einsum("nc,ck->nk", [q, self.queue.clone().detach()])
        logits = torch.cat([l_pos, l_neg], dim=1) / self.T
        labels = torch.zeros(logits.shape[0], dtype=torch.long)
        if self.training:
            self._dequeue_and_enqueue(k)
        return {"loss": F.cross_entropy(logits, labels, reduction="none")}


@architecture("moco-tensor-queue", views)
class TensorMoco(Moco):
    """The same with in-place averages, and a queue written by index."""

    @torch.no_grad()
    def _momentum_update_key_encoder(self):
        for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters(), strict=True):
            param_k.mul_(self.m).add_(param_q, alpha=1 - self.m)

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys):
        places = (self.queue_ptr + torch.arange(keys.shape[0])) % self.K
        self.queue.index_copy_(1, places, keys.T)
        self.queue_ptr.add_(keys.shape[0]).remainder_(self.K)


@architecture("moco-declared", views, ema={"from": "encoder_q", "to": "encoder_k", "decay": 0.9, "buffers": "keep"})
class DeclaredMoco(TensorMoco):
    """The average in the configuration, the queue in ``forward``."""

    def _momentum_update_key_encoder(self):
        pass


class Byol(nn.Module):
    """A student that foretells its teacher, which follows it."""

    def __init__(self):
        super().__init__()
        self.online, self.predictor = (
            encoder(),
            nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8)),
        )
        self.target = copy.deepcopy(self.online)
        for p in self.target.parameters():
            p.requires_grad = False

    def loss(self, one, other):
        with torch.no_grad():
            aim = self.target(other).detach()
        return 2 - 2 * F.cosine_similarity(self.predictor(self.online(one)), aim, dim=-1)

    def forward(self, view1, view2):
        return {"loss": self.loss(view1, view2) + self.loss(view2, view1)}


class Following(emloop_torch.BaseModel):
    """After every step the teacher follows."""

    def training_step(self, batch):
        outputs = super().training_step(batch)
        with torch.no_grad():
            for student, teacher in zip(self.module.online.parameters(), self.module.target.parameters(), strict=True):
                teacher.lerp_(student, 0.01)
        return outputs


@architecture("byol", views, model=Following)
def byol():
    """The teacher follows in the training step."""
    return Byol()


architecture("byol-declared", views, ema={"from": "online", "to": "target", "decay": 0.99, "buffers": "keep"})(Byol)
architecture("mean-teacher-declared", views, ema={"from": "online", "to": "target", "decay": 0.99})(Byol)


@architecture("mean-teacher", views)
class MeanTeacher(Byol):
    """The teacher follows at the beginning of ``forward``; its buffers, too."""

    @torch.no_grad()
    def follow(self):
        for student, teacher in zip(self.online.parameters(), self.target.parameters(), strict=True):
            teacher.data.mul_(0.99).add_(student.data, alpha=0.01)
        for student, teacher in zip(self.online.buffers(), self.target.buffers(), strict=True):
            teacher.copy_(student)

    def forward(self, view1, view2):
        if self.training:
            self.follow()
        return super().forward(view1, view2)


class AveragedTeacher(nn.Module):
    """A teacher by ``torch.optim.swa_utils``."""

    def __init__(self):
        super().__init__()
        self.student = encoder()
        averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        self.teacher = torch.optim.swa_utils.AveragedModel(self.student, multi_avg_fn=averaging)

    def forward(self, view1, view2):
        if self.training:
            self.teacher.update_parameters(self.student)
        with torch.no_grad():
            aim = self.teacher(view2)
        return {"loss": F.mse_loss(self.student(view1), aim, reduction="none").mean(1)}


@architecture("averaged-teacher", views)
def averaged_teacher():
    """Averages of PyTorch's own."""
    return AveragedTeacher()


@architecture("dino", views)
class Dino(nn.Module):
    """Probabilities of a teacher, centred by a buffer; head with weight norm."""

    def __init__(self):
        super().__init__()
        self.student, self.teacher = encoder(), encoder()
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(8, 16, bias=False))
        self.head.parametrizations.weight.original0.data.fill_(1)
        self.head.parametrizations.weight.original0.requires_grad = False
        self.register_buffer("center", torch.zeros(1, 16))
        self.teacher.requires_grad_(False)

    def forward(self, view1, view2):
        student = self.head(F.normalize(self.student(view1), dim=-1)) / 0.1
        teacher = self.head(F.normalize(self.teacher(view2), dim=-1)).detach()
        probabilities = F.softmax((teacher - self.center) / 0.04, dim=-1)
        loss = torch.sum(-probabilities * F.log_softmax(student, dim=-1), dim=-1)
        if self.training:
            batch_center = torch.sum(teacher, dim=0, keepdim=True) / len(teacher)
            self.center = self.center * 0.9 + batch_center * 0.1
        return {"loss": loss}


def alike(rng, examples):
    """Pairs of pictures, and whether they show the same."""
    return {**views(rng, examples), "same": rng.integers(0, 2, examples)}


@architecture("siamese", alike)
class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = encoder()

    def forward(self, view1, view2, same):
        distance = F.pairwise_distance(self.net(view1), self.net(view2), keepdim=False)
        same = same.float()
        return {"loss": same * distance.pow(2) + (1 - same) * torch.clamp(1.0 - distance, min=0.0).pow(2)}


@architecture("triplet-hard-mining", images(8))
class HardTriplets(nn.Module):
    """The furthest of the same class and the nearest of another, in the batch."""

    def __init__(self):
        super().__init__()
        self.net = encoder()

    def forward(self, images, labels):
        z = self.net(images)
        dist = torch.cdist(z, z, p=2)
        same = labels.unsqueeze(0) == labels.unsqueeze(1)
        different = same.logical_not()
        furthest = (dist * (same & ~torch.eye(labels.size(0), dtype=torch.bool))).max(1).values
        nearest = (dist + dist.max() * (same | ~different)).min(1).values
        return {"loss": F.relu(furthest - nearest + 0.2)}


@architecture("barlow-twins", views)
class BarlowTwins(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.bn = encoder(), nn.BatchNorm1d(8, affine=False)

    def forward(self, view1, view2):
        c = self.bn(self.net(view1)).T @ self.bn(self.net(view2)) / len(view1)
        n, m = c.shape
        assert n == m
        off_diagonal = c.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()
        loss = torch.diagonal(c).add_(-1).pow_(2).sum() + 0.005 * off_diagonal.pow_(2).sum()
        return {"loss": loss.expand(len(view1))}


@architecture("arcface", images(8))
class ArcFace(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.weight = encoder(), nn.Parameter(torch.randn(4, 8))

    def forward(self, images, labels):
        cosine = F.linear(F.normalize(self.net(images)), F.normalize(self.weight))
        sine = torch.sqrt((1.0 - torch.pow(cosine, 2)).clamp(1e-9, 1))
        phi = cosine * np.cos(0.5) - sine * np.sin(0.5)
        phi = torch.where(cosine > np.cos(np.pi - 0.5), phi, cosine - np.sin(np.pi - 0.5) * 0.5)
        one_hot = torch.zeros(cosine.size(), device=images.device)
        one_hot.scatter_(1, labels.view(-1, 1).long(), 1)
        output = (one_hot * phi) + ((1.0 - one_hot) * cosine)
        return {"loss": F.cross_entropy(output * 10, labels, reduction="none")}


def captioned(rng, examples):
    """Pictures and a text for each."""
    return {"images": images(8)(rng, examples)["images"], "tokens": rng.integers(1, 20, (examples, 5))}


@architecture("clip", captioned)
class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual, self.text = encoder(), nn.EmbeddingBag(20, 8)
        self.logit_scale = nn.Parameter(torch.ones([]) * np.log(1 / 0.07))

    def forward(self, images, tokens):
        image, text = self.visual(images), self.text(tokens)
        image, text = image / image.norm(dim=1, keepdim=True), text / text.norm(dim=1, keepdim=True)
        with torch.no_grad():
            self.logit_scale.clamp_(0, np.log(100))
        logits = self.logit_scale.exp() * image @ text.t()
        labels = torch.arange(logits.shape[0], device=logits.device)
        return {"loss": sum(F.cross_entropy(x, labels, reduction="none") for x in (logits, logits.t())) / 2}


@architecture("center-loss", rows())
class CenterLoss(nn.Module):
    """Centres that follow the mean of what belongs to them, by ``scatter_reduce``."""

    def __init__(self):
        super().__init__()
        self.net, self.head = nn.Linear(6, 4), nn.Linear(4, 1)
        self.register_buffer("centers", torch.zeros(2, 4))

    def forward(self, features, target):
        z = self.net(features).relu()
        kind = (target > 0).long()
        if self.training:
            with torch.no_grad():
                index = kind[:, None].expand_as(z)
                self.centers.scatter_reduce_(0, index, z, reduce="mean", include_self=True)
        return {"loss": (self.head(z)[:, 0] - target).abs() + 0.1 * (z - self.centers[kind]).square().sum(1)}
