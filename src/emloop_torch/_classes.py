"""Objects of the classes that a configuration names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch

from emloop.arguments import Chosen, made
from emloop.errors import ConfigError

__all__ = ["construct"]


def construct(keys: tuple[Any, ...], chosen: Chosen, *first: Any) -> Any:
    """An object of a chosen class; lists become tensors where its annotations want these, such as class weights.

    Args:
        keys: Where the configuration describes it.
        chosen: The class and its arguments.
        first: What comes before these.

    Raises:
        ConfigError: If the class refuses the values.
    """
    if chosen.cls is None:
        raise ConfigError.about(keys, "there is no 'class'")
    with made(keys, chosen.cls, chosen.arguments):
        return chosen.cls(*first, **_with_tensors(chosen.cls, chosen.arguments))


def _with_tensors(cls: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    lists = [name for name, value in arguments.items() if isinstance(value, (list, tuple))]
    if not lists:
        return dict(arguments)
    parameters = inspect.signature(cls).parameters
    wanted = [
        name
        for name in lists
        if name in parameters
        and re.search(r"\bTensor\b", annotation := str(parameters[name].annotation))
        and not re.search(r"\b(list|List|Sequence|Iterable|tuple|Tuple)\b", annotation)
    ]
    floating = torch.get_default_dtype()
    return {**arguments, **{name: torch.tensor(arguments[name], dtype=floating) for name in wanted}}
