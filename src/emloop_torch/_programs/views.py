"""Which method of a module to run: ``forward``, or ``predict`` if labels are missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from emloop.arguments import arguments_of
from emloop.errors import BatchError, ConfigError, MissingVariableError, Problem
from emloop.suggest import did_you_mean

from .program_module import LOSS, ProgramModule

__all__ = [
    "FORWARD",
    "PREDICT",
    "Asking",
    "Selective",
    "choose_view",
    "label_free_view",
    "loss_among",
    "require_outputs",
    "weights_in",
]

FORWARD, PREDICT = "forward", "predict"


class Selective(nn.Module):
    """A module that may leave out outputs that nobody asks for."""

    asked: Collection[str] | None
    """Names of those that are asked for; ``None``: all."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = None


class Asking(AbstractContextManager[None]):
    """Ask a module for some of its outputs only, inside the block.

    Args:
        module: The module.
        names: Names of the outputs.
    """

    def __init__(self, module: Selective, names: Collection[str]) -> None:
        # Not by setattr, which looks for parameters first.
        self._held = vars(module)
        self._names = names

    def __enter__(self) -> None:
        self._held["asked"] = self._names

    def __exit__(self, *_: object) -> None:
        self._held["asked"] = None


def choose_view(
    module: nn.Module, inputs: Sequence[str], inference_inputs: Sequence[str] | None, weights: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """The method that takes the configured inputs, and which of them, and of the weights, it takes.

    Args:
        module: The module.
        inputs: The key ``inputs``.
        inference_inputs: The key ``inference_inputs``: what ``forward`` needs at least, if there is no ``predict``.
        weights: Sources that weigh outputs. They need not be for the module.

    Raises:
        ConfigError: If neither takes them; says what they take.
    """
    taken = {method: _inputs_of(module, method, inputs) for method in (FORWARD, PREDICT)}
    if inference_inputs is not None and taken[PREDICT] is None and set(inputs) == set(inference_inputs):
        return FORWARD, list(inputs)
    for method, accepted in taken.items():
        if accepted is not None:
            offered = [n for n in dict.fromkeys((*inputs, *weights)) if n in accepted or n not in weights]
            if _fits(accepted, offered):
                return method, offered
    forward = taken[FORWARD] or {}
    unknown = [name for name in inputs if name not in forward]
    missing = [name for name, required in forward.items() if required and name not in inputs]
    hints = [hint for name in unknown for hint in did_you_mean(name, forward)]
    hints += [f"{method} takes: {', '.join(accepted)}" for method, accepted in taken.items() if accepted is not None]
    what = [f"forward takes no {', '.join(map(repr, unknown))}"] * bool(unknown)
    what += [f"forward needs {', '.join(map(repr, missing))} as well"] * bool(missing)
    raise ConfigError(Problem(f"{', and '.join(what)}", keys=("inputs",), hints=tuple(hints)))


def label_free_view(
    module: nn.Module, inputs: Sequence[str], inference_inputs: Sequence[str] | None
) -> tuple[str, list[str]] | None:
    """The method that needs no labels, and which inputs it takes; ``None`` if there is none."""
    accepted = _inputs_of(module, PREDICT, ())
    if inference_inputs is not None:
        return (FORWARD if accepted is None else PREDICT), list(inference_inputs)
    if accepted is None:
        return None
    names = [name for name in inputs if name in accepted]
    return (PREDICT, names) if _fits(accepted, names) else None


def weights_in(module: nn.Module) -> tuple[dict[str, str], set[str]]:
    """What weighs which output of ``forward``, as far as the module itself says so, and which of these are outputs."""
    weights = getattr(module, "weights", None)
    if not isinstance(weights, Mapping):
        return {}, set()
    given = set(weights.values())
    return dict(weights), given.intersection(module.outputs) if isinstance(module, ProgramModule) else given


def require_outputs(view: str, outputs: Any) -> Mapping[str, Any]:
    """Return the outputs of a module, which must be a mapping.

    Raises:
        BatchError: If they are not.
    """
    if type(outputs) is not dict and not isinstance(outputs, Mapping):
        kind = type(outputs).__name__
        raise BatchError(f"{view} of the module: expected a mapping such as {{'loss': …}}, got a {kind}")
    return outputs


def loss_among(outputs: Mapping[str, Any], name: str = LOSS) -> Any:
    """The output to train on.

    Raises:
        MissingVariableError: If there is none.
    """
    if name not in outputs:
        found = ", ".join(map(repr, outputs))
        raise MissingVariableError(f"forward gives no {name!r} to learn from; it gives {found}")
    return outputs[name]


def _fits(accepted: dict[str, bool], inputs: Sequence[str]) -> bool:
    return set(inputs) <= accepted.keys() and all(name in inputs for name, required in accepted.items() if required)


def _inputs_of(module: nn.Module, method: str, given: Sequence[str]) -> dict[str, bool] | None:
    """Argument of a method → whether it is required; ``None`` if there is no such method."""
    names_of: Callable[[str], list[str] | None] | None = getattr(module, "inputs_of", None)
    if names_of is not None:
        names = names_of(method)
        return None if names is None else dict.fromkeys(names, True)
    function: Any = getattr(module, method, None)
    return arguments_of(function, given) if callable(function) else None
