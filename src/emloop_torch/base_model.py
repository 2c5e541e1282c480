"""The model of every PyTorch module: how it is configured and made, and what is kept of it.

What it does with a batch is in :mod:`emloop_torch._batches`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn, optim

from emloop.arguments import take_settings
from emloop.errors import ConfigError, Problem, SavedModelError, StateError
from emloop.ranks import Ranks, Scene, current_ranks
from emloop.saved_models import (
    borrowing,
    check_state,
    find_saved,
    may_lend,
    overridden_methods,
    require_format,
    restores_to_predict,
    saved_model_path,
    write_saved_model,
)
from emloop.seeding import current_seed
from emloop.suggest import check_choice, moved_hints
from emloop.types import Batch, StateTree
from emloop_torch._programs.program import FOLDER
from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._programs.values import Values
from emloop_torch._tensors.adapting import adapt, thawing
from emloop_torch._tensors.arrays import mean_of
from emloop_torch._tensors.devices import Precision, choose_device, compute_deterministically
from emloop_torch._tensors.generators import Generators
from emloop_torch._tensors.parameters import freeze
from emloop_torch._training.averages import averages_of
from emloop_torch._training.companions import Companions
from emloop_torch._training.learners import Learner
from emloop_torch._training.optimizers import learnable
from emloop_torch._training.steering import read_variable, write_variable

from ._batches import BatchModel
from ._building import adopt_arguments, build_module, place, warn_of_statistics
from ._onnx import FORMATS, export
from ._saved import BACKEND, FORMAT, METHODS, versions_of, why_training_needs_source
from ._settings import Settings
from ._transferring import transfer

if TYPE_CHECKING:
    from emloop.datasets.abstract_dataset import AbstractDataset

__all__ = ["BaseModel"]

logger = logging.getLogger(__name__)

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


class BaseModel(BatchModel):
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
    on_all_ranks: Sequence[str] = ()
    """Methods of your own that all processes are to call where hooks do, if several train the model."""
    resume_changes: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("name", "profile", "saved_model", "init_from"), "safe"),
        **dict.fromkeys(("device", "precision", "compile"), "counts from here on; other bits, so no longer exact"),
        **dict.fromkeys(
            ("optimizer", "optimizers"), "counts from here on; a rate that was moved meanwhile moves by the same factor"
        ),
        "distributed": "counts from here on; another order of sums, so equal but for rounding",
        "ema": "counts from here on; an average of the whole model that is new begins with what was trained",
        "swa": "counts from here on; an average that is new begins with the end of the next epoch",
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
        state = None if saved is None else saved.state(BACKEND, FORMAT)
        cls = type(self)
        # Arguments of a class whose source is gone have done their work.
        gone = state["arguments"] if state is not None and cls.create_model is BaseModel.create_model else None
        self._settings, arguments = take_settings(cls, cls.settings_class, kwargs, gone)
        settings = self._settings
        self._ranks = ranks = current_ranks()
        self._device = choose_device(settings.device, None if ranks is None else ranks.local_rank)
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
        self._log_dir = log_dir
        with self._generators.use("training"):
            made = build_module(self, BaseModel, arguments, saved, state)
        self.module = made
        self._arguments = adopt_arguments(arguments, state, restored=isinstance(made, ProgramModule))
        if settings.init_from is not None and state is None:
            transfer(made, settings.init_from)
        if settings.lora is not None and not isinstance(made, ProgramModule):
            with self._generators.use("training"):
                adapt(made, settings.lora)
        if ranks is not None:
            self._generators.take_share(ranks.rank)
        patterns = [each if isinstance(each, str) else each.match for each in settings.frozen]
        self._together = place(made, settings, self._device, ranks)
        self.on_all_ranks = (*self.on_all_ranks, *getattr(self._together, "on_all_ranks", ()))
        self._frozen = freeze(made, patterns)
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

    @classmethod
    def join_ranks(cls, scene: Scene, timeout: float) -> Ranks:
        """Join the processes that a launcher has started to train the model together."""
        from emloop_torch._ranks.joining import join  # noqa: PLC0415 - few need it, and it takes its time

        return join(scene, timeout)

    @classmethod
    def launch_ranks(cls, count: int, command: Sequence[str]) -> int:
        """Start processes on this machine, as ``torchrun`` does."""
        from emloop_torch._ranks.launching import launch  # noqa: PLC0415 - few need it, and it takes its time

        return launch(count, command)

    def create_model(self, *_args: Any, **_kwargs: Any) -> nn.Module:
        """The module, fresh; to be overridden, with arguments of your own, which then are keys of the configuration."""
        hints = moved_hints("python", "_create_model") if hasattr(self, "_create_model") else ()
        message = "override create_model, or describe the network by emloop_torch.Supervised"
        raise ConfigError(Problem(message, type(self).__name__, hints=hints))

    @property
    def restore_fallback(self) -> str:
        """This class: it restores every saved model that does not say why it cannot."""
        return "emloop_torch.BaseModel"

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
        path = saved_model_path(self._log_dir, name_suffix)
        needs_source = why_training_needs_source(type(self), BaseModel, self._optimizers)
        losses = None if self._updates is None else self._updates.routes
        with borrowing():
            tree = self.state_dict()
        if self._ranks is not None and self._ranks.rank:
            return str(path)
        program = self._source_free.program(Path(self._log_dir), needs_source, self._floating, losses, tree)
        return write_saved_model(
            path,
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
            extra={"versions": versions_of(self._optimizers), **program.summary, **self._source_free.unproven},
        )

    def export(self, to: str, directory: str, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Write what the model does without labels for another runtime; ``emloop export`` calls this, and compares."""
        check_choice("to", to, FORMATS)
        with nullcontext() if self._averages is None else self._averages.in_use():
            return export(self.module, directory, batches, self._settings, self.weights, self._floating)

    def state_dict(self) -> StateTree:
        """All that the training depends on; optimizer and gradients by the names of the parameters."""
        # Who overrides this may change what it is given.
        around = nullcontext() if self._together is None else self._together.around_state()
        with borrowing(may_lend() and type(self).state_dict is BaseModel.state_dict), around:
            return self._state()

    def _state(self) -> StateTree:
        if self._together is not None:
            self._together.settle()
        if self._ranks is None or not self._ranks.rank:
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
            "overrides": overridden_methods(type(self), BaseModel, METHODS),
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
        if self._together is not None:
            self._together.begin_anew()
        if state["until"] == self._until:
            # What has been thawed already is a hook's to freeze again.
            self._thawing = {name: epoch for name, epoch in self._until.items() if epoch > self._epochs}

    def rank_state(self) -> StateTree:
        """What of the state belongs to one of several processes: its random generators, and gradients before a step.

        Where the model is sharded, these gradients belong to all, and to the state itself.
        """
        if self._together is not None and self._together.is_sharded:
            return {"generators": self._generators.state_dict(), "gradients": None}
        gradients = {} if self._waits or self._updates is None else self._updates.pending()
        return {"generators": self._generators.state_dict(), "gradients": gradients}

    def merged_rank_states(self, states: Sequence[StateTree]) -> StateTree:
        """The state with which another number of processes, or one alone, goes on from :meth:`rank_state` of several.

        The gradients before a step are those of all; random numbers are drawn anew.
        """
        if any(state["gradients"] is None for state in states):
            return {"generators": None, "gradients": None}
        names = dict.fromkeys(name for state in states for name in state["gradients"])
        gradients = {name: [state["gradients"].get(name) for state in states] for name in names}
        return {"generators": None, "gradients": {name: mean_of(found) for name, found in gradients.items()}}

    def load_rank_state(self, state: StateTree) -> None:
        """Take up what :meth:`rank_state` or :meth:`merged_rank_states` returned, after the state of the model.

        Raises:
            StateError: If it is something else.
        """
        check_state("state of a process", state, {"generators": object, "gradients": ({str: object}, None)})
        if state["generators"] is not None:
            self._generators.load_state_dict(state["generators"])
        if not self._waits and self._updates is not None and state["gradients"] is not None:
            self._updates.load_pending(state["gradients"])

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
