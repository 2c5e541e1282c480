"""What functions and classes of the user's make for a dataset."""

from __future__ import annotations

from typing import Any

from emloop._registry import find_class
from emloop._settings.fitting import component_parts
from emloop._settings.live import kind_of
from emloop.declare import Family

__all__ = ["made_of"]


def made_of(described: Any, family: type[Family], argument: str) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Stream → where it is described, and what its function, or class, makes.

    Args:
        described: A component for the training, or a mapping from stream to components.
        family: What the components are.
        argument: The argument that holds them.
    """
    one = isinstance(described, str) or "class" in described
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    for stream, component in ({"train": described} if one else described).items():
        name, arguments, _ = component_parts(component, kind_of(family))
        found[stream] = (argument,) if one else (argument, stream), find_class(name, kind_of(family))(**arguments)
    return found
