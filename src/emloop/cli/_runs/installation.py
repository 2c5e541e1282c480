"""What is installed: versions, backends, devices, extras; nothing of it is imported."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emloop import __version__
from emloop._support.moved import old_distributions

__all__ = ["described", "wrong"]

_GROUPS = ("emloop.backends", "emloop.datasets", "emloop.models", "emloop.hooks")
_REQUIREMENT = re.compile(r"""\s*([A-Za-z0-9._-]+)(\[[^]]*\])?.*?extra\s*==\s*["']([^"']+)["']""")
_GPUS = Path("/proc/driver/nvidia/gpus")


def described() -> dict[str, Any]:
    """Versions, backends with that of their framework, devices, and extras with what they lack."""
    backends = {point.name: _version(point.name) for point in entry_points(group="emloop.backends")}
    return {
        "emloop": __version__,
        "place": str(Path(__file__).parents[2]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backends": backends,
        "devices": {"cpus": _cpus(), "gpus": list(_gpus())},
        "extras": _extras(),
    }


def wrong() -> Iterator[tuple[str, str]]:
    """What is wrong with it, and the way out."""
    yield from old_distributions()
    ours = [dist for dist in distributions() if (dist.metadata["Name"] or "").lower() == "emloop"]
    versions = sorted({dist.version for dist in ours})
    if len(versions) > 1:
        yield f"emloop is installed twice: {', '.join(versions)}", "pip uninstall emloop, twice, and install it again"
    for group in _GROUPS:
        for point in entry_points(group=group):
            owner = point.dist.name if point.dist else "an unknown distribution"
            spec = find_spec(point.module.partition(".")[0])
            if spec is not None and spec.origin is None:
                what = f"{group}: {point.name!r} of {owner} leads to {point.module}, which has lost its __init__.py"
                yield what, f"install {owner} again, with `--force-reinstall --no-deps`"
            elif spec is None:
                what = f"{group}: {point.name!r} of {owner} leads to {point.module}, which is not there"
                yield what, f"pip uninstall {owner}"


def _found(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _version(framework: str) -> str | None:
    """Version of a framework by the name of its module; ``None`` if it is not installed."""
    names = {"sklearn": "scikit-learn"}
    found = _found(names.get(framework, framework))
    return found.version if found else None


def _cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _gpus() -> Iterator[str]:
    """Names of NVIDIA's devices, as its driver lists them on Linux."""
    if _GPUS.is_dir():
        for folder in sorted(_GPUS.iterdir()):
            try:
                text = (folder / "information").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            yield next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Model")), "?")


def _extras() -> Mapping[str, list[str]]:
    """Extra → what it needs and is not installed; those for developers and those made of others are left out."""
    found: dict[str, list[str]] = {}
    ours = _found("emloop")
    for requirement in (ours.requires if ours else None) or ():
        match = _REQUIREMENT.match(requirement)
        if match and match[3] not in ("dev", "testing") and match[1] != "emloop":
            lacking = found.setdefault(match[3], [])
            if _found(match[1]) is None:
                lacking.append(match[1])
    return found
