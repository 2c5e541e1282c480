"""The model of every function that JAX differentiates: how it is configured, run, kept and restored.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from emloop.arguments import take_settings
from emloop.errors import (
    BatchError,
    ConfigError,
    MissingVariableError,
    Problem,
    SavedModelError,
    StateError,
    VariableTypeError,
)
from emloop.models.abstract_model import AbstractModel
from emloop.parameters import InitFrom, from_plain, what_fits
from emloop.profiling import Profiling
from emloop.saved_models import (
    borrowing,
    capsule_for,
    check_state,
    find_saved,
    may_lend,
    overridden_methods,
    require_format,
    restores_to_evaluate,
    restores_to_predict,
    saved_model_path,
    write_saved_model,
)
from emloop.seeding import current_seed
from emloop.suggest import did_you_mean, moved_hints
from emloop.types import Batch, StateTree
from emloop_jax._steps.networks import PARAMS, Network, network_of
from emloop_jax._steps.optimizing import optimizer_of, rate_of, try_out
from emloop_jax._steps.steps import LOSS, RNG
from emloop_jax._steps.trees import Leaf, from_host, to_host

from ._batches import Shapes, check_weight, inputs_of
from ._building import Builder, key_of
from ._devices import choose_device, compiler_options
from ._engine import EVAL, TRAIN, Engine, ProgramSource, StepSource
from ._exporting import FORMATS, export
from ._programs import FOLDER, Program, versions
from ._saving import METHODS, Ladder, restored_program
from ._settings import Saving, Settings

if TYPE_CHECKING:
    from emloop.datasets.abstract_dataset import AbstractDataset
    from emloop.datasets.stream_wrapper import StreamWrapper

__all__ = ["BaseModel"]

_BACKEND = "jax"
_FORMAT = f"emloop_{_BACKEND} 1"
_RATE, _SCALE, _EPOCH = "learning_rate", "scale", "epoch"
_USUAL_RATE = 1e-3
_NOTHING: AbstractContextManager[Any] = nullcontext()
_STATE = {
    **dict.fromkeys(("key", "shapes"), object),
    "model": {str: object},
    "training": {str: object},
    "format": str,
    "rate": {"configured": float, "pending": (float, None)},
    **dict.fromkeys(("batches", "epochs"), int),
    "arguments": [str, ...],
    "overrides": [str, ...],
}


class BaseModel(AbstractModel):
    """A network of Flax, Linen or NNX, or two plain functions, and a pure function that makes outputs of its results.

    .. code-block:: python

        class Net(nn.Module):
            hidden: int = 128

            @nn.compact
            def __call__(self, images, train):
                x = nn.relu(nn.Dense(self.hidden)(images.reshape(images.shape[0], -1)))
                return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(x))


        class Network(emloop_jax.BaseModel):
            def create_model(self, hidden=128):
                return Net(hidden)

            def outputs(self, logits, batch):
                loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
                return {"logits": logits, "loss": loss, "predictions": logits.argmax(-1)}

    The arguments of the network name the sources that it takes; ``train``, ``key`` and ``rngs`` are given to a network
    that has such arguments. What does not depend on the other sources is what it predicts without labels. The arguments
    of :meth:`create_model` are keys of the section ``model``, beside the ones below; docs/reference/jax.md describes
    these in full.

    Every step is exported before it runs, so a saved model can be evaluated and trained further without your source,
    without Flax and without optax, and does the same to the bit.

    Args:
        dataset: The dataset; ``None`` for inference only.
        log_dir: Run directory, where :meth:`save` writes; ``None`` for inference only.
        restore_from: A saved model, a run directory or a checkpoint.
        **kwargs: The fields of :class:`~emloop_jax._settings.Settings`, and the arguments of :meth:`create_model`.

    Raises:
        ConfigError: If an argument is wrong or unknown.
        SavedModelError: If there is nothing to restore from, or the source is needed for it.
    """

    _made: tuple[Shapes, StepSource] | None = None
    settings_class: ClassVar[type[Settings]] = Settings
    forwards_config_to: ClassVar[tuple[str, ...]] = ("create_model",)
    only_when_fresh: ClassVar[tuple[str, ...]] = ("init_from",)
    resume_changes: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("name", "profile", "init_from"), "safe"),
        **dict.fromkeys(("device", "precision", "saved_model"), "counts from here on; other bits, so no longer exact"),
        "optimizer": "counts from here on; a rate that was moved meanwhile moves by the same factor",
        "*": "counts from here on; the model's state must fit",
    }

    def __init__(
        self,
        dataset: AbstractDataset | None,
        log_dir: str | None,
        restore_from: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, log_dir, restore_from)
        saved = None if restore_from is None else find_saved(restore_from)
        state = None if saved is None else saved.state(_BACKEND, _FORMAT)
        cls = type(self)
        has_source = cls.create_model is not BaseModel.create_model
        # Arguments of a class whose source is gone have done their work.
        gone = None if has_source or state is None else state["arguments"]
        self._settings, arguments = take_settings(cls, cls.settings_class, kwargs, gone)
        settings = self._settings
        self.dataset = dataset
        """The dataset, which :meth:`create_model` may ask for sizes and the like; ``None`` for inference only."""
        self.seed = current_seed()
        """The run's seed; ``None`` outside of a run."""
        self.weights = {**type(self).weights, **(settings.weights or {})}
        self._log_dir = log_dir
        self._device = choose_device(settings.device)
        self._options = compiler_options(self._device, deterministic=settings.deterministic)
        self._sources = self._read_sources()
        self._weighing = [name for name in self._sources if name in self.weights.values()]
        self._key = np.asarray(jax.random.key_data(key_of(self.seed)))
        self._batches = self._epochs = 0
        self._pending: float | None = None
        self._engine: Engine | None = None
        self._lacks = False  # whether a state has seen sources that the configuration does not name
        self._network: Network | None = None
        self._program: Program | None = None
        self._offer = ""
        self._predicting = threading.Lock()
        self._profiling = Profiling.asked_for(settings.profile, log_dir, jax.profiler.trace)
        self._arguments = sorted(arguments) if has_source or state is None else list(state["arguments"])
        self._overridden = overridden_methods(cls, BaseModel, METHODS)
        self._ladder = Ladder(cls.__name__, settings, self._overridden)
        if saved is not None and state is not None and not has_source:
            lacking = sorted({*state["overrides"]} - {*self._overridden})
            trains = not restores_to_evaluate()
            self._program = restored_program(cls.__name__, saved, lacking, settings, trains=trains)
            self._offer = saved.offer
        else:
            self._network = network_of(self.create_model(**arguments), settings.inputs, cls.__name__)
        self._rate = self._configured_rate(state)
        if self._network is not None:
            parts = self.outputs, self.create_optimizer, settings, self.weights, self._rate
            self._builder = Builder(self._network, *parts)
        saving = settings.saved_model or Saving()
        without_source = saved if self._program is not None else None
        self._capsule = capsule_for(saving.capsule, (cls, type(self._network)), kwargs, without_source)
        if state is not None:
            try:
                self.load_state_dict(state)
            except StateError as error:
                raise SavedModelError(f"{restore_from}: {error}") from error

    def create_model(self, *_args: Any, **_kwargs: Any) -> Any:
        """The network, fresh; to be overridden, with arguments of your own, which then are keys of the configuration.

        Returns:
            A module of Flax (Linen or NNX), or :class:`emloop_jax.Functions`.
        """
        hints = moved_hints("python", "_create_model") if hasattr(self, "_create_model") else ()
        raise ConfigError(Problem("override create_model", type(self).__name__, hints=hints))

    def outputs(self, results: Any, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The outputs, ``loss`` among them; to be overridden, unless the network itself returns such a mapping.

        Args:
            results: What the network returns.
            batch: All ``inputs``.
        """
        del batch
        return results

    def create_optimizer(self, learning_rate: Any) -> Any:
        """The optimizer, made anew in every step; may be overridden.

        Args:
            learning_rate: The rate of the step: schedule, warm-up and what hooks have set are in it.

        Returns:
            A transformation of gradients of optax.
        """
        return optimizer_of(self._settings.optimizer, learning_rate)

    @property
    def rngs(self) -> Any:
        """Generators of Flax NNX from the run's seed, for modules that are made with some."""
        from flax import nnx  # noqa: PLC0415 - who asks has it

        return nnx.Rngs(jax.random.fold_in(key_of(self.seed), 1))

    @property
    def restore_fallback(self) -> str:
        """This class: it restores every saved model that does not say why it cannot."""
        return "emloop_jax.BaseModel"

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that a batch must hold."""
        return list(self._sources)

    @property
    def output_names(self) -> list[str]:
        """Names of the variables that ``run`` returns."""
        return list(self._settings.outputs)

    def run(self, batch: Batch, train: bool, stream: StreamWrapper | None = None) -> Batch:
        """Compute the outputs for one batch; with ``train``, also take one training step.

        Args:
            batch: ``B`` examples for every name in ``input_names``.
            train: Whether to learn.
            stream: Source of the batch, which may be read ahead meanwhile.

        Returns:
            An array of JAX for every name in ``output_names``, first axis ``B``, maybe still being computed.

        Raises:
            BatchError: If the inputs are no numbers, an output has not ``B`` values, or the loss is none.
            MissingVariableError: If the model gives no such output.
            SavedModelError: If only the model's source can train it.
        """
        if self._lacks and (told := self._told(batch, train=train)) is not None:
            return told
        inputs = self._inputs(batch, stream)
        engine = self._engine or self._built(inputs)
        with _NOTHING if stream is None else stream.allow_buffering:
            if not train:
                return engine.run(inputs, train=False)
            self._batches += 1
            if self._profiling is None:
                return engine.run(inputs, train=True)
            with self._profiling.of(self._batches) as is_traced:
                outputs = engine.run(inputs, train=True)
                return jax.block_until_ready(outputs) if is_traced else outputs

    def prefetch(self, batch: Batch) -> object:
        """Begin to move a batch to the device, in the thread that reads ahead; on the CPU there is nothing to do."""
        if self._device.platform == "cpu":
            return None
        try:
            inputs = inputs_of(batch, self._sources)
        except (BatchError, MissingVariableError, TypeError):
            return None  # reported when the batch is run, if it ever is
        return batch, {name: jax.device_put(values, self._device) for name, values in inputs.items()}

    def _inputs(self, batch: Batch, stream: StreamWrapper | None) -> dict[str, Any]:
        ready = None if stream is None or self._device.platform == "cpu" else stream.prefetched
        inputs = dict(ready[1]) if isinstance(ready, tuple) and ready[0] is batch else inputs_of(batch, self._sources)
        for name in self._weighing:
            check_weight(batch[name], name)
        return inputs

    @property
    def prediction_inputs(self) -> list[str]:
        """Names of the sources that :meth:`predict` needs: no labels, if something can be told without."""
        sources = self._prediction_sources()
        return self.input_names if sources is None else sources

    def predict(self, batch: Batch) -> Batch:
        """All that can be told of the sources in :attr:`prediction_inputs`: what depends on no others."""
        sources = self._prediction_sources()
        if sources is None or self._engine is None:
            return self.run(batch, train=False)
        with self._predicting:
            return self._engine.infer(inputs_of(batch, sources))

    exports_to = FORMATS

    def export(self, to: str, directory: str, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Write what the model does without labels for other programs; see :class:`emloop.abilities.Exportable`.

        Raises:
            ConfigError: If nobody knows what it does without labels.
            SaveError: If it cannot be exported; says why.
        """
        engine = None if self._prediction_sources() is None else self._engine
        return export(to, directory, batches, engine=engine, weights=self.weights, hint=self._offer)

    def _told(self, batch: Batch, *, train: bool) -> Batch | None:
        """What can be told of a batch that lacks sources of the training; ``None`` where nothing can."""
        sources = self._prediction_sources()
        if sources is None or not {*sources} <= {*self._sources}:
            return None
        if train:
            raise ConfigError.about("inputs", f"{self._sources} are enough to predict, not to train; add the labels")
        found = self.predict(batch)
        if odd := [name for name in self.output_names if name not in found]:
            hint = f"without the other inputs it gives: {', '.join(found)}"
            raise MissingVariableError(f"the model gives no output {odd[0]!r}; {hint}")
        return {name: found[name] for name in self.output_names}

    def _prediction_sources(self) -> list[str] | None:
        """Sources that are enough to predict; ``None`` if that takes all of ``run``."""
        if self._engine is None or not self._engine.shapes or type(self).run is not BaseModel.run:
            return None
        with self._predicting:
            sources, names = self._engine.predictions()
        return sources if names else None

    def end_epoch(self) -> None:
        """Take what is left of ``accumulate`` batches for a step, and count the epoch for the schedule.

        The main loop calls this after the last batch of every training epoch; a loop of your own has to.
        """
        self._epochs += 1
        engine = self._engine
        if engine is None or engine.training is None:
            return
        if "gathered/total" in engine.places:
            engine.flush()
        if _EPOCH in engine.places:
            engine.put(_EPOCH, self._epochs)

    def first_nan(self) -> int | None:
        """Number of the first batch since the last call whose loss had a NaN, 0 if none had."""
        return None if self._engine is None else self._engine.first_nan()

    def get_variable(self, name: str) -> float:
        """One of the numbers that hooks may change: ``learning_rate``, apart from a warm-up.

        Or, by its name, an array of the network that holds one number and is no parameter, such as
        ``schedule/temperature``.

        Raises:
            MissingVariableError: If there is no such variable.
        """
        if self._engine is None and name == _RATE:
            return self._rate if self._pending is None else self._pending
        return self._variables(name).number(name)

    def set_variable(self, name: str, value: float) -> None:
        """Change what :meth:`get_variable` tells, for all batches to come; a schedule keeps its proportion to it.

        Raises:
            MissingVariableError: If there is no such variable.
            VariableTypeError: If the schedule stands at 0, which no factor changes.
        """
        if self._engine is None and name == _RATE:
            self._pending = float(value)
            return
        engine = self._variables(name)
        if name == _RATE and _SCALE in engine.places:
            before = engine.number(_RATE)
            if before == 0:
                raise VariableTypeError(
                    "learning_rate: the schedule stands at 0, which no factor changes; set it later"
                )
            engine.put(_SCALE, engine.number(_SCALE) * value / before)
        engine.put(name, value)

    def _variables(self, name: str) -> Engine:
        """What holds a number that hooks may change."""
        engine = self._engine
        names = [_RATE] if engine is None else engine.variables
        if engine is None or name not in names:
            hints = "".join(f"; {hint}" for hint in did_you_mean(name, names))
            told = ", ".join(map(repr, names))
            raise MissingVariableError(f"{type(self).__name__} has no variable {name!r}; it has {told}{hints}")
        return engine

    def model_facts(self) -> list[str]:
        """What to show when a run begins: version, device, number of parameters."""
        sizes: list[int] = []
        if self._engine is not None:
            model = self._engine.source.model
            sizes = [math.prod(leaf.shape) for leaf in model if leaf.name.startswith(f"{PARAMS}/")]
        elif self._network is not None and self._network.variables is not None:
            sizes = [leaf.size for leaf in jax.tree.leaves(self._network.variables[PARAMS])]
        count = [f"{sum(sizes):,} parameters"] if sizes else []
        return [f"jax {jax.__version__}", str(self._device), *count]

    def save(self, name_suffix: str) -> str:
        """Save the model, durably, as ``model_<name_suffix>`` in the run directory, and return its path.

        Raises:
            SavedModelError: If the model was created without a run directory, or would need its source where
                ``source_free: require`` says that it must not.
        """
        if self._log_dir is None:
            raise SavedModelError(f"{type(self).__name__} has no log_dir, so it cannot be saved")
        program, rung, reason = self._ladder.climb(self._engine)
        folder = Path(self._log_dir, FOLDER)
        if program is not None:
            program.write(folder)
        with borrowing():
            tree = self.state_dict()
        described = {"inputs": {}, "outputs": {}} if self._engine is None else self._engine.described()
        until = {} if program is None else {"until": program.description["until"]}
        return write_saved_model(
            saved_model_path(self._log_dir, name_suffix),
            backend=_BACKEND,
            restore_fallback=self.restore_fallback,
            inputs={name: described["inputs"].get(name) for name in self.input_names},
            outputs={name: described["outputs"].get(name) for name in self.output_names},
            tree=tree,
            program=None if program is None else folder,
            rung=rung,
            reason=reason,
            weights=self.weights,
            capsule=self._capsule,
            extra={"versions": versions() if program is None else program.description["versions"], **until},
        )

    def state_dict(self) -> StateTree:
        """All that the training depends on, by readable names."""
        if self._capsule is not None and self._log_dir is not None:
            self._capsule.write(Path(self._log_dir))
        lend, engine = may_lend() and type(self).state_dict is BaseModel.state_dict, self._engine
        model: dict[str, np.ndarray] = {}
        training: dict[str, np.ndarray] = {}
        if engine is not None and engine.shapes:
            model = to_host(engine.source.model, engine.model, lend=lend)
            training = {} if engine.training is None else to_host(engine.source.training, engine.training, lend=lend)
        return {
            "format": _FORMAT,
            "model": model,
            "training": training,
            "key": self._key.copy(),
            "shapes": None if not model or engine is None else engine.first_shapes(self._batches).entries,
            "rate": {"configured": self._rate, "pending": self._pending},
            "batches": self._batches,
            "epochs": self._epochs,
            "arguments": self._arguments,
            "overrides": self._overridden,
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Take up what :meth:`state_dict` of an equal model returned.

        Raises:
            StateError: If the state is not one of this backend, or of another model.
        """
        require_format(state, _FORMAT)
        check_state("model", state, _STATE)
        self._key = np.asarray(state["key"]).copy()
        self._batches, self._epochs = state["batches"], state["epochs"]
        rate = state["rate"]
        factor = self._rate / rate["configured"] if rate["configured"] else 1.0
        self._pending = None if rate["pending"] is None else rate["pending"] * factor
        self._engine = None
        if state["shapes"] is None:
            return
        shapes = Shapes(state["shapes"])
        self._lacks = {*self._sources} < {*shapes.entries}
        source = self._source(shapes)
        model = from_host("arrays", source.model, state["model"], self._device)
        training = None
        if not restores_to_predict():
            training = from_host("what trains it", source.training, state["training"], self._device)
        engine = self._engine = Engine(source, self._settings.outputs, model, training, self._options)
        view = TRAIN if self._batches else EVAL
        # A program may be older than a checkpoint, which has seen other sizes since.
        engine.shapes[view] = shapes if self._program is None else Shapes(self._program.description["inputs"][view])
        if _RATE in engine.places and not rate["configured"] and engine.number(_RATE) == 0:
            engine.put(_RATE, self._rate)
        # With its source, a schedule has been made for the new rate already.
        for name in (_RATE, _SCALE) if self._program is not None else (_RATE,):
            if factor != 1.0 and name in engine.places:
                engine.put(name, engine.number(name) * factor)

    def _read_sources(self) -> list[str]:
        settings = self._settings
        used = [name for output, name in self.weights.items() if output in (*settings.outputs, LOSS)]
        return list(dict.fromkeys([*settings.inputs, *(name for name in used if name not in settings.outputs)]))

    def _configured_rate(self, state: StateTree | None) -> float:
        """The rate of the configuration; where no optimizer is made, what is known of it."""
        described = self._settings.optimizer
        named = described.get(_RATE) if isinstance(described, Mapping) else None
        if state is not None and (self._program is not None or restores_to_predict()):
            return float(state["rate"]["configured"] if named is None else named)
        if type(self).create_optimizer is not BaseModel.create_optimizer:
            return _USUAL_RATE if named is None else float(named)
        rate = rate_of(described)
        try_out(described, rate)  # what is wrong with it is said now
        return rate

    def _source(self, shapes: Shapes) -> StepSource | ProgramSource:
        """Where the steps come from."""
        if self._program is not None:
            return ProgramSource(self._program, self._offer)
        if self._made is not None and self._made[0] == shapes:
            return self._made[1]
        settings = self._settings
        saving = settings.saved_model or Saving()
        source = StepSource(
            self._builder.steps(shapes, self._key),
            self._device,
            exports=saving.source_free not in ("off", False),
            predicted=settings.inference_inputs or (),
        )
        # A state that is loaded again and again, as to look for a rate, needs no other steps.
        self._made = shapes, source
        return source

    def _built(self, inputs: Mapping[str, Any]) -> Engine:
        """The arrays of a fresh model, for a first batch.

        Raises:
            SavedModelError: If there is only a program of it.
        """
        shapes = Shapes.of(inputs)
        source = self._source(shapes)
        if not isinstance(source, StepSource):
            raise SavedModelError(f"{type(self).__name__}: the state that was loaded has no arrays")
        origin, leaves = self._settings.init_from, source.model
        model, training = self._builder.fresh(
            *(source.steps, shapes, self._key, self._pending),
            lambda made: made if origin is None else _transferred(origin, leaves, made),
        )
        # Copies, since a step gives the memory of its arrays away, and these may be the user's own.
        model, training = (
            [jax.device_put(each, self._device, may_alias=False) for each in values] for values in (model, training)
        )
        self._engine = Engine(source, self._settings.outputs, model, training, self._options)
        return self._engine


def _transferred(origin: str | InitFrom, leaves: Sequence[Leaf], values: Sequence[Any]) -> list[Any]:
    """The arrays of a network, with what fits of another model in their place: the key ``init_from``."""
    path = origin if isinstance(origin, str) else origin.path
    if path.endswith(".safetensors"):
        try:
            there = dict(safetensors.numpy.load_file(path))
        except (OSError, SafetensorError) as error:
            raise SavedModelError(f"{path}: {error}") from error
    else:
        there = {name: from_plain(value) for name, value in find_saved(path).state(_BACKEND, _FORMAT)["model"].items()}
    own = [leaf.name.partition("/")[0] != RNG and leaf.impl is None for leaf in leaves]
    here = {leaf.name: value for leaf, value, is_own in zip(leaves, values, own, strict=True) if is_own}
    # Parameters go by their names without ``params/`` as well, which is how `frozen` calls them.
    short = {name.removeprefix(f"{PARAMS}/"): name for name in here}
    named = {short.get(name, name): value for name, value in there.items() if name.partition("/")[0] != RNG}
    taken = what_fits(origin, named, here)
    return [
        value if leaf.name not in taken else jnp.asarray(taken[leaf.name], value.dtype)
        for leaf, value in zip(leaves, values, strict=True)
    ]
