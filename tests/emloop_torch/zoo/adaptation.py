"""Layers that are changed, wrapped, shared, made by others, or that compute in ways of their own."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from .catalogue import architecture, images, rows, signals
from .generative import Reversal
from .vision import ResNet, ViT, classified


class LoraLinear(nn.Module):
    """A frozen layer and what is learned beside it."""

    def __init__(self, base, r=2, alpha=4):
        super().__init__()
        self.base, self.scaling = base, alpha / r
        self.lora_A, self.lora_B = (
            nn.Parameter(torch.empty(r, base.in_features)),
            nn.Parameter(torch.zeros(base.out_features, r)),
        )
        self.lora_dropout = nn.Dropout(0.1)
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        base.weight.requires_grad_(False)

    def forward(self, x):
        return self.base(x) + (self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T) * self.scaling


def vit(change):
    """A vision transformer, of whose layers some are changed."""
    net = ViT()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    net.head.requires_grad_(True)
    for block in net.blocks:
        change(block.attn)
    return net


@architecture("lora", images(), outputs=["logits"])
def lora():
    """Modules in the place of layers."""

    def change(attention):
        attention.qkv = LoraLinear(attention.qkv)

    return vit(change)


class LoraParametrization(nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.A, self.B = nn.Parameter(torch.randn(2, inside) / 4), nn.Parameter(torch.zeros(outside, 2))

    def forward(self, weight):
        return weight + self.B @ self.A


@architecture("lora-parametrized", images(), outputs=["logits"])
def lora_by_parametrization():
    """Weights that are computed from others."""

    def change(attention):
        parametrize.register_parametrization(attention.qkv, "weight", LoraParametrization(16, 48))

    return vit(change)


@architecture("lora-injected", images(), outputs=["logits"])
def lora_by_closure():
    """The ``forward`` of a layer replaced by a closure over tensors of a module beside it."""

    def change(attention):
        attention.lora_A, attention.lora_B = nn.Parameter(torch.randn(2, 16) / 4), nn.Parameter(torch.zeros(48, 2))
        original = attention.qkv.forward
        a, b = attention.lora_A, attention.lora_B
        attention.qkv.forward = lambda x: original(x) + x @ a.t() @ b.t()

    return vit(change)


@architecture("adapter-by-hook", images(), outputs=["logits"])
def adapter_by_hook():
    """An adapter that a hook puts behind a layer."""

    def change(attention):
        attention.adapter = nn.Sequential(nn.Linear(16, 2), nn.GELU(), nn.Linear(2, 16))
        attention.proj.register_forward_hook(lambda module, args, output: output + attention.adapter(output))

    return vit(change)


@architecture("hypernetwork", images(8), outputs=["logits"])
class Hypernetwork(nn.Module):
    """Makes the weights of another, once for all, and for each example."""

    def __init__(self):
        super().__init__()
        self.z, self.make = nn.Parameter(torch.randn(4)), nn.Linear(4, 8 * 3 * 9)
        self.each, self.fc = nn.Linear(3, 8 * 8), nn.Linear(8, 4)

    def forward(self, images, labels):
        x = F.conv2d(images, self.make(self.z).view(8, 3, 3, 3), padding=1).relu().mean((2, 3))
        weights = self.each(images.mean((2, 3))).view(-1, 8, 8)
        return classified(self.fc(torch.bmm(weights, x[..., None]).squeeze(-1)), labels)


@architecture("functional-call-ensemble", rows())
class Stacked(nn.Module):
    """Members as one by ``torch.func``: their parameters stacked, their calls mapped."""

    def __init__(self):
        super().__init__()
        members = [nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(3)]
        stacked, _ = torch.func.stack_module_state(members)
        self.stacked = nn.ParameterDict({name.replace(".", "_"): p.detach() for name, p in stacked.items()})
        self.names = list(stacked)
        self.__dict__["base"] = members[0].to("meta")

    def forward(self, features, target):
        params = {name: self.stacked[name.replace(".", "_")] for name in self.names}
        call = lambda p, x: torch.func.functional_call(self.base, p, (x,))  # noqa: E731
        foretold = torch.vmap(call, (0, None))(params, features)[..., 0]
        return {"loss": (foretold - target).square().mean(0)}


@architecture("weight-norm-old", signals(), outputs=["logits"])
class OldWeightNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.weight_norm(nn.Conv1d(2, 8, 3))
        self.fc = nn.utils.spectral_norm(nn.Linear(8, 3))

    def forward(self, signals, labels):
        return classified(self.fc(self.conv(signals).relu().mean(2)), labels)


@architecture("checkpointed", images(), outputs=["logits"])
class Checkpointed(ResNet):
    """Computes again in the backward pass what it did not keep; with random numbers inside."""

    def predict(self, images):
        x = self.stem(images)
        for layer in (self.layer1, self.layer2):
            x = checkpoint(lambda x, layer=layer: F.dropout(layer(x), 0.1, self.training), x, use_reentrant=False)
        return {"logits": self.fc(torch.flatten(self.avgpool(x), 1))}


@architecture("checkpointed-reentrant", signals(), outputs=["logits"])
class CheckpointedReentrant(nn.Module):
    """The same in the older way, over a sequence of layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*[nn.Sequential(nn.Linear(48, 48), nn.GELU(), nn.Dropout(0.1)) for _ in range(4)])
        self.first, self.fc = nn.Linear(48, 48), nn.Linear(48, 3)

    def forward(self, signals, labels):
        x = self.first(signals.flatten(1))
        x = (
            torch.utils.checkpoint.checkpoint_sequential(self.layers, 2, x, use_reentrant=True)
            if self.training
            else self.layers(x)
        )
        return classified(self.fc(x), labels)


@architecture("compiled-part", images(), outputs=["logits"])
def compiled_part():
    """A stem that is compiled."""
    net = ResNet()
    net.layer1 = torch.compile(net.layer1, backend="eager")
    return net


class RoundThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1).to(grad.dtype)


@architecture("binary-autograd-function", images(8), outputs=["logits"])
class Binary(nn.Module):
    """Weights of one bit with a gradient of their own."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, images, labels):
        x = F.conv2d(images, RoundThrough.apply(self.conv.weight), self.conv.bias)
        return classified(self.fc(RoundThrough.apply(self.bn(x)).mean((2, 3))), labels)


@architecture("quantization-aware", images(8), outputs=["logits"])
class FakeQuantized(nn.Module):
    """Numbers of eight bits, by a moving range of what was seen."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.ones(()))

    def forward(self, images, labels):
        x = self.conv(images).relu()
        if self.training:
            self.low.mul_(0.9).add_(x.detach().amin() * 0.1)
            self.high.mul_(0.9).add_(x.detach().amax() * 0.1)
        scale = ((self.high - self.low) / 255).clamp(min=1e-6)
        zero_point = (-self.low / scale).round().clamp(0, 255).to(torch.int32)
        x = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)
        return classified(self.fc(x.mean((2, 3))), labels)


@architecture("learned-step-size", rows())
class LearnedStep(nn.Module):
    """Rounding as if it had a slope, a step size that is learned."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.step = nn.Linear(6, 16), nn.Linear(16, 1), nn.Parameter(torch.tensor(0.1))

    def forward(self, features, target):
        g = 1.0 / math.sqrt(self.one.weight.numel() * 7)
        s = (self.step - self.step * g).detach() + self.step * g
        w = (self.one.weight / s).clamp(-8, 7)
        w = ((w.round() - w).detach() + w) * s
        return {"loss": (self.two(F.linear(features, w, self.one.bias).relu())[:, 0] - target).square()}


@architecture("multi-task-uncertainty", rows(6, 2))
class MultiTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.heads = nn.Linear(6, 16), nn.ModuleDict({"a": nn.Linear(16, 1), "b": nn.Linear(16, 1)})
        self.log_vars = nn.Parameter(torch.zeros(2))

    def forward(self, features, target):
        h = F.hardswish(self.trunk(features))
        loss = 0
        for i, head in enumerate(self.heads.values()):
            precision = torch.exp(-self.log_vars[i])
            loss = loss + precision * (head(h)[:, 0] - target[:, i]) ** 2 + self.log_vars[i]
        return {"loss": loss}


@architecture("domain-adversarial", images(8))
class Dann(nn.Module):
    """A gradient turned around by a function of its own, more so with every batch: a buffer counts them."""

    def __init__(self):
        super().__init__()
        self.feature, self.fc, self.domain = (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()),
            nn.Linear(8, 4),
            nn.Linear(8, 2),
        )
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, images, labels):
        if self.training:
            self.steps += 1
        x = self.feature(images).mean((2, 3))
        alpha = 2.0 / (1.0 + torch.exp(-10 * self.steps / 100)) - 1
        domain = F.cross_entropy(self.domain(Reversal.apply(x, alpha)), labels % 2, reduction="none")
        return {"loss": F.cross_entropy(self.fc(x), labels, reduction="none") + domain}


@architecture("siren", rows())
class Siren(nn.Module):
    """Sines, and a penalty on the gradient with respect to the inputs."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 16), nn.Linear(16, 1)

    def forward(self, features, target):
        out = self.two(torch.sin(30 * self.one(features)))[:, 0]
        return {"loss": (out - target).square()}


@architecture("kolmogorov-arnold", rows())
class KolmogorovArnold(nn.Module):
    """Splines on a grid instead of weights."""

    def __init__(self):
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, 9).expand(6, -1).contiguous())
        self.spline, self.base = nn.Parameter(torch.randn(1, 6, 6) * 0.1), nn.Linear(6, 1)

    def b_splines(self, x):
        assert x.dim() == 2 and x.size(1) == 6
        x = x.unsqueeze(-1)
        bases = ((x >= self.grid[:, :-1]) & (x < self.grid[:, 1:])).to(x.dtype)
        for k in range(1, 3):
            bases = (x - self.grid[:, : -(k + 1)]) / (self.grid[:, k:-1] - self.grid[:, : -(k + 1)]) * bases[
                :, :, :-1
            ] + (self.grid[:, k + 1 :] - x) / (self.grid[:, k + 1 :] - self.grid[:, 1:-k]) * bases[:, :, 1:]
        return bases.contiguous()

    def forward(self, features, target):
        out = self.base(F.silu(features)) + F.linear(
            self.b_splines(features).view(len(features), -1), self.spline.view(1, -1)
        )
        return {"loss": (out[:, 0] - target).abs()}


@architecture("early-exit-branch", rows())
class EarlyExit(nn.Module):
    """Goes on only if it is not sure: a branch on data."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 1), nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, features, target):
        first = self.one(features)[:, 0]
        if (first.detach() - target).abs().mean() > 0.5:
            first = first + self.two(features)[:, 0]
        return {"loss": (first - target).square()}


@architecture("mixup-by-torch", images(8))
class Mixup(nn.Module):
    """Pictures mixed in ``forward`` by a Beta distribution and a permutation."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        self.beta = torch.distributions.Beta(0.4, 0.4)

    def forward(self, images, labels):
        other = labels
        lam = torch.ones(())
        if self.training:
            lam = self.beta.sample()
            order = torch.randperm(images.size(0))
            images, other = lam * images + (1 - lam) * images[order], labels[order]
        logits = self.net(images)
        one, two = (F.cross_entropy(logits, y, reduction="none") for y in (labels, other))
        return {"loss": lam * one + (1 - lam) * two}


@architecture("gumbel-selection", rows())
class Gumbel(nn.Module):
    """Features chosen by hard samples whose gradient is soft, by a relaxed distribution as well."""

    def __init__(self):
        super().__init__()
        self.logits, self.gate, self.fc = nn.Parameter(torch.zeros(3, 6)), nn.Parameter(torch.zeros(6)), nn.Linear(3, 1)

    def forward(self, features, target):
        chosen = F.gumbel_softmax(self.logits, tau=0.7, hard=True)
        if self.training:
            gates = torch.distributions.RelaxedBernoulli(torch.tensor(0.5), logits=self.gate).rsample()
        else:
            gates = torch.sigmoid(self.gate)
        return {"loss": (self.fc((features * gates) @ chosen.t())[:, 0] - target).square()}


@architecture("policy-gradient", rows())
class PolicyGradient(nn.Module):
    """An action by a distribution, its reward, a baseline, an entropy."""

    def __init__(self):
        super().__init__()
        self.actor, self.critic = nn.Linear(6, 3), nn.Linear(6, 1)

    def forward(self, features, target):
        policy = torch.distributions.Categorical(logits=self.actor(features))
        action = policy.sample()
        reward = torch.where(action == (target > 0).long(), 1.0, 0.0)
        value = self.critic(features).squeeze(1)
        advantage = reward - value.detach()
        return {"loss": -policy.log_prob(action) * advantage + (reward - value) ** 2 - 0.01 * policy.entropy()}


@architecture("bayes-by-backprop", rows())
class Bayesian(nn.Module):
    """Weights drawn anew for every batch, near a prior."""

    def __init__(self):
        super().__init__()
        self.mu, self.rho = nn.Parameter(torch.randn(1, 6) * 0.1), nn.Parameter(torch.full((1, 6), -3.0))

    def forward(self, features, target):
        posterior = torch.distributions.Normal(self.mu, torch.log1p(torch.exp(self.rho)))
        weight = posterior.rsample() if self.training else self.mu
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum() / 100
        return {"loss": (F.linear(features, weight)[:, 0] - target).square() + kl}
