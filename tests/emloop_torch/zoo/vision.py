"""Networks that look at pictures.

``B`` is the number of examples, ``C`` channels, ``H`` and ``W`` height and width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .catalogue import architecture, images


def classified(logits, labels):
    """Outputs of a classifier."""
    return {"logits": logits, "loss": F.cross_entropy(logits, labels, reduction="none")}


class BasicBlock(nn.Module):
    def __init__(self, inside, outside, stride=1, **norm):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside, **norm)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside, **norm)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside, **norm)
            )

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


@architecture("resnet", images(), outputs=["logits"])
class ResNet(nn.Module):
    def __init__(self, **norm):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8, **norm), nn.ReLU(inplace=True)
        )
        self.layer1 = BasicBlock(8, 8, **norm)
        self.layer2 = BasicBlock(8, 16, 2, **norm)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, 4)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def predict(self, images):
        x = self.layer2(self.layer1(self.stem(images)))
        return {"logits": self.fc(torch.flatten(self.avgpool(x), 1))}

    def forward(self, images, labels):
        return classified(self.predict(images)["logits"], labels)


@architecture("resnet-batchnorm-cumulative", images(), outputs=["logits"])
def cumulative():
    """Batch normalisation over all batches so far, as before stochastic weight averaging."""
    return ResNet(momentum=None)


def drop_path(x, drop_prob, training):
    """Stochastic depth."""
    if drop_prob == 0.0 or not training:
        return x
    keep_prob = 1 - drop_prob
    random_tensor = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep_prob)
    return x * random_tensor.div_(keep_prob)


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x):
        return x * self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


class MBConv(nn.Module):
    def __init__(self, channels, drop):
        super().__init__()
        wide = channels * 4
        self.expand = nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide, eps=1e-3), nn.SiLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide, eps=1e-3), nn.SiLU()
        )
        self.se = SqueezeExcite(wide)
        self.project = nn.Sequential(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels, eps=1e-3))
        self.drop = drop

    def forward(self, x):
        return x + drop_path(self.project(self.se(self.depthwise(self.expand(x)))), self.drop, self.training)


@architecture("efficientnet", images(), outputs=["logits"])
class EfficientNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.Sequential(*[MBConv(8, drop) for drop in torch.linspace(0, 0.4, 3).tolist()])
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 4))

    def forward(self, images, labels):
        return classified(self.head(self.blocks(self.stem(images))), labels)


@architecture("shufflenet", images(), outputs=["logits"])
class ShuffleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.branch = nn.Sequential(
            nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8)
        )
        self.fc = nn.Linear(16, 4)

    def forward(self, images, labels):
        x = self.stem(images)
        x1, x2 = x.chunk(2, dim=1)
        out = torch.cat((x1, self.branch(x2)), dim=1)
        batchsize, num_channels, height, width = out.size()
        out = out.view(batchsize, 2, num_channels // 2, height, width)
        out = torch.transpose(out, 1, 2).contiguous().view(batchsize, num_channels, height, width)
        return classified(self.fc(out.mean([2, 3])), labels)


@architecture("inception-auxiliary", images(), outputs=["logits"])
class Auxiliary(nn.Module):
    """A second head that helps in training only."""

    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.branches = nn.ModuleList([nn.Conv2d(8, 4, k, padding=k // 2) for k in (1, 3, 5)])
        self.aux, self.fc = nn.Linear(8, 4), nn.Linear(12, 4)

    def forward(self, images, labels):
        x = self.early(images)
        out = classified(self.fc(torch.cat([b(x) for b in self.branches], 1).relu().mean((2, 3))), labels)
        if self.training:
            out["loss"] = out["loss"] + 0.4 * classified(self.aux(x.mean((2, 3))), labels)["loss"]
        return out


class SelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj, self.drop = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), nn.Dropout(0.1)

    def forward(self, x, bias=None, mask=None):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attn = (q * (C // self.heads) ** -0.5) @ k.transpose(-2, -1)
        if bias is not None:
            attn = attn + bias.unsqueeze(0)
        if mask is not None:
            nW = mask.shape[0]
            attn = attn.view(B // nW, nW, self.heads, N, N) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.heads, N, N)
        attn = self.drop(attn.softmax(dim=-1))
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), SelfAttention(dim, heads), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + drop_path(self.attn(self.norm1(x)), 0.1, self.training)
        return x + drop_path(self.mlp(self.norm2(x)), 0.1, self.training)


@architecture("vit", images(), outputs=["logits"])
class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 16, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, 16) * 0.02)
        self.blocks, self.norm, self.head = (
            nn.Sequential(*[Block(16, 2) for _ in range(2)]),
            nn.LayerNorm(16),
            nn.Linear(16, 4),
        )

    def forward(self, images, labels):
        x = self.patch_embed(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        return classified(self.head(self.norm(self.blocks(x))[:, 0]), labels)


@architecture("vit-masked-autoencoder", images())
class MaskedAutoencoder(nn.Module):
    """Hides three quarters of the patches, chosen by sorting random numbers, and paints them."""

    def __init__(self):
        super().__init__()
        self.patch_embed, self.pos = nn.Linear(48, 16), nn.Parameter(torch.randn(1, 16, 16) * 0.02)
        self.encoder, self.decoder = Block(16, 2), Block(16, 2)
        self.mask_token, self.pred = nn.Parameter(torch.zeros(1, 1, 16)), nn.Linear(16, 48)

    def forward(self, images, labels):
        N = images.shape[0]
        patches = torch.einsum("nchpwq->nhwpqc", images.reshape(N, 3, 4, 4, 4, 4)).reshape(N, 16, 48)
        x = self.patch_embed(patches) + self.pos
        noise = torch.rand(N, 16, device=x.device)
        ids_shuffle = torch.argsort(noise, dim=1)
        ids_restore = torch.argsort(ids_shuffle, dim=1)
        ids_keep = ids_shuffle[:, :4]
        x = torch.gather(x, 1, ids_keep.unsqueeze(-1).repeat(1, 1, 16))
        mask = torch.ones([N, 16], device=x.device)
        mask[:, :4] = 0
        mask = torch.gather(mask, 1, ids_restore)
        x = self.encoder(x)
        mask_tokens = self.mask_token.repeat(x.shape[0], ids_restore.shape[1] - x.shape[1], 1)
        x = torch.gather(torch.cat([x, mask_tokens], 1), 1, ids_restore.unsqueeze(-1).repeat(1, 1, 16))
        error = (self.pred(self.decoder(x + self.pos)) - patches).square().mean(-1)
        return {"loss": (error * mask).sum(1) / mask.sum(1)}


def window_partition(x, window_size):
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window_size, window_size, C)


def window_reverse(windows, window_size, H, W):
    B = int(windows.shape[0] / (H * W / window_size / window_size))
    x = windows.view(B, H // window_size, W // window_size, window_size, window_size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(B, H, W, -1)


@architecture("swin", images(), outputs=["logits"])
class Swin(nn.Module):
    """Windows, shifted by half their size, with a table of relative positions and a mask for what wraps around."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.attn, self.head = (
            nn.Conv2d(3, 16, 2, 2),
            nn.LayerNorm(16),
            SelfAttention(16, 2),
            nn.Linear(16, 4),
        )
        self.relative_position_bias_table = nn.Parameter(torch.randn(49, 2) * 0.02)
        coords = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + 3
        self.register_buffer("relative_position_index", relative[..., 0] * 7 + relative[..., 1])
        img_mask = torch.zeros((1, 8, 8, 1))
        for number, (h, w) in enumerate(
            (h, w)
            for h in (slice(0, -4), slice(-4, -2), slice(-2, None))
            for w in (slice(0, -4), slice(-4, -2), slice(-2, None))
        ):
            img_mask[:, h, w, :] = number
        windows = window_partition(img_mask, 4).view(-1, 16)
        mask = windows.unsqueeze(1) - windows.unsqueeze(2)
        self.register_buffer("attn_mask", mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0))

    def forward(self, images, labels):
        x = self.embed(images).permute(0, 2, 3, 1)
        shortcut = x
        shifted = torch.roll(self.norm(x), shifts=(-2, -2), dims=(1, 2))
        windows = window_partition(shifted, 4).view(-1, 16, 16)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)].view(16, 16, -1)
        windows = self.attn(windows, bias.permute(2, 0, 1).contiguous(), self.attn_mask)
        shifted = window_reverse(windows.view(-1, 4, 4, 16), 4, 8, 8)
        x = shortcut + torch.roll(shifted, shifts=(2, 2), dims=(1, 2))
        return classified(self.head(x.mean((1, 2))), labels)


@architecture("mlp-mixer", images(), outputs=["logits"])
class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, 4)
        self.norms = nn.ModuleList([nn.LayerNorm(16) for _ in range(3)])
        self.token = nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 16))
        self.channel = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, images, labels):
        x = self.embed(images).flatten(2).transpose(1, 2)
        x = x + self.token(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channel(self.norms[1](x))
        return classified(self.head(self.norms[2](x).mean(dim=1)), labels)


def masks(rng, examples):
    """Pictures, and for every pixel whether it is bright."""
    pictures = images(12)(rng, examples)["images"]
    return {"images": pictures, "masks": (pictures.sum(1) > 0).astype("int64")}


@architecture("unet", masks, outputs=["logits"])
class UNet(nn.Module):
    """Every pixel its class; padded where a height is odd, as in the well-known implementation."""

    def __init__(self):
        super().__init__()
        self.inc, self.down1, self.down2 = self.double(3, 4), self.double(4, 8), self.double(8, 16)
        self.up1, self.conv1 = nn.ConvTranspose2d(16, 8, 2, 2), self.double(16, 8)
        self.up2, self.conv2 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), self.double(12, 4)
        self.outc = nn.Conv2d(4, 2, 1)

    def double(self, inside, outside):
        return nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
        )

    def join(self, x1, x2):
        diffY, diffX = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [diffX // 2, diffX - diffX // 2, diffY // 2, diffY - diffY // 2])
        return torch.cat([x2, x1], dim=1)

    def forward(self, images, masks):
        x1 = self.inc(images)
        x2 = self.down1(F.max_pool2d(x1, 2))
        x3 = self.down2(F.max_pool2d(x2, 2))
        x = self.conv1(self.join(self.up1(x3), x2))
        logits = self.outc(self.conv2(self.join(self.up2(x), x1)))
        dice = 1 - 2 * (logits.softmax(1)[:, 1] * masks).sum((1, 2)) / (logits.softmax(1)[:, 1] + masks).sum((1, 2))
        return {"logits": logits, "loss": F.cross_entropy(logits, masks, reduction="none").mean((1, 2)) + dice}


def framed(rng, examples):
    """Pictures with up to three boxes, ``[B, 3, 4]`` as left, top, right, bottom, of classes from 0; -1: no box."""
    corners = rng.uniform(0, 10, (examples, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 6, (examples, 3, 2))], 2).astype(np.float32)
    classes = rng.integers(-1, 2, (examples, 3))
    classes[:, 0] = rng.integers(0, 2, examples)
    return {"images": images()(rng, examples)["images"], "boxes": boxes, "classes": classes}


def box_iou(one, two):
    area1 = (one[..., 2] - one[..., 0]) * (one[..., 3] - one[..., 1])
    area2 = (two[..., 2] - two[..., 0]) * (two[..., 3] - two[..., 1])
    lt = torch.max(one[..., :, None, :2], two[..., None, :, :2])
    rb = torch.min(one[..., :, None, 2:], two[..., None, :, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[..., 0] * wh[..., 1]
    return inter / (area1[..., :, None] + area2[..., None, :] - inter)


class Anchored(nn.Module):
    """What detectors share: a feature map, anchors, a score for each class and a shift for each anchor."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.cls, self.box = nn.Conv2d(8, 2, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        centres = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="xy"), -1).view(-1, 2) * 4.0 + 2
        self.register_buffer("anchors", torch.cat([centres - 3, centres + 3], 1))

    def heads(self, images):
        x = self.backbone(images)
        return self.cls(x).flatten(2).transpose(1, 2), self.box(x).flatten(2).transpose(1, 2)


@architecture("detector-single-shot", framed)
class SingleShot(Anchored):
    """Every anchor learns from the box that it overlaps most, for all pictures at once; focal loss."""

    def forward(self, images, boxes, classes):
        scores, shifts = self.heads(images)
        iou = box_iou(boxes, self.anchors[None]).masked_fill((classes < 0)[..., None], -1.0)
        best, index = iou.max(dim=1)
        positive = best >= 0.3
        ignored = (best >= 0.2) & ~positive
        matched = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        label = classes.gather(1, index)
        target = torch.zeros_like(scores)
        target.scatter_(2, label.clamp(min=0)[..., None], positive[..., None].to(scores.dtype))
        p = scores.sigmoid()
        pt = torch.where(target == 1, p, 1 - p)
        focal = -((1 - pt) ** 2) * pt.clamp(min=1e-6).log() * (~ignored)[..., None]
        regression = F.smooth_l1_loss(shifts + self.anchors, matched, reduction="none").sum(-1)
        count = positive.sum(1).clamp(min=1)
        return {"loss": (focal.sum((1, 2)) + (regression * positive).sum(1)) / count}


@architecture("detector-per-image", framed)
class PerImage(Anchored):
    """The same in the way of torchvision: a loop over the pictures, and boolean masks."""

    def forward(self, images, boxes, classes):
        scores, shifts = self.heads(images)
        losses = []
        for score, shift, box, label in zip(scores, shifts, boxes, classes, strict=True):
            present = label >= 0
            box, label = box[present], label[present]
            best, index = box_iou(box, self.anchors).max(dim=0)
            foreground = best >= 0.3
            target = torch.zeros_like(score)
            target[foreground, label[index][foreground]] = 1.0
            loss = F.binary_cross_entropy_with_logits(score, target, reduction="sum")
            wanted = box[index][foreground] - self.anchors[foreground]
            loss = loss + F.l1_loss(shift[foreground], wanted, reduction="sum")
            losses.append(loss / max(1, foreground.sum()))
        return {"loss": torch.stack(losses)}


@architecture("spatial-transformer", images(), outputs=["logits"])
class SpatialTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.localization = nn.Sequential(nn.Conv2d(3, 4, 5), nn.MaxPool2d(2, stride=2), nn.ReLU(True))
        self.fc_loc = nn.Sequential(nn.Linear(4 * 6 * 6, 8), nn.ReLU(True), nn.Linear(8, 6))
        self.fc_loc[2].weight.data.zero_()
        self.fc_loc[2].bias.data.copy_(torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float))
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Dropout2d(), nn.Flatten(), nn.Linear(4 * 7 * 7, 4)
        )

    def forward(self, images, labels):
        xs = self.localization(images).view(-1, 4 * 6 * 6)
        theta = self.fc_loc(xs).view(-1, 2, 3)
        grid = F.affine_grid(theta, images.size(), align_corners=False)
        return classified(self.net(F.grid_sample(images, grid, align_corners=False)), labels)


@architecture("super-resolution", images())
class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, images, labels):
        small = F.interpolate(images, scale_factor=0.5, mode="bicubic", align_corners=False)
        return {"loss": (self.net(small) - images).abs().mean((1, 2, 3))}
