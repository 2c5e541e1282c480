"""What a model computes: its methods ``call`` and ``predict``, and which sources they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from emloop.errors import BatchError, ConfigError, MissingVariableError, Problem
from emloop.suggest import did_you_mean

__all__ = ["LOSS", "Interface", "View", "outputs_of", "read_interface", "require"]

LOSS = "loss"
_TRAINING = "training"


@dataclass(frozen=True)
class View:
    """A method, and the sources that it is given."""

    name: str
    method: Callable[..., Any]
    taken: Sequence[str]

    def __call__(self, owner: Any, given: Mapping[str, Any], *, training: bool) -> Any:
        """Call the method of a model, as part of a graph."""
        parameters = _parameters(self.method)
        mode = {_TRAINING: training} if _TRAINING in parameters or _takes_any(self.method) else {}
        return _converted(self.method)(owner, **{name: given[name] for name in self.taken}, **mode)


@dataclass(frozen=True)
class Interface:
    """What a model takes and gives."""

    view: View
    """What runs."""
    prediction: View | None
    """What needs no labels, if anything does."""
    sources: Sequence[str]
    """All that a batch must hold."""
    outputs: Sequence[str]
    """What to return; what the model itself weighs these by is among them."""
    weights: Mapping[str, str]
    """Output → the output or source that weighs it."""

    @property
    def trains(self) -> bool:
        """Whether there is a loss to follow."""
        return self.view.name == "call"

    @property
    def weighing(self) -> list[str]:
        """Sources that weigh."""
        return [name for name in self.sources if name in self.weights.values()]


def read_interface(
    call: Callable[..., Any],
    predict: Callable[..., Any] | None,
    inputs: Sequence[str],
    inference_inputs: Sequence[str] | None,
    outputs: Sequence[str],
    own: Mapping[str, str],
    configured: Mapping[str, str],
) -> Interface:
    """Decide which method runs, and what it takes.

    Args:
        call: What is trained.
        predict: What needs no labels, if there is such a method.
        inputs: The key ``inputs``.
        inference_inputs: The key ``inference_inputs``.
        outputs: The key ``outputs``.
        own: Output → what weighs it, as the class says: a source, or an output of its own.
        configured: The key ``weights``, whose weights are outputs only if ``outputs`` has them.

    Raises:
        ConfigError: If no method takes the inputs.
    """
    if _TRAINING not in _parameters(call) and not _takes_any(call):
        hint = "def call(self, images, labels, training): …"
        raise ConfigError(Problem("call does not take 'training', without which layers do not learn", hints=(hint,)))
    weights = {**own, **configured}
    given = {weight for name, weight in weights.items() if name not in configured} - set(inputs)
    outputs = list(dict.fromkeys([*outputs, *(weights[n] for n in outputs if weights.get(n) in given)]))
    weighing = [w for n, w in weights.items() if (n in outputs or n == LOSS) and w not in outputs and w not in given]
    prediction = _label_free(call, predict, inputs, inference_inputs)
    view = _chosen(call, predict, inputs, inference_inputs, weighing)
    if view.name == "predict":
        # Without labels there is no loss, and nothing that only the labels tell.
        weights = {name: weight for name, weight in weights.items() if name in outputs}
        weighing = [weight for name, weight in weights.items() if weight in weighing]
    return Interface(view, prediction, list(dict.fromkeys((*inputs, *weighing))), outputs, weights)


def _chosen(
    call: Callable[..., Any],
    predict: Callable[..., Any] | None,
    inputs: Sequence[str],
    inference_inputs: Sequence[str] | None,
    weighing: Sequence[str],
) -> View:
    if predict is None and inference_inputs is not None and set(inputs) == set(inference_inputs):
        return View("predict", call, list(inputs))
    for name, method in (("call", call), ("predict", predict)):
        if method is not None:
            offered = [n for n in dict.fromkeys((*inputs, *weighing)) if n in inputs or n in _parameters(method)]
            if _fits(method, offered):
                return View(name, method, offered)
    raise _refusal(call, predict, inputs)


def _label_free(
    call: Callable[..., Any],
    predict: Callable[..., Any] | None,
    inputs: Sequence[str],
    inference_inputs: Sequence[str] | None,
) -> View | None:
    if inference_inputs is not None:
        return View("predict", call if predict is None else predict, list(inference_inputs))
    if predict is None:
        return None
    names = [name for name in inputs if name in _parameters(predict)]
    return View("predict", predict, names) if _fits(predict, names) else None


def outputs_of(name: str, outputs: Any) -> dict[str, tf.Tensor]:
    """The outputs of a method as tensors.

    Raises:
        BatchError: If they are no mapping, or one is no tensor.
    """
    if not isinstance(outputs, Mapping):
        raise BatchError(f"{name} must return a mapping of names to tensors, got {type(outputs).__name__}")
    found = {}
    for key, value in outputs.items():
        try:
            found[str(key)] = tf.convert_to_tensor(value)
        except (TypeError, ValueError) as error:
            raise BatchError(f"output {key!r}: expected a dense tensor, got {type(value).__name__}") from error
    return found


def require(outputs: Mapping[str, Any], name: str, told: str = "the model gives no {!r}") -> Any:
    """An output.

    Raises:
        MissingVariableError: If there is none of that name.
    """
    if name not in outputs:
        hints = "".join(f"; {hint}" for hint in did_you_mean(name, outputs))
        given = ", ".join(map(repr, outputs))
        raise MissingVariableError(f"{told.format(name)}; it gives {given}{hints}")
    return outputs[name]


def _parameters(method: Callable[..., Any]) -> dict[str, bool]:
    """Parameter → whether it must be given, of what a method takes by name, without the model itself."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {each.name: each.default is each.empty for each in parameters if each.kind in named}


def _takes_any(method: Callable[..., Any]) -> bool:
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(method).parameters.values())


def _fits(method: Callable[..., Any], names: Sequence[str]) -> bool:
    accepted = {name: needed for name, needed in _parameters(method).items() if name != _TRAINING}
    needed = {name for name, needed in accepted.items() if needed}
    return needed <= set(names) and (_takes_any(method) or set(names) <= set(accepted))


def _refusal(call: Callable[..., Any], predict: Callable[..., Any] | None, inputs: Iterable[str]) -> ConfigError:
    taken = [name for name in _parameters(call) if name != _TRAINING]
    unknown = [name for name in inputs if name not in taken]
    missing = [name for name, needed in _parameters(call).items() if needed and name not in {*inputs, _TRAINING}]
    hints = [hint for name in unknown for hint in did_you_mean(name, taken)]
    for name, method in (("call", call), ("predict", predict)):
        if method is not None:
            hints.append(f"{name} takes: {', '.join(each for each in _parameters(method) if each != _TRAINING)}")
    what = [f"call takes no {', '.join(map(repr, unknown))}"] * bool(unknown)
    what += [f"call needs {', '.join(map(repr, missing))} as well"] * bool(missing)
    return ConfigError(Problem(", and ".join(what), keys=("inputs",), hints=tuple(hints)))


def _converted(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method whose ``if`` and ``for`` may depend on tensors."""
    try:
        converted: Callable[..., Any] = tf.autograph.to_graph(method)
    except Exception as error:  # of no public kind: what has no text is taken as it is
        if not any("AutoGraph" in base.__name__ for base in type(error).__mro__):
            raise
        return method
    return converted
