"""What the code of a module can reach beside its parameters and buffers, and how to put it back.

A forward pass may count in a dictionary, fill a list, read a global configuration or draw from Python's random numbers.
None of that is part of a state or a graph, and a deep copy of the module would share some of it with the module. So the
module itself is run to be compared, with everything that it can reach put back afterwards.

Reached are attributes of modules and objects, entries of containers, closures, defaults, attributes of classes, and
globals that functions name. PyTorch, NumPy and the standard library are taken not to change.
"""

from __future__ import annotations

import array
import copy
import dis
import functools
import hashlib
import random
import sys
import threading
import types
import warnings
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from enum import Enum
from itertools import count, cycle
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import torch
from torch import nn

from emloop.interrupting import uninterrupted

__all__ = ["Place", "Snapshot", "Surroundings", "is_library"]

_LIBRARIES = {"emloop", "emloop_torch", "numpy", "torch", *sys.stdlib_module_names} - {"__main__"}
_OF_NETWORKS = {"accelerate", "huggingface_hub", "peft", "timm", "tokenizers", "torchvision", "transformers"}
"""Packages of networks, whose classes and functions keep nothing, unlike the objects that are made of them."""
_ATOMS = (bool, int, float, complex, str, bytes, type(None), Enum, torch.dtype, torch.device, torch.Size, slice, range)
_CONTAINERS = (dict, list, set, deque)
_ITERATORS: tuple[Any, ...] = (count, cycle, type(iter([])), type(iter(())), type(iter(range(0))))
_STATE = ("_parameters", "_buffers", "_modules")
_OF_EVERY_MODULE = vars(nn.Module()).keys()
_BYTES = (bytearray, array.array)
_HOLDERS = (types.SimpleNamespace, threading.local, UserDict, UserList, WeakKeyDictionary, WeakValueDictionary)
"""What users keep values in, of all that the standard library defines."""
_CACHED = type(functools.lru_cache(lambda: None))
_MOST, _LARGEST = 200_000, 1 << 24
"""Values to look at, and bytes of an array to compare; of a larger one a sample is, and no step may write to it."""
_SAMPLED = 1 << 16
_ABSENT = object()


class Place(NamedTuple):
    """Where a value is: an entry of a container, an attribute of an object, a cell of a closure."""

    holder: Any
    key: Any

    def get(self) -> Any:
        """The value; ``_ABSENT`` if there is none."""
        if isinstance(self.holder, ContextVar):
            return self.holder.get(_ABSENT)
        if isinstance(self.holder, types.CellType):
            return self.holder.cell_contents if _is_full(self.holder) else _ABSENT
        if isinstance(self.holder, dict):
            return dict.get(self.holder, self.key, _ABSENT)
        if isinstance(self.holder, (list, deque)):
            return self.holder[self.key] if self.key < len(self.holder) else _ABSENT
        if isinstance(self.holder, type):
            return vars(self.holder).get(self.key, _ABSENT)
        return getattr(self.holder, self.key, _ABSENT)

    def put(self, value: Any) -> None:
        """Set the value."""
        if isinstance(self.holder, ContextVar):
            self.holder.set(value)
        elif isinstance(self.holder, types.CellType):
            self.holder.cell_contents = value
        elif isinstance(self.holder, (dict, list, deque)):
            kind: Any = next(kind for kind in (OrderedDict, dict, list, deque) if isinstance(self.holder, kind))
            kind.__setitem__(self.holder, self.key, value)
        else:
            setattr(self.holder, self.key, value)


_NOWHERE = Place(None, None)
_Found: TypeAlias = tuple[str, Place, Any]


class Surroundings:
    """What a module can reach now.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.places: dict[str, Place] = {}
        """Where a value with a name is."""
        self.values: dict[str, str] = {}
        """Name → identity of the value."""
        self.leaves: list[Any] = []
        """Tensors, arrays and generators."""
        self.large: list[np.ndarray] = []
        self.containers: list[Any] = []
        self.classes: list[type] = []
        self.functions: list[types.FunctionType] = []
        self.cached: list[Place] = []
        self.iterators: list[Place] = []
        self.irreversible: list[str] = []
        """Names of what can be advanced but not put back."""
        self._kept: list[Any] = []
        self._seen: dict[int, str] = {}
        self._state = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        waiting: list[_Found] = [("", _NOWHERE, module)]
        while waiting and len(self._seen) < _MOST:
            waiting += reversed(list(self._enter(*waiting.pop())))
        self.is_whole = not waiting
        for name, parameter in module.named_parameters():
            self.values[f"{name}.requires_grad"] = repr(parameter.requires_grad)

    def _enter(self, name: str, place: Place, value: Any) -> Iterator[_Found]:
        """Note a value, and yield what it leads to."""
        if place is not _NOWHERE:
            self.places[name] = place
        if isinstance(value, _ATOMS):
            self.values[name] = repr(value)
        elif id(value) in self._seen:
            self.values.setdefault(name, f"is {self._seen[id(value)]}")
        else:
            self._seen[id(value)] = name
            self._kept.append(value)
            self.values[name] = _kind(value)
            enter = next((method for kinds, method in _ENTERED if isinstance(value, kinds)), Surroundings._of_object)
            yield from enter(self, name, place, value) or ()

    def _leaf(self, name: str, _: Place, value: Any) -> None:
        if id(value) in self._state:
            self.values[name] = "state"
        elif isinstance(value, np.ndarray) and value.nbytes > _LARGEST:
            self.values[name] += f" {id(value)} {_identified(value.flat[:: value.size // _SAMPLED])}"
            self.large.append(value)
        else:
            self.values[name] = _identified(value)
            self.leaves.append(value)

    def _of_container(self, name: str, place: Place, value: Any) -> Iterator[_Found]:
        self.containers.append(value)
        told = []
        for key, entry in list(dict.items(value) if isinstance(value, dict) else enumerate(value)):
            told.append(f"{key!r}: {entry!r}" if isinstance(entry, _ATOMS) else repr(key))
            if not isinstance(entry, _ATOMS):
                # What is in a set has no place of its own.
                yield f"{name}[{key!r}]", place if isinstance(value, set) else Place(value, key), entry
        self.values[name] += f" {sorted(told) if isinstance(value, set) else told}"

    def _of_tuple(self, name: str, place: Place, value: Any) -> Iterator[_Found]:
        self.values[name] += f" {[entry if isinstance(entry, _ATOMS) else '' for entry in value]}"
        yield from ((f"{name}[{index}]", place, entry) for index, entry in enumerate(value))

    def _of_module(self, name: str, _: Place, module: nn.Module) -> Iterator[_Found]:
        held = vars(module)
        self.containers += [held, *(value for key, value in held.items() if key in _STATE or "hooks" in key)]
        prefix = f"{name}." if name else ""
        for kind in _STATE:
            yield from ((f"{prefix}{key}", Place(held[kind], key), part) for key, part in held.get(kind, {}).items())
        for key, value in list(held.items()):
            # The hooks that every module may have are worth a look where there are any.
            if key not in _OF_EVERY_MODULE or ("hooks" in key and value):
                yield f"{prefix}{key}", Place(held, key), value
        yield from self._of_class(type(module))

    def _of_class(self, cls: type) -> Iterator[_Found]:
        for kind in cls.__mro__:
            if kind in self.classes or _is_stateless(kind.__module__):
                continue
            # A class is often named after the one that it extends.
            name = kind.__qualname__ + "'" * sum(other.__qualname__ == kind.__qualname__ for other in self.classes)
            self.classes.append(kind)
            for key, value in list(vars(kind).items()):
                if not (key.startswith("__") and isinstance(value, (*_ATOMS, dict, tuple, types.GetSetDescriptorType))):
                    yield f"{name}.{key}", Place(kind, key), value

    def _of_cached(self, name: str, place: Place, value: Any) -> Iterator[_Found]:
        if place is not _NOWHERE and place.get() is value:  # not one of a tuple's
            self.cached.append(place)
        yield f"{name}.__wrapped__", _NOWHERE, value.__wrapped__

    def _iterator(self, name: str, place: Place, value: Any) -> None:
        self.values[name] = repr(_quietly(value.__reduce__))
        self.iterators.append(place)

    def _generator(self, name: str, _: Place, __: Any) -> None:
        self.irreversible.append(name)

    def _of_variable(self, name: str, _: Place, value: ContextVar[Any]) -> Iterator[_Found]:
        held = value.get(_ABSENT)
        if held is not _ABSENT:
            yield name, Place(value, None), held

    def _of_wrapper(self, name: str, place: Place, value: Any) -> Iterator[_Found]:
        if isinstance(value, types.CellType):
            if _is_full(value):
                yield name, Place(value, None), value.cell_contents
        elif isinstance(value, type):
            yield from self._of_class(value)
        else:
            keys = ("__func__", "__self__", "func", "args", "keywords", "fget", "fset")
            inner = ((key, getattr(value, key, None)) for key in keys)
            yield from ((f"{name}.{key}", place, entry) for key, entry in inner if entry is not None)

    def _of_object(self, name: str, _: Place, value: Any) -> Iterator[_Found]:
        if isinstance(value, types.ModuleType) or (
            is_library(type(value).__module__) and not isinstance(value, _HOLDERS)
        ):
            return
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict):
            self.containers.append(held)
            yield from ((f"{name}.{key}", Place(held, key), inner) for key, inner in list(held.items()))
        for slot in _slots(type(value)):
            inner = getattr(value, slot, _ABSENT)
            if inner is not _ABSENT:
                yield f"{name}.{slot}", Place(value, slot), inner
        yield from self._of_class(type(value))

    def _of_function(self, _: str, __: Place, function: types.FunctionType) -> Iterator[_Found]:
        if _is_stateless(function.__module__):
            return
        self.functions.append(function)
        name, code, known = function.__qualname__, function.__code__, function.__globals__
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            yield f"{name}: {variable}", _NOWHERE, cell
        yield from ((f"{name}: default", _NOWHERE, entry) for entry in function.__defaults__ or ())
        yield from ((f"{name}: {key}", _NOWHERE, entry) for key, entry in (function.__kwdefaults__ or {}).items())
        if vars(function):
            self.containers.append(vars(function))
            yield from ((f"{name}.{key}", Place(vars(function), key), v) for key, v in vars(function).items())
        named, attributes = _names_in(code)
        for key in sorted(named & known.keys()):
            value = known[key]
            if isinstance(value, types.ModuleType) and not _is_stateless(value.__name__):
                inner = vars(value)
                yield from (
                    (f"{value.__name__}.{k}", Place(inner, k), inner[k]) for k in sorted(attributes & inner.keys())
                )
            else:
                yield f"{function.__module__}.{key}", Place(known, key), value


class Snapshot:
    """Everything that running a module may change: put back as often as needed, to the bit.

    Until :meth:`close`, gradients are set aside, functions that remember results begin anew, and large arrays refuse
    to be written to.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.surroundings = found = Surroundings(module)
        state = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers(), *_tensors(found.leaves))}
        self._tensors = [
            (tensor, tensor.detach(), tensor.detach().clone(), tensor.requires_grad, tensor.is_leaf)
            for tensor in state.values()
            if not tensor.is_meta
        ]
        self._gradients = [(tensor, tensor.grad) for tensor in state.values() if tensor.is_leaf]
        self._contents = [
            (leaf, _content(leaf), _identified(leaf)) for leaf in found.leaves if not isinstance(leaf, torch.Tensor)
        ]
        self._containers = [(container, _shallow(container)) for container in found.containers]
        self._classes = [(cls, dict(vars(cls))) for cls in found.classes]
        self._named = {name: (place, place.get()) for name, place in found.places.items()}
        self._iterators = [
            (place, place.get(), _quietly(functools.partial(copy.copy, place.get()))) for place in found.iterators
        ]
        self._cached = [(place, place.get()) for place in found.cached]
        self._random = random.getstate(), np.random.get_state()
        self._locked = [large for large in found.large if large.flags.writeable]
        for locked in self._locked:
            locked.flags.writeable = False
        self._torch = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        self._begin_anew()

    @uninterrupted
    def put_back(self) -> None:
        """Put everything back, but gradients and what functions remember."""
        self._put_back_places()
        with torch.no_grad():
            for tensor, alias, value, requires_grad, is_leaf in self._tensors:
                _put_back(tensor, alias, value)
                if is_leaf and tensor.requires_grad is not requires_grad:
                    tensor.requires_grad_(requires_grad)
        for leaf, content, identity in self._contents:
            if _identified(leaf) != identity:
                _fill(leaf, content)
        if random.getstate() != self._random[0]:
            random.setstate(self._random[0])
        if not _equal(np.random.get_state(), self._random[1]):
            np.random.set_state(self._random[1])
        torch.set_rng_state(self._torch[0])
        if self._torch[1]:
            torch.cuda.set_rng_state_all(self._torch[1])
        self._begin_anew()

    @uninterrupted
    def take_back(self, *, moved: bool = False) -> dict[str, torch.Tensor]:
        """Put the parameters back, or to other values, and return the values of those that have been written to."""
        noted = {id(tensor): (alias, value) for tensor, alias, value, *_ in self._tensors}
        written = {}
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                if id(parameter) in noted:
                    alias, value = noted[id(parameter)]
                    value = _moved(value) if moved else value
                    if not torch.equal(parameter.to_dense(), value.to_dense()):
                        written[name] = parameter.detach().clone()
                    _put_back(parameter, alias, value)
        return written

    def _put_back_places(self) -> None:
        for container, before in self._containers:
            _restore(container, before)
        for cls, before in self._classes:
            for name in vars(cls).keys() - before.keys():
                delattr(cls, name)
            for name, value in before.items():
                if vars(cls).get(name, _ABSENT) is not value and not name.startswith("__"):
                    setattr(cls, name, value)
        for place, value in self._named.values():
            if place.get() is not value and value is not _ABSENT:
                place.put(value)
        for place, iterator, before in self._iterators:
            if repr(_quietly(iterator.__reduce__)) != repr(_quietly(before.__reduce__)):
                place.put(_quietly(functools.partial(copy.copy, before)))

    @uninterrupted
    def close(self) -> None:
        """Put everything back."""
        self.put_back()
        for locked in self._locked:
            locked.flags.writeable = True
        for place, function in self._cached:
            place.put(function)
        for tensor, gradient in self._gradients:
            tensor.grad = gradient

    def drawn(self) -> list[str]:
        """Which of the random numbers that are not PyTorch's have been drawn from since."""
        moved = {
            "random": random.getstate() != self._random[0],
            "numpy.random": not _equal(np.random.get_state(), self._random[1]),
        }
        return [name for name, has_moved in moved.items() if has_moved]

    def _begin_anew(self) -> None:
        for tensor, _ in self._gradients:
            tensor.grad = None
        for place, function in self._cached:
            place.put(functools.lru_cache(**function.cache_parameters())(function.__wrapped__))


def is_library(name: str | None) -> bool:
    """Whether a module is one whose code is taken to keep nothing from one forward pass to the next."""
    return (name or "builtins").partition(".")[0] in _LIBRARIES


def _is_stateless(name: str | None) -> bool:
    return is_library(name) or str(name).partition(".")[0] in _OF_NETWORKS


_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def _content(leaf: Any) -> Any:
    if isinstance(leaf, torch.Generator):
        return leaf.get_state()
    if isinstance(leaf, np.random.Generator):
        return copy.deepcopy(leaf.bit_generator.state)
    if isinstance(leaf, np.random.RandomState):
        return leaf.get_state()
    if isinstance(leaf, _BYTES):
        return leaf[:]
    return leaf.getstate() if isinstance(leaf, random.Random) else leaf.copy()


def _fill(leaf: Any, content: Any) -> None:
    if isinstance(leaf, torch.Generator):
        leaf.set_state(content)
    elif isinstance(leaf, np.random.Generator):
        leaf.bit_generator.state = content
    elif isinstance(leaf, np.random.RandomState):
        leaf.set_state(content)
    elif isinstance(leaf, random.Random):
        leaf.setstate(content)
    else:
        leaf[slice(None) if isinstance(leaf, _BYTES) else ...] = content


def _identified(value: Any) -> str:
    """What tells a value from another."""
    if isinstance(value, torch.Tensor):
        if value.is_meta or value.is_quantized or isinstance(value, torch._subclasses.FakeTensor):
            return f"{value.dtype} {list(value.shape)}"
        content = value.detach().to("cpu").to_dense().resolve_conj().resolve_neg().contiguous().flatten()
        return f"{value.dtype} {list(value.shape)} {_hash(content.view(torch.uint8).numpy().tobytes())}"
    if isinstance(value, np.ndarray):
        numbers = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
        return f"{value.dtype} {value.shape} {_hash(numbers)}"
    if isinstance(value, torch.Generator):
        return _identified(value.get_state())
    return _hash(repr(_content(value)).encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _kind(value: Any) -> str:
    """What stands for a value that is entered, or that nothing is known of."""
    if isinstance(value, types.FunctionType):
        return f"{value.__module__}.{value.__qualname__} {value.__code__.co_firstlineno}"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _shallow(container: Any) -> Any:
    # Subclasses may copy as they like.
    return dict(dict.items(container)) if isinstance(container, dict) else _plain_kind(container)(container)


def _plain_kind(container: Any) -> Any:
    return set if isinstance(container, set) else list


def _restore(container: Any, before: Any) -> None:
    if isinstance(container, dict):
        kind: Any = OrderedDict if isinstance(container, OrderedDict) else dict
        same = len(container) == len(before) and all(
            one is other and container[one] is before[other] for one, other in zip(container, before, strict=True)
        )
        if not same:
            kind.clear(container)
            for key, value in before.items():
                kind.__setitem__(container, key, value)
    elif isinstance(container, set):
        if container != before:
            container.clear()
            container.update(before)
    elif len(container) != len(before) or any(a is not b for a, b in zip(container, before, strict=True)):
        container.clear()
        container.extend(before)


def _moved(value: torch.Tensor) -> torch.Tensor:
    """Other numbers than these, not far away."""
    is_moved = value.layout is torch.strided and (value.is_floating_point() or value.is_complex())
    return value * 1.0625 + 2**-7 if is_moved else value


def _put_back(tensor: torch.Tensor, alias: torch.Tensor, value: torch.Tensor) -> None:
    if tensor.layout is not torch.strided:
        if tensor._version != alias._version or not torch.equal(tensor.to_dense(), value.to_dense()):
            tensor.copy_(value)
        return
    if tensor.data_ptr() != alias.data_ptr() or tensor.shape != alias.shape:
        tensor.data = alias
    if torch.equal(alias, value):
        return
    if 0 in alias.stride():
        tensor.data = value
    else:
        alias.copy_(value)


def _tensors(leaves: list[Any]) -> Iterator[torch.Tensor]:
    return (leaf for leaf in leaves if isinstance(leaf, torch.Tensor))


@functools.lru_cache(10_000)
def _names_in(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Names of globals that some code uses, and all of its names, attributes as well."""
    inner = [_names_in(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    named = frozenset(str(step.argval) for step in dis.get_instructions(code) if "GLOBAL" in step.opname)
    return named.union(*(names for names, _ in inner)), frozenset(code.co_names).union(*(every for _, every in inner))


def _slots(cls: type) -> Iterator[str]:
    for kind in cls.__mro__:
        slots = vars(kind).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


def _is_full(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - the only way to ask
    except ValueError:
        return False
    return True


def _quietly(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # copies of iterators are deprecated, and have no successor
        return call()


def _equal(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


_WRAPPERS = (types.CellType, types.MethodType, functools.partial, staticmethod, classmethod, property, type)
_ENTERED: tuple[tuple[Any, Callable[..., Any]], ...] = (
    ((torch.Tensor, np.ndarray, *_BYTES, *_GENERATORS), Surroundings._leaf),
    (ContextVar, Surroundings._of_variable),
    (_CONTAINERS, Surroundings._of_container),
    ((tuple, frozenset), Surroundings._of_tuple),
    (nn.Module, Surroundings._of_module),
    (_CACHED, Surroundings._of_cached),
    (_ITERATORS, Surroundings._iterator),
    ((types.GeneratorType, types.AsyncGeneratorType), Surroundings._generator),
    (types.FunctionType, Surroundings._of_function),
    ((*_WRAPPERS, functools.cached_property), Surroundings._of_wrapper),
)
