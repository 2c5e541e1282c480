r"""Parameters by name: which a pattern means, which another model has, how to keep and to clip them; for backends.

.. code-block:: python

    frozen = frozen_names(settings.frozen, {name: variable.trainable for name, variable in here.items()})
    for name, new in what_fits(settings.init_from, there, here).items():
        here[name].assign(new)

Whatever has a ``shape`` and a ``dtype`` is a parameter here: an array, a tensor, a variable. Neither its values nor its
framework are touched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from emloop._support.suggest import did_you_mean
from emloop.declare import Limits
from emloop.errors import ConfigError, StateError

__all__ = [
    "Clip",
    "InitFrom",
    "Limit",
    "dtype_name",
    "from_plain",
    "frozen_names",
    "matching",
    "require_alike",
    "to_plain",
    "what_fits",
]

logger = logging.getLogger(__name__)

Parameter = TypeVar("Parameter")

_SHOWN = 6
_NATIVE = "biufcSU"

Limit: TypeAlias = Annotated[float, Limits(above=0)]


@dataclass(frozen=True)
class InitFrom:
    r"""The key ``init_from``.

    Args:
        path: A saved model, a run or a checkpoint; or a file with weights, of the kinds that the backend reads.
        rename: Regular expression of names there → what they are called here: ``{'encoder\.(.*)': 'backbone.\1'}``.
    """

    path: str
    rename: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """The key ``clip_gradient``: by value or by norm.

    Args:
        value: Largest absolute value of an element.
        norm: Largest norm of all gradients together.
    """

    value: Limit | None = None
    norm: Limit | None = None

    @classmethod
    def of(cls, key: float | Clip | None, *before: Any) -> Clip | None:
        """What the key means: a bare number limits values.

        Args:
            key: The key.
            *before: The keys that lead to it.

        Raises:
            ConfigError: If both, or neither, of value and norm are given.
        """
        clip = key if isinstance(key, Clip) or key is None else cls(value=key)
        if clip is not None and (clip.value is None) is (clip.norm is None):
            keys = (*before, "clip_gradient")
            raise ConfigError.about(keys, "expected either a value or a norm", "e.g. {norm: 1.0}, or 0.5")
        return clip


def matching(keys: str | tuple[Any, ...], pattern: str, names: Iterable[str]) -> list[str]:
    """Names that a regular expression matches as a whole.

    Args:
        keys: Where the configuration has the pattern.
        pattern: The regular expression.
        names: Those of all parameters.

    Raises:
        ConfigError: If it is not a regular expression, or matches nothing.
    """
    known = list(names)
    try:
        matches: Callable[[str], Any] = re.compile(pattern).fullmatch
    except re.error as error:
        raise ConfigError.about(keys, f"expected a regular expression, got {pattern!r}: {error}") from error
    found = [name for name in known if matches(name)]
    if not found:
        shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
        hints = (*did_you_mean(pattern, known), f"parameters: {shown}")
        raise ConfigError.about(keys, f"{pattern!r} matches the whole name of no parameter", *hints)
    return found


def frozen_names(patterns: Iterable[str], is_trained: Mapping[str, bool]) -> list[str]:
    """Names of the parameters that the key ``frozen`` means, each once.

    Args:
        patterns: The key ``frozen``.
        is_trained: Name of each parameter → whether it is trained where nothing is frozen.

    Raises:
        ConfigError: If a pattern matches nothing, or nothing is left to train.
    """
    found = dict.fromkeys(name for pattern in patterns for name in matching("frozen", pattern, is_trained))
    if is_trained and not any(trained for name, trained in is_trained.items() if name not in found):
        raise ConfigError.about("frozen", "no parameter is left to train")
    return list(found)


def what_fits(
    origin: str | InitFrom,
    there: Mapping[str, Parameter],
    here: Mapping[str, Any],
    expected: Collection[str] | None = None,
) -> dict[str, Parameter]:
    """What of another model has a name, a shape and a kind of numbers in common with this one; the log says the rest.

    What wrappers of PyTorch put before names, ``module.`` and ``_orig_mod.``, makes no difference.

    Args:
        origin: The key ``init_from``.
        there: All that the other model has, by its names.
        here: All that this one has; what is tied has several names.
        expected: Names here that the other model should have; by default all.

    Returns:
        Name here → what to copy.

    Raises:
        ConfigError: If nothing fits, something is renamed that is not there, or two get one name.
    """
    origin = origin if isinstance(origin, InitFrom) else InitFrom(origin)
    renamed = _by_own_name(there, here, origin.rename)
    misfits = {name: why for name in here if name in renamed and (why := _misfit(renamed[name], here[name]))}
    taken = {name: renamed[name] for name in here if name in renamed and name not in misfits}
    if not taken:
        hints = (*_common_prefix(renamed, here), f"there: {_some(renamed)}", f"here: {_some(here)}")
        raise ConfigError.about("init_from", f"nothing in {origin.path} has a name and shape of this model", *hints)
    filled = {id(here[name]) for name in taken}
    logger.log(
        logging.WARNING if misfits or 2 * len(taken) < len(here) else logging.INFO,
        "init_from %s: %s of %s taken; of another shape: %s; not there: %s; not used: %s",
        origin.path,
        len(taken),
        len(here),
        _some(f"{name} ({why})" for name, why in misfits.items()),
        _some(
            name
            for name in here
            if name not in renamed and id(here[name]) not in filled and (expected is None or name in expected)
        ),
        _some(name for name in renamed if name not in here),
    )
    return taken


def require_alike(kind: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Refuse a state whose parameters are not those of this model.

    Args:
        kind: What they are, in the message: ``parameters``.
        here: Those of the model, by name.
        there: Those of the state.

    Raises:
        StateError: If names, shapes or dtypes differ; says which.
    """
    missing, unknown = sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys())
    if missing or unknown:
        differences = [f"it lacks {_some(missing, 4)}"] * bool(missing)
        differences += [f"the model lacks {_some(unknown, 4)}"] * bool(unknown)
        raise StateError(f"the state is of another model; {kind}: {', '.join(differences)}")
    for name, own in here.items():
        if (found := _described(there[name])) != (expected := _described(own)):
            raise StateError(f"the state is of another model; {name}: {found} there, {expected} in the model")


def to_plain(array: npt.NDArray[Any]) -> Any:
    """An array for a state tree: itself or, if its dtype is none of NumPy's own, ``{"dtype": …, "bits": …}``."""
    if array.dtype.kind in _NATIVE:
        return array
    return {"dtype": array.dtype.name, "bits": array.view(f"u{array.dtype.itemsize}")}


def from_plain(value: Any) -> npt.NDArray[Any]:
    """Make :func:`to_plain` undone; whoever brings the dtype must have been imported.

    Raises:
        StateError: If it is something else.
    """
    try:
        if isinstance(value, Mapping) and value.keys() == {"dtype", "bits"}:
            return np.asarray(value["bits"]).view(np.dtype(value["dtype"]))
        if isinstance(value, (np.ndarray, np.generic)):
            return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise StateError(f"expected an array, got bits that are none: {error}") from error
    raise StateError(f"expected an array, got {type(value).__name__}")


def dtype_name(dtype: Any) -> str:
    """The name without the package, whatever the framework: ``float32``."""
    return str(getattr(dtype, "name", None) or str(dtype).rpartition(".")[2])


def _described(parameter: Any) -> str:
    return f"{dtype_name(parameter.dtype)} {list(parameter.shape)}"


def _misfit(there: Any, here: Any) -> str | None:
    if tuple(there.shape) != tuple(here.shape):
        return f"{list(there.shape)} there, {list(here.shape)} here"
    names = dtype_name(there.dtype), dtype_name(here.dtype)
    return None if _kind(names[0]) == _kind(names[1]) else f"{names[0]} there, {names[1]} here"


def _kind(dtype: str) -> str | None:
    return next((kind for kind in ("float", "complex") if kind in dtype), None)


def _by_own_name(there: Mapping[str, Any], here: Container[str], renames: Mapping[str, str]) -> dict[str, Any]:
    """What is there, by the names that it has here."""
    plain = {name: _without_wrappers(name, here) for name in there}
    for pattern in renames:
        matching(("init_from", "rename", pattern), pattern, dict.fromkeys([*there, *plain.values()]))
    found: dict[str, str] = {}
    for name in there:
        key = _renamed(name, renames) or _renamed(plain[name], renames) or plain[name]
        if key in found and key in here:
            message = f"{found[key]} and {name} would both be {key}"
            raise ConfigError.about("init_from", message, "rename one of them to something that is not here")
        found[key] = name
    return {key: there[name] for key, name in found.items()}


def _without_wrappers(name: str, here: Container[str]) -> str:
    """A name without what DataParallel puts before it, and ``torch.compile`` before it or in it, as far as it needs."""
    plain = name if name in here else name.replace("._orig_mod.", ".")
    while plain not in here and plain.startswith(("module.", "_orig_mod.")):
        plain = plain.partition(".")[2]
    return plain


def _renamed(name: str, renames: Mapping[str, str]) -> str | None:
    for pattern, replacement in renames.items():
        try:
            if match := re.fullmatch(pattern, name):
                return match.expand(replacement)
        except (re.error, IndexError) as error:
            raise ConfigError.about("init_from", f"rename: {pattern!r} → {replacement!r}: {error}") from error
    return None


def _common_prefix(there: Iterable[str], here: Container[str]) -> tuple[str, ...]:
    """A renaming that would make names fit, if they only have something before them."""
    for name in there:
        for at in (found.end() for found in re.finditer(r"[./]", name)):
            if name[at:] in here:
                return (f"names there begin with {name[:at]!r}: rename: {{'{re.escape(name[:at])}(.*)': '\\1'}}",)
    return ()


def _some(names: Iterable[str], most: int = _SHOWN) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) or "none") + more
