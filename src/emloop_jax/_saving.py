"""What a model of JAX leaves behind: how much of it needs no source, and a program that says how."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from emloop.errors import SavedModelError
from emloop.saved_models import Saved, advise_capsule, shelf_life

from ._engine import EVAL, FLUSH, INFER, TRAIN, Engine, ProgramSource
from ._programs import Program
from ._settings import Saving, Settings

__all__ = ["METHODS", "Ladder", "restored_program"]

logger = logging.getLogger(__name__)

METHODS = ("load_state_dict", "run", "state_dict")
"""What a class may do in its own way, which no program holds."""
_IN_PROGRAM = ("accumulate", "clip_gradient", "frozen", "lr_schedule", "optimizer", "precision", "weights")
"""Settings that are part of a program."""


class Ladder:
    """Makes the program of a model, and says once what it cannot do.

    Args:
        name: Name of the model's class.
        settings: The configuration.
        overridden: Methods that only the source has.
    """

    def __init__(self, name: str, settings: Settings, overridden: Sequence[str]) -> None:
        self._name, self._settings, self._overridden = name, settings, overridden
        self._saving = settings.saved_model or Saving()
        self._made: tuple[list[Any], Program] | None = None
        self._said: tuple[str, str | None] | None = None

    def climb(self, engine: Engine | None) -> tuple[Program | None, str, str | None]:
        """The program of a model, how much works without its source, and why it is not more.

        Raises:
            SavedModelError: If the configuration says that all of it must.
        """
        program, rung, reason = self._climbed(engine)
        if (rung, reason) != self._said:
            self._said = rung, reason
            self._say(rung, reason)
        return program, rung, reason

    def _climbed(self, engine: Engine | None) -> tuple[Program | None, str, str | None]:
        if self._overridden:
            return None, "weights", f"{self._name} overrides {', '.join(self._overridden)}"
        if self._saving.source_free in ("off", False):
            return None, "weights", "saved_model.source_free is off"
        if engine is None or not engine.shapes:
            return None, "weights", "the model has not seen a batch yet"
        source = engine.source
        if isinstance(source, ProgramSource):
            return source.program, source.program.description["rung"], source.program.description["reason"]
        train = engine.shapes.get(TRAIN) or engine.shapes[EVAL]
        evaluation = engine.shapes.get(EVAL) or train
        wanted = {TRAIN: train, EVAL: evaluation, INFER: evaluation}
        if self._settings.accumulate > 1:
            wanted[FLUSH] = train
        predictions = source.predictions(evaluation)
        if not predictions[1]:
            del wanted[INFER]
        views = {view: exported for view, shapes in wanted.items() if (exported := source.exported(view, shapes))}
        reason = next((source.reasons[view] for view in (EVAL, TRAIN, FLUSH) if view in source.reasons), None)
        if EVAL not in views:
            return None, "weights", reason
        if TRAIN not in views or (FLUSH in wanted and FLUSH not in views):
            views.pop(TRAIN, None)
        rung = "exported" if TRAIN in views else "inference"
        if self._made is None or self._made[0] != [*views.values()]:
            description = {
                "rung": rung,
                "reason": reason,
                "model": [leaf.entry for leaf in source.model],
                "training": [leaf.entry for leaf in source.training],
                "inputs": {TRAIN: train.entries, EVAL: evaluation.entries},
                "predictions": predictions,
                "settings": _settings_in_program(self._settings),
            }
            self._made = [*views.values()], Program.made(views, description)
        return self._made[1], rung, reason

    def _say(self, rung: str, reason: str | None) -> None:
        if rung == "exported":
            logger.info("The model's program is 'exported': it can be evaluated and trained further without its source")
            return
        if self._saving.source_free == "require":
            raise SavedModelError(
                f"saved_model.source_free is 'require', but {self._name} cannot do without its source "
                f"(it is '{rung}'): {reason}"
            )
        undone = "trained further" if rung == "inference" else "restored"
        told = f"{reason}{advise_capsule(self._saving.capsule)}"
        logger.warning("Saved models of %s cannot be %s without its source: %s", self._name, undone, told)


def restored_program(name: str, saved: Saved, overrides: Sequence[str], settings: Settings, *, trains: bool) -> Program:
    """The program of a saved model whose source is gone.

    Args:
        name: Name of the class that restores it.
        saved: The saved model.
        overrides: Methods that only the source has.
        settings: The configuration.
        trains: Whether it may be trained further.

    Raises:
        SavedModelError: If the source is needed.
        UntrustedError: If it would call what does not compute.
    """
    if overrides:
        raise SavedModelError(
            f"{saved.path}: {name} cannot restore it without the source, which overrides {overrides[0]}"
        )
    directory = saved.program()
    if directory is None:
        reason = saved.manifest.get("reason") or "its run has never saved a model, so there is no program of it"
        offer = f"; {saved.offer}" if saved.offer else ""
        raise SavedModelError(f"{saved.path}: the model's source is needed: {reason}{offer}")
    program = Program.read(directory)
    if (why := shelf_life(program.description["versions"], program.description["until"])) is not None:
        logger.warning(
            "The program of %s: %s; where its source, or a capsule, is there, it is made anew by: emloop upgrade %s",
            saved.path,
            why,
            saved.path,
        )
    made, now = program.description["settings"], _settings_in_program(settings)
    if trains and (other := [key for key in _IN_PROGRAM if now[key] is not None and now[key] != made.get(key)]):
        logger.warning(
            "The model goes on without its source, by its program, in which %s stay as they were when it was made; "
            "other values need the source",
            ", ".join(other),
        )
    return program


def _settings_in_program(settings: Settings) -> dict[str, Any]:
    """What a program obeys, as JSON values. The rate of the optimizer is not among them: it can still be changed."""
    found = {name: getattr(settings, name) for name in _IN_PROGRAM}
    if isinstance(found["optimizer"], Mapping):
        found["optimizer"] = {key: value for key, value in found["optimizer"].items() if key != "learning_rate"}
    plain = {
        name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        for name, value in found.items()
    }
    made: dict[str, Any] = json.loads(json.dumps(plain, default=str))
    return made
