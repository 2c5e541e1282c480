"""Nested values as flat lists of arrays with readable names, and what of them a state tree can hold.

A name is the path through the nesting: ``params/Dense_0/kernel``, ``optimizer/0/mu/Dense_0/kernel``. Keys of random
generators are their plain numbers here, so that nothing but arrays ever leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emloop.errors import ConfigError
from emloop.parameters import from_plain, require_alike, to_plain

__all__ = ["Leaf", "Nesting", "from_host", "is_key", "to_host"]


class Leaf(NamedTuple):
    """What an array of a nested value looks like: its name, dtype and shape, and what makes a key of its numbers."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    impl: str | None = None

    @property
    def spec(self) -> jax.ShapeDtypeStruct:
        """The same for JAX."""
        return jax.ShapeDtypeStruct(self.shape, jnp.dtype(self.dtype))

    @property
    def entry(self) -> dict[str, Any]:
        """The same for a file."""
        return {**self._asdict(), "shape": list(self.shape)}

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Leaf:
        """Read what :attr:`entry` wrote."""
        return cls(str(entry["name"]), str(entry["dtype"]), tuple(map(int, entry["shape"])), entry["impl"])


def is_key(leaf: Any) -> bool:
    """Whether something is a key of a random generator, of the kind that has a dtype of its own."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class Nesting:
    """How a nested value is made of its arrays.

    Args:
        make: Returns the nested value; it is only traced.
        *arguments: What it is called with.

    Raises:
        ConfigError: If two arrays would have one name.
    """

    def __init__(self, make: Any, *arguments: Any) -> None:
        impls: list[str | None] = []
        self._tree: Any = None

        def flat(*given: Any) -> list[Any]:
            leaves, self._tree = jax.tree_util.tree_flatten_with_path(make(*given))
            self._names = [_name(path) for path, _ in leaves]
            impls[:] = [str(jax.random.key_impl(leaf)) if is_key(leaf) else None for _, leaf in leaves]
            return [_plain(leaf) for _, leaf in leaves]

        specs = jax.eval_shape(flat, *arguments)
        self.leaves = [
            Leaf(name, str(spec.dtype), spec.shape, impl)
            for name, spec, impl in zip(self._names, specs, impls, strict=True)
        ]
        twice = sorted({name for name in self._names if self._names.count(name) > 1})
        if twice:
            raise ConfigError(f"two arrays of the model have the name {twice[0]!r}; give one of them another")

    @property
    def names(self) -> list[str]:
        """Names of the arrays, in order."""
        return self._names

    def pack(self, nested: Any) -> list[Any]:
        """The arrays of a nested value of this kind, of the dtypes that they had first.

        Raises:
            ConfigError: If it is of another kind.
        """
        leaves, tree = jax.tree_util.tree_flatten(nested)
        if tree != self._tree:
            now = [_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(nested)[0]]
            other = sorted({*now} ^ {*self._names}) or ["its nesting"]
            raise ConfigError(
                f"training changes which arrays the model has ({other[0]}); they must stay the same, so give sow "
                "of Linen a reduce_fn and an init_fn, and make all variables where the model is made"
            )
        return [_plain(value).astype(leaf.dtype) for value, leaf in zip(leaves, self.leaves, strict=True)]

    def unpack(self, values: Sequence[Any]) -> Any:
        """The nested value that has these arrays."""
        return jax.tree_util.tree_unflatten(
            self._tree,
            [
                value if leaf.impl is None else jax.random.wrap_key_data(value, impl=leaf.impl)
                for value, leaf in zip(values, self.leaves, strict=True)
            ],
        )


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else jnp.asarray(leaf)


def to_host(leaves: Sequence[Leaf], values: Sequence[Any], *, lend: bool) -> dict[str, Any]:
    """Name → array for a state.

    Args:
        leaves: What the arrays look like.
        values: The arrays.
        lend: Whether they may share memory with what is trained on.
    """
    for value in values:
        value.copy_to_host_async()
    return {
        leaf.name: to_plain(np.asarray(value) if lend else np.array(value))
        for leaf, value in zip(leaves, values, strict=True)
    }


def from_host(kind: str, leaves: Sequence[Leaf], arrays: Mapping[str, Any], device: jax.Device) -> list[jax.Array]:
    """The arrays of a state on a device, in order.

    Raises:
        StateError: If they are those of another model; names what differs.
    """
    there = {name: from_plain(value) for name, value in arrays.items()}
    require_alike(kind, {leaf.name: leaf.spec for leaf in leaves}, there)
    # Copies, since JAX would share the memory, and somebody may write to it.
    return [jax.device_put(np.array(there[leaf.name]), device) for leaf in leaves]
