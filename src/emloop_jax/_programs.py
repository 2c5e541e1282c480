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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax import export

from emloop.errors import SavedModelError, UntrustedError
from emloop.interrupting import interruptible
from emloop_jax._steps.trees import Leaf

__all__ = ["FOLDER", "Program", "export_step", "versions"]

logger = logging.getLogger(__name__)

FOLDER = "program"
_FORMAT = "emloop_jax program 1"
_FILE = "program.json"
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
            if description["format"] != _FORMAT:
                raise SavedModelError(f"{folder}: expected {_FORMAT}, got {description['format']!r}")
            content = {name: (folder / f"{name}.stablehlo").read_bytes() for name in description["calling_conventions"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SavedModelError(f"{folder}: this is no program of a model of JAX: {error}") from error
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


def versions() -> dict[str, str]:
    """What makes programs."""
    return {package: version(package) for package in ("jax", "jaxlib")}


def export_step(step: Callable[..., Any], specs: Sequence[Any], device: jax.Device, what: str) -> export.Exported:
    """Export a step for processors and CUDA devices, or at least for this kind of device.

    Args:
        step: A pure function.
        specs: What it takes.
        device: Where it will run.
        what: What it is, for messages.
    """
    own = {"gpu": "cuda"}.get(device.platform, device.platform)
    # A name and a line of the user's source are nobody else's business.
    with interruptible(f"exporting the {what}"), _without_places():
        try:
            return export.export(jax.jit(step), platforms=[own, *({"cpu", "cuda"} - {own})])(*specs)
        except Exception as error:  # noqa: BLE001 - the next one will tell
            logger.debug("The %s is exported for %s only: %s", what, own, error)
            return export.export(jax.jit(step), platforms=[own])(*specs)


class _without_places:  # noqa: N801 - it is used like a function
    _name = "jax_traceback_in_locations_limit"

    def __enter__(self) -> None:
        self._before = getattr(jax.config, self._name)
        jax.config.update(self._name, 0)

    def __exit__(self, *raised: object) -> None:
        jax.config.update(self._name, self._before)
