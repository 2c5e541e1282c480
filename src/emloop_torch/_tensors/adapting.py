"""Training a small part of a large network: the keys ``lora`` and ``frozen``."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from torch import nn

from emloop.declare import Limits, Names, Positive
from emloop.errors import ConfigError
from emloop.parameters import matching

__all__ = ["Frozen", "Lora", "adapt", "thawing"]


@dataclass(frozen=True)
class Frozen:
    """An item of the key ``frozen`` that is trained later.

    Args:
        match: Regular expression of whole names of parameters.
        until: Number of the epoch, counted from 1, after which they are trained.
    """

    match: str
    until: Positive


@dataclass(frozen=True)
class Lora:
    """The key ``lora``: arguments of ``peft.LoraConfig``.

    Args:
        target_modules: Ends of the names of layers that get adapters, or a regular expression of whole names.
        r: Rank of the adapters.
        lora_alpha: Their scale, times ``r``.
        lora_dropout: Share of their inputs that is dropped in training.
        modules_to_save: Ends of the names of modules that are trained as a whole, such as a new head.
        use_rslora: Whether the scale is divided by the root of ``r`` instead of ``r``.
        use_dora: Whether size and direction of weights are adapted apart.
    """

    target_modules: str | Names
    r: Positive = 8
    lora_alpha: Positive = 8
    lora_dropout: Annotated[float, Limits(minimum=0, maximum=1)] = 0.0
    modules_to_save: Names = ()
    use_rslora: bool = False
    use_dora: bool = False


def adapt(module: nn.Module, lora: Lora) -> None:
    """Give a module adapters, and freeze the rest but for ``modules_to_save``.

    Raises:
        ConfigError: If ``peft`` is not installed or refuses, or a module is not there.
    """
    try:
        peft: Any = importlib.import_module("peft")
    except ImportError as error:
        raise ConfigError.about("lora", f"{error}", "pip install 'emloop[pretrained]'") from error
    given = asdict(lora)
    trained = given.pop("modules_to_save")
    whole = {name: part for name, part in module.named_modules() if _ends(name, trained)}
    missing = [wanted for wanted in trained if not any(_ends(name, [wanted]) for name in whole)]
    if missing:
        raise ConfigError.about(("lora", "modules_to_save"), f"the model has no module {missing[0]!r}")
    try:
        peft.inject_adapter_in_model(peft.LoraConfig(**given), module)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ConfigError.about("lora", reason) from error
    for part in whole.values():
        part.requires_grad_(True)


def thawing(frozen: Iterable[str | Frozen], names: Iterable[str], of: Collection[str]) -> dict[str, int]:
    """Name of a parameter → number of the epoch after which it is trained.

    Args:
        frozen: The key ``frozen``.
        names: Names of all parameters.
        of: Names of those that it has frozen.
    """
    known, until = list(names), dict[str, int]()
    for item in (each for each in frozen if isinstance(each, Frozen)):
        for name in matching("frozen", item.match, known):
            until[name] = max(item.until, until.get(name, 0))
    forever = {name for each in frozen if isinstance(each, str) for name in matching("frozen", each, known)}
    return {name: epoch for name, epoch in until.items() if name in of and name not in forever}


def _ends(name: str, endings: Iterable[str]) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)
