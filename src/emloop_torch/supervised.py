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

    model:
      class: emloop_torch.Supervised
      net: {class: transformers.AutoModelForSequenceClassification.from_pretrained,
            pretrained_model_name_or_path: bert-base-uncased, num_labels: 3}
      inputs: [input_ids, attention_mask, labels]
      outputs: [predictions, loss]

``B`` is the number of examples in a batch, ``C`` that of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from torch import nn

from emloop.arguments import read_component
from emloop.declare import Component, Family, Limits
from emloop.errors import BatchError, ConfigError, Problem
from emloop.suggest import did_you_mean
from emloop_torch._programs.views import Selective
from emloop_torch._running.roles import Roles, loss_of, roles_of

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
    functions = True


class Parts(Layers):
    """What a layer is made of: other layers, or an object of any class, such as the configuration of a network."""

    base = ""


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

    The first of ``inputs`` is the features, the second the target. Of a network that takes its inputs by name, those
    that it takes are the features, and ``labels``, or the one that is left, is the target. Without a target the model
    predicts.

    Outputs: ``scores``, what the network gives (``logits`` of an object or mapping that has them), classes on axis 1;
    ``predictions``, the class of the highest score where the loss is one of classification, whether the score is
    positive for ``BCEWithLogitsLoss``, else the scores; ``probabilities`` for ``CrossEntropyLoss`` and
    ``BCEWithLogitsLoss``; ``loss`` per example; and the metrics.

    Args:
        net: The layers, in order, each a class of ``torch.nn`` (or the full name of another, or of a function that
            makes a module) by its name or as ``{class: …, argument: value}``; or one module, described in the same way.
        loss: A loss of ``torch.nn``, by its name or as ``{class: …, argument: value}``; by default that which a
            network of ``transformers`` is made for, per example where that is known, else ``CrossEntropyLoss``.
        metrics: Out of ``accuracy``, ``absolute_error`` and ``squared_error``.
    """

    settings_class = SupervisedSettings

    def create_model(
        self,
        net: Net,
        loss: Component[Losses] | None = None,
        metrics: Sequence[MetricName] = (),
    ) -> nn.Module:
        """The network with its loss."""
        masks = self._settings.weights or {}
        network = _build(net, ("net",))
        roles = roles_of(network, [name for name in self._settings.inputs if name not in masks.values()])
        meant = loss_of(network) if loss is None else loss
        measure: nn.Module | None = None
        if meant is not None:
            chosen = read_component(Losses, meant, ("loss",))
            measure = construct(("loss",), chosen._replace(arguments={**chosen.arguments, "reduction": "none"}))
        class_weight = getattr(measure, "weight", None)
        if getattr(measure, "label_smoothing", 0) and class_weight is not None and not class_weight.all():
            hint = "give it a small weight, or leave out label_smoothing"
            raise ConfigError.about(("loss", "weight"), "a class of weight 0 cannot be smoothed", hint)
        outputs = [*_BASE_OUTPUTS, *_METRICS] if roles.target is not None else _BASE_OUTPUTS[:3]
        known = [name for name in outputs if name in _BASE_OUTPUTS or name in metrics]
        _check_outputs(self._settings.outputs, known)
        weighed = (*_WEIGHED, *metrics)
        for name in masks:
            if name not in weighed:
                hints = (*did_you_mean(name, weighed), f"these can have weights: {', '.join(weighed)}")
                raise ConfigError(Problem(f"there is no {name!r} to weigh", keys=("weights", name), hints=hints))
        measures: dict[str, _Metric] = {name: _METRICS[name] for name in metrics}
        return _Network(network, measure, measures, roles, masks)


class _Network(Selective):
    """A network, its loss and its metrics, whose inputs are named by the configuration.

    What counts, by its label or a mask, is the weight of an output: ``loss_weight`` and the like, one number for every
    example; of the predictions, one for every label.

    Args:
        net: The network.
        loss: The loss of every element, times its class's weight if it has one; ``None``: the network tells its own.
        metrics: The metrics of every element.
        roles: What its inputs are.
        masks: Output → the input that weighs its elements, or examples.
    """

    draws_nothing = True

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module | None,
        metrics: Mapping[str, _Metric],
        roles: Roles,
        masks: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self._metrics = dict(metrics)
        self._classifies, self._ignores = isinstance(loss, _CLASSIFYING), isinstance(loss, _IGNORING)
        self._is_binary = isinstance(loss, nn.BCEWithLogitsLoss)
        self._has_probabilities = self._is_binary or isinstance(loss, nn.CrossEntropyLoss)
        self._roles = roles
        self._masks = dict(masks)
        # Classes can be ignored, and by default -100 is.
        weighed = (*_WEIGHED, *metrics) if self._ignores else masks
        self.weights = {name: f"{name}_weight" for name in weighed} if roles.target is not None else {}

    def inputs_of(self, method: str) -> list[str] | None:
        """Names of what a method takes; ``None`` if it cannot be called."""
        features, target = self._roles.features, self._roles.target
        if method == "predict":
            return list(features)
        return None if target is None else list(dict.fromkeys((*features, target, *self._masks.values())))

    def predict(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores, and what follows from them."""
        return self._follow(self._roles.scores(self.net, inputs)[0], self.asked)

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same, with loss and metrics, and what weighs them."""
        asked = self.asked
        measure: Any = self.loss
        target = self._roles.aligned(inputs)
        metrics = [name for name in self._metrics if asked is None or name in asked] if self._metrics else ()
        scores, own = self._roles.scores(self.net, inputs, told=measure is None)
        outputs = self._follow(scores, asked if asked is None or not metrics else {*asked, "predictions"})
        aim = target if self._classifies else _like_scores(target, scores)
        loss = own if measure is None else measure(scores, aim)
        counts: torch.Tensor | None = None
        class_weight: torch.Tensor | None = None
        if self._ignores and not target.is_floating_point():
            counts = target.ne(measure.ignore_index)
            if (weights := measure.weight) is not None:
                class_weight = weights[target.masked_fill(~counts, 0).long()] * counts
                # The loss itself, of a class as of any other.
                loss = loss / torch.where(class_weight > 0, class_weight, 1.0)
        weight = counts if class_weight is None else class_weight
        outputs.update(self._per_example("loss", loss, self._masked("loss", loss, weight, inputs)))
        for name in metrics:
            values = self._metrics[name](outputs["predictions"], target)
            outputs.update(self._per_example(name, values, self._masked(name, values, counts, inputs)))
        if "predictions" in self.weights and (asked is None or "predictions" in asked):
            weight = self._masked("predictions", outputs["predictions"], counts, inputs)
            given = outputs["predictions"]
            outputs["predictions_weight"] = torch.ones_like(given, dtype=torch.bool) if weight is None else weight
        return outputs

    def _masked(
        self, name: str, values: torch.Tensor, weight: torch.Tensor | None, inputs: Mapping[str, torch.Tensor]
    ) -> torch.Tensor | None:
        """The weight of an output's elements: that of their labels, times the mask."""
        if name not in self._masks:
            return weight
        mask = inputs[self._masks[name]]
        if mask.shape != values.shape[: mask.ndim]:
            raise BatchError(
                f"weight {self._masks[name]!r} of {name!r} has the shape {list(mask.shape)}, "
                f"which is no leading part of {list(values.shape)}"
            )
        mask = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim)).expand(values.shape)
        return mask if weight is None else mask * weight

    def _per_example(self, name: str, values: torch.Tensor, weight: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """An output, the weighted mean of each example's elements, and its weight, their sum."""
        if values.ndim < 2:
            if name not in self.weights:
                return {name: values}
            return {name: values, f"{name}_weight": values.new_ones(values.shape[0]) if weight is None else weight}
        values = values.reshape(values.shape[0], -1)
        if name not in self.weights:
            return {name: values.mean(dim=1)}
        if weight is None:
            return {name: values.mean(dim=1), f"{name}_weight": values.new_ones(values.shape[0])}
        weight = weight.reshape(values.shape)
        if values.shape[1] == 1:
            return {name: values[:, 0], f"{name}_weight": weight[:, 0]}
        weight = weight.to(values.dtype if values.dtype is torch.float64 else torch.float32)
        total = weight.sum(dim=1)
        weighted = (values.masked_fill(weight == 0, 0.0) * weight).sum(dim=1)
        return {name: weighted / torch.where(total > 0, total, 1.0), f"{name}_weight": total}

    def _follow(self, scores: torch.Tensor, asked: Collection[str] | None) -> dict[str, torch.Tensor]:
        """The scores, and as much as is asked for of what follows from them."""
        outputs = {"scores": scores}
        if asked is None or "predictions" in asked:
            if self._classifies:
                outputs["predictions"] = scores.argmax(dim=1)
            else:
                outputs["predictions"] = (scores > 0).to(torch.int64) if self._is_binary else scores
        if self._has_probabilities and (asked is None or "probabilities" in asked):
            outputs["probabilities"] = scores.sigmoid() if self._is_binary else scores.softmax(dim=1)
        return outputs


def _like_scores(target: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    # One number for every example is a column for the network.
    return target.reshape(scores.shape).to(scores.dtype) if target.numel() == scores.numel() else target


_CLASSIFYING = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
_IGNORING = (nn.CrossEntropyLoss, nn.NLLLoss)
_WEIGHED = ("loss", "predictions")
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
        ConfigError: If a class refuses its arguments, or what is made is no module.
    """
    if isinstance(description, list):
        return nn.Sequential(*(_build(part, (*keys, index)) for index, part in enumerate(description)))
    module = _made(Layers, description, keys)
    if not isinstance(module, nn.Module):
        raise ConfigError.about(keys, f"expected what makes a torch.nn.Module, got a {type(module).__name__}")
    return module


def _made(family: type[Layers], description: Any, keys: tuple[Any, ...]) -> Any:
    try:
        chosen = read_component(Layers, description, keys)
    except ConfigError:
        # A stranger's run gets layers only.
        chosen = read_component(family, description, keys)
    made = {
        name: _made(Parts, value, (*keys, name)) if isinstance(value, Mapping) and "class" in value else value
        for name, value in chosen.arguments.items()
    }
    return construct(keys, chosen._replace(arguments=made))


def _check_outputs(outputs: Sequence[str], known: Sequence[str]) -> None:
    problems = []
    for index, name in enumerate(outputs):
        if name not in known:
            hint = f"add it: metrics: [{name}]" if name in _METRICS else f"there is: {', '.join(known)}"
            problems.append(Problem(f"there is no {name!r}", hints=(hint,), keys=("outputs", index)))
    if problems:
        raise ConfigError(problems)
