"""Networks described by a configuration alone.

.. code-block:: yaml

    model:
      class: emloop_torch.Supervised
      net:
        - {class: Unflatten, dim: 1, unflattened_size: [1, 8]}
        - {class: Conv2d, in_channels: 1, out_channels: 16, kernel_size: 3}
        - ReLU
        - Flatten
        - {class: Linear, in_features: 576, out_features: 10}
      loss: CrossEntropyLoss
      metrics: [accuracy]
      inputs: [images, labels]
      outputs: [predictions, loss, accuracy]

``B`` is the number of examples in a batch, ``C`` that of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from torch import nn

from emloop.arguments import read_component
from emloop.declare import Component, Family, Limits
from emloop.errors import ConfigError, Problem

from ._classes import construct
from ._settings import Settings
from .base_model import BaseModel

__all__ = ["Supervised"]

_Metric = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Layers(Family):
    """The key ``net``."""

    word = "layer"
    home = "torch.nn"
    base = "torch.nn.Module"
    nested = True


class Losses(Family):
    """The key ``loss``."""

    word = "loss"
    home = "torch.nn"
    base = "torch.nn.modules.loss._Loss"
    refused: ClassVar = {"reduction": "is always 'none': the loss is told per example"}


Net: TypeAlias = Annotated[
    Component[Layers] | Sequence[Component[Layers] | Sequence[Component[Layers]]],
    Limits(words="a layer, by its name or as {class: Name, argument: value}, or a list of them"),
]
MetricName: TypeAlias = Literal["accuracy", "absolute_error", "squared_error"]
OutputName: TypeAlias = Literal[
    "scores", "predictions", "probabilities", "loss", "accuracy", "absolute_error", "squared_error"
]


@dataclass(frozen=True)
class SupervisedSettings(Settings):
    """The settings of :class:`Supervised`, whose outputs are known."""

    outputs: Annotated[Sequence[OutputName], Limits(unique=True)]


class Supervised(BaseModel):
    """A network that learns a target from features, without any code.

    The first of ``inputs`` is the features, the second the target. Without a target the model predicts.

    Outputs: ``scores``, what the network gives; ``predictions``, the class of the highest score where the loss is one
    of classification, whether the score is positive for ``BCEWithLogitsLoss``, else the scores; ``probabilities`` for
    ``CrossEntropyLoss`` and ``BCEWithLogitsLoss``; ``loss`` per example; and the metrics.

    Args:
        net: The layers, in order, each a class of ``torch.nn`` (or the full name of another) by its name or as
            ``{class: …, argument: value}``; or one module, described in the same way.
        loss: A loss of ``torch.nn``, by its name or as ``{class: …, argument: value}``.
        metrics: Out of ``accuracy``, ``absolute_error`` and ``squared_error``.
    """

    settings_class = SupervisedSettings

    def create_model(
        self,
        net: Net,
        loss: Component[Losses] = "CrossEntropyLoss",  # type: ignore[assignment]
        metrics: Sequence[MetricName] = (),
    ) -> nn.Module:
        """The network with its loss."""
        if not 1 <= len(self.input_names) <= 2:
            raise ConfigError.about("inputs", f"expected features, or features and a target, got {self.input_names}")
        chosen = read_component(Losses, loss, ("loss",))
        measure: nn.Module = construct(("loss",), chosen._replace(arguments={**chosen.arguments, "reduction": "none"}))
        outputs = [*_BASE_OUTPUTS, *_METRICS] if len(self.input_names) == 2 else _BASE_OUTPUTS[:3]
        known = [name for name in outputs if name in _BASE_OUTPUTS or name in metrics]
        _check_outputs(self._settings.outputs, known)
        measures: dict[str, _Metric] = {name: _METRICS[name] for name in metrics}
        return _Network(_build(net, ("net",)), measure, measures, self.input_names)


class _Network(nn.Module):
    """A network, its loss and its metrics, whose inputs are named by the configuration."""

    def __init__(self, net: nn.Module, loss: nn.Module, metrics: Mapping[str, _Metric], names: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self._metrics = dict(metrics)
        self._names = list(names)

    def inputs_of(self, method: str) -> list[str] | None:
        """Names of what a method takes; ``None`` if it cannot be called."""
        if method == "predict":
            return self._names[:1]
        return self._names if len(self._names) == 2 else None

    def predict(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores, and what follows from them."""
        return self._follow(self.net(inputs[self._names[0]]))

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same, with loss and metrics."""
        features, target = (inputs[name] for name in self._names)
        outputs = self._follow(self.net(features))
        loss = self.loss(outputs["scores"], self._like_scores(target, outputs["scores"]))
        outputs["loss"] = loss.reshape(loss.shape[0], -1).mean(dim=1)
        for name, metric in self._metrics.items():
            value = metric(outputs["predictions"], target)
            outputs[name] = value.reshape(value.shape[0], -1).mean(dim=1)
        return outputs

    def _follow(self, scores: torch.Tensor) -> dict[str, torch.Tensor]:
        if isinstance(self.loss, _CLASSIFYING):
            outputs = {"scores": scores, "predictions": scores.argmax(dim=1)}
            if isinstance(self.loss, nn.CrossEntropyLoss):
                outputs["probabilities"] = scores.softmax(dim=1)
            return outputs
        if isinstance(self.loss, nn.BCEWithLogitsLoss):
            return {"scores": scores, "predictions": (scores > 0).to(torch.int64), "probabilities": scores.sigmoid()}
        return {"scores": scores, "predictions": scores}

    def _like_scores(self, target: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if isinstance(self.loss, _CLASSIFYING):
            return target
        # One number for every example is a column for the network.
        return target.reshape(scores.shape).to(scores.dtype) if target.numel() == scores.numel() else target


_CLASSIFYING = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
_BASE_OUTPUTS = ("scores", "predictions", "probabilities", "loss")


def _accuracy(predictions: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (predictions == target.reshape(predictions.shape)).to(torch.float32)


def _absolute_error(predictions: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (predictions - target.reshape(predictions.shape)).abs().to(torch.float32)


def _squared_error(predictions: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (predictions - target.reshape(predictions.shape)).square().to(torch.float32)


_METRICS: dict[str, _Metric] = {
    "accuracy": _accuracy,
    "absolute_error": _absolute_error,
    "squared_error": _squared_error,
}


def _build(description: Any, keys: tuple[Any, ...]) -> nn.Module:
    """The module that a configuration describes: a list of layers, or one module.

    Raises:
        ConfigError: If a class refuses its arguments.
    """
    if isinstance(description, list):
        return nn.Sequential(*(_build(part, (*keys, index)) for index, part in enumerate(description)))
    chosen = read_component(Layers, description, keys)
    made = {
        name: _build(value, (*keys, name)) if isinstance(value, Mapping) and "class" in value else value
        for name, value in chosen.arguments.items()
    }
    module: nn.Module = construct(keys, chosen._replace(arguments=made))
    return module


def _check_outputs(outputs: Sequence[str], known: Sequence[str]) -> None:
    problems = []
    for index, name in enumerate(outputs):
        if name not in known:
            hint = f"add it: metrics: [{name}]" if name in _METRICS else f"there is: {', '.join(known)}"
            problems.append(Problem(f"there is no {name!r}", hints=(hint,), keys=("outputs", index)))
    if problems:
        raise ConfigError(problems)
