"""What a run was made of: versions and machine, installed distributions, state of the source code.

Environment variables may hold secrets and are not recorded, except those that set thread counts.
"""

import contextlib
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions, entry_points
from pathlib import Path
from threading import Timer
from typing import Any, TypeAlias

from emloop import __version__
from emloop._support.files import read_small
from emloop.constants import EL_ENVIRONMENT_FILE, EL_PATCH_FILE

from .info import read_attempts

Facts: TypeAlias = dict[str, Any]
"""What runs are compared by, flat."""

MAX_PATCH_BYTES = 1_000_000
"""Of a longer ``git diff`` only the beginning is kept, and the patch says so."""

GIT_SECONDS = 10.0
"""Time that git may take, e.g. on a slow network share, before the run starts without its answer."""

_SHOWN = 12
"""Characters of a hash that people can tell apart."""

_THREAD_VARIABLES = (
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)")
_HEADER = re.compile(r"^(Name|Version):[ \t]*(\S+)[ \t]*$", re.MULTILINE)
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")

_GIT_SETTINGS = ("core.fsmonitor=false", "diff.noprefix=false", "diff.mnemonicPrefix=false")


def environment() -> dict[str, Any]:
    """Describe what may change a run's numbers although its configuration stays the same.

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


def hash_seed() -> str:
    """What texts are hashed with in this process: ``random``, or a number."""
    if not sys.flags.hash_randomization:
        return "0"
    return (not sys.flags.ignore_environment and os.environ.get("PYTHONHASHSEED")) or "random"


def installed_distributions() -> str:
    """All installed distributions, a line ``name==version`` each, sorted."""
    found: dict[str, str] = {}
    for dist in distributions():
        name, version = _name_and_version(dist)
        if name and version:
            # Of a name found twice, the first on the path is the one that is imported.
            found.setdefault(name.lower(), f"{name}=={version}\n")
    return "".join(line for _, line in sorted(found.items()))


def environment_facts(run: Path) -> Facts:
    """Machine, versions and thread limits of a run's latest attempt, and all distributions that were installed.

    Whatever is missing or damaged is left out, as by :func:`code_facts`.
    """
    pairs = [line.decode(errors="replace").partition("==") for line in _lines(run / EL_ENVIRONMENT_FILE)]
    facts: Facts = {name: version for name, equals, version in pairs if equals}
    latest = [record["environment"] for record in read_attempts(run) if isinstance(record.get("environment"), dict)]
    for name, value in (latest[-1] if latest else {}).items():
        facts |= value if isinstance(value, Mapping) else {name: value}
    return facts


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
        diff = b"# git could not say what has changed\n"
    elif len(diff) > MAX_PATCH_BYTES:
        whole_lines = diff[: diff.rfind(b"\n", 0, MAX_PATCH_BYTES) + 1]
        diff = whole_lines + b"# cut here: the changes are longer than %d bytes\n" % MAX_PATCH_BYTES
    return b"# commit " + head + b"# branch " + branch + diff


def code_facts(run: Path) -> Facts:
    """``commit`` and ``branch`` of a run's code, and a hash of its ``uncommitted changes``."""
    header: list[str] = []
    lines = _lines(run / EL_PATCH_FILE)
    while lines and lines[0].startswith(b"# ") and len(header) < 2:
        header.append(lines.pop(0).decode(errors="replace").removeprefix("# "))
    facts: Facts = dict(line.split(" ", 1) for line in header if " " in line)
    if facts:
        changes = b"\n".join(lines).strip()
        facts["uncommitted changes"] = hashlib.sha256(changes).hexdigest()[:_SHOWN] if changes else None
    return facts


def _lines(path: Path) -> list[bytes]:
    with contextlib.suppress(OSError):
        return read_small(path).splitlines()
    return []


def _git(directory: Path, *arguments: str) -> bytes | None:
    """What git prints, at most one byte more than a patch may have; ``None`` if it fails or takes too long."""
    settings = (word for setting in _GIT_SETTINGS for word in ("-c", setting))
    command = ["git", "--no-optional-locks", *settings, "-C", os.fspath(directory), *arguments]
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


def _name_and_version(dist: Distribution) -> tuple[str, str]:
    """What a distribution is called, empty if it does not say; without parsing all that it says of itself."""
    text = next(filter(None, map(dist.read_text, ("METADATA", "PKG-INFO", ""))), "")
    headers = dict(reversed(_HEADER.findall(text.partition("\n\n")[0])))
    return headers.get("Name", ""), headers.get("Version", "")


@cache
def _versions() -> Mapping[str, str]:
    """Versions of emloop, the installed backends and their direct requirements."""
    providers: dict[str, set[str]] = {"emloop": set()}
    for backend in entry_points(group="emloop.backends"):
        if backend.dist is not None:
            providers.setdefault(backend.dist.name, set()).add(backend.name)
    found = {"emloop": __version__}
    for provider, extras in providers.items():
        for dist in _with_requirements(provider, extras):
            name, version = _name_and_version(dist)
            found.setdefault(name, version)
    return dict(sorted(found.items()))


def _with_requirements(name: str, extras: set[str]) -> Iterator[Distribution]:
    """A distribution, and those that it needs always or for one of the extras, as far as they are installed."""
    with contextlib.suppress(PackageNotFoundError):
        dist = distribution(name)
        yield dist
        for requirement in dist.requires or ():
            required, extra = _REQUIREMENT.match(requirement), _EXTRA.search(requirement)
            if required and (extra is None or extra[1] in extras):
                with contextlib.suppress(PackageNotFoundError):
                    yield distribution(required[1])
