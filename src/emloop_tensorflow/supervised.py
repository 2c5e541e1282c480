"""Networks described by a configuration alone.

.. code-block:: yaml

    model:
      class: emloop_tensorflow.Supervised
      net:
        - {class: Reshape, target_shape: [8, 8, 1]}
        - {class: Conv2D, filters: 16, kernel_size: 3, activation: relu}
        - Flatten
        - {class: Dense, units: 10}
      metrics: [accuracy]
      inputs: [images, labels]
      outputs: [predictions, loss, accuracy]

    model:
      class: emloop_tensorflow.Supervised
      net: {class: keras.applications.MobileNetV2, weights: null, input_shape: [96, 96, 3], classes: 10,
            classifier_activation: null}
      inputs: [images, labels]
      outputs: [predictions, loss]

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import keras
import tensorflow as tf

from emloop.arguments import made, read_component
from emloop.declare import Component, Family, Limits
from emloop.errors import BatchError, ConfigError, Problem
from emloop.suggest import did_you_mean

from ._settings import Settings
from .base_model import BaseModel

__all__ = ["Supervised"]

_Metric = Callable[[Any, Any], Any]


class Layers(Family):
    """The key ``net``."""

    word = "layer"
    home = "keras.layers"
    base = "keras.layers.Layer"
    nested = True
    functions = True
    shared = ("activity_regularizer", "autocast", "dtype", "name", "trainable")
    refused: ClassVar = {"TFSMLayer": "opens graphs that nobody looks through; FrozenModel runs such"}


class Parts(Layers):
    """What a layer is made of: other layers, or an object of any class, such as an initializer."""

    base = ""


class Losses(Family):
    """The key ``loss``."""

    word = "loss"
    home = "keras.losses"
    base = "keras.losses.Loss"
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

    The first of ``inputs`` is the features, the second the target. Of a model of Keras with several named inputs, those
    are the features, and ``labels``, or the one that is left, is the target. Without a target the model predicts.

    Outputs: ``scores``, what the network gives (``logits`` of a mapping that has them), classes on the last axis;
    ``predictions``, the class of the highest score where the loss is one of classification, whether the score is
    positive (a probability above one half) for ``BinaryCrossentropy``, else the scores; ``probabilities`` for the
    losses of classes; ``loss`` per example; and the metrics.

    Args:
        net: The layers, in order, each a class of ``keras.layers`` (or the full name of another, or of a function that
            makes a layer or model) by its name or as ``{class: …, argument: value}``; or one layer or model, described
            in the same way.
        loss: A loss of ``keras.losses``, by its name or as ``{class: …, argument: value}``; by default
            ``{class: SparseCategoricalCrossentropy, from_logits: true}``.
        metrics: Out of ``accuracy``, ``absolute_error`` and ``squared_error``.
    """

    settings_class = SupervisedSettings

    def create_model(
        self,
        net: Net,
        loss: Component[Losses] | None = None,
        metrics: Sequence[MetricName] = (),
    ) -> None:
        """Make the network, and its loss."""
        settings = self._settings
        self._masks = dict(settings.weights or {})
        named = [name for name in settings.inputs if name not in self._masks.values()]
        self.net = _build(net, ("net",))
        self._features, self._target = _roles(self.net, named)
        self._metrics = {name: _METRICS[name] for name in metrics}
        chosen = read_component(Losses, loss or _DEFAULT_LOSS, ("loss",))
        with made(("loss",), chosen.cls, chosen.arguments):
            self._loss = chosen.cls(**chosen.arguments, reduction=None)
        self._classifies, self._is_binary = isinstance(self._loss, _CLASSIFYING), isinstance(self._loss, _BINARY)
        self._ignored = getattr(self._loss, "ignore_class", None)
        _check_last(self.net, self._loss)
        outputs = _BASE_OUTPUTS if self._target is not None else _BASE_OUTPUTS[:3]
        _check_outputs(settings.outputs, [*outputs, *(metrics if self._target is not None else ())])
        weighed = ("loss", "predictions", *metrics)
        for name in self._masks:
            if name not in weighed:
                hints = (*did_you_mean(name, weighed), f"these can have weights: {', '.join(weighed)}")
                raise ConfigError(Problem(f"there is no {name!r} to weigh", keys=("weights", name), hints=hints))
        of_own = (weighed if self._ignored is not None else tuple(self._masks)) if self._target is not None else ()
        self.weights = {name: f"{name}_weight" for name in of_own}
        inputs = list(dict.fromkeys((*settings.inputs, *self._masks.values())))
        self._settings = replace(settings, weights=None, inputs=inputs, inference_inputs=self._features)

    def predict(self, training: bool = False, **inputs: Any) -> Mapping[str, Any]:  # type: ignore[override]
        """Scores, and what follows from them."""
        features = [inputs[name] for name in self._features]
        given = features[0] if len(features) == 1 else dict(zip(self._features, features, strict=True))
        scores: Any = self.net(given, training=training)
        if isinstance(scores, Mapping):
            scores = scores["logits"] if "logits" in scores else next(iter(scores.values()))
        scores = tf.convert_to_tensor(scores)
        return self._follow(tf.cast(scores, tf.float32) if scores.dtype.size < 4 else scores)

    def call(self, training: bool, **inputs: Any) -> Mapping[str, Any]:
        """The same, with loss and metrics, and what weighs them."""
        outputs: dict[str, Any] = dict(self.predict(training, **inputs))
        if self._target is None:
            return outputs
        target, scores = inputs[self._target], outputs["scores"]
        counts = None if self._ignored is None else tf.not_equal(target, tf.cast(self._ignored, target.dtype))
        column = scores if scores.shape.rank != 1 else scores[:, None]
        values = self._loss(target, column)
        outputs |= self._per_example("loss", values, counts, inputs)
        aim = tf.argmax(target, -1) if self._classifies and not isinstance(self._loss, _SPARSE) else target
        for name, metric in self._metrics.items():
            outputs |= self._per_example(name, metric(outputs["predictions"], aim), counts, inputs)
        if "predictions" in self.weights:
            given = outputs["predictions"]
            weight = self._weight("predictions", given, counts, inputs)
            outputs["predictions_weight"] = tf.ones(tf.shape(given), tf.float32) if weight is None else weight
        return outputs

    def _follow(self, scores: Any) -> dict[str, Any]:
        outputs = {"scores": scores}
        from_logits = bool(getattr(self._loss, "from_logits", False))
        if self._classifies:
            outputs["predictions"] = tf.argmax(scores, -1)
            outputs["probabilities"] = tf.nn.softmax(scores) if from_logits else scores
        elif self._is_binary:
            outputs["predictions"] = tf.cast(scores > (0.0 if from_logits else 0.5), tf.int64)
            outputs["probabilities"] = tf.sigmoid(scores) if from_logits else scores
        else:
            outputs["predictions"] = scores
        return outputs

    def _weight(self, name: str, values: Any, counts: Any, inputs: Mapping[str, Any]) -> Any:
        """The weight of an output's elements: that of their labels, times the mask; ``None``: all count the same."""
        own = None if counts is None else tf.cast(counts, tf.float32)
        if name not in self._masks:
            return own
        mask = tf.cast(inputs[self._masks[name]], tf.float32)
        if not values.shape[: mask.shape.rank].is_compatible_with(mask.shape):
            raise BatchError(
                f"weight {self._masks[name]!r} of {name!r} has the shape {list(mask.shape)}, "
                f"which is no leading part of {list(values.shape)}"
            )
        for _ in range(values.shape.rank - mask.shape.rank):
            mask = mask[..., None]
        mask = tf.broadcast_to(mask, tf.shape(values))
        return mask if own is None else mask * own

    def _per_example(self, name: str, values: Any, counts: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """An output, the weighted mean of each example's elements, and its weight, their sum."""
        rows = tf.shape(values)[0]
        weight = self._weight(name, values, counts, inputs) if name in self.weights else None
        if values.shape.rank > 1:
            values = tf.reshape(values, (rows, -1))
            if weight is None:
                values = tf.reduce_mean(values, 1)
            else:
                weight = tf.reshape(weight, tf.shape(values))
                total = tf.reduce_sum(weight, 1)
                # What counts for nothing may be anything.
                counted = tf.where(weight == 0, tf.zeros_like(values), values * tf.cast(weight, values.dtype))
                values = tf.reduce_sum(counted, 1) / tf.cast(tf.where(total > 0, total, 1.0), values.dtype)
                weight = total
        if name not in self.weights:
            return {name: values}
        return {name: values, f"{name}_weight": tf.ones((rows,), tf.float32) if weight is None else weight}


def _accuracy(predictions: Any, target: Any) -> Any:
    target = tf.reshape(target, tf.shape(predictions))
    return tf.cast(tf.equal(predictions, tf.cast(target, predictions.dtype)), tf.float32)


def _difference(predictions: Any, target: Any) -> Any:
    return predictions - tf.cast(tf.reshape(target, tf.shape(predictions)), predictions.dtype)


_METRICS: dict[str, _Metric] = {
    "accuracy": _accuracy,
    "absolute_error": lambda predictions, target: tf.abs(_difference(predictions, target)),
    "squared_error": lambda predictions, target: tf.square(_difference(predictions, target)),
}
_BASE_OUTPUTS = ("scores", "predictions", "probabilities", "loss")
_DEFAULT_LOSS = {"class": "SparseCategoricalCrossentropy", "from_logits": True}
_SPARSE = keras.losses.SparseCategoricalCrossentropy
_CLASSIFYING = (_SPARSE, keras.losses.CategoricalCrossentropy, keras.losses.CategoricalFocalCrossentropy)
_BINARY = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)


def _build(description: Any, keys: tuple[Any, ...]) -> Any:
    """The layer that a configuration describes: a list of layers, or one.

    Raises:
        ConfigError: If a class refuses its arguments, or what is made is no layer.
    """
    if isinstance(description, list):
        return keras.Sequential([_build(part, (*keys, index)) for index, part in enumerate(description)])
    layer = _made(Layers, description, keys)
    if not isinstance(layer, keras.Layer):
        raise ConfigError.about(keys, f"expected what makes a layer or model of Keras, got a {type(layer).__name__}")
    return layer


def _made(family: type[Layers], description: Any, keys: tuple[Any, ...]) -> Any:
    try:
        chosen = read_component(Layers, description, keys)
    except ConfigError:
        # A stranger's run gets layers only.
        chosen = read_component(family, description, keys)
    arguments = {
        name: _made(Parts, value, (*keys, name)) if isinstance(value, Mapping) and "class" in value else value
        for name, value in chosen.arguments.items()
    }
    with made(keys, chosen.cls, arguments):
        return chosen.cls(**arguments)


def _roles(net: Any, inputs: Sequence[str]) -> tuple[list[str], str | None]:
    """The features of a network, and the target, if there is one."""
    known = [each.name for each in net.inputs] if isinstance(net, keras.Model) and net.built and net.inputs else []
    features = [name for name in inputs if name in known] if len(known) > 1 else list(inputs[:1])
    if len(known) > 1 and (missing := [name for name in known if name not in inputs]):
        hints = (*did_you_mean(missing[0], inputs), f"the network takes: {', '.join(known)}")
        raise ConfigError(Problem(f"there is no {missing[0]!r}", keys=("inputs",), hints=hints))
    rest = [name for name in inputs if name not in features]
    target = "labels" if "labels" in rest else rest[0] if rest else None
    if more := [name for name in rest if name != target]:
        hint = f"features: {', '.join(features)}; target: {target}; what weighs stands in weights as well"
        raise ConfigError.about("inputs", f"nothing takes {more[0]!r}", hint)
    return features, target


def _check_last(net: Any, loss: Any) -> None:
    """Refuse a loss of probabilities for a last layer of any numbers, and the other way round: either learns badly."""
    last = net
    while getattr(last, "layers", None):
        last = last.layers[-1]
    activation, from_logits = getattr(last, "activation", None), getattr(loss, "from_logits", None)
    name = getattr(activation, "__name__", "")
    if from_logits is False and name == "linear":
        hint = f"write {{class: {type(loss).__name__}, from_logits: true}}, or give the last layer its activation"
        raise ConfigError.about("loss", "it is one of probabilities, and the last layer gives any numbers", hint)
    if from_logits and name in ("softmax", "sigmoid"):
        hint = f"write loss: {type(loss).__name__}, which takes probabilities, or leave the activation out"
        raise ConfigError.about("loss", f"it makes probabilities itself, and the last layer does so by {name}", hint)


def _check_outputs(outputs: Sequence[str], known: Sequence[str]) -> None:
    problems = []
    for index, name in enumerate(outputs):
        if name not in known:
            hint = f"add it: metrics: [{name}]" if name in _METRICS else f"there is: {', '.join(known)}"
            problems.append(Problem(f"there is no {name!r}", hints=(hint,), keys=("outputs", index)))
    if problems:
        raise ConfigError(problems)
