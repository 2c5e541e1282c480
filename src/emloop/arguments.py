"""Reading what a configuration gives, with all mistakes at once and in the same words everywhere; for backends.

.. code-block:: python

    @dataclass(frozen=True)
    class Settings:
        inputs: Names
        optimizer: Component[Optimizers] | None = None

    settings, arguments = take_settings(type(self), Settings, given)
    chosen = read_component(Optimizers, settings.optimizer or "AdamW", ("optimizer",))
    chosen.cls(parameters, **chosen.arguments)

What may stand in annotations is in :mod:`emloop.declare`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from emloop._registry import Chosen, LiveResolver, read_component
from emloop._settings import reading
from emloop._settings.fitting import argument_problems
from emloop._settings.hints import ANYTHING
from emloop._settings.kinds import MODEL
from emloop._settings.live import accepted_by
from emloop._settings.making import made
from emloop._support.arguments import arguments_of, distinct_names
from emloop.errors import ConfigError

__all__ = [
    "Chosen",
    "arguments_of",
    "distinct_names",
    "made",
    "read_component",
    "take_settings",
]

T = TypeVar("T")


def take_settings(
    model: type, settings_class: type[T], given: Mapping[str, Any], known: Collection[str] | None = None
) -> tuple[T, dict[str, Any]]:
    """The settings of a model, and the arguments that are left for its own methods, all of them checked.

    Args:
        model: The model's class; its ``settings_class`` and ``forwards_config_to`` say what it accepts.
        settings_class: The data class of its settings.
        given: What the configuration gives to this model.
        known: Names of arguments that a class took whose source is gone; ``None`` where ``model`` has the source.

    Raises:
        ConfigError: With all mistakes.
    """
    own = {field.name for field in fields(settings_class)}  # type: ignore[arg-type]
    settings = {name: value for name, value in given.items() if name in own}
    rest = {name: value for name, value in given.items() if name not in own}
    accepted = accepted_by(model).without(MODEL.injected)
    if known is not None:
        accepted = accepted._replace(hints={**accepted.hints, **dict.fromkeys(known, ANYTHING)}, open=False)
    found = list(argument_problems(accepted, given, LiveResolver()))
    if found:
        raise ConfigError(problem if problem.label else problem._replace(path=model.__name__) for problem in found)
    return reading.read_settings(settings_class, settings), rest
