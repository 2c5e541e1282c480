"""The program of a model, from the batches it is made with to the run directory it is kept in.

A program does not depend on the weights: it is made once, at the first save, and copied into every saved model. It does
depend on what a module keeps beside its weights; where that has changed since, the program is verified again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from emloop.errors import SavedModelError
from emloop.saved_models import describe_variables
from emloop.types import Batch
from emloop_torch._programs.ladder import Request, climb
from emloop_torch._programs.plain_attributes import PlainAttributes
from emloop_torch._programs.program import FOLDER, Program
from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._programs.views import label_free_view
from emloop_torch._tensors.devices import Precision
from emloop_torch._tensors.feeding import tensors_of

from ._settings import Saving, Settings

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
        device: Where the module is.
        precision: With how many bits it computes.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        settings: Settings,
        frozen: Sequence[str],
        device: torch.device,
        precision: Precision,
    ) -> None:
        self._name = name
        self._module = module
        self._settings = settings
        self._source_free = Saving.source_free if settings.saved_model is None else settings.saved_model.source_free
        self._frozen = frozen
        self._device = device
        self._precision = precision
        self._program = module.program if isinstance(module, ProgramModule) else None
        self._said: tuple[str, str | None] | None = None
        self._attributes = PlainAttributes(module)
        self._attributes_at_first: dict[str, str] = {}
        self._attributes_when_made = self._attributes.values()
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
        sources = {name: batch[name] for name in self._settings.inputs}
        if not self._examples:
            self._attributes_at_first = self._attributes.values()
            self.variables = {"inputs": describe_variables(sources), "outputs": describe_variables(outputs)}
            self._shapes = shapes
        self._examples.append(sources)

    def program(self, log_dir: Path, training_needs_source: str | None, floating: torch.dtype) -> Program:
        """The program; it is in the run directory then.

        Args:
            log_dir: The run directory.
            training_needs_source: Why training needs the source, if it does.
            floating: What 64-bit floats become.

        Raises:
            SavedModelError: If the source is needed and the configuration says that it must not be.
        """
        program, directory, attributes = self._program, log_dir / FOLDER, self._attributes.values()
        has_changed = attributes != self._attributes_when_made and not isinstance(self._module, ProgramModule)
        if program is None or (program.graphs and has_changed):
            program = self._make(program or Program.read_if_sound(directory), training_needs_source, floating)
            self._say(program)
            if self._examples:
                self._program, self._attributes_when_made = program, attributes
        program.write(directory)
        return program

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

    def _make(self, known: Program | None, training_needs_source: str | None, floating: torch.dtype) -> Program:
        settings = self._settings
        if self._source_free in ("off", False):
            return Program.none("saved_model.source_free is off")
        if not self._examples:
            return Program.none("the model has not seen a batch yet")
        started = perf_counter()
        request = Request(
            examples=[tensors_of(batch, settings.inputs, self._device, floating) for batch in self._examples],
            label_free=label_free_view(self._module, settings.inputs, settings.inference_inputs),
            precision=self._precision.forward,
            scaled=self._precision.scaler() is not None,
            needs_source=training_needs_source,
            frozen=[name for name in self._frozen if not self._module.get_parameter(name).requires_grad],
        )
        program = climb(self._module, request, known)
        logger.info("The model's program is '%s', verified in %.1f s", program.rung, perf_counter() - started)
        return program

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
        if self._source_free == "require":
            raise SavedModelError(
                f"saved_model.source_free is 'require', but {self._name} cannot do without its source "
                f"(it is '{program.rung}'): {program.reason}"
            )
        undone = "trained further" if program.rung == "inference" else "restored"
        logger.warning("Saved models of %s cannot be %s without its source: %s", self._name, undone, program.reason)
