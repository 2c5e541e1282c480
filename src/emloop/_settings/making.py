"""Objects of the classes, and by the functions, that a configuration names and others wrote."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emloop.errors import ConfigError

__all__ = ["made"]

_WITHOUT_NETWORK = "what is not on this machine needs a network: name a directory that holds it, or fetch it before"


@contextmanager
def made(keys: tuple[Any, ...], maker: Callable[..., Any], arguments: Mapping[str, Any]) -> Iterator[None]:
    """Around the call that makes an object.

    Args:
        keys: Where the configuration describes it.
        maker: The class or function that is called.
        arguments: What the configuration gives.

    Raises:
        ConfigError: If the values are refused, or what they name is not there.
    """
    try:
        with nullcontext() if isinstance(maker, type) else _without_waiting():
            yield
    except (TypeError, ValueError, RuntimeError, OSError, ImportError) as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        hints = [_WITHOUT_NETWORK, *_not_there(arguments)] if isinstance(error, OSError) else []
        owner = getattr(maker, "__self__", None)
        name = f"{owner.__qualname__}.{maker.__name__}" if isinstance(owner, type) else maker.__qualname__
        raise ConfigError.about(keys, f"{name}: {reason}", *hints) from error


def _not_there(arguments: Mapping[str, Any]) -> list[str]:
    texts = [value for value in arguments.values() if isinstance(value, str) and not Path(value).exists()]
    return [f"there is no file or directory {' or '.join(map(repr, texts))} in {Path.cwd()}"] if texts else []


@contextmanager
def _without_waiting() -> Iterator[None]:
    """Around what may fetch something: where the hub has no address, it is not asked again and again for a minute."""
    from urllib.request import getproxies  # noqa: PLC0415 - takes long to import

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
