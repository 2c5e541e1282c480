"""Networks that read and write text.

``B`` is the number of examples, ``T`` that of tokens, of which 0 is padding.
"""

from __future__ import annotations

import math
import random

import torch
from torch import nn
from torch.nn import functional as F

from .catalogue import architecture, texts


def per_text(logits, targets, ignore=0):
    """Mean loss of the tokens of each text, ``[B]``."""
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=ignore)
    counted = targets != ignore
    return losses.sum(1) / counted.sum(1).clamp(min=1)


class BertLayer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out, self.norm1, self.norm2 = nn.Linear(dim, dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.intermediate, self.output = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.dropout, self.heads = nn.Dropout(0.1), heads

    def transpose_for_scores(self, x):
        new_x_shape = x.size()[:-1] + (self.heads, x.size(-1) // self.heads)
        return x.view(new_x_shape).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q, k, v = (self.transpose_for_scores(layer(x)) for layer in (self.query, self.key, self.value))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.1 if self.training else 0.0)
        context = context.transpose(1, 2).reshape(x.shape)
        x = self.norm1(x + self.dropout(self.out(context)))
        return self.norm2(x + self.dropout(self.output(F.gelu(self.intermediate(x)))))


@architecture("bert", texts(), outputs=["logits"])
class Bert(nn.Module):
    """Masked words by random numbers of the training, masks joined by ``&``, a head tied to the embedding."""

    def __init__(self, dim=16, words=30):
        super().__init__()
        self.word_embeddings = nn.Embedding(words, dim, padding_idx=0)
        self.position_embeddings, self.token_type_embeddings = nn.Embedding(16, dim), nn.Embedding(2, dim)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(0.1)
        self.register_buffer("position_ids", torch.arange(16).expand((1, -1)), persistent=False)
        self.layers = nn.ModuleList([BertLayer(dim, 2) for _ in range(2)])
        self.transform, self.decoder = nn.Linear(dim, dim), nn.Linear(dim, words, bias=False)
        self.bias = nn.Parameter(torch.zeros(words))
        self.decoder.weight = self.word_embeddings.weight
        self.pooler, self.classifier = nn.Linear(dim, dim), nn.Linear(dim, 3)

    def bidirectional_mask(self, attention_mask):
        q_idx = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        allowed = (q_idx[:, None] >= 0) & (q_idx[None, :] >= 0)
        return allowed[None, None] & attention_mask[:, None, None, :]

    def forward(self, tokens, labels):
        chosen = (torch.rand(tokens.shape, device=tokens.device) < 0.3) & (tokens != 0)
        inputs = tokens.masked_fill(chosen, 1)
        targets = torch.where(chosen, tokens, -100)
        x = self.word_embeddings(inputs) + self.position_embeddings(self.position_ids[:, : tokens.shape[1]])
        x = self.dropout(self.norm(x + self.token_type_embeddings(torch.zeros_like(tokens))))
        mask = self.bidirectional_mask((tokens != 0) | (inputs == 1))
        for layer in self.layers:
            x = layer(x, mask)
        scores = self.decoder(F.gelu(self.transform(x))) + self.bias
        logits = self.classifier(torch.tanh(self.pooler(x[:, 0])))
        return {
            "logits": logits,
            "loss": per_text(scores, targets, -100) + F.cross_entropy(logits, labels, reduction="none"),
        }


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, block_size):
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.attn_dropout, self.n_head = nn.Dropout(0.1), heads
        self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = self.attn_dropout(F.softmax(att, dim=-1)) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


@architecture("gpt", texts())
class Gpt(nn.Module):
    def __init__(self, dim=16, words=30, block_size=16):
        super().__init__()
        self.block_size = block_size
        self.wte, self.wpe, self.drop = nn.Embedding(words, dim), nn.Embedding(block_size, dim), nn.Dropout(0.1)
        self.ln, self.attn = nn.LayerNorm(dim), CausalSelfAttention(dim, 2, block_size)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 32), nn.GELU(), nn.Linear(32, dim))
        self.lm_head = nn.Linear(dim, words, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, tokens, labels):
        idx, targets = tokens[:, :-1], tokens[:, 1:]
        _, t = idx.size()
        assert t <= self.block_size, f"Cannot forward sequence of length {t}, block size is only {self.block_size}"
        pos = torch.arange(0, t, dtype=torch.long, device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(pos))
        x = x + self.attn(self.ln(x))
        x = x + self.mlp(x)
        return {"loss": per_text(self.lm_head(x), targets)}


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + 1e-6)).to(x.dtype)


def rotate_half(x):
    return torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), dim=-1)


@architecture("llama", texts())
class Llama(nn.Module):
    """Rotary positions, grouped queries, gated linear units, root mean square norms."""

    def __init__(self, dim=16, words=30):
        super().__init__()
        self.embed, self.norms = (
            nn.Embedding(words, dim, padding_idx=0),
            nn.ModuleList([RMSNorm(dim) for _ in range(3)]),
        )
        self.q, self.k, self.v, self.o = (
            nn.Linear(dim, dim, False),
            nn.Linear(dim, 8, False),
            nn.Linear(dim, 8, False),
            nn.Linear(dim, dim, False),
        )
        self.gate, self.up, self.down = nn.Linear(dim, 32, False), nn.Linear(dim, 32, False), nn.Linear(32, dim, False)
        self.head = nn.Linear(dim, words, False)
        self.register_buffer("inv_freq", 1.0 / (10000.0 ** (torch.arange(0, 8, 2).float() / 8)), persistent=False)

    def forward(self, tokens, labels):
        x = self.embed(tokens[:, :-1])
        B, T, _ = x.shape
        with torch.no_grad(), torch.autocast(device_type="cpu", enabled=False):
            freqs = torch.outer(torch.arange(T, device=x.device).float(), self.inv_freq)
            emb = torch.cat((freqs, freqs), dim=-1)
            cos, sin = emb.cos(), emb.sin()
        h = self.norms[0](x)
        q = self.q(h).view(B, T, -1, 8).transpose(1, 2)
        k, v = (layer(h).view(B, T, -1, 8).transpose(1, 2) for layer in (self.k, self.v))
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k, v = (t[:, :, None].expand(B, 1, 2, T, 8).reshape(B, 2, T, 8) for t in (k, v))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(h.transpose(1, 2).contiguous().reshape(B, T, -1))
        h = self.norms[1](x)
        x = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return {"loss": per_text(self.head(self.norms[2](x)).float(), tokens[:, 1:])}


class T5Attention(nn.Module):
    def __init__(self, dim, heads, has_relative_attention_bias, bidirectional):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.n_heads, self.bidirectional = heads, bidirectional
        if has_relative_attention_bias:
            self.relative_attention_bias = nn.Embedding(8, heads)

    def bucket(self, relative_position, num_buckets=8, max_distance=16):
        relative_buckets = 0
        if self.bidirectional:
            num_buckets //= 2
            relative_buckets += (relative_position > 0).to(torch.long) * num_buckets
            relative_position = torch.abs(relative_position)
        else:
            relative_position = -torch.min(relative_position, torch.zeros_like(relative_position))
        max_exact = num_buckets // 2
        is_small = relative_position < max_exact
        large = max_exact + (
            torch.log(relative_position.float() / max_exact)
            / math.log(max_distance / max_exact)
            * (num_buckets - max_exact)
        ).to(torch.long)
        large = torch.min(large, torch.full_like(large, num_buckets - 1))
        relative_buckets += torch.where(is_small, relative_position, large)
        return relative_buckets

    def forward(self, x, memory, mask, position_bias=None):
        batch_size, seq_length = x.shape[:2]

        def shape(states):
            return states.view(batch_size, -1, self.n_heads, states.shape[-1] // self.n_heads).transpose(1, 2)

        scores = shape(self.q(x)) @ shape(self.k(memory)).transpose(3, 2)
        if position_bias is None:
            if not hasattr(self, "relative_attention_bias"):
                position_bias = torch.zeros((1, self.n_heads, seq_length, memory.shape[1]), dtype=scores.dtype)
            else:
                context = torch.arange(seq_length)[:, None]
                position = torch.arange(memory.shape[1])[None, :]
                position_bias = self.relative_attention_bias(self.bucket(position - context))
                position_bias = position_bias.permute([2, 0, 1]).unsqueeze(0)
            if mask is not None:
                position_bias = position_bias + mask
        scores += position_bias
        weights = F.dropout(F.softmax(scores.float(), dim=-1).type_as(scores), p=0.1, training=self.training)
        out = (weights @ shape(self.v(memory))).transpose(1, 2).contiguous().view(batch_size, -1, x.shape[-1])
        return self.o(out), position_bias


def pairs(rng, examples):
    """Texts and what they are to become."""
    return {"source": texts()(rng, examples)["tokens"], "target": texts()(rng, examples)["tokens"]}


@architecture("t5", pairs)
class T5(nn.Module):
    """Encoder and decoder with buckets of relative positions, one embedding for all."""

    def __init__(self, dim=16, words=30):
        super().__init__()
        self.shared = nn.Embedding(words, dim)
        self.encoder_embed, self.decoder_embed = nn.Embedding(words, dim), nn.Embedding(words, dim)
        self.encoder_embed.weight = self.decoder_embed.weight = self.shared.weight
        self.encoder = nn.ModuleList([T5Attention(dim, 2, number == 0, True) for number in range(2)])
        self.decoder, self.cross = T5Attention(dim, 2, True, False), T5Attention(dim, 2, False, False)
        self.norms = nn.ModuleList([RMSNorm(dim) for _ in range(5)])
        self.wi, self.wo = nn.Linear(dim, 32, bias=False), nn.Linear(32, dim, bias=False)

    def forward(self, source, target):
        lowest = torch.finfo(torch.float32).min
        mask = (1.0 - (source != 0).float())[:, None, None, :] * lowest
        memory, bias = self.encoder_embed(source), None
        for norm, layer in zip(self.norms, self.encoder, strict=False):
            h = norm(memory)
            out, bias = layer(h, h, mask, bias)
            memory = memory + out
        shifted = target.new_zeros(target.shape)
        shifted[..., 1:] = target[..., :-1].clone()
        x = self.decoder_embed(shifted)
        length = x.shape[1]
        causal = (torch.arange(length)[None, :] > torch.arange(length)[:, None]).float() * lowest
        h = self.norms[2](x)
        x = x + self.decoder(h, h, causal[None, None])[0]
        x = x + self.cross(self.norms[3](x), memory, mask)[0]
        x = x + self.wo(self.wi(self.norms[4](x)).relu())
        return {"loss": per_text((x * 16**-0.5) @ self.shared.weight.t(), target)}


@architecture("deberta", texts(), outputs=["logits"])
class Deberta(nn.Module):
    """Content and position apart: scores are gathered by relative distance; a mask by two products of masks."""

    def __init__(self, dim=16, words=30, span=6):
        super().__init__()
        self.embed, self.rel = nn.Embedding(words, dim, padding_idx=0), nn.Embedding(2 * span, dim)
        self.q, self.k, self.v, self.pos_k, self.pos_q = (nn.Linear(dim, dim) for _ in range(5))
        self.span, self.norm, self.head = span, nn.LayerNorm(dim), nn.Linear(dim, 3)

    def forward(self, tokens, labels):
        x = self.embed(tokens)
        attention = tokens != 0
        extended = attention.unsqueeze(1).unsqueeze(2)
        mask = (extended & extended.squeeze(-2).unsqueeze(-1))[:, 0]
        q, k, v = self.q(x), self.k(x), self.v(x)
        ids = torch.arange(x.size(1))
        relative = (ids[:, None] - ids[None, :]).unsqueeze(0)
        index = torch.clamp(relative + self.span, 0, self.span * 2 - 1).expand(x.size(0), -1, -1)
        c2p = torch.gather(q @ self.pos_k(self.rel.weight).t(), -1, index)
        p2c = torch.gather(k @ self.pos_q(self.rel.weight).t(), -1, index).transpose(-1, -2)
        scores = (q @ k.transpose(-1, -2) + c2p + p2c) / math.sqrt(3 * 16)
        rmask = ~mask.to(torch.bool)
        scores = scores.masked_fill(rmask, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, -1).masked_fill(rmask, 0)
        logits = self.head(self.norm(x + weights @ v)[:, 0])
        return {"logits": logits, "loss": F.cross_entropy(logits, labels, reduction="none")}


@architecture("translation-transformer", pairs)
class Translation(nn.Module):
    """``nn.Transformer``, as in the tutorial."""

    def __init__(self, dim=16, words=30):
        super().__init__()
        self.transformer = nn.Transformer(dim, 2, 1, 1, 32, 0.1, batch_first=True)
        self.src_tok_emb, self.tgt_tok_emb, self.generator = (
            nn.Embedding(words, dim),
            nn.Embedding(words, dim),
            nn.Linear(dim, words),
        )
        den = torch.exp(-torch.arange(0, dim, 2) * math.log(10000) / dim)
        pos_embedding = torch.zeros((32, dim))
        pos_embedding[:, 0::2] = torch.sin(torch.arange(0, 32).reshape(32, 1) * den)
        pos_embedding[:, 1::2] = torch.cos(torch.arange(0, 32).reshape(32, 1) * den)
        self.register_buffer("pos_embedding", pos_embedding)

    def forward(self, source, target):
        tgt_in, tgt_out = target[:, :-1], target[:, 1:]
        tgt_mask = nn.Transformer.generate_square_subsequent_mask(tgt_in.shape[1])
        src_pad, tgt_pad = source == 0, torch.where(tgt_in == 0, float("-inf"), 0.0)
        outs = self.transformer(
            self.src_tok_emb(source) * 4.0 + self.pos_embedding[: source.size(1)],
            self.tgt_tok_emb(tgt_in) * 4.0 + self.pos_embedding[: tgt_in.size(1)],
            tgt_mask=tgt_mask,
            src_key_padding_mask=src_pad,
            tgt_key_padding_mask=tgt_pad,
            memory_key_padding_mask=src_pad,
        )
        return {"loss": per_text(self.generator(outs), tgt_out)}


class Experts(nn.Module):
    """Feed-forward networks of which each token passes two, chosen by a router; a loop over the experts, sparse."""

    def __init__(self, dim=16, experts=4):
        super().__init__()
        self.gate = nn.Linear(dim, experts, bias=False)
        self.experts = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 32), nn.SiLU(), nn.Linear(32, dim)) for _ in range(experts)]
        )

    def forward(self, hidden):
        batch, length, dim = hidden.shape
        hidden = hidden.view(-1, dim)
        router_logits = self.gate(hidden)
        weights, selected = torch.topk(F.softmax(router_logits, dim=1, dtype=torch.float), 2, dim=-1)
        weights /= weights.sum(dim=-1, keepdim=True)
        final = torch.zeros_like(hidden)
        expert_mask = F.one_hot(selected, num_classes=len(self.experts)).permute(2, 1, 0)
        for number, expert in enumerate(self.experts):
            idx, top_x = torch.where(expert_mask[number])
            current = expert(hidden[None, top_x].reshape(-1, dim)) * weights[top_x, idx, None]
            final.index_add_(0, top_x, current.to(hidden.dtype))
        return final.reshape(batch, length, dim), router_logits


class ExpertsAtOnce(nn.Module):
    """The same with weights of all experts in one tensor, tokens sorted by expert and multiplied in groups."""

    def __init__(self, dim=16, experts=4):
        super().__init__()
        self.gate = nn.Linear(dim, experts, bias=False)
        self.up, self.down = (
            nn.Parameter(torch.randn(experts, dim, 32) * 0.1),
            nn.Parameter(torch.randn(experts, 32, dim) * 0.1),
        )

    def forward(self, hidden):
        batch, length, dim = hidden.shape
        flat = hidden.reshape(-1, dim)
        router_logits = self.gate(flat)
        weights, selected = router_logits.softmax(-1).topk(2, dim=-1)
        order = selected.flatten().argsort(stable=True)
        token = order // 2
        expert = selected.flatten()[order]
        h = torch.bmm(flat[token].unsqueeze(1), self.up[expert]).squeeze(1)
        out = torch.bmm(F.silu(h).unsqueeze(1), self.down[expert]).squeeze(1) * weights.flatten()[order][:, None]
        return torch.zeros_like(flat).index_add(0, token, out).view(batch, length, dim), router_logits


class ExpertsWithCapacity(nn.Module):
    """A switch: one expert for each token, as many as it has capacity for, by dispatching in one product."""

    def __init__(self, dim=16, experts=4):
        super().__init__()
        self.gate, self.capacity = nn.Linear(dim, experts, bias=False), 4
        self.up, self.down = (
            nn.Parameter(torch.randn(experts, dim, 32) * 0.1),
            nn.Parameter(torch.randn(experts, 32, dim) * 0.1),
        )

    def forward(self, hidden):
        router_logits = self.gate(hidden)
        prob, index = router_logits.softmax(-1).max(-1)
        mask = F.one_hot(index, self.up.shape[0])
        place = torch.cumsum(mask, dim=1) * mask
        kept = mask * (place <= self.capacity)
        slots = F.one_hot((place - 1).clamp(0, self.capacity - 1), self.capacity) * kept[..., None]
        dispatch = slots.to(hidden.dtype)
        h = torch.einsum("btec,btd->becd", dispatch, hidden)
        h = torch.einsum("becf,efd->becd", torch.einsum("becd,edf->becf", h, self.up).relu(), self.down)
        return torch.einsum("btec,becd->btd", dispatch, h) * prob[..., None], router_logits.flatten(0, 1)


class MixtureOfExperts(nn.Module):
    def __init__(self, experts):
        super().__init__()
        self.embed, self.norm, self.moe, self.head = nn.Embedding(30, 16), nn.LayerNorm(16), experts(), nn.Linear(16, 3)

    def forward(self, tokens, labels):
        x = self.embed(tokens)
        out, router_logits = self.moe(self.norm(x))
        probabilities = router_logits.softmax(-1)
        balance = (probabilities.mean(0) ** 2).sum() * probabilities.shape[-1]
        logits = self.head((x + out).mean(1))
        return {"logits": logits, "loss": F.cross_entropy(logits, labels, reduction="none") + 0.01 * balance}


@architecture("mixture-of-experts", texts(), outputs=["logits"])
def mixture_of_experts():
    """A loop over the experts."""
    return MixtureOfExperts(Experts)


@architecture("mixture-of-experts-grouped", texts(), outputs=["logits"])
def mixture_of_grouped_experts():
    """Sorted tokens."""
    return MixtureOfExperts(ExpertsAtOnce)


@architecture("mixture-of-experts-switch", texts(), outputs=["logits"])
def mixture_of_switched_experts():
    """Limited experts."""
    return MixtureOfExperts(ExpertsWithCapacity)


class Seq2Seq(nn.Module):
    """Reads a text by a recurrent net and writes another, step by step, with attention; teacher forcing."""

    def __init__(self, dim=12, words=30, forcing=1.0):
        super().__init__()
        self.embed, self.encoder = nn.Embedding(words, dim), nn.GRU(dim, dim, batch_first=True)
        self.cell, self.attn, self.out = nn.GRUCell(2 * dim, dim), nn.Linear(2 * dim, 1), nn.Linear(dim, words)
        self.forcing = forcing

    def teaches(self):
        return random.random() < self.forcing

    def forward(self, source, target):
        memory, hidden = self.encoder(self.embed(source))
        hidden, token, scores = hidden[0], target[:, 0], []
        for t in range(1, target.shape[1]):
            query = hidden[:, None].expand_as(memory)
            weights = self.attn(torch.cat([query, memory], 2)).squeeze(2).masked_fill(source == 0, -1e9).softmax(1)
            context = torch.bmm(weights[:, None], memory).squeeze(1)
            hidden = self.cell(torch.cat([self.embed(token), context], 1), hidden)
            scores.append(self.out(hidden))
            token = target[:, t] if self.teaches() else scores[-1].argmax(1)
        return {"loss": per_text(torch.stack(scores, 1), target[:, 1:])}


def aligned(rng, examples):
    """Texts of one length, and what they are to become."""
    return {"source": rng.integers(1, 30, (examples, 6)), "target": rng.integers(1, 30, (examples, 5))}


class Forced(Seq2Seq):
    def teaches(self):
        return True


@architecture("seq2seq-teacher-forcing", aligned)
def forced():
    """Always forced, texts of fixed lengths."""
    return Forced()


@architecture("seq2seq-of-any-length", pairs)
def forced_of_any_length():
    """Always forced, texts padded to the longest of the batch: a loop over a size that differs between batches."""
    return Forced()


@architecture("seq2seq-scheduled-sampling", aligned)
def sometimes_forced():
    """Forced now and then, by Python's random numbers."""
    return Seq2Seq(forcing=0.5)


class Sampled(Seq2Seq):
    def forward(self, source, target):
        memory, hidden = self.encoder(self.embed(source))
        hidden, token, scores = hidden[0], target[:, 0], []
        for t in range(1, target.shape[1]):
            hidden = self.cell(torch.cat([self.embed(token), memory.mean(1)], 1), hidden)
            scores.append(self.out(hidden))
            forced = torch.rand(len(token), device=token.device) < self.forcing
            token = torch.where(forced, target[:, t], torch.multinomial(scores[-1].softmax(1), 1).squeeze(1))
        return {"loss": per_text(torch.stack(scores, 1), target[:, 1:])}


@architecture("seq2seq-sampled", aligned)
def sampled():
    """Forced now and then, by the random numbers of PyTorch."""
    return Sampled(forcing=0.5)


@architecture("word2vec-negative-sampling", texts())
class Skipgram(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.outside = nn.Embedding(30, 8, sparse=True), nn.Embedding(30, 8, sparse=True)

    def forward(self, tokens, labels):
        centre, context = self.inside(tokens[:, 0]), self.outside(tokens[:, 1])
        negative = self.outside(torch.randint(0, 30, (len(tokens), 5), device=tokens.device))
        positive = F.logsigmoid((centre * context).sum(1))
        return {"loss": -(positive + F.logsigmoid(-torch.bmm(negative, centre.unsqueeze(2)).squeeze(2)).sum(1))}


@architecture("fasttext-bag", texts(), outputs=["logits"])
class FastText(nn.Module):
    """A bag of words, given as one long row and where each text begins, as in the tutorial on classification."""

    def __init__(self):
        super().__init__()
        self.embedding, self.fc = nn.EmbeddingBag(30, 8, mode="mean", padding_idx=0), nn.Linear(8, 3)

    def forward(self, tokens, labels):
        offsets = torch.arange(len(tokens), device=tokens.device) * tokens.size(1)
        logits = self.fc(self.embedding(tokens.flatten(), offsets))
        return {"logits": logits, "loss": F.cross_entropy(logits, labels, reduction="none")}
