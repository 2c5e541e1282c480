"""What a user's network is to emloop: functions of its variables, whatever library it was written with.

Variables are a mapping of collections: ``params``, which are trained, and others, such as ``batch_stats``, which the
network itself moves in training. Flax is imported by whoever uses it, not here.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from emloop.errors import ConfigError, Problem
from emloop.suggest import did_you_mean

__all__ = ["PARAMS", "Functions", "Network", "network_of"]

PARAMS = "params"

_FLAGS = ("train", "training", "deterministic", "key", "rngs")


class Functions(NamedTuple):
    """A network as two pure functions.

    Args:
        init: ``init(key, batch)`` → parameters: arrays, nested in any way.
        apply: ``apply(parameters, batch, train, key)`` → results: an array or a mapping.
    """

    init: Callable[[jax.Array, Mapping[str, jax.Array]], Any]
    apply: Callable[[Any, Mapping[str, jax.Array], bool, jax.Array], Any]


class Network:
    """A network as functions of its variables.

    Attributes:
        sources: Names of the sources that it takes.
        variables: The variables, if they exist already.
    """

    sources: Sequence[str]
    variables: Any = None

    def init(self, key: jax.Array, inputs: Mapping[str, Any]) -> Any:
        """Fresh variables, for a batch of these shapes."""
        raise NotImplementedError

    def apply(self, variables: Any, inputs: Mapping[str, Any], train: bool, key: jax.Array) -> tuple[Any, Any]:
        """Results for a batch, and the collections that have moved."""
        raise NotImplementedError


def network_of(made: Any, inputs: Sequence[str], name: str) -> Network:
    """The network that ``create_model`` has returned.

    Args:
        made: A module of Flax, Linen or NNX, or :class:`Functions`.
        inputs: The key ``inputs``.
        name: Name of the model's class.

    Raises:
        ConfigError: If it is something else, or takes what no source gives.
    """
    if not inputs:
        raise ConfigError.about("inputs", "expected the names of one source or more, got none")
    linen, nnx = (sys.modules.get(f"flax.{part}") for part in ("linen", "nnx"))
    if linen is not None and isinstance(made, linen.Module):
        return _Linen(made, inputs)
    if nnx is not None and isinstance(made, nnx.Module):
        return _Nnx(made, inputs, nnx)
    if isinstance(made, Functions):
        return _Pure(made, inputs)
    accepted = "a module of Flax (flax.linen.Module or flax.nnx.Module), or emloop_jax.Functions(init, apply)"
    raise ConfigError(f"create_model of {name} must return {accepted}, got {made!r}")


class _Call:
    """How a module is called: which sources it takes by name, or the first one in its place, and what else."""

    def __init__(self, module: Any, inputs: Sequence[str], flags: Sequence[str] = _FLAGS) -> None:
        parameters = inspect.signature(module.__call__).parameters.values()
        own = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self.sources: list[str] = [p.name for p in own if p.name in inputs]
        self._flags = [p.name for p in own if p.name in flags and p.name not in inputs]
        left = [p.name for p in own if p.default is p.empty and p.name not in (*self.sources, *self._flags)]
        self._unnamed = ""
        if not self.sources and len(left) == 1:
            self._unnamed, self.sources, left = left[0], list(inputs[:1]), []
        if left or not self.sources:
            message = f"{type(module).__name__} takes {', '.join(map(repr, left)) or 'no source'}"
            hints = (*did_you_mean(left[0] if left else "", inputs), f"its arguments are the names of: {list(inputs)}")
            raise ConfigError(Problem(f"{message}, which is none of the inputs", "inputs", hints=hints))

    def arguments(self, inputs: Mapping[str, Any], train: bool, key: jax.Array) -> dict[str, Any]:
        """What the module is given."""
        flags = {"train": train, "training": train, "deterministic": not train, "key": key}
        given = {self._unnamed or name: inputs[name] for name in self.sources}
        return {**given, **{name: flags[name] if name in flags else _rngs(key) for name in self._flags}}


def _rngs(key: jax.Array) -> Any:
    return sys.modules["flax.nnx"].Rngs(key)


class _Linen(Network):
    def __init__(self, module: Any, inputs: Sequence[str]) -> None:
        self._module = module
        # Generators are what Linen itself has: self.make_rng("dropout").
        self._call = _Call(module, inputs, [flag for flag in _FLAGS if flag != "rngs"])
        self.sources = self._call.sources

    def init(self, key: jax.Array, inputs: Mapping[str, Any]) -> Any:
        arguments = self._call.arguments(inputs, train=False, key=key)
        variables = dict(self._module.init({PARAMS: key}, **arguments))
        return {PARAMS: {}, **variables}

    def apply(self, variables: Any, inputs: Mapping[str, Any], train: bool, key: jax.Array) -> tuple[Any, Any]:
        arguments = self._call.arguments(inputs, train, key)
        # A generator of any name falls back on this one. What an evaluation moves is thrown away.
        others = [name for name in variables if name != PARAMS]
        return self._module.apply(variables, rngs={PARAMS: key}, mutable=others, **arguments)


class _Nnx(Network):
    """Its variables exist as soon as it does. Training and evaluation are two views of one module."""

    def __init__(self, module: Any, inputs: Sequence[str], nnx: Any) -> None:
        self._nnx = nnx
        self._call = _Call(module, inputs)
        self.sources = self._call.sources
        self._views = {}
        for train in (True, False):
            (module.train if train else module.eval)()
            self._views[train], state = nnx.split(module)
        leaves, self._tree = jax.tree_util.tree_flatten(state)
        flat = list(nnx.to_flat_state(state))
        if len(flat) != len(leaves):
            raise ConfigError(f"{type(module).__name__} has a variable that is no single array; keep its parts apart")
        self._places = [(_collection(variable, nnx), *map(str, path)) for path, variable in flat]
        self._paths = [path for path, _ in flat]
        self.variables = self._nested(leaves)

    def apply(self, variables: Any, inputs: Mapping[str, Any], train: bool, key: jax.Array) -> tuple[Any, Any]:
        leaves = [_at(variables, place) for place in self._places]
        module = self._nnx.merge(self._views[train], jax.tree_util.tree_unflatten(self._tree, leaves))
        results = module(**self._call.arguments(inputs, train, key))
        # What the module keeps only for a look, such as intermediates, is none of its variables.
        known = set(self._paths)
        self._nnx.pop(module, lambda path, _: tuple(path) not in known)
        view, state = self._nnx.split(module)
        if view != self._views[train]:
            message = f"{type(module).__name__} changes its attributes when it is called, which is traced only once"
            raise ConfigError(f"{message}; keep what changes in a flax.nnx.Variable")
        moved = dict(self._nnx.to_flat_state(state))
        new = self._nested([jax.tree_util.tree_leaves(moved[path])[0] for path in self._paths])
        return results, {name: values for name, values in new.items() if name != PARAMS}

    def _nested(self, leaves: Sequence[Any]) -> dict[str, Any]:
        nested: dict[str, Any] = {PARAMS: {}}
        for place, leaf in zip(self._places, leaves, strict=True):
            inner = nested
            for part in place[:-1]:
                inner = inner.setdefault(part, {})
            inner[place[-1]] = leaf
        return nested


def _collection(variable: Any, nnx: Any) -> str:
    if isinstance(variable, nnx.Param):
        return PARAMS
    if isinstance(variable, nnx.RngState):
        return "rngs"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(variable).__name__).lower() + "s"


def _at(nested: Any, place: Sequence[str]) -> Any:
    for part in place:
        nested = nested[part]
    return nested


class _Pure(Network):
    def __init__(self, functions: Functions, inputs: Sequence[str]) -> None:
        self._functions = functions
        self.sources = list(inputs)

    def init(self, key: jax.Array, inputs: Mapping[str, Any]) -> Any:
        return {PARAMS: self._functions.init(key, inputs)}

    def apply(self, variables: Any, inputs: Mapping[str, Any], train: bool, key: jax.Array) -> tuple[Any, Any]:
        return self._functions.apply(variables[PARAMS], inputs, train, key), {}
