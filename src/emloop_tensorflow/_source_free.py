"""What makes a model's saved models independent of its source: its program, made at the first save.

A program does not depend on the values of variables: it is made once, and copied into every saved model. It does depend
on the sizes that batches have had; where these vary more than before, it is made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emloop.errors import ConfigError, SavedModelError
from emloop.saved_models import advise_capsule, describe_variables
from emloop.types import Batch
from emloop_tensorflow._graphs.feeding import arrays_of
from emloop_tensorflow._graphs.graph import Graph
from emloop_tensorflow._graphs.operations import drawing, foreign, keeping, leaving
from emloop_tensorflow._graphs.program import FOLDER, Program
from emloop_tensorflow._graphs.variables import assign, to_plain

from ._building import Parts, ProgramParts, SourceParts
from ._saved import overridden_methods, versions
from ._settings import Saving, Settings

__all__ = ["SourceFree"]

logger = logging.getLogger(__name__)

EXPORTED, INFERENCE, WEIGHTS = "exported", "inference", "weights"


class SourceFree:
    """The program of a model.

    Args:
        name: Name of the model's class, for messages.
        parts: What the model consists of.
        settings: Its settings.
    """

    def __init__(self, name: str, parts: Parts, settings: Settings) -> None:
        self._name, self._parts, self._saving = name, parts, settings.saved_model or Saving()
        self._made: tuple[Any, str, str | None] | None = None
        self._said: Any = None
        self._example: list[np.ndarray[Any, Any]] | None = None
        self.variables: dict[str, Any] = {}
        """What is known of ``inputs`` and ``outputs``, for the manifest."""

    def remember(self, batch: Batch, outputs: Batch) -> None:
        """Take a batch whose sizes are new; the first one is kept, in memory only."""
        known = self.variables
        sources = {name: batch[name] for name in self._parts.sources}
        self.variables = {
            "inputs": describe_variables(sources, known.get("inputs")),
            "outputs": describe_variables(outputs, known.get("outputs")),
        }
        if self._example is None:
            self._example = [array.copy() for array in arrays_of(batch, self._parts.sources)]

    def program(self, log_dir: Path, cls: type, base: type) -> tuple[str, str | None]:
        """Put the program into the run directory; returns how much works without the source, and why not more.

        Raises:
            SavedModelError: If the source is needed and the configuration says that it must not be.
        """
        parts = self._parts
        if isinstance(parts, ProgramParts):
            parts.program.write(log_dir / FOLDER)
            return parts.program.description["rung"], parts.program.description["reason"]
        rung, reason = self._found(parts, log_dir, cls, base)
        self._say(rung, reason)
        return rung, reason

    def _found(self, parts: Any, log_dir: Path, cls: type, base: type) -> tuple[str, str | None]:
        if self._saving.source_free in ("off", False):
            return WEIGHTS, "saved_model.source_free is off"
        if overridden := overridden_methods(cls, base):
            return WEIGHTS, f"{cls.__module__}.{cls.__qualname__} overrides {', '.join(overridden)}"
        key = {name: graph.signature.entries for name, graph in parts.graphs.items() if graph.has_run}
        if not key.keys() & {"train", "eval"}:
            return WEIGHTS, "the model has not seen a batch yet"
        if self._made is None or self._made[0] != key:
            self._made = (key, *self._make(parts, log_dir))
        return self._made[1:]

    def _make(self, parts: SourceParts, log_dir: Path) -> tuple[str, str | None]:
        graphs, reason = self._prepared(parts)
        if "eval" not in graphs:
            return WEIGHTS, reason
        rung = EXPORTED if "train" in graphs else INFERENCE
        functions = {name: graph.function for name, graph in graphs.items()}
        if "train" in graphs and (end := parts.end_epoch) is not None:
            functions["end_epoch"] = end
        groups = {"variables": parts.variables}
        if "train" in graphs:
            groups |= {"optimizer": parts.optimizer, "learner": parts.learning}
            groups |= {} if parts.own_rate is None else {"own": {"learning_rate": parts.own_rate}}
        else:
            groups["learner"] = parts.learning
        variables = {f"{group}:{name}": each for group, some in groups.items() for name, each in some.items()}
        description = {
            "rung": rung,
            "reason": reason,
            "versions": versions(),
            "initial_rate": parts.initial_rate,
            "configured": dict(parts.configured),
            "weights": dict(parts.weights),
            "weighing": parts.weighing,
            "sources": parts.sources,
            "unsaved": parts.unsaved,
            "graphs": {
                name: {"sources": graph.names, "outputs": graph.outputs, "signature": graph.signature.entries}
                for name, graph in graphs.items()
            },
        }
        try:
            program = Program.of(functions, variables, description)
            self._verify(program, graphs["eval"], variables)
        except Exception as error:  # whatever TensorFlow cannot write, or read again, needs the source
            logger.debug("No program can be made of %s", self._name, exc_info=True)
            words = str(error).strip().splitlines()[0]
            if "not reachable from root" in words:
                words = "they use what is no variable, such as a table of tf.lookup, for which tf.gather can do"
            return WEIGHTS, f"TensorFlow cannot save its graphs: {words}"
        program.write(log_dir / FOLDER)
        return rung, reason

    def _prepared(self, parts: SourceParts) -> tuple[dict[str, Graph], str | None]:
        """The graphs that can be saved, and why not all."""
        graphs, reason = dict(parts.graphs), None
        seen = next(g.signature.entries for name, g in graphs.items() if g.has_run and name in ("train", "eval"))
        for name, graph in parts.graphs.items():
            if graph.signature.entries is None:
                graph.assume({source: (seen or {})[source] for source in graph.names})
            try:
                graph.prepare()
                kinds = leaving(graph.kinds)
                found = f"it calls Python in {kinds[0]}" if kinds else None
                odd = foreign(graph.function.graph.as_graph_def())
                found = found or (f"its graph has the operation {odd[0]}, which no program may have" if odd else None)
            except ConfigError as error:
                found = str(error)
            if found is not None:
                del graphs[name]
                reason = found if reason is None or name == "eval" else reason
        return graphs, reason

    def _verify(self, program: Program, live: Graph, variables: Mapping[str, Any]) -> None:
        """Read the program, and let it evaluate what the model has seen first.

        Raises:
            SavedModelError: If it says anything else.
        """
        functions, restored = program.load("the program")
        for name, variable in variables.items():
            assign(name, {name: restored[name]}, {name: to_plain(name, variable)})
        if self._example is None:
            return
        again = Graph(live.names, live.signature, None, keeps=True, function=functions["eval"])
        arrays = live.signature.converted(self._example)
        expected, found = live.compute(arrays), again.compute(arrays)
        for name, one, other in zip(live.outputs, expected, found, strict=False):
            if not np.array_equal(one.numpy(), other.numpy(), equal_nan=one.dtype.is_floating):
                raise SavedModelError(f"what was written computes another {name!r}")

    def unsaved(self, kinds: Sequence[str]) -> str:
        """What to say of a training that draws from, or keeps something in, what no state has."""
        if kept := keeping(kinds):
            return (
                f"{self._name} keeps something by {', '.join(kept)}, outside of variables, where no state has it; a "
                "training that goes on begins without it, and evaluations change it. Keep it in a tf.Variable"
            )
        return (
            f"{self._name} draws random numbers by {', '.join(kinds)}, which count in TensorFlow itself, where nobody "
            "can read how far they are; a training that goes on draws others. Draw by keras.random, with a "
            "keras.random.SeedGenerator, or by a tf.random.Generator of the model's own"
        )

    def warn_of_unsaved(self, graph: Graph) -> list[str]:
        """Say once that the training depends on what no state has; returns by which operations."""
        kinds = [*keeping(graph.kinds), *drawing(graph.kinds)]
        if kinds:
            logger.warning("%s", self.unsaved(kinds))
        return kinds

    def _say(self, rung: str, reason: str | None) -> None:
        """Tell once what cannot be done without source.

        Raises:
            SavedModelError: If the configuration says that it must be possible.
        """
        if rung == EXPORTED or (rung, reason) == self._said:
            return
        self._said = rung, reason
        if self._saving.source_free == "require":
            raise SavedModelError(
                f"saved_model.source_free is 'require', but {self._name} cannot do without its source "
                f"(it is '{rung}'): {reason}"
            )
        undone = "trained further" if rung == INFERENCE else "restored"
        advice = advise_capsule(self._saving.capsule)
        logger.warning("Saved models of %s cannot be %s without its source: %s%s", self._name, undone, reason, advice)
