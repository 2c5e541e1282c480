"""Networks of every kind, each a few lines."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import nnx

import emloop_jax


class Classifier(emloop_jax.BaseModel):
    """Tells which of four classes a signal is of."""

    def outputs(self, logits, batch):
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
        predictions = logits.argmax(-1)
        accuracy = (predictions == batch["labels"]).astype(jnp.float32)
        return {"logits": logits, "loss": loss, "predictions": predictions, "accuracy": accuracy}


class Dense(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, signals, train):
        hidden = nn.relu(nn.Dense(self.hidden)(signals.reshape(signals.shape[0], -1)))
        return nn.Dense(4)(nn.Dropout(0.2, deterministic=not train)(hidden))


class Mlp(Classifier):
    def create_model(self, hidden=16):
        return Dense(hidden)


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, signals, train):
        hidden = nn.Conv(6, (3, 3))(signals[..., None])
        hidden = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden))
        hidden = nn.max_pool(hidden, (2, 2), (2, 2))
        hidden = nn.Dropout(0.3, deterministic=not train)(hidden.reshape(hidden.shape[0], -1))
        return nn.Dense(4)(hidden)


class ConvNet(Classifier):
    def create_model(self):
        return Convolution()


class Block(nnx.Module):
    """A layer of a transformer that sees no later token."""

    def __init__(self, width, rngs):
        self.before, self.between = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, width, dropout_rate=0.1, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(width, 32, rngs=rngs), nnx.Linear(32, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, states):
        mask = nnx.make_causal_mask(states[..., 0])
        states = states + self.dropout(self.attention(self.before(states), mask=mask))
        return states + self.dropout(self.down(nnx.gelu(self.up(self.between(states)))))


class Characters(nnx.Module):
    """Says what follows each token; the table of tokens is used on the way in and on the way out."""

    def __init__(self, rngs, width=16):
        self.table = nnx.Embed(16, width, rngs=rngs)
        self.places = nnx.Param(jnp.zeros((8, width)))
        self.blocks = nnx.List([Block(width, rngs) for _ in range(2)])

    def __call__(self, tokens):
        states = self.table(tokens[:, :-1]) + self.places
        for block in self.blocks:
            states = block(states)
        logits = self.table.attend(states)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean(1)
        return {"loss": loss, "predictions": logits.argmax(2)}


class Transformer(emloop_jax.BaseModel):
    def create_model(self):
        return Characters(self.rngs)


def _start(key, batch):
    width, hidden = batch["signals"].shape[2], 10
    keys = jax.random.split(key, 3)
    scale = jax.nn.initializers.glorot_normal()
    return {
        "read": scale(keys[0], (width, 4 * hidden)),
        "remember": scale(keys[1], (hidden, 4 * hidden)),
        "bias": jnp.zeros(4 * hidden),
        "head": scale(keys[2], (hidden, 4)),
    }


def _lstm(parameters, batch, train, key):
    signals = batch["signals"]

    def step(carry, now):
        state, cell = carry
        gates = now @ parameters["read"] + state @ parameters["remember"] + parameters["bias"]
        new, forget, keep, tell = jnp.split(gates, 4, axis=-1)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(keep) * jnp.tanh(new)
        return (jax.nn.sigmoid(tell) * jnp.tanh(cell), cell), None

    nothing = jnp.zeros((signals.shape[0], 10))
    (state, _), _ = jax.lax.scan(step, (nothing, nothing), signals.swapaxes(0, 1))
    if train:
        state = state * jax.random.bernoulli(key, 0.9, state.shape) / 0.9
    return state @ parameters["head"]


class Lstm(Classifier):
    """Without any library of layers."""

    def create_model(self):
        return emloop_jax.Functions(_start, _lstm)


class Branching(nn.Module):
    """Python code that asks for the size of a batch."""

    @nn.compact
    def __call__(self, signals):
        flat = signals.reshape(signals.shape[0], -1)
        return nn.Dense(4)(flat) if flat.shape[0] > 100 else 2 * nn.Dense(4)(flat)


class ControlFlow(Classifier):
    def create_model(self):
        return Branching()
