"""Objects of the classes that a configuration names."""

from __future__ import annotations

import inspect
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

from emloop.arguments import Chosen
from emloop.errors import ConfigError

__all__ = ["construct"]


_WITHOUT_NETWORK = "what is not on this machine needs a network: name a directory that holds it, or fetch it before"


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
    try:
        with nullcontext() if isinstance(chosen.cls, type) else _without_waiting():
            return chosen.cls(*first, **_with_tensors(chosen.cls, chosen.arguments))
    except (TypeError, ValueError, RuntimeError, OSError, ImportError) as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        hints = [_WITHOUT_NETWORK, *_not_there(chosen.arguments)] if isinstance(error, OSError) else []
        owner = getattr(chosen.cls, "__self__", None)
        name = f"{owner.__qualname__}.{chosen.cls.__name__}" if isinstance(owner, type) else chosen.cls.__qualname__
        raise ConfigError.about(keys, f"{name}: {reason}", *hints) from error


def _not_there(arguments: Mapping[str, Any]) -> list[str]:
    texts = [value for value in arguments.values() if isinstance(value, str) and not Path(value).exists()]
    return [f"there is no file or directory {' or '.join(map(repr, texts))} in {Path.cwd()}"] if texts else []


@contextmanager
def _without_waiting() -> Iterator[None]:
    """Around what may fetch something: where the hub has no address, it is not asked again and again for a minute."""
    hub: Any = sys.modules.get("huggingface_hub.constants")
    if hub is None or hub.HF_HUB_OFFLINE or getproxies() or _has_address(hub.ENDPOINT):
        yield
        return
    hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = False


def _has_address(url: str) -> bool:
    try:
        return bool(socket.getaddrinfo(urlsplit(url).hostname, None))
    except OSError:
        return False


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
