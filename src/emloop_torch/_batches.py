"""What every model of a PyTorch module does with a batch: compute, learn, predict.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn, optim

from emloop.errors import ConfigError
from emloop.models.abstract_model import AbstractModel
from emloop.profiling import Profiling
from emloop.saved_models import overridden_methods, restores_to_evaluate, restores_to_predict
from emloop.types import Batch, StateTree
from emloop_torch._programs.program_module import LOSS, ProgramModule
from emloop_torch._programs.views import (
    FORWARD,
    PREDICT,
    Asking,
    Selective,
    label_free_view,
    loss_among,
    require_outputs,
)
from emloop_torch._proofs.shadow import Comparison
from emloop_torch._running.cures import cures
from emloop_torch._running.drawing import Watched, watched
from emloop_torch._running.interface import read_interface
from emloop_torch._running.losses import Losses
from emloop_torch._tensors.devices import Precision
from emloop_torch._tensors.feeding import Feed
from emloop_torch._tensors.generators import Generators
from emloop_torch._tensors.means import check_weight
from emloop_torch._tensors.parameters import storages
from emloop_torch._training.averages import Averages
from emloop_torch._training.monitor import SIGNALS, listen_to
from emloop_torch._training.optimizers import build_optimizer
from emloop_torch._training.profiling import traced
from emloop_torch._training.updates import Updates

from ._building import build_updates, compiler_of
from ._saved import METHODS
from ._settings import Settings
from ._source_free import SourceFree

if TYPE_CHECKING:
    from emloop.datasets.abstract_dataset import AbstractDataset
    from emloop.datasets.stream_wrapper import StreamWrapper
    from emloop_torch._ranks.together import Together

__all__ = ["BatchModel"]

Tensors = Mapping[str, torch.Tensor]

_NOTHING: AbstractContextManager[Any] = nullcontext()


class BatchModel(AbstractModel):
    """A module that has been made, by whoever derives from this, and the batches that go through it."""

    dataset: AbstractDataset | None
    module: nn.Module
    """The module that is trained: yours or, where its source is gone, what stands in for it."""
    _settings: Settings
    _device: torch.device
    _precision: Precision
    _generators: Generators
    _averages: Averages | None
    _frozen: list[str]
    _log_dir: str | None
    _thawing: dict[str, int]
    """Name of a parameter that is frozen → the epoch after which it no longer is."""
    _unused: StateTree | None
    """State of what trains the module, as long as that has not been made."""
    _waits: bool
    """Whether what trains the module is not made before somebody needs it."""
    _comparison: Comparison | None = None
    _together: Together | None = None
    """What brings in the other rows of a batch, where other processes have them."""
    _batches = _epochs = 0

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
            outputs: Any = (self._method(PREDICT) if self._predicts else self._calls[self.module.training])(**given)
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
        comparison, self._comparison = self._comparison, None
        plain = updates is not None and updates.takes_plain and comparison is None
        means, totals, shares = self._losses.means(losses, weight, plain=plain)
        if updates is None:
            raise ConfigError(f"{type(self).__name__} has no parameters to train")
        if comparison is None:
            updates(means, totals, shares=shares)
        else:
            comparison.listen(means, updates.reached())
            updates(means, totals, partial(self._source_free.compare, comparison), shares)

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that a batch must hold."""
        return list(self._interface.sources)

    @property
    def output_names(self) -> list[str]:
        """Names of the variables that ``run`` returns; what the module itself weighs them by is among them."""
        return [*self._interface.outputs, *(SIGNALS if self._monitor is not None else ())]

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
        if train and self._together is not None:
            self._together.begin(batch)
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
                outputs = require_outputs(view, self._method(view)(**inputs))
            feed.examine(inputs, train=False)
            names = [name for name, values in outputs.items() if getattr(values, "shape", ())[:1] == (examples,)]
            return feed.outputs(outputs, names, examples, None)

    @cached_property
    def _prediction(self) -> tuple[str, list[str], Feed] | None:
        """Method and sources of a prediction, and what feeds them; ``None`` if it takes all of :meth:`run`."""
        settings = self._settings
        view = label_free_view(self.module, settings.inputs, settings.inference_inputs)
        if view is None or {"run", "compute"}.intersection(overridden_methods(type(self), BatchModel, METHODS)):
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
        together = self._together
        with _NOTHING if together is None else together.around("waits for the others at the end of an epoch"):
            if self._updates is not None:
                self._updates.end_epoch()
            self._epochs += 1
            for name, epoch in list(self._thawing.items()):
                if epoch <= self._epochs:
                    self.module.get_parameter(name).requires_grad_(True)
                    del self._thawing[name]
            if self._averages is not None:
                self._averages.end_epoch(self._epochs)
            if together is not None:
                together.end_epoch()

    def first_nan(self) -> object:
        """Number of the first batch since the last call whose loss had a NaN, 0 if none had; maybe on its way."""
        return self._losses.nan.take()

    def _can_wait(self) -> bool:
        """Whether the optimizer of a restored model need not be made before somebody trains it."""
        evaluates = restores_to_evaluate() or (self.dataset is None and self._log_dir is None)
        if restores_to_predict():
            return True
        has_one = self._settings.optimizers is None and "optimizers" not in (self._unused or ())
        # A class that overrides create_optimizer may expect to have been asked.
        return evaluates and has_one and type(self).create_optimizer is BatchModel.create_optimizer

    @cached_property
    def _updates(self) -> Updates | None:
        """What trains the module; where it is restored only to evaluate, it is not made before somebody needs it."""
        updates = build_updates(
            self,
            BatchModel,
            self._settings,
            self._precision.scaler(),
            self._unused,
            self._frozen,
            self._averages,
            self._together,
        )
        if self._waits and updates is not None and self._unused is not None:
            updates.load_state_dict(self._unused)
        self._waits = False
        return updates

    def _connect(self, module: nn.Module) -> None:
        """Decide, once, how batches go through the module."""
        settings = self._settings
        self._compiled = compiled = settings.compile not in (None, False)
        whole: Any = module if (compiler := compiler_of(settings)) is None else compiler(module)
        together = self._together
        evaluates = together.method(FORWARD) if together is not None and together.is_sharded else whole
        self._calls: dict[bool, Any] = {True: together or whole, False: evaluates}
        names = self._learned_from()
        configured = {**self.weights, **(settings.weights or {})}
        self._interface = interface = read_interface(
            module, settings.inputs, settings.inference_inputs, settings.outputs, names, configured
        )
        # A class may have it as a property, which then counts.
        self.__dict__["weights"] = interface.weights
        self._losses = Losses(
            module, names, interface.loss_weights, accumulates=settings.accumulate > 1, together=self._together
        )
        name, withheld = type(self).__name__, interface.withheld
        device, precision = self._device, self._precision
        if together is not None and together.is_sharded and device.type != "cpu":
            # No device need have room for all of the module.
            device = torch.device("cpu")
            precision = Precision(settings.precision, device)
        self._source_free = SourceFree(
            name, module, settings, self._frozen, self.weights, withheld, device, precision, together
        )
        self._watched: dict[bool, Watched | None] = {}
        self._monitor = listen_to(module, settings.monitor, compiled=compiled)
        self._profiling = Profiling.asked_for(settings.profile, self._log_dir, traced)
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
        if train and self._together is not None:
            around.append(self._together.around)
        if train and profiling is not None:
            around.append(lambda: profiling.of(self._batches + 1))
        if not train and averages is not None:
            around.append(averages.in_use)
        return around

    def _watch(self, *, train: bool) -> Watched | None:
        """What to look at before each batch of a phase instead of swapping generators; ``None``: nothing will do."""
        if self._compiled or not self._is_plain:
            return None
        learners = self._updates.learners if train and self._updates is not None else []
        return watched(self.module, PREDICT if self._predicts else "train" if train else "eval", learners)

    def _method(self, name: str) -> Callable[..., Any]:
        """A method of the module, to evaluate with."""
        if self._together is not None:
            return self._together.method(name)
        found: Callable[..., Any] = getattr(self.module, name)
        return found

    @property
    def _is_plain(self) -> bool:
        """Whether batches take none but our own ways."""
        return not overridden_methods(type(self), BatchModel, METHODS) and vars(self).keys().isdisjoint(METHODS)

    def _begin_step(self) -> None:
        if self._predicts:
            raise ConfigError.about("inputs", f"{self.input_names} are enough to predict, not to train; add the labels")
        if self._updates is not None:
            self._updates.before_batch()
            if self._together is not None:
                by_hand = not (self._updates.is_simple and self._is_plain)
                self._together.begin_step(is_last=self._updates.completes_step, by_hand=by_hand)
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
                if self._together is not None:
                    self._together.settle()
                torch._C._set_grad_enabled(graded)
        except Exception as error:
            for cure in cures(error, inputs):
                error.add_note(cure)
            raise
