"""The program of a model, from the batches it is made with to the run directory it is kept in.

A program does not depend on the weights: it is made once, at the first save, and copied into every saved model. It does
depend on what a module keeps beside its weights; where that has changed since, the program is verified again. On some
batches of the training it is compared with what happens there; where they part, it falls, with all that carry it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import islice, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from emloop.errors import EmloopError, SavedModelError
from emloop.saved_models import (
    Capsule,
    Saved,
    advise_capsule,
    capsule_for,
    describe_variables,
    find_saved,
    replace_program,
)
from emloop.types import Batch, StateTree
from emloop_torch._programs.program import FOLDER, Program
from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._programs.views import label_free_view
from emloop_torch._proofs.alarms import LOST
from emloop_torch._proofs.cache import ProgramCache, digest
from emloop_torch._proofs.ladder import Request, climb
from emloop_torch._proofs.plain_attributes import PlainAttributes
from emloop_torch._proofs.shadow import Comparison, Shadow
from emloop_torch._proofs.surroundings import Surroundings
from emloop_torch._proofs.verifying import Difference
from emloop_torch._tensors.devices import Precision
from emloop_torch._tensors.feeding import tensors_of

from ._settings import Saving, Settings

if TYPE_CHECKING:
    from emloop_torch._ranks.together import Together

__all__ = ["SourceFree"]

logger = logging.getLogger(__name__)

_COMPLETE = ("exported", "traced")
_SHOWN = 4


class SourceFree:
    """What makes a model's saved models independent of its source.

    Args:
        name: Name of the model's class, for messages.
        module: The module; one that is a program already stays it.
        settings: The model's settings.
        frozen: Names of the parameters that only the configuration keeps from being trained.
        weights: Output → the output or source that weighs it.
        withheld: Inputs that are not for the module, only weigh its outputs.
        device: Where the module is.
        precision: With how many bits it computes.
        together: What it computes with other processes, if it does.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        settings: Settings,
        frozen: Sequence[str],
        weights: Mapping[str, str],
        withheld: frozenset[str],
        device: torch.device,
        precision: Precision,
        together: Together | None,
    ) -> None:
        self._name = name
        self._module = module
        self._settings = settings
        self._saving = settings.saved_model or Saving()
        self._frozen = frozen
        self._weights = weights
        self._withheld = withheld
        self._device = device
        self._precision = precision
        self._together = together
        self._program = module.program if isinstance(module, ProgramModule) else None
        self._said: tuple[str, str | None] | None = None
        self._attributes = PlainAttributes(module)
        self._attributes_at_first: dict[str, str] = {}
        self._surroundings: Mapping[str, str] | None = None
        self._results: set[str] = set()
        self._directory = Path()
        self._cache = ProgramCache(None)
        self._shadow: Shadow | None = None
        self._examples: list[Batch] = []
        self._shapes: list[torch.Size] = []
        self._varying: set[tuple[int, int]] = set()
        self.variables: dict[str, Any] = {}
        """What is known of ``inputs`` and ``outputs``, for the manifest."""

    def remember(self, batch: Batch, inputs: Mapping[str, torch.Tensor], outputs: Batch) -> None:
        """Keep a batch, in memory only, if it is the first, or has another size along an axis that never varied yet."""
        shapes = [tensor.shape[1:] for tensor in inputs.values()]
        if self._examples:
            if shapes == self._shapes:
                return
            varying = {
                (number, axis)
                for number, (first, other) in enumerate(zip(self._shapes, shapes, strict=True))
                for axis, sizes in enumerate(zip_longest(first, other))
                if sizes[0] != sizes[1]
            }
            if varying <= self._varying:
                return
            self._varying |= varying
        sources = {name: batch[name] for name in inputs}
        known = self.variables
        self.variables = {
            "inputs": describe_variables(sources, known.get("inputs")),
            "outputs": describe_variables(outputs, known.get("outputs")),
        }
        if not self._examples:
            self._attributes_at_first = self._attributes.values()
            if not isinstance(self._module, ProgramModule) and self._saving.source_free not in ("off", False):
                self._surroundings = Surroundings(self._module).values
            self._shapes = shapes
        self._examples.append(sources)

    def program(
        self,
        log_dir: Path,
        training_needs_source: str | None,
        floating: torch.dtype,
        losses: Mapping[str, Sequence[str]] | None,
        state: StateTree,
    ) -> Program:
        """The program; it is in the run directory then.

        Args:
            log_dir: The run directory.
            training_needs_source: Why training needs the source, if it does.
            floating: What 64-bit floats become.
            losses: Loss → names of the parameters that its gradient reaches; ``None``: ``loss`` is the only one.
            state: The model's.

        Raises:
            SavedModelError: If the source is needed and the configuration says that it must not be.
        """
        program = before = self._program
        self._directory = log_dir
        is_settled = program is not None and (isinstance(self._module, ProgramModule) or not program.graphs)
        now = {} if is_settled else Surroundings(self._module).values
        known = now if self._surroundings is None else self._surroundings
        moved = {name for name in known.keys() | now.keys() if known.get(name) != now.get(name)} - self._results
        if program is None or (not is_settled and (moved or self._surroundings is None)):
            earlier = program or Program.read_if_sound(log_dir / FOLDER)
            together = self._together
            with nullcontext() if together is None else together.alone(state["parameters"]):
                program = self._make(earlier, training_needs_source, floating, losses, moved)
            if before is not None and "train" in before.graphs and "train" not in program.graphs:
                self._mark(before, "inference", program.reason or "")
            self._say(program)
            if self._examples:
                self._program, self._surroundings = program, now
            if self.unproven:
                logger.info("The program is not compared with the training: %s", self.unproven["shadow"])
            elif program.graphs and self._saving.shadow:
                compiled = self._settings.compile not in (None, False)
                self._shadow = Shadow(
                    self._module, program, self._precision.forward, self._saving.shadow, compiled=compiled
                )
        program.write(log_dir / FOLDER)
        return program

    @property
    def unproven(self) -> dict[str, str]:
        """For the manifest: why the program is not compared with the training that goes on."""
        why = None if self._together is None else self._together.why_no_shadow
        return {} if why is None else {"shadow": why}

    def capsule(self, cls: type, arguments: Mapping[str, Any], saved: Saved | None) -> Capsule | None:
        """The source that goes along where the configuration asks for it; that of a restored program is handed on."""
        classes = {cls, *map(type, self._module.modules())}
        without_source = saved if isinstance(self._module, ProgramModule) else None
        return capsule_for(self._saving.capsule, classes, arguments, without_source)

    def comparison(self, inputs: Mapping[str, torch.Tensor]) -> Comparison | None:
        """What compares the program with the forward pass that is about to begin; ``None`` for most batches."""
        shadow = self._shadow
        if shadow is None or not shadow.due(self._module.training):
            return None
        return shadow.begin(inputs, self._module.training)

    def compare(self, comparison: Comparison) -> None:
        """Compare the program with what has happened; where they part, it falls."""
        try:
            comparison.compare()
        except Difference as difference:
            self._fall(difference, comparison.train)

    def _fall(self, difference: Difference, training: bool) -> None:
        if self._program is None or self._shadow is None:
            return
        rung, kind = ("inference", "training") if training else ("weights", "evaluation")
        reason = (
            f"the program has parted from the {kind} that it stands for, "
            f"in batch {self._shadow.batches[training]} after it was made: {difference}"
        )
        now, known = Surroundings(self._module).values, self._surroundings or {}
        moved = (name for name, value in known.items() if now.get(name) != value and name not in self._results)
        reason += "".join(f"; {LOST.format(name)}" for name in islice(moved, 1))
        before, self._program = self._program, self._program.fallen(rung, reason)
        self._cache.drop()
        # What is left has to be verified again, since whatever has changed may matter to it, too.
        self._shadow = self._surroundings = None
        self._mark(before, rung, reason)
        self._program.write(self._directory / FOLDER)
        self._said = rung, reason
        undone = "trained further" if training else "restored"
        logger.warning(
            "Saved models of %s, older ones too, cannot be %s without its source: %s", self._name, undone, reason
        )

    def warn_of_what_is_lost(self) -> None:
        """Tell, once, what a module that changes while it is trained keeps where no state finds it."""
        lost = self._attributes.lost(self._attributes_at_first)
        if lost:
            self._attributes_at_first = {}
            shown = ", ".join(lost[:_SHOWN]) + (" …" if len(lost) > _SHOWN else "")
            logger.warning(
                "%s changes what is no part of its state, and what a resumed run begins anew with: %s. "
                "A buffer would be part of it, and so would what get_extra_state returns",
                self._name,
                shown,
            )

    def _mark(self, program: Program, rung: str, reason: str) -> None:
        """Lower all saved models of the run that carry a program."""
        view = "train" if rung == "inference" else "eval"
        for path in sorted(self._directory.glob("model_*/manifest.json")):
            try:
                folder = find_saved(str(path.parent)).program()
                carried = None if folder is None else Program.read(folder)
                if carried is not None and carried.graphs.get(view) == program.graphs.get(view):
                    with TemporaryDirectory() as scratch:
                        fallen = carried.fallen(rung, reason)
                        fallen.write(Path(scratch))
                        replace_program(path.parent, Path(scratch), rung=rung, reason=reason, extra=fallen.summary)
            except (EmloopError, OSError) as error:
                logger.warning("%s may say too much of what works without source: %s", path.parent, error)

    def _make(
        self,
        known: Program | None,
        training_needs_source: str | None,
        floating: torch.dtype,
        losses: Mapping[str, Sequence[str]] | None,
        moved: set[str],
    ) -> Program:
        settings = self._settings
        if self._saving.source_free in ("off", False):
            return Program.none("saved_model.source_free is off")
        if not self._examples:
            return Program.none("the model has not seen a batch yet")
        started = perf_counter()
        request = Request(
            examples=[tensors_of(batch, batch, self._device, floating) for batch in self._examples],
            label_free=label_free_view(self._module, settings.inputs, settings.inference_inputs),
            precision=self._precision.forward,
            scaled=self._precision.scaler() is not None,
            needs_source=training_needs_source,
            frozen=[name for name in self._frozen if not self._module.get_parameter(name).requires_grad],
            moved=moved,
            trusted=self._saving.trust,
            weights=self._weights,
            withheld=self._withheld,
            losses=losses,
        )
        if known is None and self._saving.cache not in ("off", False):
            self._cache = ProgramCache(digest(self._module, self._described(request)))
            known = self._cache.get()
        logger.info(
            "%s a program of the model, so that what is saved needs no source",
            "Making" if known is None else "Verifying",
        )
        program, self._results = climb(self._module, request, known)
        if program is not known and program.graphs and "fallen" not in program.description:
            self._cache.put(program)
        logger.info("The model's program is '%s', verified in %.1f s", program.rung, perf_counter() - started)
        return program

    def _described(self, request: Request) -> dict[str, Any]:
        """What its program depends on beside the module."""
        shapes = {
            name: {tuple(example[name].shape[1:]) for example in request.examples} for name in request.examples[0]
        }
        own = {key: value for key, value in vars(request).items() if key not in ("examples", "precision")}
        return {
            # Of axes that vary, which sizes were seen makes no difference.
            "shapes": {
                name: [sizes.pop() if len(sizes) == 1 else None for sizes in map(set, zip(*found, strict=False))]
                for name, found in shapes.items()
            },
            "dtypes": {name: str(tensor.dtype) for name, tensor in request.examples[0].items()},
            "precision": self._settings.precision,
            **own,
            "withheld": sorted(request.withheld),
        }

    def _say(self, program: Program) -> None:
        """Tell once what cannot be done without source.

        Raises:
            SavedModelError: If the configuration says that it must be possible.
        """
        if (program.rung, program.reason) == self._said:
            return
        self._said = program.rung, program.reason
        if program.rung in _COMPLETE:
            if program.reason:
                logger.info("It is not exported, since %s", program.reason)
            return
        if self._saving.source_free == "require":
            raise SavedModelError(
                f"saved_model.source_free is 'require', but {self._name} cannot do without its source "
                f"(it is '{program.rung}'): {program.reason}"
            )
        undone = "trained further" if program.rung == "inference" else "restored"
        reason = f"{program.reason}{advise_capsule(self._saving.capsule)}"
        logger.warning("Saved models of %s cannot be %s without its source: %s", self._name, undone, reason)
