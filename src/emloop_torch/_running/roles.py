"""What the inputs of a network are to it, and what of its outputs are its scores and its own loss.

``B`` is the number of examples in a batch, ``T`` that of tokens, ``C`` that of classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from emloop.arguments import arguments_of
from emloop.errors import BatchError, ConfigError

__all__ = ["Roles", "loss_of", "roles_of"]

_LABELS = "labels"
_PER_TOKEN = ("ForTokenClassification", "ForMaskedLM", "ForCausalLM")
_PER_EXAMPLE = (
    "ForSequenceClassification",
    "ForImageClassification",
    "ForVideoClassification",
    "ForAudioClassification",
)
_IGNORED = -100
"""The label that a loss of PyTorch leaves out unless it is told another."""


@dataclass(frozen=True)
class Roles:
    """What each input of a network is.

    Args:
        features: What the network takes.
        target: What it learns; ``None`` if there is none.
        by_name: Whether it takes its inputs by name.
        purpose: What a network of ``transformers`` calls the loss that it is made for, ``own`` if it has no word.
    """

    features: Sequence[str]
    target: str | None
    by_name: bool
    purpose: str

    def scores(
        self, net: nn.Module, inputs: Mapping[str, torch.Tensor], *, told: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's scores, classes on axis 1, and its own loss; the scores again, if it is not told the target.

        Raises:
            BatchError: If there are none.
        """
        names = [*self.features, self.target] if told and self.target is not None else self.features
        given = {name: inputs[name] for name in names}
        outputs = net(**given) if self.by_name else net(*given.values())
        scores = outputs if isinstance(outputs, torch.Tensor) else _among(outputs, "logits", "out")
        loss = _among(outputs, "loss") if told else scores
        if scores is None or loss is None:
            what = "loss" if scores is not None else "scores, as a tensor or as 'logits'"
            raise BatchError(f"{type(net).__name__} gives no {what}, but {_described(outputs)}")
        return scores.movedim(-1, 1) if self.purpose in _PER_TOKEN else scores, loss

    def aligned(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The target of each score: of a causal language model, ``int [B, T]``, the token that comes next."""
        target = inputs[str(self.target)]
        if self.purpose == "ForCausalLM":
            return functional.pad(target[:, 1:], (0, 1), value=_IGNORED)
        return target


def roles_of(net: nn.Module, names: Sequence[str]) -> Roles:
    """What the inputs of a configuration are to a network.

    Raises:
        ConfigError: If that cannot be told.
    """
    purpose = _purpose_of(net)
    taken = {} if isinstance(net, nn.Sequential) else arguments_of(net.forward, names)
    features = [name for name in names if name in taken and name != _LABELS]
    others = [name for name in names if name not in features]
    if features and len(others) <= 1:
        return Roles(features, others[0] if others else None, by_name=True, purpose=purpose)
    if features or not 1 <= len(names) <= 2:
        hints = [f"{type(net).__name__} takes: {', '.join(taken)}"] if taken else []
        raise ConfigError.about("inputs", f"expected features, or features and a target, got {list(names)}", *hints)
    return Roles(names[:1], names[1] if len(names) == 2 else None, by_name=False, purpose=purpose)


def loss_of(net: nn.Module) -> str | None:
    """The loss of ``torch.nn`` that a network is made for; ``None`` if only the network itself can tell its loss."""
    purpose, config = _purpose_of(net), getattr(net, "config", None)
    if not purpose or purpose in _PER_TOKEN:
        return "CrossEntropyLoss"
    if purpose not in _PER_EXAMPLE:
        return None
    kind = getattr(config, "problem_type", None)
    if kind == "multi_label_classification":
        return "BCEWithLogitsLoss"
    return "MSELoss" if kind == "regression" or getattr(config, "num_labels", 2) == 1 else "CrossEntropyLoss"


def _purpose_of(net: nn.Module) -> str:
    """What ``transformers`` calls the loss of a network; ``own`` where it has no word for it, empty for others."""
    named = getattr(net, "loss_type", "")
    if named is None:
        return "ForCausalLM" if type(net).__name__.endswith("LMHeadModel") else "own"
    return str(named)


def _among(outputs: Any, *names: str) -> Any:
    for name in names:
        found = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if found is not None:
            return found
    return None


def _described(outputs: Any) -> str:
    return f"a mapping of {', '.join(outputs)}" if isinstance(outputs, Mapping) else f"a {type(outputs).__name__}"
