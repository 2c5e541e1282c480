"""Review of what a resumed run changes in its config, before anything is written."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from emloop._config.changes import ABSENT, Change, changes
from emloop._contracts import REFUSED, SAFE, AbstractDataset, AbstractHook, AbstractModel
from emloop._registry import find_class
from emloop._settings.kinds import DATASET, HOOK, MODEL
from emloop.errors import ConfigError, Problem, UnknownClassError

from .. import render

logger = logging.getLogger(__name__)

_OWNERS = {"dataset": (DATASET, AbstractDataset), "model": (MODEL, AbstractModel), "hooks": (HOOK, AbstractHook)}
_WRITTEN_BY_US = "model.restore_fallback"
_NO_WORD = "what it remembers must fit"
_OTHER_RUN = {
    "class": "to go on with another class, leave this run as it is: --fork",
    "seed": "the random numbers so far were drawn from it; another seed needs a new run: emloop train",
}


def review(old: Mapping[str, Any], new: Mapping[str, Any], *, seed: int, fork: bool = False) -> None:
    """Log every change of a run's config and its effect.

    Args:
        old: The config of the latest attempt.
        new: The config to go on with.
        seed: The run's seed.
        fork: Whether the run itself stays as it is, so that another class may take its state.

    Raises:
        ConfigError: If changes are refused; lists them all.
    """
    from emloop._ranks.joining import is_first

    refused: list[Problem] = []
    for change in differences(old, new):
        word = _meaning(change, seed, fork=fork)
        if word == REFUSED:
            hint = _OTHER_RUN.get(str(change.argument))
            message = f"a run cannot go on with another one: {_shown(change)}"
            refused.append(Problem(message, change.key, change.place, (hint,) if hint else ()))
        elif is_first():
            logger.info("Changed: %s: %s (%s)", change.key, _shown(change), word)
    if refused:
        raise ConfigError(refused)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[Change]:
    """List the changes between two configs of a run, except what emloop writes itself."""
    return [change for change in changes(old, new) if change.key != _WRITTEN_BY_US]


def _meaning(change: Change, seed: int, *, fork: bool) -> str:
    """``safe``, ``refused``, or the effect of the change."""
    from emloop.main_loop import MainLoop

    part, argument = change.part, change.argument
    if part.section not in _OWNERS:
        keeps_seed = part.name != "main_loop" or (argument == "seed" and change.new in (seed, None, ABSENT))
        return SAFE if keeps_seed else _declared(MainLoop, argument) or SAFE
    if part.section == "hooks" and argument in (None, "order"):
        return _meaning_of_hook(change)
    if argument == "class":
        stays = part.section != "hooks" and not fork
        return REFUSED if stays else "another class; what is remembered must fit"
    cls = _class_of(change)
    return _declared(cls, argument) or (SAFE if getattr(cls, "stateless", False) else _NO_WORD)


def _meaning_of_hook(change: Change) -> str:
    """What it means that a hook is new, gone, or elsewhere in the order."""
    if change.argument == "order":
        return "events reach them in this order from here on"
    if getattr(_class_of(change), "stateless", False):
        return SAFE
    return "starts without a past" if change.kind == "added" else "what it remembered is dropped"


def _declared(cls: type, argument: Any) -> str | None:
    declared: Mapping[str, str] = getattr(cls, "resume_changes", {})
    return declared.get(str(argument), declared.get("*"))


def _class_of(change: Change) -> type:
    """The class of the changed object, or its contract if the class is not found or declares nothing."""
    kind, contract = _OWNERS[change.part.section]
    try:
        cls = find_class(change.part.cls, kind)
    except UnknownClassError:
        return contract
    return cls if hasattr(cls, "resume_changes") else contract


def _shown(change: Change) -> str:
    if change.argument is None:
        return change.kind
    return " → ".join("nothing" if value is ABSENT else render.in_yaml(value) for value in (change.old, change.new))
