"""The steps of a model as data: StableHLO for batches of any size, without weights, and what has to be known beside.

::

    program/
      program.json         names, dtypes and shapes of the state, inputs and outputs, versions, and until when
      train.stablehlo …    what a batch does in training (``train``, ``flush``), in evaluation (``eval``), and what can
                           be told without labels (``infer``)

What is read may come from anybody: it is parsed as data, and only calls that compute are accepted.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any

import jax
from jax import export

from emloop.errors import SavedModelError, StateError, UntrustedError
from emloop.interrupting import interruptible
from emloop.saved_models import check_state, require_format
from emloop_jax._steps.trees import Leaf

__all__ = ["FOLDER", "Program", "export_step", "versions"]

logger = logging.getLogger(__name__)

FOLDER = "program"
_FORMAT = "emloop_jax program 1"
_FILE = "program.json"
_VIEWS = {
    "train": (4, "model", "training"),
    "flush": (2, "model", "training"),
    "eval": (3, "model"),
    "infer": (2, "model"),
}
"""Name of a step → how much it takes, and the arrays that come first."""
_WIDE = frozenset(("float64", "int64", "uint64", "complex128"))
_ARRAYS = [{"name": str, "dtype": str, "shape": [int, ...], "impl": (str, None)}, ...]
_INPUTS = {str: {"dtype": str, "sizes": [int, ...], "symbols": [str, ...]}}
_DESCRIPTION = {
    "format": str,
    "versions": {str: str},
    "until": str,
    "calling_conventions": {str: int},
    "rung": str,
    "reason": (str, None),
    "model": _ARRAYS,
    "training": _ARRAYS,
    "inputs": {"train": _INPUTS, "eval": _INPUTS},
    "predictions": [[str, ...], [str, ...]],
    "settings": {str: object},
}
_VOUCHED = timedelta(days=183)
"""For how long JAX promises to read what it has exported: six months."""
_CALL = re.compile(r"custom_call\s*(?:@|call_target_name\s*=\s*)\"?([\w.$]+)")
_COMPUTES = re.compile(
    r"(lapack|cusolver|cublas|cudnn|hipsolver|hipblas|cu|hip)\w*|shape_assertion|stablehlo\.dynamic_\w+|mhlo\.\w+|"
    r"Sharding|SPMDFullToShardShape|SPMDShardToFullShape|annotate_device_placement|Eigh|Qr|"
    r"ProductOfElementaryHouseholderReflectors|LuDecomposition|ApproxTopK|AllocateBuffer"
)
"""Calls that compute; others run code of the process that made them, or of nobody knows whom."""


@dataclass(frozen=True)
class Program:
    """The exported steps of a model.

    Args:
        views: Name of a step → the exported function.
        description: Whatever else has to be known; JSON values.
        content: Name of a step → its bytes.
    """

    views: Mapping[str, export.Exported]
    description: Mapping[str, Any]
    content: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def made(cls, views: Mapping[str, export.Exported], description: Mapping[str, Any]) -> Program:
        """A program of steps that have been exported today."""
        until = datetime.now(UTC).date() + _VOUCHED
        content = {name: bytes(exported.serialize()) for name, exported in views.items()}
        conventions = {name: exported.calling_convention_version for name, exported in views.items()}
        return cls(
            views,
            {
                "format": _FORMAT,
                "versions": versions(),
                "until": until.isoformat(),
                "calling_conventions": conventions,
                **description,
            },
            content,
        )

    @classmethod
    def read(cls, folder: Path) -> Program:
        """Read a program.

        Raises:
            SavedModelError: If it is none that this version of JAX can read.
            UntrustedError: If it would call what does not compute.
        """
        try:
            description = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            check_state("program.json", description, _DESCRIPTION)
            require_format(description, _FORMAT)
            date.fromisoformat(description["until"])
            content = {
                name: (folder / f"{name}.stablehlo").read_bytes()
                for name in _VIEWS
                if name in description["calling_conventions"]
            }
        except (OSError, ValueError, StateError) as error:
            raise SavedModelError(f"{folder}: this is no program of a model of JAX: {error}") from error
        leaves = [*description["model"], *description["training"]]
        if not jax.config.read("jax_enable_x64") and any(leaf["dtype"] in _WIDE for leaf in leaves):
            hint = "call jax.config.update('jax_enable_x64', True), or set JAX_ENABLE_X64=1, before it is restored"
            raise SavedModelError(f"{folder}: its arrays have 64 bits, and JAX has 32 here; {hint}")
        views = {}
        for name, stored in content.items():
            try:
                views[name] = export.deserialize(bytearray(stored))
                text = str(views[name].mlir_module())
            except Exception as error:
                made = ", ".join(f"{package} {version}" for package, version in description["versions"].items())
                raise SavedModelError(
                    f"{folder}: jax {jax.__version__} cannot read what {made} has made ({error}); where the source is, "
                    "it is made anew by: emloop upgrade RUN"
                ) from error
            foreign = sorted({call for call in _CALL.findall(text) if not _COMPUTES.fullmatch(call)})
            if foreign:
                raise UntrustedError(f"{folder}: {name} calls {foreign[0]!r}, which is not known to compute only")
            if (misfit := _misfit(name, views[name], description)) is not None:
                raise SavedModelError(f"{folder}: this is no program of a model of JAX: {name} {misfit}")
        return cls(views, description, content)

    def write(self, folder: Path) -> None:
        """Write it; what is there already stays."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {f"{name}.stablehlo": stored for name, stored in self.content.items()}
        files[_FILE] = json.dumps(dict(self.description), indent=1, ensure_ascii=False).encode()
        for name, stored in files.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != stored:
                aside = path.with_name(f".tmp-{name}")
                aside.write_bytes(stored)
                aside.replace(path)
        for path in folder.glob("*.stablehlo"):
            if path.name not in files:
                path.unlink()

    def leaves(self, part: str) -> list[Leaf]:
        """The arrays of ``model`` or ``training``."""
        return [Leaf.parse(entry) for entry in self.description[part]]


def _misfit(view: str, exported: export.Exported, description: Mapping[str, Any]) -> str | None:
    """What a step takes other than its description says; ``None`` if it takes just that."""
    given, _ = jax.tree_util.tree_unflatten(exported.in_tree, exported.in_avals)
    count, *parts = _VIEWS[view]
    if len(given) != count:
        return f"takes {len(given)} arguments, not {count}"
    for part, taken in zip(parts, given, strict=False):
        told = [(tuple(leaf["shape"]), leaf["dtype"]) for leaf in description[str(part)]]
        if told != [(spec.shape, str(spec.dtype)) for spec in jax.tree.leaves(taken)]:
            return f"takes other arrays of the {part} than program.json says"
    if view == "flush":
        return None
    entries = description["inputs"]["train" if view == "train" else "eval"]
    names = description["predictions"][0] if view == "infer" else entries
    found = {name: (str(spec.dtype), [str(size) for size in spec.shape]) for name, spec in given[-1].items()}
    for name in {*names} | found.keys():
        told_of = entries.get(name, {"dtype": "", "symbols": [], "sizes": []})
        sizes = [symbol or str(size) for symbol, size in zip(told_of["symbols"], told_of["sizes"], strict=False)]
        if found.get(name) != (told_of["dtype"], sizes):
            return f"takes another {name!r} than program.json says"
    return None


def versions() -> dict[str, str]:
    """What makes programs."""
    return {package: version(package) for package in ("jax", "jaxlib")}


def export_step(
    step: Callable[..., Any], specs: Sequence[Any], device: jax.Device | None, what: str
) -> export.Exported:
    """Export a step for processors and CUDA devices, or at least for this kind of device.

    Args:
        step: A pure function.
        specs: What it takes.
        device: Where it will run; ``None`` for where JAX computes by itself, and nowhere else.
        what: What it is, for messages.
    """
    platform = jax.default_backend() if device is None else device.platform
    own = {"gpu": "cuda"}.get(platform, platform)
    others = set() if device is None else {"cpu", "cuda"} - {own}
    # A name and a line of the user's source are nobody else's business.
    with interruptible(f"exporting the {what}"), _without_places(), _DECIDING, _sizes_decide_nothing(specs):
        try:
            return export.export(jax.jit(step), platforms=[own, *others])(*specs)
        except Exception as error:
            if not others:
                raise
            logger.debug("The %s is exported for %s only: %s", what, own, error)
            return export.export(jax.jit(step), platforms=[own])(*specs)


_DECIDING = threading.RLock()
_LIBRARIES = frozenset(("jax", "flax", "optax", "emloop_jax"))


@contextmanager
def _sizes_decide_nothing(specs: Sequence[Any]) -> Iterator[None]:
    """Refuse `x.shape[0] == 8` in code of the user: JAX says no to what depends on the batch, and exports that."""
    sizes = (size for leaf in jax.tree.leaves(specs) for size in leaf.shape if not isinstance(size, int))
    kind: Any = type(next(sizes, None))
    if kind is type(None):
        yield
        return
    before = kind.__eq__, kind.__ne__

    def is_equal(one: Any, other: Any, depth: int = 1) -> bool:
        if before[0](one, other):
            return True
        caller = sys._getframe(depth).f_globals.get("__name__", "")
        if isinstance(other, (Integral, kind)) and caller.partition(".")[0] not in _LIBRARIES:
            bool(one > other)  # raises where it depends on the batch
        return False

    kind.__eq__, kind.__ne__ = is_equal, lambda one, other: not is_equal(one, other, 2)
    try:
        yield
    finally:
        kind.__eq__, kind.__ne__ = before


class _without_places:  # noqa: N801 - it is used like a function
    _name = "jax_traceback_in_locations_limit"

    def __enter__(self) -> None:
        self._before = getattr(jax.config, self._name)
        jax.config.update(self._name, 0)

    def __exit__(self, *raised: object) -> None:
        jax.config.update(self._name, self._before)
