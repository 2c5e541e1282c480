"""Networks that make examples, or tell how probable they are.

``B`` is the number of examples, ``D`` what one consists of.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, Normal, kl_divergence
from torch.nn import functional as F

import emloop_torch

from .catalogue import architecture, images, rows


def points(rng, examples):
    """Points on a ring, ``[B, 2]``."""
    angle = rng.uniform(0, 2 * np.pi, examples)
    return {
        "points": (np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(size=(examples, 2)) / 20).astype("float32")
    }


class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = (
            nn.Sequential(nn.Linear(48, 16), nn.ReLU()),
            nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 48)),
        )
        self.mu, self.logvar = nn.Linear(16, 4), nn.Linear(16, 4)


@architecture("vae", images(4))
class PlainVae(Vae):
    """The trick by hand."""

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def forward(self, images, labels):
        x = images.flatten(1).sigmoid()
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        recon = self.decoder(self.reparameterize(mu, logvar)).sigmoid()
        bce = F.binary_cross_entropy(recon, x, reduction="none").sum(1)
        return {"loss": bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), 1)}


@architecture("vae-distributions", images(4))
class DistributionVae(Vae):
    """The same by ``torch.distributions``."""

    def forward(self, images, labels):
        x = images.flatten(1)
        h = self.encoder(x)
        posterior = Normal(self.mu(h), F.softplus(self.logvar(h)) + 1e-3)
        prior = Normal(torch.zeros_like(posterior.loc), torch.ones_like(posterior.scale))
        likelihood = Independent(Bernoulli(logits=self.decoder(posterior.rsample())), 1)
        return {"loss": kl_divergence(posterior, prior).sum(1) - likelihood.log_prob((x > 0).float())}


class Quantizer(nn.Module):
    """A codebook, whose entries learn by gradients or by moving averages."""

    def __init__(self, averaging):
        super().__init__()
        self.averaging = averaging
        embed = torch.randn(8, 4)
        if averaging:
            self.register_buffer("embed", embed)
            self.register_buffer("cluster_size", torch.zeros(8))
            self.register_buffer("embed_avg", embed.clone())
        else:
            self.embed = nn.Parameter(embed)

    def forward(self, z):
        flat = z.reshape(-1, 4)
        dist = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.embed.t() + self.embed.t().pow(2).sum(0, keepdim=True)
        index = dist.argmin(1)
        quantized = F.embedding(index, self.embed).view(z.shape)
        if self.averaging and self.training:
            onehot = F.one_hot(index, 8).type(flat.dtype)
            self.cluster_size.data.mul_(0.99).add_(onehot.sum(0), alpha=0.01)
            self.embed_avg.data.mul_(0.99).add_((flat.t() @ onehot).t(), alpha=0.01)
            n = self.cluster_size.sum()
            size = (self.cluster_size + 1e-5) / (n + 8e-5) * n
            self.embed.data.copy_(self.embed_avg / size.unsqueeze(1))
        commitment = (quantized.detach() - z).pow(2).flatten(1).mean(1)
        if not self.averaging:
            commitment = commitment * 0.25 + (quantized - z.detach()).pow(2).flatten(1).mean(1)
        return z + (quantized - z).detach(), commitment


class VqVae(nn.Module):
    def __init__(self, averaging):
        super().__init__()
        self.encoder, self.quantize, self.decoder = (
            nn.Conv2d(3, 4, 2, 2),
            Quantizer(averaging),
            nn.ConvTranspose2d(4, 3, 2, 2),
        )

    def forward(self, images, labels):
        z = self.encoder(images).permute(0, 2, 3, 1)
        quantized, commitment = self.quantize(z)
        recon = self.decoder(quantized.permute(0, 3, 1, 2))
        return {"loss": (recon - images).square().mean((1, 2, 3)) + commitment}


@architecture("vq-vae", images(8))
def vq_vae():
    """A codebook that learns by gradients."""
    return VqVae(averaging=False)


@architecture("vq-vae-averages", images(8))
def vq_vae_of_averages():
    """A codebook of moving averages, changed through ``.data``."""
    return VqVae(averaging=True)


class Coupling(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)
        self.s = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(), nn.Linear(16, 2), nn.Tanh())
        self.t = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(), nn.Linear(16, 2))

    def forward(self, x):
        kept = x * self.mask
        s, t = self.s(kept) * (1 - self.mask), self.t(kept) * (1 - self.mask)
        return (1 - self.mask) * (x - t) * torch.exp(-s) + kept, -s.sum(dim=1)


@architecture("flow-coupling", points)
class RealNvp(nn.Module):
    """A normalising flow, whose prior is a distribution on the module."""

    def __init__(self):
        super().__init__()
        masks = torch.tensor([[0.0, 1.0], [1.0, 0.0]] * 2)
        self.couplings = nn.ModuleList(map(Coupling, masks))
        self.prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))

    def forward(self, points):
        z, log_det = points, points.new_zeros(points.shape[0])
        for coupling in self.couplings:
            z, change = coupling(z)
            log_det = log_det + change
        return {"loss": -(self.prior.log_prob(z) + log_det)}


class ActNorm(nn.Module):
    """Takes its scale from the first batch."""

    def __init__(self, size):
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.ones(size))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x):
        if self.training and self.initialized.item() == 0:
            with torch.no_grad():
                self.loc.data.copy_(-x.mean(0))
                self.scale.data.copy_(1 / (x.std(0) + 1e-6))
            self.initialized.fill_(1)
        return self.scale * (x + self.loc), self.scale.abs().log().sum().expand(len(x))


@architecture("flow-glow", points)
class Glow(nn.Module):
    """A flow whose norms begin with the first batch, and whose mixing is a matrix with its determinant."""

    def __init__(self):
        super().__init__()
        self.norm, self.weight = ActNorm(2), nn.Parameter(torch.linalg.qr(torch.randn(2, 2))[0])
        self.coupling = Coupling(torch.tensor([0.0, 1.0]))

    def forward(self, points):
        z, one = self.norm(points)
        z = z @ self.weight
        z, three = self.coupling(z)
        log_det = one + torch.slogdet(self.weight)[1] + three
        return {"loss": 0.5 * (z.square() + math.log(2 * math.pi)).sum(1) - log_det}


class MaskedLinear(nn.Linear):
    def set_mask(self, mask):
        self.register_buffer("mask", mask)
        return self

    def forward(self, input):
        return F.linear(input, self.mask * self.weight, self.bias)


@architecture("flow-made", rows(4, 4))
class Made(nn.Module):
    """Every feature from those before it."""

    def __init__(self):
        super().__init__()
        hidden = torch.arange(12) % 3
        self.one = MaskedLinear(4, 12).set_mask((hidden[:, None] >= torch.arange(4)[None, :]).float())
        self.two = MaskedLinear(12, 8).set_mask((torch.arange(4).repeat(2)[:, None] > hidden[None, :]).float())

    def forward(self, features, target):
        mu, alpha = self.two(self.one(features).relu()).chunk(2, dim=1)
        u = (features - mu) * torch.exp(-alpha)
        return {"loss": 0.5 * (u.pow(2) + math.log(2 * math.pi)).sum(1) + alpha.sum(1)}


class MaskedConv2d(nn.Conv2d):
    def __init__(self, kind, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("mask", torch.ones_like(self.weight.data))
        _, _, height, width = self.weight.size()
        self.mask[:, :, height // 2, width // 2 + (kind == "B") :] = 0
        self.mask[:, :, height // 2 + 1 :] = 0

    def forward(self, x):
        self.weight.data *= self.mask
        return super().forward(x)


@architecture("pixelcnn", images(8, 1))
class PixelCnn(nn.Module):
    """Each pixel from those above and to the left; weights are masked in place, as in the well-known code."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            MaskedConv2d("A", 1, 8, 5, padding=2),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            MaskedConv2d("B", 8, 8, 3, padding=1),
            nn.ReLU(True),
            nn.Conv2d(8, 4, 1),
        )

    def forward(self, images, labels):
        target = (images[:, 0].sigmoid() * 4).long().clamp(0, 3)
        return {"loss": F.cross_entropy(self.net(images), target, reduction="none").mean((1, 2))}


def timestep_embedding(timesteps, dim, max_period=10000):
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(start=0, end=half, dtype=torch.float32) / half)
    args = timesteps[:, None].float() * freqs.to(timesteps.device)[None]
    return torch.cat([torch.cos(args), torch.sin(args)], dim=-1)


class DiffusionBlock(nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(4, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1))
        self.emb = nn.Linear(16, 2 * outside)
        self.norm, self.out = nn.GroupNorm(4, outside), nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x, emb):
        h = self.in_layers(x)
        emb_out = self.emb(F.silu(emb)).type(h.dtype)
        while len(emb_out.shape) < len(h.shape):
            emb_out = emb_out[..., None]
        scale, shift = torch.chunk(emb_out, 2, dim=1)
        return self.skip(x) + self.out(F.silu(self.norm(h) * (1 + scale) + shift))


@architecture("diffusion-unet", images(8))
class Diffusion(nn.Module):
    """Noise of a random step of a schedule is added, and foretold; classes are forgotten now and then."""

    def __init__(self, steps=50):
        super().__init__()
        betas = torch.linspace(1e-4, 0.02, steps)
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, 0))
        self.steps, self.label = steps, nn.Embedding(5, 16)
        self.time, self.input = (
            nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16)),
            nn.Conv2d(3, 8, 3, padding=1),
        )
        self.down, self.middle, self.up, self.out = (
            DiffusionBlock(8, 8),
            DiffusionBlock(8, 8),
            DiffusionBlock(16, 8),
            nn.Conv2d(8, 3, 1),
        )
        self.qkv, self.norm = nn.Conv1d(8, 24, 1), nn.GroupNorm(4, 8)

    def attend(self, x):
        b, c, *spatial = x.shape
        x = x.reshape(b, c, -1)
        q, k, v = self.qkv(self.norm(x)).reshape(b, 3 * c, -1).split(c, dim=1)
        weight = torch.einsum("bct,bcs->bts", q, k).div(math.sqrt(c)).softmax(-1)
        return (x + torch.einsum("bts,bcs->bct", weight, v)).reshape(b, c, *spatial)

    def forward(self, images, labels):
        t = torch.randint(0, self.steps, (images.shape[0],), device=images.device).long()
        noise = torch.randn_like(images)
        a = self.alphas_cumprod.gather(-1, t).reshape(images.shape[0], *((1,) * (len(images.shape) - 1)))
        noisy = a.sqrt() * images + (1 - a).sqrt() * noise
        dropped = torch.rand(len(labels), device=labels.device) < 0.1
        emb = self.time(timestep_embedding(t, 16)) + self.label(torch.where(dropped, 4, labels))
        h1 = self.down(self.input(noisy), emb)
        h = self.attend(self.middle(F.avg_pool2d(h1, 2), emb))
        h = self.up(torch.cat([F.interpolate(h, scale_factor=2, mode="nearest"), h1], dim=1), emb)
        return {"loss": F.mse_loss(self.out(h), noise, reduction="none").mean(dim=(1, 2, 3))}


@architecture("score-matching", points)
class ScoreMatching(nn.Module):
    """An energy whose gradient is the score: a gradient inside of ``forward``."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(2, 16), nn.Softplus(), nn.Linear(16, 1))

    def forward(self, points):
        noise = torch.randn_like(points) * 0.1
        with torch.enable_grad():
            noisy = (points + noise).requires_grad_()
            score = -torch.autograd.grad(self.energy(noisy).sum(), noisy, create_graph=True)[0]
        return {"loss": (score + noise / 0.01).square().sum(1)}


class Adversaries(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Linear(16, 1))

    def forward(self, points):
        fake = self.generator(torch.randn(len(points), 4, device=points.device))
        return {"loss": F.softplus(-self.discriminator(fake))[:, 0], "fake": fake}


class AdversarialModel(emloop_torch.BaseModel):
    """Two optimizers that take turns, in a training step of its own."""

    def create_optimizer(self):
        self.of_discriminator = torch.optim.Adam(self.module.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        return torch.optim.Adam(self.module.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def training_step(self, batch):
        outputs = self.compute(batch)
        self.of_discriminator.zero_grad()
        judged = self.module.discriminator
        loss = F.softplus(-judged(batch["points"])) + F.softplus(judged(outputs["fake"].detach()))
        loss.mean().backward()
        self.of_discriminator.step()
        self.update(F.softplus(-judged(outputs["fake"]))[:, 0])
        return outputs


@architecture(
    "gan",
    points,
    model=AdversarialModel,
    outputs=["fake"],
    everyday=True,
    optimizer={"class": "Adam", "learning_rate": 2e-4, "betas": [0.5, 0.999]},
)
def gan():
    """A generator and a discriminator."""
    return Adversaries()


ADAM = {"class": "Adam", "learning_rate": 2e-4, "betas": [0.5, 0.999]}


@architecture(
    "gan-declared",
    points,
    outputs=["fake", "judgement"],
    everyday=True,
    optimizers=[
        {"name": "generator", "match": r"generator\..*", **ADAM},
        {"name": "discriminator", "match": r"discriminator\..*", "loss": "judgement", **ADAM},
    ],
)
class DeclaredGan(Adversaries):
    """The same, its optimizers in the configuration."""

    def forward(self, points):
        outputs = super().forward(points)
        real, fake = (self.discriminator(each)[:, 0] for each in (points, outputs["fake"]))
        return {**outputs, "judgement": F.softplus(-real) + F.softplus(fake)}


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.neg() * ctx.alpha, None


@architecture("gan-reversed-gradient", points)
class ReversedGan(Adversaries):
    """Both by one optimizer: what the generator learns is turned around."""

    def forward(self, points):
        fake = self.generator(torch.randn(len(points), 4, device=points.device))
        judged = self.discriminator(Reversal.apply(fake, 1.0))
        return {"loss": (F.softplus(-self.discriminator(points)) + F.softplus(judged))[:, 0]}


@architecture("gan-hinge-spectral", points)
class SpectralGan(nn.Module):
    """Both by one optimizer, by freezing the other's parameters in a forward pass each; spectral norms."""

    def __init__(self):
        super().__init__()
        sn = nn.utils.parametrizations.spectral_norm
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(sn(nn.Linear(2, 16)), nn.LeakyReLU(0.2), sn(nn.Linear(16, 1)))

    def forward(self, points):
        fake = self.generator(torch.randn(points.size(0), 4))
        for p in self.discriminator.parameters():
            p.requires_grad_(False)
        loss_g = -self.discriminator(fake)[:, 0]
        for p in self.discriminator.parameters():
            p.requires_grad_(True)
        loss_d = F.relu(1 - self.discriminator(points))[:, 0] + F.relu(1 + self.discriminator(fake.detach()))[:, 0]
        return {"loss": loss_g + loss_d}


@architecture("mixture-density", rows())
class MixtureDensity(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.pi, self.mu, self.sigma = (
            nn.Linear(6, 16),
            nn.Linear(16, 3),
            nn.Linear(16, 3),
            nn.Linear(16, 3),
        )

    def forward(self, features, target):
        h = torch.tanh(self.hidden(features))
        mixture = MixtureSameFamily(Categorical(logits=self.pi(h)), Normal(self.mu(h), torch.exp(self.sigma(h))))
        return {"loss": -mixture.log_prob(target)}
