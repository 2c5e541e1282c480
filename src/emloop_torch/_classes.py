"""Objects of the classes that a configuration names."""

from __future__ import annotations

from typing import Any

from emloop.arguments import Chosen
from emloop.errors import ConfigError

__all__ = ["construct"]


def construct(keys: tuple[Any, ...], chosen: Chosen, *first: Any) -> Any:
    """An object of a chosen class.

    Args:
        keys: Where the configuration describes it.
        chosen: The class and its arguments.
        first: What comes before these.

    Raises:
        ConfigError: If the class refuses the values.
    """
    if chosen.cls is None:
        raise ConfigError.about(keys, "there is no 'class'")
    try:
        return chosen.cls(*first, **chosen.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError.about(keys, f"{chosen.cls.__name__}: {error}") from error
