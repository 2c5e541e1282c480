"""The model of every PyTorch module.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn, optim

from emloop.arguments import take_settings
from emloop.errors import ConfigError, Problem, SavedModelError, StateError
from emloop.models.abstract_model import AbstractModel
from emloop.saved_models import (
    borrowing,
    check_state,
    find_saved,
    may_lend,
    require_format,
    restores_to_evaluate,
    restores_to_predict,
    saved_model_path,
    write_saved_model,
)
from emloop.seeding import current_seed
from emloop.suggest import check_choice, moved_hints
from emloop.types import Batch, StateTree
from emloop_torch._programs.program import FOLDER
from emloop_torch._programs.program_module import LOSS, ProgramModule
from emloop_torch._programs.values import Values
from emloop_torch._programs.views import PREDICT, Asking, Selective, label_free_view, loss_among, require_outputs
from emloop_torch._proofs.shadow import Comparison
from emloop_torch._running.drawing import Watched, watched
from emloop_torch._running.interface import read_interface
from emloop_torch._running.losses import Losses
from emloop_torch._tensors.adapting import adapt, thawing
from emloop_torch._tensors.devices import Precision, choose_device, compute_deterministically
from emloop_torch._tensors.feeding import Feed
from emloop_torch._tensors.generators import Generators
from emloop_torch._tensors.means import check_weight
from emloop_torch._tensors.parameters import freeze, storages
from emloop_torch._training.averages import averages_of
from emloop_torch._training.companions import Companions
from emloop_torch._training.learners import Learner
from emloop_torch._training.monitor import SIGNALS, listen_to
from emloop_torch._training.optimizers import build_optimizer, learnable
from emloop_torch._training.profiling import Profiling
from emloop_torch._training.steering import read_variable, write_variable
from emloop_torch._training.updates import Updates

from ._building import adopt_arguments, build_module, build_updates, warn_of_statistics
from ._cures import cures
from ._onnx import FORMATS, export
from ._saved import BACKEND, FORMAT, METHODS, overridden_methods, versions_of, why_training_needs_source
from ._settings import Compile, Settings
from ._source_free import SourceFree
from ._transferring import transfer

if TYPE_CHECKING:
    from emloop.datasets.abstract_dataset import AbstractDataset
    from emloop.datasets.stream_wrapper import StreamWrapper

__all__ = ["BaseModel"]

logger = logging.getLogger(__name__)

Tensors = Mapping[str, torch.Tensor]

_NOTHING: AbstractContextManager[Any] = nullcontext()

_STATE = {
    **dict.fromkeys(("remade", "arguments", "overrides"), object),
    "frozen": {"configured": [str, ...], "now": [str, ...]},
    "companions": {str: {str: object}},
    "training": ({str: object}, None),
    "generators": object,
    "batches": int,
    "epochs": int,
    "until": {str: int},
}
"""What a state has beside the values of the module."""


class BaseModel(AbstractModel):
    """Any module whose ``forward`` takes the sources of a batch and returns a mapping with a ``loss`` per example.

    .. code-block:: python

        class Net(nn.Module):
            def __init__(self, hidden):
                super().__init__()
                self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

            def predict(self, images):
                logits = self.layers(images)
                return {"logits": logits, "predictions": logits.argmax(1)}

            def forward(self, images, labels):
                outputs = self.predict(images)
                return {**outputs, "loss": F.cross_entropy(outputs["logits"], labels, reduction="none")}


        class Network(emloop_torch.BaseModel):
            def create_model(self, hidden=128):
                return Net(hidden)

    ``predict`` is what the model can do without labels; it is optional. The arguments of :meth:`create_model` are keys
    of the section ``model``, beside the ones below; docs/reference/pytorch.md describes these in full.

    A saved model can be evaluated, and mostly trained further, without your source. The first :meth:`save` of a run
    finds out how much of that is possible, and says so.

    Args:
        dataset: The dataset; ``None`` for inference only.
        log_dir: Run directory, where :meth:`save` writes; ``None`` for inference only.
        restore_from: A saved model, a run directory or a checkpoint.
        **kwargs: The fields of :class:`~emloop_torch._settings.Settings`, and the arguments of :meth:`create_model`.

    Raises:
        ConfigError: If an argument is wrong or unknown.
        SavedModelError: If there is nothing to restore from, or the source is needed for it.
    """

    exports_to: ClassVar[tuple[str, ...]] = FORMATS
    settings_class: ClassVar[type[Settings]] = Settings
    forwards_config_to: ClassVar[tuple[str, ...]] = ("create_model",)
    only_when_fresh: ClassVar[tuple[str, ...]] = ("init_from",)
    resume_changes: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("name", "profile", "saved_model", "init_from"), "safe"),
        **dict.fromkeys(("device", "precision", "compile"), "counts from here on; other bits, so no longer exact"),
        **dict.fromkeys(
            ("optimizer", "optimizers"), "counts from here on; a rate that was moved meanwhile moves by the same factor"
        ),
        "ema": "counts from here on; an average of the whole model that is new begins with what was trained",
        "swa": "counts from here on; an average that is new begins with the end of the next epoch",
        "*": "counts from here on; the model's state must fit",
    }

    _comparison: Comparison | None = None

    def __init__(
        self,
        dataset: AbstractDataset | None,
        log_dir: str | None,
        restore_from: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, log_dir, restore_from)
        saved = None if restore_from is None else find_saved(restore_from)
        state = None if saved is None else saved.state(BACKEND, FORMAT)
        cls = type(self)
        # Arguments of a class whose source is gone have done their work.
        gone = state["arguments"] if state is not None and cls.create_model is BaseModel.create_model else None
        self._settings, arguments = take_settings(cls, cls.settings_class, kwargs, gone)
        settings = self._settings
        self._device = choose_device(settings.device)
        self._precision = Precision(settings.precision, self._device)
        if settings.deterministic:
            compute_deterministically()
        self.dataset = dataset
        """The dataset, which :meth:`create_model` may ask for sizes and the like; ``None`` for inference only."""
        self.seed = current_seed()
        """The run's seed, with which PyTorch is seeded; ``None`` outside of a run."""
        if self.seed is not None:
            torch.manual_seed(self.seed)
        self._generators = Generators(self.seed, self._device)
        self._watched: dict[bool, Watched | None] = {}
        self._log_dir = log_dir
        self._batches = self._epochs = 0
        with self._generators.use("training"):
            made = build_module(self, BaseModel, arguments, saved, state)
        self.module: nn.Module = made
        """The module that is trained: yours or, where its source is gone, what stands in for it."""
        self._arguments = adopt_arguments(arguments, state, restored=isinstance(made, ProgramModule))
        if settings.init_from is not None and state is None:
            transfer(made, settings.init_from)
        if settings.lora is not None and not isinstance(made, ProgramModule):
            with self._generators.use("training"):
                adapt(made, settings.lora)
        patterns = [each if isinstance(each, str) else each.match for each in settings.frozen]
        self._frozen = freeze(made.to(self._device), patterns)
        self._until = thawing(settings.frozen, dict(made.named_parameters()), self._frozen)
        self._thawing = dict(self._until)
        self._averages = averages_of(made, settings.ema, settings.swa)
        self._values = Values(made)
        self._unused = None if state is None else state["training"]
        self._waits = state is not None and self._can_wait()
        self._connect(made)
        self._companions = Companions(self, made, [] if self._waits else self._optimizers)
        self._capsule = self._source_free.capsule(cls, kwargs, saved)
        if state is not None:
            try:
                self.load_state_dict(state)
            except StateError as error:
                raise SavedModelError(f"{restore_from}: {error}") from error
            warn_of_statistics(made, self._frozen_now())

    def create_model(self, *_args: Any, **_kwargs: Any) -> nn.Module:
        """The module, fresh; to be overridden, with arguments of your own, which then are keys of the configuration."""
        hints = moved_hints("python", "_create_model") if hasattr(self, "_create_model") else ()
        message = "override create_model, or describe the network by emloop_torch.Supervised"
        raise ConfigError(Problem(message, type(self).__name__, hints=hints))

    def create_optimizer(self) -> optim.Optimizer:
        """The optimizer of ``self.module``; may be overridden."""
        return build_optimizer(self._settings.optimizer, self.module)

    def training_step(self, batch: Tensors) -> Tensors:
        """Learn from a batch; may be overridden, but then training needs the source.

        Args:
            batch: The inputs, on the device.

        Returns:
            The outputs, those that the parameters had before.
        """
        outputs, names = self.compute(batch), self._losses.names
        losses = {name: loss_among(outputs, name) for name in names}
        self.update(losses if names != [LOSS] else losses[LOSS])
        return outputs

    def compute(self, batch: Tensors) -> Tensors:
        """The module's outputs for a batch on the device, in the configured precision."""
        comparison, interface = self._source_free.comparison(batch), self._interface
        given = {name: batch[name] for name in interface.taken if name in batch} if self._withholds else batch
        # What the program is compared with has all outputs.
        with self._forward, self._asking if comparison is None else _NOTHING:
            outputs: Any = getattr(self.module, PREDICT)(**given) if self._predicts else self._call(**given)
        outputs = require_outputs(interface.view, outputs)
        self._losses.weigh(outputs, batch)
        if comparison is not None:
            comparison.take(outputs)
            self._comparison = comparison if comparison.train else None
            if not comparison.train:
                self._source_free.compare(comparison)
        return outputs

    def update(self, loss: torch.Tensor | Tensors, weight: torch.Tensor | None = None) -> None:
        """Learn from the losses of a batch: backward pass and, every ``accumulate`` batches, a step of the optimizer.

        Args:
            loss: One value for every example, ``[B]``, or their mean; with a weight of the same shape, any shape. With
                several ``optimizers`` a mapping, loss → values.
            weight: How much each counts; by default what the model's ``weights`` name, of the batch computed last.

        Raises:
            BatchError: If they are something else.
            MissingVariableError: If neither module nor batch has the weight.
        """
        updates, names = self._updates, self._losses.names
        # What the only loss is must be a tensor, even where it is a mapping itself.
        losses: Any = loss if isinstance(loss, Mapping) and (len(names) > 1 or names[0] in loss) else {names[0]: loss}
        means, totals = self._losses.means(losses, weight)
        if updates is None:
            raise ConfigError(f"{type(self).__name__} has no parameters to train")
        comparison, self._comparison = self._comparison, None
        if comparison is None:
            updates(means, totals)
        else:
            comparison.listen(means, updates.reached())
            updates(means, totals, partial(self._source_free.compare, comparison))

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that a batch must hold."""
        return list(self._interface.sources)

    @property
    def output_names(self) -> list[str]:
        """Names of the variables that ``run`` returns; what the module itself weighs them by is among them."""
        return [*self._interface.outputs, *(SIGNALS if self._monitor is not None else ())]

    @property
    def restore_fallback(self) -> str:
        """This class: it restores every saved model that does not say why it cannot."""
        return "emloop_torch.BaseModel"

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
            MissingVariableError: If the module gives no such output.
        """
        for name in self._interface.weighing:
            check_weight(torch.as_tensor(batch[name]), name)
        inputs = self._feed.inputs(batch, stream, train=train)
        self._losses.examples = examples = next(iter(inputs.values())).shape[0]
        if self.module.training is not train:
            self.module.train(train)
            self._watched.clear()
        others_may_work = None if stream is None else stream.allow_buffering
        around, hooks = self._around[train], self._watched.get(train)
        may_draw = hooks is None or any(hooks)
        with (
            others_may_work or _NOTHING,
            self._generators.use("training" if train else "evaluation") if may_draw else _NOTHING,
            ExitStack() if around else _NOTHING as entered,
        ):
            for surrounding in around:
                entered.enter_context(surrounding())
            outputs = self._losses.per_example(self._computed(inputs, train=train), train=train)
            self._feed.examine(inputs, train=train)
            if self._monitor is not None:
                outputs = {**outputs, **self._monitor.signals(examples)}
            arrays = self._feed.outputs(outputs, self.output_names, examples, others_may_work)
            self._feed.send_next(stream)
        if train not in self._watched:
            self._watched[train] = self._watch(train=train)
        if not self._predicts:
            self._source_free.remember(batch, inputs, arrays)
        return arrays

    @property
    def prediction_inputs(self) -> list[str]:
        """Names of the sources that :meth:`predict` needs: no labels, if the module knows what to do without."""
        return self.input_names if self._prediction is None else list(self._prediction[1])

    def predict(self, batch: Batch) -> Batch:
        """All that the module tells without labels, of the sources in :attr:`prediction_inputs`; in evaluation mode.

        Outputs without a value for every example are left out. If nobody knows what the module does without labels, or
        ``run`` or ``compute`` are overridden, it is what :meth:`run` returns.
        """
        with self._predicting, self._generators.borrow():
            if self._prediction is None:
                return self.run(batch, train=False)
            view, _, feed = self._prediction
            inputs = feed.inputs(batch, None, train=False)
            examples = next(iter(inputs.values())).shape[0]
            if self.module.training:
                self.module.eval()
            averaged = _NOTHING if self._averages is None else self._averages.in_use()
            with averaged, torch.no_grad(), self._precision.forward():
                outputs = require_outputs(view, getattr(self.module, view)(**inputs))
            feed.examine(inputs, train=False)
            names = [name for name, values in outputs.items() if getattr(values, "shape", ())[:1] == (examples,)]
            return feed.outputs(outputs, names, examples, None)

    @cached_property
    def _prediction(self) -> tuple[str, list[str], Feed] | None:
        """Method and sources of a prediction, and what feeds them; ``None`` if it takes all of :meth:`run`."""
        settings = self._settings
        view = label_free_view(self.module, settings.inputs, settings.inference_inputs)
        if view is None or {"run", "compute"}.intersection(overridden_methods(type(self), BaseModel)):
            return None
        return *view, Feed(view[1], self._device, self._floating, storages(self.module))

    def prefetch(self, batch: Batch) -> object:
        """Begin to move a batch to the device, in the thread that reads ahead; :meth:`run` finds it in the stream."""
        return self._feed.prefetch(batch)

    def end_epoch(self) -> None:
        """Take what is left of ``accumulate`` batches for a step, and count the epoch for the schedule.

        The main loop calls this after the last batch of every training epoch; a loop of your own has to.
        """
        # What a hook thaws after this epoch trains from the next one on.
        self.module.train()
        self._watched.clear()
        if self._updates is not None:
            self._updates.end_epoch()
        self._epochs += 1
        for name, epoch in list(self._thawing.items()):
            if epoch <= self._epochs:
                self.module.get_parameter(name).requires_grad_(True)
                del self._thawing[name]
        if self._averages is not None:
            self._averages.end_epoch(self._epochs)

    def first_nan(self) -> object:
        """Number of the first batch since the last call whose loss had a NaN, 0 if none had; maybe on its way."""
        return self._losses.nan.take()

    def get_variable(self, name: str) -> float:
        """One of the numbers that hooks may change.

        Args:
            name: ``learning_rate``, that of the last parameter group, apart from a warm-up; of several optimizers the
                first one's, and ``<name of an optimizer>/learning_rate``. Or the name of a buffer of the module that
                holds one number, such as ``temperature``.

        Raises:
            MissingVariableError: If there is no such variable.
        """
        return read_variable(name, self.module, self._rates)

    def set_variable(self, name: str, value: float) -> None:
        """Change what :meth:`get_variable` tells, for all batches to come.

        Other parameter groups, and with ``learning_rate`` other optimizers, keep their ratio to it.

        Raises:
            MissingVariableError: If there is no such variable.
            VariableTypeError: If a buffer cannot hold the value.
        """
        write_variable(name, value, self.module, self._rates)

    def model_facts(self) -> list[str]:
        """What to show when a run begins: version, device, number of parameters."""
        parameters = list(self.module.parameters())
        lazy = any(isinstance(parameter, torch.nn.UninitializedParameter) for parameter in parameters)
        count = [] if lazy else [f"{sum(parameter.numel() for parameter in parameters):,} parameters"]
        return [f"torch {torch.__version__}", str(self._device), *count]

    def save(self, name_suffix: str) -> str:
        """Save the model, durably, as ``model_<name_suffix>`` in the run directory, and return its path.

        Raises:
            SavedModelError: If the model was created without a run directory, or would need its source where
                ``source_free: require`` says that it must not.
        """
        if self._log_dir is None:
            raise SavedModelError(f"{type(self).__name__} has no log_dir, so it cannot be saved")
        needs_source = why_training_needs_source(type(self), BaseModel, self._optimizers)
        losses = None if self._updates is None else self._updates.routes
        program = self._source_free.program(Path(self._log_dir), needs_source, self._floating, losses)
        with borrowing():
            tree = self.state_dict()
        return write_saved_model(
            saved_model_path(self._log_dir, name_suffix),
            backend=BACKEND,
            restore_fallback=self.restore_fallback,
            inputs=self._source_free.variables.get("inputs", dict.fromkeys(self.input_names)),
            outputs=self._source_free.variables.get("outputs", dict.fromkeys(self.output_names)),
            tree=tree,
            program=Path(self._log_dir, FOLDER),
            rung=program.rung,
            reason=program.reason,
            weights=self.weights,
            capsule=self._capsule,
            extra={"versions": versions_of(self._optimizers), **program.summary},
        )

    def export(self, to: str, directory: str, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Write what the model does without labels for another runtime; ``emloop export`` calls this, and compares."""
        check_choice("to", to, FORMATS)
        with nullcontext() if self._averages is None else self._averages.in_use():
            return export(self.module, directory, batches, self._settings, self.weights, self._floating)

    def state_dict(self) -> StateTree:
        """All that the training depends on; optimizer and gradients by the names of the parameters."""
        # Who overrides this may change what it is given.
        with borrowing(may_lend() and type(self).state_dict is BaseModel.state_dict):
            return self._state()

    def _state(self) -> StateTree:
        self._source_free.warn_of_what_is_lost()
        if self._capsule is not None and self._log_dir is not None:
            self._capsule.write(Path(self._log_dir))
        frozen = self._frozen_now()
        return {
            "format": FORMAT,
            **self._values.state_dict(frozen),
            "frozen": {"configured": self._frozen, "now": frozen},
            "until": self._until,
            "companions": self._companions.state_dict(),
            **({} if self._averages is None else self._averages.state_dict()),
            "training": self._unused if self._waits else None if self._updates is None else self._updates.state_dict(),
            "generators": self._generators.state_dict(),
            "batches": self._batches,
            "epochs": self._epochs,
            "arguments": self._arguments,
            "overrides": overridden_methods(type(self), BaseModel),
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Take up what :meth:`state_dict` of an equal model returned.

        Raises:
            StateError: If the state is not one of this backend, or of another model.
        """
        require_format(state, FORMAT)
        check_state("model", state, {**dict.fromkeys(state, object), **_STATE})
        self._values.load_state_dict(state)
        frozen = state["frozen"]
        if frozen["configured"] == self._frozen:
            # Somebody may have thawed parts meanwhile, or frozen others.
            for name in set(frozen["now"]) ^ set(self._frozen_now()):
                self.module.get_parameter(name).requires_grad_(name not in frozen["now"])
            self.module.train()
        if not restores_to_predict():
            self._companions.load_state_dict(state["companions"])
        if self._averages is not None:
            self._averages.load_state_dict(state)
        elif "average" in state:
            logger.warning("There is an average of the whole model, which nothing uses; model.ema would evaluate by it")
        if not self._waits and self._updates is not None and state["training"] is not None:
            self._updates.load_state_dict(state["training"])
        self._unused = state["training"] if self._waits else None
        self._generators.load_state_dict(state["generators"])
        self._batches, self._epochs = state["batches"], state["epochs"]
        if state["until"] == self._until:
            # What has been thawed already is a hook's to freeze again.
            self._thawing = {name: epoch for name, epoch in self._until.items() if epoch > self._epochs}

    def _can_wait(self) -> bool:
        """Whether the optimizer of a restored model need not be made before somebody trains it."""
        evaluates = restores_to_evaluate() or (self.dataset is None and self._log_dir is None)
        if restores_to_predict():
            return True
        has_one = self._settings.optimizers is None and "optimizers" not in (self._unused or ())
        # A class that overrides create_optimizer may expect to have been asked.
        return evaluates and has_one and type(self).create_optimizer is BaseModel.create_optimizer

    @cached_property
    def _updates(self) -> Updates | None:
        """What trains the module; where it is restored only to evaluate, it is not made before somebody needs it."""
        updates = build_updates(
            self, BaseModel, self._settings, self._precision.scaler(), self._unused, self._frozen, self._averages
        )
        if self._waits and updates is not None and self._unused is not None:
            updates.load_state_dict(self._unused)
        self._waits = False
        return updates

    def _connect(self, module: nn.Module) -> None:
        """Decide, once, how batches go through the module."""
        settings, names = self._settings, self._learned_from()
        configured = {**self.weights, **(settings.weights or {})}
        self._interface = interface = read_interface(
            module, settings.inputs, settings.inference_inputs, settings.outputs, names, configured
        )
        # A class may have it as a property, which then counts.
        self.__dict__["weights"] = interface.weights
        self._losses = Losses(module, names, interface.loss_weights, accumulates=settings.accumulate > 1)
        name, withheld = type(self).__name__, interface.withheld
        self._source_free = SourceFree(
            name, module, settings, self._frozen, self.weights, withheld, self._device, self._precision
        )
        compiled = settings.compile not in (None, False)
        self._call = torch.compile(module, **_options(settings.compile)) if compiled else module
        self._monitor = listen_to(module, settings.monitor, compiled=compiled)
        self._profiling = Profiling.asked_for(settings.profile, self._log_dir)
        self._around = {train: self._surroundings(train=train) for train in (True, False)}
        self._forward = self._precision.forward()
        self._asking: AbstractContextManager[Any] = _NOTHING
        if isinstance(module, Selective) and not compiled:
            self._asking = Asking(module, frozenset((*interface.outputs, *names, *interface.loss_weights.values())))
        floating = (p.dtype for p in module.parameters() if p.is_floating_point())
        self._floating = next(floating, torch.get_default_dtype())
        self._feed = Feed(interface.sources, self._device, self._floating, storages(module))
        self._predicting = threading.Lock()  # generators, and modules that keep something, are for one at a time
        self._withholds, self._predicts = bool(withheld), interface.view == PREDICT

    def _learned_from(self) -> list[str]:
        """Names of the outputs that are losses."""
        if not self._waits:
            return [LOSS] if self._updates is None else self._updates.losses
        if isinstance(self.module, ProgramModule) and self.module.losses:
            return list(self.module.losses)
        described: Any = self._settings.optimizers or ({},)
        return list(dict.fromkeys(str(one.get("loss", LOSS)) for one in described))

    def _surroundings(self, *, train: bool) -> list[Callable[[], AbstractContextManager[Any]]]:
        """What to enter around a batch, which for most models is nothing."""
        monitor, profiling, averages = self._monitor, self._profiling, self._averages
        around: list[Callable[[], AbstractContextManager[Any]]] = [] if monitor is None else [monitor.listening]
        if train and profiling is not None:
            around.append(lambda: profiling.of(self._batches + 1))
        if not train and averages is not None:
            around.append(averages.in_use)
        return around

    def _watch(self, *, train: bool) -> Watched | None:
        """What to look at before each batch of a phase instead of swapping generators; ``None``: nothing will do."""
        is_ours = not overridden_methods(type(self), BaseModel) and vars(self).keys().isdisjoint(METHODS)
        if self._call is not self.module or not is_ours:
            return None
        learners = self._updates.learners if train and self._updates is not None else []
        return watched(self.module, PREDICT if self._predicts else "train" if train else "eval", learners)

    def _begin_step(self) -> None:
        if self._predicts:
            raise ConfigError.about("inputs", f"{self.input_names} are enough to predict, not to train; add the labels")
        if self._updates is not None:
            self._updates.before_batch()
        self._batches += 1

    def _computed(self, inputs: Tensors, *, train: bool) -> Tensors:
        try:
            if train:
                self._begin_step()
                return self.training_step(inputs)
            graded = torch.is_grad_enabled()
            torch._C._set_grad_enabled(False)  # what no_grad does, without an object for every batch
            try:
                return self.compute(inputs)
            finally:
                torch._C._set_grad_enabled(graded)
        except Exception as error:
            for cure in cures(error, inputs):
                error.add_note(cure)
            raise

    def _frozen_now(self) -> list[str]:
        averages = () if self._averages is None else self._averages.names
        frozen = [name for name, parameter in learnable(self.module).items() if not parameter.requires_grad]
        return [name for name in frozen if name not in averages]

    @property
    def _optimizers(self) -> list[optim.Optimizer]:
        return [] if self._updates is None else [learner.optimizer for learner in self._updates.learners]

    @property
    def _rates(self) -> Mapping[str, Sequence[Learner]]:
        return {} if self._updates is None else self._updates.rates


def _options(compile_: bool | Compile | None) -> dict[str, Any]:
    return asdict(compile_) if isinstance(compile_, Compile) else {}
