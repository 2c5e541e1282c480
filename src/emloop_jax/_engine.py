"""The arrays of a model, and the compiled steps that move them.

A step is exported first, and it is the exported one that runs, from the first batch on; so what is restored from it
later, without the source, cannot but do the same.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from emloop.errors import BatchError, EmloopError, MissingVariableError, SavedModelError
from emloop.suggest import did_you_mean
from emloop_jax._steps.dependence import sources_of
from emloop_jax._steps.networks import PARAMS
from emloop_jax._steps.steps import Steps, fresh_watch

from ._batches import BATCH, Shapes
from ._compiling import digest, shared
from ._programs import Program, export_step

__all__ = ["EVAL", "FLUSH", "INFER", "TRAIN", "Engine", "ProgramSource", "StepSource"]

Arrays = Mapping[str, Any]

TRAIN, EVAL, INFER, FLUSH = "train", "eval", "infer", "flush"
_CURE = "what Python code decides by the size of a batch (`if x.shape[0] == 8`, a loop over it) is what cannot be kept"


class StepSource:
    """Steps that are there as functions.

    Args:
        steps: The functions.
        device: Where they run.
        exports: Whether they are exported at all.
        predicted: Sources that are enough to predict.
    """

    def __init__(self, steps: Steps, device: jax.Device, *, exports: bool, predicted: Sequence[str]) -> None:
        self.model, self.training = steps.model.leaves, steps.training.leaves
        self.reasons: dict[str, str] = {}
        """Name of a step → why it could not be exported."""
        self.ready: dict[Hashable, Callable[..., Any]] = {}
        """Compiled code of what could not be, which only the models of this source share."""
        self.steps = steps
        self._device = device
        self._exports = exports
        self._predicted = list(predicted)
        self._made: dict[str, list[tuple[Shapes, export.Exported | None, str | None]]] = {}
        self._found: tuple[list[str], list[str]] | None = None

    def shapes(self, _view: str, inputs: Arrays, before: Shapes | None, like: Shapes | None = None) -> Shapes:
        """What the batches of a step look like, now that this one has been seen, and those of the training."""
        is_open = TRAIN not in self.reasons
        return Shapes.of(inputs, like if is_open else None) if before is None else before.merged(inputs)

    def step(self, view: str, shapes: Shapes) -> tuple[Callable[..., Any], Hashable]:
        """A step for such batches: the exported one, if it can be."""
        exported, known_by = self._exported(view, shapes)
        if exported is None:
            return self._call(view, shapes, shapes.concrete())[0], None
        return exported.call, known_by

    def exported(self, view: str, shapes: Shapes) -> export.Exported | None:
        """The exported step; ``None`` if it cannot be exported."""
        return self._exported(view, shapes)[0]

    def _exported(self, view: str, shapes: Shapes) -> tuple[export.Exported | None, str | None]:
        # A model that is loaded anew meets the same sizes in the same order.
        known = self._made.setdefault(view, [])
        for before, exported, known_by in known:
            if before == shapes:
                return exported, known_by
        exported = self._export(view, shapes) if self._exports else None
        known.append((shapes, exported, None if exported is None else digest(exported)))
        return known[-1][1:]

    def results(self, view: str, shapes: Shapes) -> Mapping[str, Any]:
        """The outputs of a step, without values."""
        exported = self.exported(view, shapes)
        if exported is not None:
            return _outputs_of(exported)
        function, specs = self._call(view, shapes, shapes.concrete())
        return jax.eval_shape(function, *specs)[-1]

    def predictions(self, shapes: Shapes) -> tuple[list[str], list[str]]:
        """Sources that are enough to predict, and the outputs that need no others."""
        if self._found is None:
            inputs = shapes.concrete()
            model = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in self.model]
            needed = sources_of(lambda batch: self.steps.evaluate(model, fresh_watch(), batch)[1], inputs)
            enough = self._predicted or sorted(
                *sources_of(lambda batch: {"": self.steps.results(model, batch)}, inputs).values()
            )
            results = self.results(EVAL, shapes)
            fit = [name for name in needed if _first_axis(results[name]) in (BATCH, str(_size_of(inputs)))]
            for sources in (enough, list(inputs)):
                names = [name for name in fit if needed[name] <= {*sources}]
                self._found = [name for name in inputs if name in sources], names
                if names:
                    break
        return self._found or ([], [])

    def _export(self, view: str, shapes: Shapes) -> export.Exported | None:
        function, specs = self._call(view, shapes, shapes.symbolic())
        try:
            return export_step(function, specs, self._device, f"{view} step")
        except EmloopError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the step itself may run
            function, specs = self._call(view, shapes, shapes.concrete())
            jax.eval_shape(function, *specs)
            self.reasons[view] = f"the {view} step cannot be exported: {_first_line(error)}; {_CURE}"
            return None

    def _call(self, view: str, shapes: Shapes, inputs: Arrays) -> tuple[Callable[..., Any], list[Any]]:
        """The function of a step, and what it takes."""
        steps, watch = self.steps, jax.eval_shape(fresh_watch)
        model, training = ([leaf.spec for leaf in leaves] for leaves in (self.model, self.training))
        if view == INFER:
            sources, names = self._found or ([], [])
            given = {name: inputs[name] for name in sources}
            return partial(steps.infer, lacking=shapes.lacking, names=names), [model, given]
        if view == EVAL:
            return steps.evaluate, [model, watch, inputs]
        return (steps.flush, [model, training]) if view == FLUSH else (steps.train, [model, training, watch, inputs])


class ProgramSource:
    """Steps that a saved model has brought along.

    Args:
        program: Its program.
        hint: How to have the source, for messages.
    """

    def __init__(self, program: Program, hint: str) -> None:
        self.program = program
        self.ready: dict[Hashable, Callable[..., Any]] = {}
        self.model, self.training = program.leaves("model"), program.leaves("training")
        self._shapes = {view: Shapes(entries) for view, entries in program.description["inputs"].items()}
        self._hint = hint

    def shapes(self, view: str, inputs: Arrays, before: Shapes | None, _like: Shapes | None = None) -> Shapes:
        """What the batches of a step look like.

        Raises:
            BatchError: If this one does not.
        """
        known = before or self._shapes.get(view) or next(iter(self._shapes.values()))
        if view != INFER and (other := inputs.keys() ^ known.entries.keys()):
            told = f"{min(other)!r} is {'none' if min(other) in inputs else 'one'} of them"
            raise BatchError(f"the model goes on without its source, with the inputs {list(known.entries)}; {told}")
        if (misfit := known.misfit(inputs)) is not None:
            raise BatchError(f"{misfit}; the model goes on without its source, which has seen no others")
        return known

    def step(self, view: str, _shapes: Shapes) -> tuple[Callable[..., Any], Hashable]:
        """A step.

        Raises:
            SavedModelError: If only the source has it.
        """
        found = self.program.views.get(view)
        if found is None:
            reason = self.program.description["reason"] or f"its program has no step to {view}"
            raise SavedModelError(f"the model's source is needed: {reason}{self._hint and '; ' + self._hint}")
        return found.call, hashlib.sha256(self.program.content[view]).hexdigest()

    def results(self, view: str, _shapes: Shapes) -> Mapping[str, Any]:
        """The outputs of a step, without values."""
        return _outputs_of(self.program.views[view]) if view in self.program.views else {}

    def predictions(self, _shapes: Shapes) -> tuple[list[str], list[str]]:
        """Sources that are enough to predict, and the outputs that need no others."""
        sources, names = self.program.description["predictions"]
        return list(sources), list(names)


Source: TypeAlias = StepSource | ProgramSource
"""Where steps come from."""


class Engine:
    """The arrays of a model, and what moves them.

    Args:
        source: Where the steps come from.
        names: Names of the outputs to return.
        model: The arrays of the network.
        training: Those that only training needs; ``None`` if nobody will train.
        options: What the compiler is told.
    """

    def __init__(
        self,
        source: Source,
        names: Sequence[str],
        model: Sequence[Any],
        training: Sequence[Any] | None,
        options: Mapping[str, Any] | None,
    ) -> None:
        self.source = source
        self.model, self.training = list(model), None if training is None else list(training)
        self.shapes: dict[str, Shapes] = {}
        self._names = list(names)
        self._options = None if options is None else dict(options)
        self._watch = self._still = fresh_watch()
        self._known: dict[str, dict[Any, Callable[..., Any]]] = {TRAIN: {}, EVAL: {}}
        self._ready: dict[str, Callable[..., Any]] = {}
        self._looked = False

    def run(self, inputs: Arrays, train: bool) -> dict[str, Any]:
        """The outputs for a batch; with ``train``, learn from it."""
        view = TRAIN if train else EVAL
        layout = tuple([(values.shape, values.dtype) for values in inputs.values()])
        step = self._known[view].get(layout)
        if step is None:
            step = self._known[view][layout] = self._prepared(view, inputs)
        self._looked = True
        if train:
            self.model, self.training, self._watch, outputs = step(self.model, self.training, self._watch, inputs)
        else:
            self._watch, outputs = step(self.model, self._watch, inputs)
        return dict(zip(self._names, outputs, strict=True))

    def flush(self) -> None:
        """Learn from what is left of the batches that would have made one step."""
        if FLUSH not in self._ready:
            self._ready[FLUSH] = self._compiled(FLUSH, next(iter(self.shapes.values())), donated=(0, 1))
        self.model, self.training, _ = self._ready[FLUSH](self.model, self.training)

    def infer(self, inputs: Arrays) -> dict[str, Any]:
        """What can be told without labels."""
        before = self.shapes.get(INFER)
        shapes = self.source.shapes(INFER, inputs, before or self._any_shapes())
        if shapes != before:
            self.shapes[INFER], self._ready[INFER] = shapes, self._compiled(INFER, shapes)
        return self._ready[INFER](self.model, inputs)[-1]

    def predictions(self) -> tuple[list[str], list[str]]:
        """Sources that are enough to predict, and the outputs that need no others."""
        return self.source.predictions(self._any_shapes())

    def first_nan(self) -> int | None:
        """Number of the first batch since the last call whose loss was none, 0 for none; ``None`` without a batch."""
        found, self._watch = self._watch, self._still
        looked, self._looked = self._looked, False
        return int(np.asarray(found)[1]) if looked else None

    @property
    def variables(self) -> list[str]:
        """Names of the numbers that may be changed: the rate, and what the network keeps that is no parameter."""
        own = [leaf for leaf in self.source.model if math.prod(leaf.shape) == 1 and leaf.dtype.startswith("float")]
        return ["learning_rate", *(leaf.name for leaf in own if not leaf.name.startswith(f"{PARAMS}/"))]

    @cached_property
    def places(self) -> dict[str, tuple[str, int]]:
        """Name of an array → where it is: ``model`` or ``training``, and its number there."""
        parts = {"model": self.source.model, "training": self.source.training if self.training is not None else ()}
        return {leaf.name: (part, number) for part in parts for number, leaf in enumerate(parts[part])}

    def number(self, name: str) -> float:
        """The value of an array that holds one number, as short as its precision allows."""
        part, place = self.places[name]
        return float(str(np.asarray(getattr(self, part)[place]).ravel()[0]))

    def put(self, name: str, value: float) -> None:
        """Change an array that holds one number."""
        part, place = self.places[name]
        arrays = getattr(self, part)
        old = arrays[place]
        arrays[place] = jax.device_put(np.full(old.shape, value, old.dtype), old.device)

    def first_shapes(self, batches: int) -> Shapes:
        """What the batches of the training look like, or of whatever came before any."""
        return self.shapes[TRAIN] if batches and TRAIN in self.shapes else self._any_shapes()

    def described(self) -> dict[str, dict[str, Any]]:
        """What inputs and outputs look like, for a manifest; nothing before the first batch."""
        if not self.shapes:
            return {"inputs": {}, "outputs": {}}
        shapes = self._any_shapes()
        results = self.source.results(EVAL, shapes)
        return {
            "inputs": {name: shapes.described(name) for name in shapes.entries},
            "outputs": {name: _described(spec) for name, spec in results.items()},
        }

    def _any_shapes(self) -> Shapes:
        return self.shapes.get(EVAL) or self.shapes[TRAIN]

    def _prepared(self, view: str, inputs: Arrays) -> Callable[..., Any]:
        """The compiled step for batches that look like one; of others as well, where it fits them already."""
        before = self.shapes.get(view)
        shapes = self.source.shapes(view, inputs, before, self.shapes.get(TRAIN))
        if view in self._ready and shapes == before:
            return self._ready[view]
        ready = self._compiled(view, shapes, self._names, donated=(0, 1) if view == TRAIN else ())
        self._require_outputs(self.source.results(view, shapes), _size_of(shapes.concrete()))
        self.shapes[view], self._ready[view] = shapes, ready
        self._known[view].clear()
        return ready

    def _compiled(
        self, view: str, shapes: Shapes, names: Sequence[str] | None = None, donated: tuple[int, ...] = ()
    ) -> Callable[..., Any]:
        """A step to call, with the named outputs only; models of one architecture share it."""
        step, known_by = self.source.step(view, shapes)

        def run(*given: Any) -> Any:
            *moved, outputs = step(*given)
            return *moved, outputs if names is None else [outputs[name] for name in names]

        def make() -> Callable[..., Any]:
            ready: Callable[..., Any] = jax.jit(run, donate_argnums=donated, compiler_options=self._options)
            return ready

        key = known_by or f"{view} {shapes.entries}", tuple(names or ()), repr(self._options)
        return shared(key, make, None if known_by else self.source.ready)

    def _require_outputs(self, found: Arrays, size: int) -> None:
        """Refuse names of outputs that are none, or have no value for every example.

        Raises:
            MissingVariableError: If the model has no such output.
            BatchError: If its first axis is not ``B``.
        """
        for name in self._names:
            if name not in found:
                hints = "".join(f"; {hint}" for hint in did_you_mean(name, found))
                raise MissingVariableError(
                    f"the model gives no {name!r}; it gives {', '.join(map(repr, found))}{hints}"
                )
            if _first_axis(found[name]) not in (BATCH, str(size)):
                shape = f"[{', '.join(map(str, found[name].shape))}]"
                raise BatchError(f"output {name!r}: expected a value for every example, got shape {shape}")


def _outputs_of(exported: export.Exported) -> Mapping[str, Any]:
    return jax.tree_util.tree_unflatten(exported.out_tree, exported.out_avals)[-1]


def _described(spec: Any) -> dict[str, Any]:
    sizes = [size if isinstance(size, int) else None for size in spec.shape]
    return {"dtype": str(spec.dtype), "shape": [None, *sizes[1:]] if sizes else []}


def _first_axis(spec: Any) -> str:
    return str(spec.shape[0]) if spec.shape else ""


def _size_of(inputs: Arrays) -> int:
    return next(iter(inputs.values())).shape[0]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
