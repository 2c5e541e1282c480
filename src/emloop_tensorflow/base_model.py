"""The model of everything that TensorFlow differentiates: how it is configured and made, run, and kept.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import tensorflow as tf

from emloop.arguments import take_settings
from emloop.errors import ConfigError, Problem, SavedModelError, StateError
from emloop.models.abstract_model import AbstractModel
from emloop.profiling import Profiling
from emloop.saved_models import (
    capsule_for,
    check_state,
    find_saved,
    require_format,
    require_sources,
    saved_model_path,
    write_saved_model,
)
from emloop.seeding import current_seed
from emloop.suggest import moved_hints
from emloop.types import Batch, StateTree
from emloop_tensorflow._graphs.devices import choose_device, is_host
from emloop_tensorflow._graphs.feeding import arrays_of
from emloop_tensorflow._graphs.graph import Graph, arrays_from
from emloop_tensorflow._graphs.program import FOLDER
from emloop_tensorflow._graphs.surroundings import Surroundings
from emloop_tensorflow._graphs.variables import assign, plain, to_plain
from emloop_tensorflow._training.first_nan import FirstNaN
from emloop_tensorflow._training.means import check_weight
from emloop_tensorflow._training.steering import read_variable, write_variable

from ._building import Parts, from_program, from_source
from ._exporting import FORMATS, export
from ._saved import BACKEND, FORMAT, overridden_methods, versions
from ._settings import Saving, Settings
from ._source_free import SourceFree

if TYPE_CHECKING:
    from emloop.datasets.abstract_dataset import AbstractDataset
    from emloop.datasets.stream_wrapper import StreamWrapper

__all__ = ["BaseModel"]

_NOTHING: AbstractContextManager[Any] = nullcontext()
_STATE = {
    "format": str,
    **{key: {str: object} for key in ("variables", "optimizer", "learner", "signatures", "configured")},
    "initial_rate": (float, None),
    "batches": int,
    **{key: [str, ...] for key in ("arguments", "overrides", "unsaved")},
}


class BaseModel(AbstractModel):
    """Any model whose ``call`` takes the sources of a batch and returns a mapping with a ``loss`` per example.

    .. code-block:: python

        class Network(emloop_tensorflow.BaseModel):
            def create_model(self, hidden=128):
                self.net = keras.Sequential([layers.Flatten(), layers.Dense(hidden, "relu"), layers.Dense(10)])

            def predict(self, images, training=False):
                logits = self.net(images, training=training)
                return {"logits": logits, "predictions": keras.ops.argmax(logits, 1)}

            def call(self, images, labels, training):
                outputs = self.predict(images, training)
                loss = keras.losses.sparse_categorical_crossentropy(labels, outputs["logits"], from_logits=True)
                return {**outputs, "loss": loss}

    ``predict`` is what the model can do without labels; it is optional. The arguments of :meth:`create_model` are keys
    of the section ``model``, beside the ones below; docs/reference/tensorflow.md describes these in full.

    A saved model can be evaluated, and trained further, without your source.

    Args:
        dataset: The dataset; ``None`` for inference only.
        log_dir: Run directory, where :meth:`save` writes; ``None`` for inference only.
        restore_from: A saved model, a run directory or a checkpoint.
        **kwargs: The fields of :class:`~emloop_tensorflow._settings.Settings`, and the arguments of
            :meth:`create_model`.

    Raises:
        ConfigError: If an argument is wrong or unknown.
        SavedModelError: If there is nothing to restore from, or the source is needed for it.
    """

    settings_class: ClassVar[type[Settings]] = Settings
    forwards_config_to: ClassVar[tuple[str, ...]] = ("create_model",)
    only_when_fresh: ClassVar[tuple[str, ...]] = ("init_from",)
    resume_changes: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("name", "profile", "saved_model", "init_from"), "safe"),
        **dict.fromkeys(("device", "precision", "compile"), "counts from here on; other bits, so no longer exact"),
        "optimizer": "counts from here on; a rate that was moved meanwhile moves by the same factor",
        "*": "counts from here on; the model's state must fit",
    }
    _predict: ClassVar[Callable[..., Any] | None] = None
    """What a class can tell without labels."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a class's own ``predict`` serve both those who build its graphs and those who have a batch."""
        super().__init_subclass__(**kwargs)
        own: Any = cls.__dict__.get("predict")
        if own is None:
            return
        cls._predict = staticmethod(own)

        @functools.wraps(own)
        def predict(self: BaseModel, *args: Any, **named: Any) -> Any:
            if len(args) == 1 and not named and isinstance(args[0], Mapping) and not tf.inside_function():
                return self._predicted(args[0])
            return own(self, *args, **named)

        cls.predict = predict  # type: ignore[method-assign]

    def __init__(
        self,
        dataset: AbstractDataset | None,
        log_dir: str | None,
        restore_from: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, log_dir, restore_from)
        saved = None if restore_from is None else find_saved(restore_from)
        state: Any = None if saved is None else saved.state(BACKEND, FORMAT)
        cls = type(self)
        has_source = cls.create_model is not BaseModel.create_model
        # Arguments of a class whose source is gone have done their work.
        gone = None if state is None or has_source else state["arguments"]
        self._settings, arguments = take_settings(cls, cls.settings_class, kwargs, gone)
        settings = self._settings
        self._device = choose_device(settings.device)
        if settings.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.dataset = dataset
        """The dataset, which :meth:`create_model` may ask for sizes and the like; ``None`` for inference only."""
        self.seed = current_seed()
        """The run's seed, with which TensorFlow is seeded; ``None`` outside of a run."""
        self._log_dir = log_dir
        self._arguments = sorted(arguments) if gone is None else list(gone)
        self._batches = 0
        self._pending: dict[str, Any] = {}
        self._nan = FirstNaN()
        self._profiling = Profiling.asked_for(settings.profile, log_dir, tf.profiler.experimental.Profile)
        self.module: Any = None
        """What :meth:`create_model` has returned, if anything."""
        self._parts: Parts
        self._source_free: SourceFree
        self._capsule: Any = None
        self._begin = partial(self._begin_from_source, arguments, random.SystemRandom().getrandbits(32))
        self._apart = {*vars(self), "_apart", "_parts", "_source_free", "weights"} - {"module"}
        if saved is not None and state is not None and not has_source:
            self._adopt(from_program(self, saved, settings, state, BaseModel))
        else:
            self._begin()
        self._capsule = capsule_for(
            (settings.saved_model or Saving()).capsule, {cls}, kwargs, None if has_source else saved
        )
        if state is not None:
            try:
                self._take(state)
            except StateError as error:
                raise SavedModelError(f"{restore_from}: {error}") from error

    def _begin_from_source(self, arguments: Mapping[str, Any], drawn: int) -> None:
        """Make a fresh model, the same one each time; outside of a run, ``drawn`` is its seed."""
        seed = drawn if self.seed is None else self.seed
        surroundings = Surroundings(seed, self._settings.precision)
        self.__dict__.pop("weights", None)
        with surroundings.entered(), tf.device(self._device):
            returned = self.create_model(**arguments)
        self.module = self.module if returned is None else returned
        self._require_model()
        around = [surroundings.entered, lambda: tf.device(self._device)]
        self._adopt(from_source(self, BaseModel, self._settings, around, self._apart))

    def _adopt(self, parts: Parts) -> None:
        self._parts = parts
        self.__dict__["weights"] = dict(parts.weights)
        self._source_free = SourceFree(type(self).__name__, parts, self._settings)

    def create_model(self, *_args: Any, **_kwargs: Any) -> Any:
        """Make layers and variables as attributes, or return a model of Keras; to be overridden.

        Arguments of your own are keys of the configuration.
        """
        hints = moved_hints("python", "_create_model") if hasattr(self, "_create_model") else ()
        message = "override create_model, or describe the network by emloop_tensorflow.Supervised"
        raise ConfigError(Problem(message, type(self).__name__, hints=hints))

    def _require_model(self) -> None:
        """Refuse a class that lacks what is needed, or has taken a name that means something else."""
        name = type(self).__name__
        if not isinstance(vars(self).get("weights", {}), Mapping):
            message = "create_model sets self.weights, which says what weighs which output; call it otherwise"
            raise ConfigError(Problem(message, name))
        if type(self).call is BaseModel.call and not isinstance(self.module, keras.Model):
            hint = "def call(self, images, labels, training): … return {'loss': …}"
            raise ConfigError(Problem("there is no method 'call' that says what to learn from", name, hints=(hint,)))

    def call(self, training: bool, **sources: Any) -> Mapping[str, Any]:
        """Compute the outputs of a batch, as part of a graph; to be overridden, with the sources as arguments.

        Args:
            training: Whether the model learns from the batch.
            **sources: ``B`` examples for each.

        Returns:
            Outputs, each with first axis ``B``, among them ``loss``: a value for every example, or their mean.
        """
        first, *others = sources
        found: Any = self.module(sources[first], **{name: sources[name] for name in others}, training=training)
        return found if isinstance(found, Mapping) else {"output": found}

    def create_optimizer(self) -> Any:
        """The optimizer: one of Keras, or its description as in a configuration; may be overridden."""
        return self._settings.optimizer

    @property
    def restore_fallback(self) -> str:
        """This class: it restores every saved model that does not say why it cannot."""
        return "emloop_tensorflow.BaseModel"

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that a batch must hold."""
        return list(self._parts.sources)

    @property
    def output_names(self) -> list[str]:
        """Names of the variables that ``run`` returns; what the model itself weighs them by is among them."""
        return list(self._parts.outputs)

    def run(self, batch: Batch, train: bool, stream: StreamWrapper | None = None) -> Batch:
        """Compute the outputs for one batch; with ``train``, also take one training step.

        Args:
            batch: ``B`` examples for every name in ``input_names``.
            train: Whether to learn.
            stream: Source of the batch, which may be read ahead meanwhile.

        Returns:
            An array for every name in ``output_names``, first axis ``B``, maybe still on its way from the device. Of
            a loss that is the mean of the batch, every example has that.

        Raises:
            BatchError: If the inputs are no numbers, an output has not ``B`` values, or the loss is none.
            MissingVariableError: If the model gives no such output.
        """
        parts = self._parts
        arrays = arrays_of(batch, parts.sources)
        for name in parts.weighing:
            check_weight(arrays[parts.sources.index(name)], name)
        graph = parts.graph("train" if train else "eval")
        if train:
            self._batches += 1
            if self._pending:
                self._settle(arrays)
        # Nobody reads ahead while a graph is made, since that takes turns with others at Python's generator.
        fitted = graph.fitted(arrays)
        profiled = _NOTHING if self._profiling is None or not train else self._profiling.of(self._batches)
        with _NOTHING if stream is None else stream.allow_buffering, profiled:
            found = graph.compute(fitted)
            named = dict(zip(graph.outputs, found, strict=False))
            outputs = arrays_from(named, parts.outputs, len(arrays[0]), lazy=parts.lazy)
        if len(found) > len(graph.outputs):
            self._nan.look(found[-1])
        if graph.is_new:
            self._notice(graph, batch, outputs, train=train)
        return outputs

    def _notice(self, graph: Graph, batch: Batch, outputs: Batch, *, train: bool) -> None:
        graph.is_new = False
        self._source_free.remember(batch, outputs)
        if train and not self._parts.unsaved:
            self._parts.unsaved = self._source_free.warn_of_unsaved(graph)

    @property
    def prediction_inputs(self) -> list[str]:
        """Names of the sources that :meth:`predict` needs: no labels, if the model knows what to do without."""
        infer = self._prediction
        return self.input_names if infer is None else list(infer.names)

    def predict(self, batch: Batch) -> Batch:
        """All that the model tells without labels, of the sources in :attr:`prediction_inputs`.

        A class of your own may define ``predict(self, <sources>, training=False)`` in its place, as part of a graph;
        called with a batch, it still does this. Outputs without a value for every example are left out.
        """
        return self._predicted(batch)

    def _predicted(self, batch: Batch) -> Batch:
        infer = self._prediction
        if infer is None:
            return self.run(batch, train=False)
        arrays = arrays_of(batch, infer.names)
        examples = len(arrays[0])
        found = infer(arrays)
        named = {n: t for n, t in zip(infer.outputs, found, strict=True) if t.shape[:1].as_list() == [examples]}
        return arrays_from(named, list(named), examples, lazy=self._parts.lazy)

    exports_to = FORMATS

    def export(self, to: str, directory: str, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Write what the model does without labels for other programs; see :class:`emloop.abilities.Exportable`.

        Raises:
            ConfigError: If nobody knows what it does without labels.
            SaveError: If it cannot be exported; says why.
        """
        infer = self._prediction
        if infer is None:
            hints = (
                "define `predict(self, <sources>, training=False)`, which takes what there is in production",
                "or say what `call` can do with: model.inference_inputs=[…]",
            )
            what = "what the model does without labels is not known, so it cannot be exported"
            raise ConfigError(Problem(what, hints=hints))
        for batch in batches:
            require_sources(batch, infer.names)
            infer(arrays_of(batch, infer.names))

        def compute(given: Mapping[str, Any]) -> dict[str, Any]:
            found = infer.function(*(given[name] for name in infer.names))
            return dict(zip(infer.outputs, found, strict=True))

        return export(to, directory, batches, names=infer.names, infer=compute, weights=self._parts.weights)

    @property
    def _prediction(self) -> Graph | None:
        return None if overridden_methods(type(self), BaseModel) else self._parts.graphs.get("infer")

    def end_epoch(self) -> None:
        """Take what is left of ``accumulate`` batches for a step, and count the epoch for the schedule.

        The main loop calls this after the last batch of every training epoch; a loop of your own has to.
        """
        if self._pending:
            self._settle(None)
        parts = self._parts
        if parts.end_epoch is not None:
            parts.end_epoch()
        parts.learning["epochs"].assign_add(1)

    def first_nan(self) -> object:
        """Number of the first batch since the last call whose loss had a NaN, 0 if none had."""
        return self._nan.take()

    def get_variable(self, name: str) -> float:
        """One of the numbers that hooks may change.

        Args:
            name: ``learning_rate``, apart from a warm-up; or the name of a variable that holds one number.

        Raises:
            MissingVariableError: If there is no such variable.
        """
        return read_variable(name, self._parts)

    def set_variable(self, name: str, value: float) -> None:
        """Change what :meth:`get_variable` tells, for all batches to come.

        Raises:
            MissingVariableError: If there is no such variable.
            VariableTypeError: If the variable cannot hold the value.
        """
        write_variable(name, value, self._parts)

    def model_facts(self) -> list[str]:
        """What to show when a run begins: version, device, number of parameters."""
        variables = [plain(each) for each in self._parts.variables.values()]
        sizes = [each.shape.num_elements() for each in variables if each.dtype.is_floating]
        count = [f"{sum(size for size in sizes if size):,} parameters"] if self._parts.is_built and sizes else []
        device = self._device or ("CPU:0" if is_host(None) else "GPU:0")
        return [f"tensorflow {tf.__version__}", device.lower(), *count]

    def save(self, name_suffix: str) -> str:
        """Save the model, durably, as ``model_<name_suffix>`` in the run directory, and return its path.

        Raises:
            SavedModelError: If the model was created without a run directory, or would need its source where
                ``source_free: require`` says that it must not.
        """
        if self._log_dir is None:
            raise SavedModelError(f"{type(self).__name__} has no log_dir, so it cannot be saved")
        rung, reason = self._source_free.program(Path(self._log_dir), type(self), BaseModel)
        variables = self._source_free.variables
        return write_saved_model(
            saved_model_path(self._log_dir, name_suffix),
            backend=BACKEND,
            restore_fallback=self.restore_fallback,
            inputs=variables.get("inputs", dict.fromkeys(self.input_names)),
            outputs=variables.get("outputs", dict.fromkeys(self.output_names)),
            tree=self.state_dict(),
            program=None if rung == "weights" else Path(self._log_dir, FOLDER),
            rung=rung,
            reason=reason,
            weights=self.weights,
            capsule=self._capsule,
            extra={"versions": versions()},
        )

    def state_dict(self) -> StateTree:
        """All that the training depends on, by the names of the variables."""
        if self._capsule is not None and self._log_dir is not None:
            self._capsule.write(Path(self._log_dir))
        parts, pending = self._parts, self._pending
        learner = {name: to_plain(name, each) for name, each in parts.learning.items()}
        optimizer = {name: to_plain(name, each) for name, each in parts.optimizer.items()}
        return {
            "format": FORMAT,
            "variables": {name: to_plain(name, each) for name, each in parts.variables.items()},
            "optimizer": pending.get("optimizer", optimizer),
            "learner": {**learner, **pending.get("learner", {})},
            "signatures": {
                name: graph.signature.entries
                for name, graph in parts.graphs.items()
                if graph.has_run and name != "infer"  # predictions leave nothing behind
            },
            "initial_rate": parts.initial_rate,
            "configured": dict(parts.configured),
            "batches": self._batches,
            "arguments": self._arguments,
            "overrides": overridden_methods(type(self), BaseModel),
            "unsaved": parts.unsaved,
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Take up what :meth:`state_dict` of an equal model returned.

        Raises:
            StateError: If the state is not one of this backend, or of another model; or if the training draws random
                numbers whose generator no state can hold. Then all else has been taken.
        """
        self._take(state)
        if self._parts.unsaved and self._batches:
            raise StateError(self._source_free.unsaved(self._parts.unsaved))

    def _take(self, state: Any) -> None:
        require_format(state, FORMAT)
        check_state("model", state, _STATE)
        if not state["signatures"] and any(graph.has_run for graph in self._parts.graphs.values()):
            # It is from before the first batch, when layers had no variables yet.
            self._begin()
        parts = self._parts
        for name, entries in state["signatures"].items():
            if name in parts.graphs:
                parts.graphs[name].expect(entries)
        if state["variables"].keys() - parts.variables.keys() and state["signatures"]:
            parts.build()
        assign("variables", parts.variables, state["variables"])
        waiting = {name: value for name, value in state["learner"].items() if name.startswith("accumulated/")}
        numbers = {name: each for name, each in parts.learning.items() if name in state["learner"].keys() - waiting}
        assign("learner", numbers, {name: state["learner"][name] for name in numbers})
        parts.adjust_rate(state["initial_rate"], state["configured"])
        self._batches = state["batches"]
        parts.unsaved = list(state["unsaved"])
        self._pending = {"optimizer": state["optimizer"], "learner": waiting} if state["optimizer"] else {}
        if not self._pending:
            parts.forget_optimizer()
        elif parts.is_trained:
            self._settle(None)

    def _settle(self, arrays: Any) -> None:
        """Give the optimizer, now that it is needed, what was taken for it."""
        self._parts.graph("train").prepare(arrays)
        pending, self._pending = self._pending, {}
        self._parts.load_optimizer(pending["optimizer"], pending["learner"])
