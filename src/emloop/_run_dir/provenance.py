"""What a run was made of: versions and machine, installed distributions, state of the source code.

The environment's variables are not recorded, they hold secrets; the ones that set thread counts are the exception.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions, entry_points
from pathlib import Path
from threading import Timer
from typing import Any

from emloop import __version__

__all__ = ["code_patch", "environment", "installed_distributions"]

MAX_PATCH_BYTES = 1_000_000
"""Of a longer ``git diff`` only the beginning is kept, and the patch says so."""

GIT_SECONDS = 10.0
"""How long git may take, e.g. on a slow network share, before the run starts without its answer."""

_THREAD_VARIABLES = (
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")

_GIT = (
    "git",
    "--no-optional-locks",
    *("-c", "core.fsmonitor=false"),
    *("-c", "diff.noprefix=false"),
    *("-c", "diff.mnemonicPrefix=false"),
)


def environment() -> dict[str, Any]:
    """What may change a run's numbers although its configuration stays the same.

    Returns:
        ``python``, ``platform`` and ``cpus`` (that this process may use); ``versions``: emloop, and whatever it and the
        installed backends need, by distribution; ``threads``: the variables that limit thread counts.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": dict(_versions()),
        "threads": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    }


def installed_distributions() -> str:
    """All installed distributions, a line ``name==version`` each, sorted."""
    found: dict[str, str] = {}
    for dist in distributions():
        metadata = dist.metadata
        name, version = metadata["Name"], metadata["Version"]
        if name and version:
            # Of a name found twice, the first on the path is the one that is imported.
            found.setdefault(name.lower(), f"{name}=={version}\n")
    return "".join(line for _, line in sorted(found.items()))


def code_patch(directory: Path) -> bytes | None:
    """Commit, branch and uncommitted changes of the repository around a directory, as ``git apply`` takes them.

    Files that git does not track are left out.

    Returns:
        ``None`` where there is no repository with a commit, or no git.
    """
    head = _git(directory, "rev-parse", "HEAD")
    if not head:
        return None
    branch = _git(directory, "rev-parse", "--abbrev-ref", "HEAD") or b"unknown\n"
    diff = _git(directory, "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative", "HEAD")
    if diff is None:
        changes = b"# git could not say what has changed\n"
    elif len(diff) > MAX_PATCH_BYTES:
        whole_lines = diff[: diff.rindex(b"\n", 0, MAX_PATCH_BYTES) + 1] if b"\n" in diff[:MAX_PATCH_BYTES] else b""
        changes = whole_lines + b"# cut here: the changes are longer than %d bytes\n" % MAX_PATCH_BYTES
    else:
        changes = diff
    return b"# commit " + head + b"# branch " + branch + changes


def _git(directory: Path, *arguments: str) -> bytes | None:
    """What git prints, at most one byte more than a patch may have; ``None`` if it fails or takes too long."""
    command = [*_GIT, "-C", os.fspath(directory), *arguments]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    with process:
        deadline = Timer(GIT_SECONDS, process.kill)
        deadline.start()
        try:
            output = process.stdout.read(MAX_PATCH_BYTES + 1) if process.stdout else b""
            if len(output) > MAX_PATCH_BYTES:
                process.kill()
                return output
            return output if process.wait() == 0 else None
        finally:
            deadline.cancel()


@cache
def _versions() -> Mapping[str, str]:
    return dict(sorted({**dict(_backend_versions()), "emloop": __version__}.items()))


def _backend_versions() -> Iterator[tuple[str, str]]:
    providers: dict[str, set[str]] = {"emloop": set()}
    for backend in entry_points(group="emloop.backends"):
        if backend.dist is not None:
            providers.setdefault(backend.dist.name, set()).add(backend.name)
    for provider, extras in providers.items():
        dist = _distribution(provider)
        if dist is not None:
            yield dist.metadata["Name"], dist.metadata["Version"]
            for name in _required(dist.requires or (), extras):
                required = _distribution(name)
                if required is not None:
                    yield required.metadata["Name"], required.metadata["Version"]


def _required(requirements: Iterable[str], extras: set[str]) -> Iterator[str]:
    """Names of the distributions that are needed always, or for one of the extras."""
    for requirement in requirements:
        name, extra = _REQUIREMENT.match(requirement), _EXTRA.search(requirement)
        if name and (extra is None or extra[1] in extras):
            yield name[1]


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
