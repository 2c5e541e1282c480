"""What has changed since something was saved: the versions of the packages that made it."""

import platform
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
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


_SOON = timedelta(days=30)


def shelf_life(made_with: Mapping[str, str], until: str | None = None) -> str | None:
    """Say why a program may not work here, or soon will not; ``None`` while its framework vouches for it.

    Most frameworks keep a format within a minor version. One that names a day is believed, and spoken of in time.

    Args:
        made_with: Distribution → the version that the program was made with.
        until: The day up to which its framework vouches for it, as ``2027-05-31``.
    """
    others = other_versions(made_with, parts=2)
    if until is None:
        return f"it was made with {', '.join(others)}, and is not sure to work with another version" if others else None
    left = date.fromisoformat(until) - datetime.now(UTC).date()
    if left > _SOON:
        return None
    made = ", ".join(f"{name} {version}" for name, version in made_with.items())
    if left < timedelta():
        return f"newer versions need not read what {made} has made since {until}"
    return f"newer versions are sure to read what {made} has made until {until} only, for {left.days} more days"
