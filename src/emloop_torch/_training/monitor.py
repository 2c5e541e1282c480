"""Watching the signals inside of a network: two more outputs, from all modules of a type or name.

``signal_mean`` and ``signal_variance`` are, for every example, mean and variance of what the modules put out; of
several modules the average.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from emloop.errors import ConfigError, Problem
from emloop.suggest import did_you_mean
from emloop_torch._programs.program_module import ProgramModule

__all__ = ["SIGNALS", "Monitor", "listen_to"]

logger = logging.getLogger(__name__)

SIGNALS = ("signal_mean", "signal_variance")


def listen_to(module: nn.Module, wanted: Any, *, compiled: bool) -> Monitor | None:
    """What the key ``monitor`` asks for, as far as there is something to listen to.

    Raises:
        ConfigError: If there is no such module, or the network is compiled.
    """
    if wanted is None:
        return None
    if isinstance(module, ProgramModule):
        logger.warning("monitor: without its source the model has no modules to listen to, so no signals")
        return None
    if compiled:
        raise ConfigError.about("monitor", "a compiled module cannot be listened to; leave out compile or monitor")
    return Monitor(module, wanted)


class Monitor:
    """Listens to the modules of a network.

    Args:
        module: The network.
        wanted: The key ``monitor``: a type, such as ``Conv2d``, or the name of a module.

    Raises:
        ConfigError: If there is no such module.
    """

    def __init__(self, module: nn.Module, wanted: Any) -> None:
        self._heard: list[torch.Tensor] | None = None
        parts = {name: part for name, part in module.named_modules() if name}
        found = [part for name, part in parts.items() if wanted in (name, type(part).__name__)]
        if not found:
            known = sorted({type(part).__name__ for part in parts.values()} | parts.keys())
            hints = (*did_you_mean(str(wanted), known), f"types and names: {', '.join(known[:12])}")
            raise ConfigError(Problem(f"there is no module {wanted!r}", keys=("monitor",), hints=hints))
        for part in found:
            part.register_forward_hook(self._hear)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Around the forward pass of a batch."""
        self._heard = []
        try:
            yield
        finally:
            self._heard = None

    def signals(self, examples: int) -> dict[str, torch.Tensor]:
        """What was heard since the block began: two outputs, ``[B]``."""
        signals = [signal.reshape(examples, -1) for signal in self._heard or () if signal.shape[:1] == (examples,)]
        if not signals:
            return {name: torch.full((examples,), torch.nan) for name in SIGNALS}
        means = torch.stack([signal.mean(dim=1) for signal in signals])
        variances = torch.stack([signal.var(dim=1, unbiased=False) for signal in signals])
        return {"signal_mean": means.mean(dim=0), "signal_variance": variances.mean(dim=0)}

    def _hear(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        # Copies of the module that are exported have copies of this, which nobody listens to.
        if self._heard is not None and isinstance(output, torch.Tensor) and output.is_floating_point():
            self._heard.append(output.detach())
