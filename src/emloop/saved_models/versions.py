"""What has changed since something was saved: the versions of the packages that made it."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

__all__ = ["other_versions", "shelf_life"]


def other_versions(saved: Mapping[str, str], parts: int | None = None) -> list[str]:
    """Name the packages that are here in another version, as ``torch 2.7.1 (here: 2.8.0)``.

    Args:
        saved: Distribution, or ``python``, → the version that was recorded.
        parts: How many parts of a version count: 2 for ``2.7``; ``None``: all.
    """
    found = []
    for name, before in saved.items():
        try:
            now = platform.python_version() if name == "python" else version(name)
        except PackageNotFoundError:
            now = "not installed"
        if before.partition("+")[0].split(".")[:parts] != now.partition("+")[0].split(".")[:parts]:
            found.append(f"{name} {before} (here: {now})")
    return found


def shelf_life(made_with: Mapping[str, str]) -> str | None:
    """Say why a program of other versions may not work here; ``None`` while its framework vouches for it.

    Frameworks keep a format within a minor version.

    Args:
        made_with: Distribution → the version that the program was made with.
    """
    others = other_versions(made_with, parts=2)
    return f"it was made with {', '.join(others)}, and is not sure to work with another version" if others else None
