"""Which outputs can be told without labels: those that do not depend on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import Literal

__all__ = ["sources_of"]

_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def sources_of(
    function: Callable[[Mapping[str, Any]], Mapping[str, Any]], inputs: Mapping[str, Any]
) -> dict[str, set[str]]:
    """Name of an output → names of the inputs on which it depends.

    Args:
        function: A mapping of inputs → a mapping of outputs; it is only traced.
        inputs: Their shapes.
    """
    names = sorted(inputs)
    closed, shapes = jax.make_jaxpr(lambda values: function(dict(zip(names, values, strict=True))), return_shape=True)(
        [inputs[name] for name in names]
    )
    found = _through(closed.jaxpr, [{name} for name in names])
    leaves, _ = jax.tree_util.tree_flatten_with_path(shapes)
    dependence: dict[str, set[str]] = {name: set() for name in shapes}
    for (path, _), sources in zip(leaves, found, strict=True):
        dependence[path[0].key] |= sources
    return dependence


def _through(jaxpr: Any, given: Sequence[set[str]]) -> list[set[str]]:
    known: dict[Any, set[str]] = dict(zip(jaxpr.invars, given, strict=True))
    for equation in jaxpr.eqns:
        taken = [set() if isinstance(each, Literal) else known.get(each, set()) for each in equation.invars]
        inner: Any = next((equation.params[name] for name in _CALLS if name in equation.params), None)
        inner = getattr(inner, "jaxpr", inner)
        is_call = inner is not None and len(getattr(inner, "invars", ())) == len(taken)
        if is_call and len(inner.outvars) == len(equation.outvars) and equation.primitive.name not in ("scan", "while"):
            results = _through(inner, taken)
        else:
            results = [set().union(*taken)] * len(equation.outvars)
        known.update(zip(equation.outvars, results, strict=True))
    return [set() if isinstance(each, Literal) else known.get(each, set()) for each in jaxpr.outvars]
