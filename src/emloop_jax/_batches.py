"""Batches as JAX takes them, and what is known of their shapes.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from emloop.errors import BatchError
from emloop.saved_models import array_of, require_sources
from emloop.types import Batch

__all__ = ["BATCH", "Shapes", "check_weight", "inputs_of"]

BATCH = "b"
"""The symbol of the number of examples."""

_NUMERIC = frozenset("biufc")
_NARROW = {"float64": np.float32, "int64": np.int32, "uint64": np.uint32, "complex128": np.complex64}
_AS_THEY_ARE = frozenset(map(np.dtype, ("f4", "f2", "i4", "i2", "i1", "u4", "u2", "u1", "?")))


def inputs_of(batch: Batch, names: Iterable[str]) -> dict[str, Any]:
    """The named sources of a batch as JAX takes them.

    Raises:
        BatchError: If it is no mapping, its examples differ in shape, are no numbers, or whole numbers that 32 bits
            cannot hold.
        MissingVariableError: If it lacks a source.
    """
    try:
        return {name: _input_of(batch[name], name) for name in names}
    except (KeyError, TypeError):
        require_sources(batch, names)
        raise


def _input_of(values: Any, name: str) -> Any:
    """A source as JAX takes it: 64-bit numbers as 32-bit ones, unless ``jax_enable_x64`` is on.

    Raises:
        BatchError: If its examples differ in shape, are no numbers, or whole numbers that 32 bits cannot hold.
    """
    # What most batches hold. A copy, since JAX shares the memory of an array, and computes when the stream may already
    # write to it again.
    if type(values) is np.ndarray and values.dtype in _AS_THEY_ARE:
        return values.copy()
    if isinstance(values, jax.Array):
        return values
    array = array_of(values, name)
    if array is values:
        array = array.copy()
    narrow = None if jax.config.read("jax_enable_x64") else _NARROW.get(array.dtype.name)
    if narrow is not None:
        wide, array = array, array.astype(narrow)
        if array.dtype.kind in "iu" and (wide != array).any():
            message = f"{name}: {wide.dtype} with numbers that {array.dtype} cannot hold; JAX has 32 bits"
            raise BatchError(f"{message}, unless jax.config.update('jax_enable_x64', True) says otherwise")
    if array.dtype.kind not in _NUMERIC and array.dtype != jnp.bfloat16:
        raise BatchError(f"{name}: expected numbers, got an array of {array.dtype}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_weight(values: Any, name: str) -> None:
    """Refuse weights below 0, infinite or NaN.

    Raises:
        BatchError: If there is one.
    """
    weight = np.asarray(values)
    if weight.dtype != np.bool_ and not ((weight >= 0) & (weight < np.inf)).all():
        raise BatchError(
            f"weight {name!r}: expected numbers from 0 on, got {weight[~((weight >= 0) & (weight < np.inf))].flat[0]:g}"
        )


class Shapes:
    """What the batches of a phase look like: sizes, and symbols for those that vary.

    The first axis varies always. Another one does once it has been seen to; axes that were equal in all batches share
    a symbol, so ``tokens [B, T]`` and ``mask [B, T]`` go together.

    Args:
        entries: Name → ``dtype``, ``sizes`` of the first batch, and ``symbols`` of the axes, empty for fixed ones.
    """

    def __init__(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self.entries = {name: dict(entry) for name, entry in entries.items()}

    @classmethod
    def of(cls, inputs: Mapping[str, Any], like: Shapes | None = None) -> Shapes:
        """Those of a first batch; what varies in another phase will vary here as well."""
        found = {}
        for name, values in inputs.items():
            sizes = list(map(int, values.shape))
            if not sizes:
                raise BatchError(f"{name}: expected a value for every example, got a single number")
            found[name] = {"dtype": str(values.dtype), "sizes": sizes, "symbols": [BATCH, *[""] * (len(sizes) - 1)]}
            there = None if like is None else like.entries.get(name)
            if there is not None and len(there["symbols"]) == len(sizes):
                found[name]["symbols"] = list(there["symbols"])
        # Axes that are equal there need not be equal here.
        return cls(found).merged(inputs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shapes) and self.entries == other.entries

    __hash__ = None  # type: ignore[assignment]

    def merged(self, inputs: Mapping[str, Any]) -> Shapes:
        """These, with symbols for what differs in another batch.

        Raises:
            BatchError: If a source has another dtype or number of axes.
        """
        places, keys = [], []
        size = next(iter(inputs.values())).shape[0]
        for name, values in inputs.items():
            entry = self.entries[name]
            if len(values.shape) != len(entry["sizes"]) or str(values.dtype) != entry["dtype"]:
                found = f"{values.dtype} {list(values.shape)}"
                expected = f"{entry['dtype']} {self.described(name)['shape']}"
                raise BatchError(f"{name}: expected {expected} as in the first batch, got {found}")
            for axis, (before, symbol, now) in enumerate(
                zip(entry["sizes"], entry["symbols"], values.shape, strict=True)
            ):
                places.append((name, axis))
                is_fixed = not symbol and before == now
                keys.append("" if is_fixed else (symbol, before if not symbol else None, now))
        _require_one_size(inputs)
        first = next(iter(self.entries.values()))["sizes"][0]
        symbols: dict[Any, str] = {"": "", (BATCH, None, size): BATCH}
        if first != size:
            symbols["", first, size] = BATCH
        new = {name: dict(entry, symbols=list(entry["symbols"])) for name, entry in self.entries.items()}
        for (name, axis), key in zip(places, keys, strict=True):
            if key not in symbols:
                symbols[key] = f"t{len({*symbols.values()} - {'', BATCH})}"
            new[name]["symbols"][axis] = symbols[key]
        return Shapes(new)

    def misfit(self, shapes: Mapping[str, Any]) -> str | None:
        """What of a batch does not go with these; ``None`` if all does."""
        for name, values in shapes.items():
            told = self.described(name)
            sizes = zip(told["shape"], values.shape, strict=False)
            is_other = str(values.dtype) != told["dtype"] or len(told["shape"]) != len(values.shape)
            if is_other or any(one not in (None, two) for one, two in sizes):
                shape = ", ".join("any" if one is None else str(one) for one in told["shape"])
                return f"{name}: expected {told['dtype']} [{shape}], got {values.dtype} {list(values.shape)}"
        return None

    def described(self, name: str) -> dict[str, Any]:
        """The entry of a manifest: dtype and shape, ``None`` for what varies."""
        entry = self.entries[name]
        shape = [None if symbol else size for size, symbol in zip(entry["sizes"], entry["symbols"], strict=True)]
        return {"dtype": entry["dtype"], "shape": shape}

    def lacking(self, inputs: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
        """What a batch lacks, with as many examples as it has."""
        sizes = {
            symbol: size
            for name, values in inputs.items()
            for symbol, size in zip(self.entries[name]["symbols"], values.shape, strict=True)
        }
        return {
            name: jax.ShapeDtypeStruct(
                tuple(sizes.get(s, n) if s else n for s, n in zip(entry["symbols"], entry["sizes"], strict=True)),
                jnp.dtype(entry["dtype"]),
            )
            for name, entry in self.entries.items()
            if name not in inputs
        }

    def concrete(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The first batch, without its values."""
        return {
            name: jax.ShapeDtypeStruct(tuple(entry["sizes"]), jnp.dtype(entry["dtype"]))
            for name, entry in self.entries.items()
        }

    def symbolic(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Any batch of these, for an export."""
        scope = export.SymbolicScope()
        specs = {}
        for name, entry in self.entries.items():
            text = ", ".join(symbol or str(size) for size, symbol in zip(entry["sizes"], entry["symbols"], strict=True))
            shape = export.symbolic_shape(f"({text},)", scope=scope)
            specs[name] = jax.ShapeDtypeStruct(shape, jnp.dtype(entry["dtype"]))
        return specs


def _require_one_size(inputs: Mapping[str, Any]) -> None:
    """Refuse sources of different numbers of examples.

    Raises:
        BatchError: If there are some.
    """
    sizes = {name: values.shape[0] for name, values in inputs.items()}
    first, size = next(iter(sizes.items()))
    for name, own in sizes.items():
        if own != size:
            raise BatchError(f"{name}: expected {size} examples as in {first!r}, got {own}")
