"""What a model consists of: graphs and variables, made from its source or taken from the program of a saved model."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, is_dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from emloop.errors import ConfigError, SavedModelError
from emloop.parameters import InitFrom, from_plain, what_fits
from emloop.saved_models import Saved, find_saved, shelf_life
from emloop_tensorflow._graphs.devices import is_host, several
from emloop_tensorflow._graphs.feeding import Signature
from emloop_tensorflow._graphs.graph import Graph
from emloop_tensorflow._graphs.program import Program
from emloop_tensorflow._graphs.variables import assign, plain
from emloop_tensorflow._graphs.views import read_interface
from emloop_tensorflow._training.learner import Learner
from emloop_tensorflow._training.monitor import SIGNALS
from emloop_tensorflow._training.schedules import Schedule
from emloop_tensorflow._training.tracing import Tracing

from ._optimizers import as_optimizer, rate_of
from ._saved import BACKEND, FORMAT, installed_as, overridden_methods
from ._settings import Settings

__all__ = ["Parts", "ProgramParts", "from_program", "from_source"]

logger = logging.getLogger(__name__)

_IN_GRAPH = (
    *("optimizer", "lr_schedule", "clip_gradient", "accumulate", "frozen"),
    *("precision", "compile", "monitor", "weights", "n_gpus"),
)
"""Settings that a graph obeys as it is made."""
_RATE = "learning_rate"


class Parts(ABC):
    """Graphs and variables of a model."""

    sources: list[str]
    """All that a batch must hold."""
    outputs: list[str]
    """What ``run`` returns."""
    weights: Mapping[str, str]
    """Output → what weighs it."""
    weighing: list[str]
    """Sources that weigh."""
    graphs: dict[str, Graph]
    """``train``, ``eval`` and ``infer``, as far as the model has them."""
    learning: dict[str, tf.Variable]
    """Rates, counters and gradients that wait."""
    initial_rate: float | None
    """The learning rate as configured; ``None`` where the optimizer computes it."""
    configured: Mapping[str, Any]
    """The settings that the graphs obey."""
    lazy: bool
    """Whether outputs may be on their way."""
    unsaved: list[str]
    """Kinds of operations of the training that draw from what no state has."""
    lacking: Mapping[str, str]
    """Graph that there is not → why."""

    def graph(self, name: str) -> Graph:
        """A graph.

        Raises:
            ConfigError: If there is none; says why.
        """
        if name not in self.graphs:
            raise ConfigError(self.lacking[name])
        return self.graphs[name]

    @property
    @abstractmethod
    def variables(self) -> dict[str, Any]:
        """Name → variable of the model."""

    @property
    @abstractmethod
    def optimizer(self) -> dict[str, Any]:
        """Name → variable of the optimizer."""

    @property
    @abstractmethod
    def end_epoch(self) -> Callable[[], Any] | None:
        """What takes the step that is left at the end of an epoch."""

    @property
    @abstractmethod
    def is_built(self) -> bool:
        """Whether all variables of the model are there."""

    @property
    @abstractmethod
    def is_trained(self) -> bool:
        """Whether there is an optimizer."""

    @abstractmethod
    def build(self) -> None:
        """Make all variables of the model, for the batches that a state has seen."""

    @abstractmethod
    def adjust_rate(self, initial: float | None, configured: Mapping[str, Any]) -> None:
        """Move the learning rate of a state as far as the configured one has moved since."""

    @abstractmethod
    def forget_optimizer(self) -> None:
        """Begin the training anew."""

    def load_optimizer(self, state: Mapping[str, Any], waiting: Mapping[str, Any]) -> None:
        """Take what an optimizer remembers, and gradients that wait."""
        if state.keys() == self.optimizer.keys():
            assign("optimizer", self.optimizer, state)
        else:
            logger.warning("The optimizer is another one than that of the state, and begins anew")
        own = {name: each for name, each in self.learning.items() if name.startswith("accumulated/")}
        if own.keys() == waiting.keys():
            assign("learner", own, waiting)

    def _scale_rate(self, factor: float) -> None:
        rate = self.learning[_RATE]
        rate.assign(float(rate.numpy()) * factor)


class SourceParts(Parts):
    """Parts that are made from source."""

    def __init__(
        self,
        model: Any,
        base: Any,
        settings: Settings,
        around: Sequence[Callable[[], AbstractContextManager[Any]]],
        apart: Collection[str],
    ) -> None:
        cls = type(model)
        interface = read_interface(
            *(cls.call, cls._predict, settings.inputs, settings.inference_inputs, settings.outputs),
            dict(model.weights) if isinstance(model.weights, Mapping) else {},
            settings.weights or {},
        )
        self.sources, self.weighing = list(interface.sources), interface.weighing
        self.outputs = [*interface.outputs, *(SIGNALS if settings.monitor is not None else ())]
        self.weights = interface.weights
        self.configured = configured(settings)
        self.lazy = not is_host(model._device)
        self.lacking = {}
        self._origin = settings.init_from
        self._there = None if settings.init_from is None else variables_of(settings.init_from)
        with around[0](), around[1]():
            described = model.create_optimizer()
            self.initial_rate = _rate(described)
            schedule = Schedule(settings.lr_schedule, self.initial_rate or 0.0)
            clip, scales = settings.clip_gradient, settings.precision == "fp16"
            self._learner = Learner(self.initial_rate, schedule, clip, settings.accumulate, scales=scales)
        self._tracing = Tracing(
            model,
            apart,
            interface,
            around,
            self._learner,
            lambda trained: as_optimizer(model.create_optimizer(), trained),
            settings.frozen,
            settings.monitor,
            compiled=settings.compile,
            devices=several(settings.n_gpus, model._device, monitor=settings.monitor, compile=settings.compile),
        )
        self._tracing.on_built = self._begin_from
        floating = "float32"
        kinds = {"train": self._tracing.train, "eval": self._tracing.evaluate}
        self.graphs = {
            name: Graph(self.sources, Signature(self.sources, floating), trace, keeps=name != "train")
            for name, trace in kinds.items()
        }
        if interface.prediction is not None and not overridden_methods(cls, base):
            taken = interface.prediction.taken
            trace = self._tracing.infer(interface.prediction)
            self.graphs["infer"] = Graph(taken, Signature(taken, floating), trace, keeps=True)
        self._end: Any = None
        self.unsaved = []

    @property
    def variables(self) -> dict[str, Any]:
        return self._tracing.variables

    @property
    def optimizer(self) -> dict[str, Any]:
        return self._learner.optimizer_variables

    @property
    def learning(self) -> dict[str, tf.Variable]:  # type: ignore[override]
        return self._learner.variables

    @property
    def own_rate(self) -> Any:
        """The variable that every step sets from ``learning_rate``."""
        return self._learner.own_rate

    @property
    def end_epoch(self) -> Callable[[], Any] | None:
        if self._end is None and self._learner.is_built and self._learner.accumulates:
            self._end = self._tracing.end_epoch()
        return self._end

    @property
    def is_built(self) -> bool:
        return self._tracing.is_built

    @property
    def is_trained(self) -> bool:
        return self._learner.is_built

    def build(self) -> None:
        for name in ("train", "eval"):
            if self.graphs[name].signature.entries is not None:
                return self._tracing.build(self.graphs[name].signature)
        return None

    def adjust_rate(self, initial: float | None, configured: Mapping[str, Any]) -> None:  # noqa: ARG002 - obeyed
        if initial and self.initial_rate is not None and initial != self.initial_rate:
            self._scale_rate(self.initial_rate / initial)

    def forget_optimizer(self) -> None:
        if self._learner.is_built:
            self._learner.forget()
            self.graphs["train"].forget()
            self._end = None

    def _begin_from(self) -> None:
        there, self._there = self._there, None
        if there is not None and self._origin is not None:
            here = {name: plain(each) for name, each in self.variables.items()}
            for name, value in what_fits(self._origin, there, here).items():
                here[name].assign(tf.cast(value, here[name].dtype))


class ProgramParts(Parts):
    """Parts of a saved model whose source is gone."""

    def __init__(self, model: Any, saved: Saved, settings: Settings, program: Program) -> None:
        self.program, described = program, program.description
        functions, variables = program.load(str(saved.path))
        groups: dict[str, dict[str, Any]] = {"variables": {}, "optimizer": {}, "learner": {}, "own": {}}
        for name, variable in variables.items():
            group, _, own = name.partition(":")
            groups[group][own] = variable
        self._variables, self._optimizer, self.learning = groups["variables"], groups["optimizer"], groups["learner"]
        for variable in groups["own"].values():
            variable.assign(0.0)  # every step sets it
        self.initial_rate, self.configured = described["initial_rate"], described["configured"]
        self.weights, self.weighing = described["weights"], described["weighing"]
        self.sources, self.lazy = described["sources"], not is_host(model._device)
        self.lacking = {"train": f"{saved.path}: training needs the model's source: {described['reason']}"}
        graphs = dict(described["graphs"])
        infer = graphs.get("infer")
        # What weighs comes with the batch, listed or not.
        labels = set(self.sources) - set(self.weighing) - set(settings.inputs)
        if infer is not None and labels and set(infer["sources"]) <= set(settings.inputs) <= set(self.sources):
            self.sources, self.weighing = infer["sources"], []
            told = f"{self.sources} are enough to predict, not to train; add the labels"
            graphs, self.lacking = {"eval": infer, "infer": infer}, {"train": f"inputs: {told}"}
        known = graphs["eval"]["outputs"]
        if odd := [name for name in settings.outputs if name not in known]:
            hint = f"it gives: {', '.join(known)}"
            raise ConfigError.about("outputs", f"the program of {saved.path} gives no {odd[0]!r}", hint)
        beside = [self.weights[name] for name in settings.outputs if self.weights.get(name) in known]
        signals = [name for name in SIGNALS if settings.monitor is not None and name in known]
        self.outputs = list(dict.fromkeys([*settings.outputs, *beside, *signals]))
        if set(settings.inputs) - set(self.sources):
            message = f"the program of {saved.path} takes {', '.join(self.sources)}"
            raise ConfigError.about("inputs", message)
        self.graphs = {
            name: Graph(
                each["sources"],
                Signature(each["sources"], "float32", each["signature"], fixed=True),
                None,
                keeps=name != "train",
                function=functions["infer" if each is infer else name],
                outputs=each["outputs"],
            )
            for name, each in graphs.items()
        }
        self._end = functions.get("end_epoch")
        self._settings, self.unsaved = settings, list(described["unsaved"])

    @property
    def variables(self) -> dict[str, Any]:
        return self._variables

    @property
    def optimizer(self) -> dict[str, Any]:
        return self._optimizer

    @property
    def end_epoch(self) -> Callable[[], Any] | None:
        return self._end

    @property
    def is_built(self) -> bool:
        return True

    @property
    def is_trained(self) -> bool:
        return bool(self._optimizer) and "train" in self.graphs

    def build(self) -> None:
        pass

    def adjust_rate(self, initial: float | None, configured_then: Mapping[str, Any]) -> None:
        now = configured(self._settings)
        # What a state from before does not know yet, it has not been made with.
        known = [name for name in _IN_GRAPH if name in configured_then]
        other = [name for name in known if _without_rate(now[name]) != _without_rate(configured_then[name])]
        if other:
            logger.warning(
                "%s: without its source the model goes on as it was made; what the configuration says has no effect",
                ", ".join(other),
            )
        described = now["optimizer"]
        rate = described.get(_RATE) if isinstance(described, Mapping) else None
        if rate and initial and np.float32(rate) != np.float32(initial):
            factor = self.learning["factor"]
            factor.assign(float(factor.numpy()) * rate / initial)
            self._scale_rate(rate / initial)
            self.initial_rate = float(rate)

    def forget_optimizer(self) -> None:
        pass


def from_source(model: Any, base: Any, settings: Settings, around: Any, apart: Collection[str]) -> SourceParts:
    """The parts of a model that has its source.

    Raises:
        ConfigError: If inputs, optimizer or schedule are described wrongly.
    """
    return SourceParts(model, base, settings, around, apart)


def from_program(model: Any, saved: Saved, settings: Settings, state: Any, base: Any) -> ProgramParts:
    """The parts of a model without its source.

    Raises:
        SavedModelError: If the source is needed.
        ConfigError: If the program takes or gives other names.
    """
    directory = saved.program()
    if directory is None:
        reason = saved.manifest.get("reason") or "its run has never saved a model, so there is no program of it"
        raise SavedModelError(
            f"{saved.path}: the model's source is needed: {reason}{saved.offer and f'; {saved.offer}'}"
        )
    unknown = sorted(set(state["overrides"]) - set(overridden_methods(type(model), base)))
    if unknown:
        name = type(model).__name__
        raise SavedModelError(
            f"{saved.path}: {name} cannot restore it without the source, which overrides {unknown[0]}"
        )
    program = Program.read(directory)
    if (why := shelf_life(installed_as(program.description["versions"]))) is not None:
        logger.warning(
            "The program of %s is past its shelf life: %s; where its source is there, it is made anew by: "
            "emloop upgrade %s",
            *(saved.path, why, saved.path),
        )
    try:
        return ProgramParts(model, saved, settings, program)
    except ConfigError:
        raise
    except (KeyError, ValueError) as error:  # no program of ours, whose description is as it should be
        words = str(error).strip().splitlines()[0]
        raise SavedModelError(f"{saved.path}: its program does not fit together: {words}") from error


def variables_of(origin: str | InitFrom) -> dict[str, Any]:
    """What another model can give to this one.

    Raises:
        SavedModelError: If there is no saved model, or it is damaged.
    """
    path = origin.path if isinstance(origin, InitFrom) else origin
    state: Any = find_saved(path).state(BACKEND, FORMAT)
    return {name: from_plain(value) for name, value in state["variables"].items()}


def configured(settings: Settings) -> dict[str, Any]:
    """The settings that graphs obey, as plain values."""
    return {name: _plain(getattr(settings, name)) for name in _IN_GRAPH}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _without_rate(value: Any) -> Any:
    return {key: each for key, each in value.items() if key != _RATE} if isinstance(value, Mapping) else value


def _rate(described: Any) -> float | None:
    # One that a class has made is not to be built for nothing.
    is_made = isinstance(described, keras.optimizers.Optimizer)
    rate = rate_of(described if is_made else as_optimizer(described, []))
    return None if rate is None else float(str(plain(rate).numpy()))
