"""Where a model's module and its optimizer come from: its class, or what a saved model holds of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn, optim

from emloop.errors import ConfigError, SavedModelError, StateError
from emloop.ranks import Ranks
from emloop.saved_models import Saved, overridden_methods, require_program, shelf_life
from emloop.types import StateTree
from emloop_torch._programs.program import Program
from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._ranks.settings import OF_DDP, OF_FSDP
from emloop_torch._ranks.together import Together
from emloop_torch._tensors.parameters import frozen_statistics
from emloop_torch._training.averages import Averages
from emloop_torch._training.deferring import defer_compiler
from emloop_torch._training.learners import Learner, build_learners, clipper, rebuild_learner
from emloop_torch._training.updates import Updates, states_of

from ._saved import METHODS
from ._settings import Compile, Distributed, Settings

if TYPE_CHECKING:
    from emloop_torch._ranks.together import Together

__all__ = ["adopt_arguments", "build_module", "build_updates", "compiler_of", "place", "warn_of_statistics"]

logger = logging.getLogger(__name__)

_SHOWN = 6


def build_module(
    model: Any, base: type[Any], arguments: Mapping[str, Any], saved: Saved | None, state: StateTree | None
) -> nn.Module:
    """The module that configuration and source describe or, where the source is gone, what a saved model holds.

    Args:
        model: The model, whose class may have ``create_model``.
        base: The class that has none.
        arguments: Those that the configuration gives to ``create_model``.
        saved: What to restore from.
        state: The state in it.

    Raises:
        ConfigError: If arguments are wrong, or ``create_model`` returns no module.
        SavedModelError: If the source is needed.
    """
    cls = type(model)
    has_source = cls.create_model is not base.create_model
    if saved is not None and state is not None and not has_source:
        return _restored(model, base, saved, state)
    module = model.create_model(**arguments)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"create_model of {cls.__name__} must return a torch.nn.Module, got {module!r}")
    lazy = [name for name, p in module.named_parameters() if isinstance(p, nn.parameter.UninitializedParameter)]
    if lazy:
        raise ConfigError(f"{cls.__name__}: {lazy[0]} has no size yet; lazy modules need theirs when they are made")
    return module


def compiler_of(settings: Settings) -> Callable[[Any], Any] | None:
    """What compiles a module or a function, if the key ``compile`` asks for it."""
    wanted = settings.compile
    if wanted in (None, False):
        return None
    return partial(torch.compile, **(asdict(wanted) if isinstance(wanted, Compile) else {}))


def place(module: nn.Module, settings: Settings, device: torch.device, ranks: Ranks | None) -> Together | None:
    """Bring a module, or of one that is sharded this process's part, to the device.

    Args:
        module: The module, as it was made.
        settings: The model's settings.
        device: The device.
        ranks: The processes that train it.

    Returns:
        What it computes together with the others; ``None`` where there are none.

    Raises:
        ConfigError: If it cannot be trained in the way that the key ``distributed`` describes.
    """
    wanted = settings.distributed or Distributed()
    known = {field.name: field.default for field in fields(Distributed)}
    for key in OF_FSDP if wanted.strategy == "ddp" else OF_DDP:
        if getattr(wanted, key) != known[key]:
            other = "fsdp" if wanted.strategy == "ddp" else "ddp"
            message = f"this is for the strategy {other}, and there is {wanted.strategy}"
            raise ConfigError.about(("distributed", key), message, f"set strategy: {other}, or leave it out")
    if ranks is None or ranks.size == 1:
        module.to(device)
        return None
    compiler = compiler_of(settings)
    # Here, since few need it, it takes its time, and not every build of PyTorch has it.
    if wanted.strategy == "fsdp":
        from emloop_torch._ranks.sharded import Sharded  # noqa: PLC0415

        return Sharded(ranks, module, wanted, device, compiler)
    from emloop_torch._ranks.together import Together  # noqa: PLC0415

    return Together(ranks, module.to(device), wanted, device, compiler)


def adopt_arguments(arguments: Mapping[str, Any], state: StateTree | None, *, restored: bool) -> list[str]:
    """Names of the arguments of the class that had the source."""
    return list(state["arguments"]) if restored and state is not None else sorted(arguments)


def warn_of_statistics(module: nn.Module, frozen: Iterable[str]) -> None:
    """Say which statistics a program holds, or moves, other than the configuration now asks for."""
    if isinstance(module, ProgramModule):
        wanted = set(frozen_statistics(module, frozen))
        for name in sorted(wanted ^ set(frozen_statistics(module, module.program.frozen))):
            does = "move" if name in wanted else "stay frozen"
            logger.warning("frozen: the statistics of %r %s, as they did when the model had its source", name, does)


def build_updates(
    model: Any,
    base: type[Any],
    settings: Settings,
    scaler: torch.amp.GradScaler | None,
    training: StateTree | None,
    frozen: Collection[str],
    averages: Averages | None,
    together: Together | None,
) -> Updates | None:
    """What trains a model's module; ``None`` where there is nothing to train.

    Args:
        model: The model, with its module, and ``create_optimizer``.
        base: The class whose ``create_optimizer`` obeys the settings.
        settings: Its settings.
        scaler: Keeps the gradients of half-precision numbers from vanishing.
        training: The state that it will go on from.
        frozen: Names of parameters that the configuration excludes from training.
        averages: What follows the parameters.
        together: What brings in the gradients of other processes.

    Raises:
        ConfigError: If optimizers or schedules are described wrongly.
    """
    module: nn.Module = model.module
    if not any(parameter.requires_grad for parameter in module.parameters()):
        return None
    if settings.compile in (None, False):
        defer_compiler()
    learners = _learners(model, base, settings, training, frozen)
    if not learners:
        return None
    updates = Updates(module, learners, settings.accumulate, scaler, averages, together)
    if isinstance(module, ProgramModule) and module.is_traced and updates.routes != module.losses:
        wanted = "one optimizer" if module.losses is None else f"optimizers of {', '.join(module.losses)}"
        hint = "where its source is, the program can be made anew"
        message = f"the model goes on without its source, by gradients that are made for {wanted}, and these parameters"
        raise ConfigError.about("optimizers" if settings.optimizers else "optimizer", message, hint)
    return updates


def _learners(
    model: Any, base: type[Any], settings: Settings, training: StateTree | None, frozen: Collection[str]
) -> list[Learner]:
    module, name = model.module, type(model).__name__
    schedule, clip = settings.lr_schedule, clipper(settings.clip_gradient)
    if settings.optimizers is not None:
        if settings.optimizer is not None:
            raise ConfigError.about("optimizers", "there is also 'optimizer'; leave out one of the two")
        if type(model).create_optimizer is not base.create_optimizer:
            raise ConfigError.about("optimizers", f"there is also create_optimizer of {name}; leave out one of the two")
        return build_learners(settings.optimizers, module, schedule, settings.clip_gradient, frozen)
    if training is not None and isinstance(module, ProgramModule) and settings.optimizer is None:
        # Only the source, or its defaults, described the optimizer.
        try:
            return [rebuild_learner(module, own, part, schedule, clip) for own, part in states_of(training).items()]
        except StateError as error:
            logger.warning("%s; the model can be evaluated, not trained", error)
            return []
    return [Learner(module, _checked(model.create_optimizer(), name, module), schedule, clip)]


def _checked(optimizer: Any, name: str, module: nn.Module) -> optim.Optimizer:
    if not isinstance(optimizer, optim.Optimizer):
        raise ConfigError(f"create_optimizer of {name} must return a torch.optim.Optimizer, got {optimizer!r}")
    own = set(map(id, module.parameters()))
    strange = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in own]
    if strange:
        raise ConfigError(
            f"create_optimizer of {name}: the optimizer has parameters that self.module has not, so no state would "
            f"hold them: of shape {', '.join(str(list(parameter.shape)) for parameter in strange[:_SHOWN])}"
        )
    return optimizer


def _restored(model: Any, base: type[Any], saved: Saved, state: StateTree) -> ProgramModule:
    name = type(model).__name__
    unknown = sorted(set(state["overrides"]) & {"run", "compute", "state_dict", "load_state_dict"})
    if unknown and not set(unknown) <= set(overridden_methods(type(model), base, METHODS)):
        raise SavedModelError(
            f"{saved.path}: {name} cannot restore it without the source, which overrides {unknown[0]}"
        )
    program = Program.read(require_program(saved))
    if not program.graphs:
        raise SavedModelError(f"{saved.path}: the model's source is needed: {program.reason}")
    made = program.description.get("torch")
    if made is not None and (why := shelf_life({"torch": made})) is not None:
        logger.warning(
            "The program of %s is past its shelf life: %s; where its source, or a capsule, is there, it is "
            "made anew by: emloop upgrade %s",
            saved.path,
            why,
            saved.path,
        )
    module = ProgramModule(program, compiled=model._settings.compile not in (None, False))
    module.__dict__["hint"] = saved.offer
    return module
