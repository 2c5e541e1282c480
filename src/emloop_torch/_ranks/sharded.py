"""A model whose parameters, gradients and optimizer are cut among the processes: PyTorch's ``fully_shard``.

Parts of the module, and what is left of it, are *units*: each process keeps its rows of a unit's parameters, and all
are gathered for as long as the unit computes. Names, and the module itself, stay what they are; its parameters are
tensors that know of the other processes' rows (``DTensor``). States are those of one process: whole tensors, which
rank 0 gathers.

Gradients are averaged after every backward pass, so those that wait for a step are cut, too, and belong to all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import distributed, nn, optim
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.distributed_c10d import _get_default_group
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

from emloop.errors import BatchError, ConfigError, RankError
from emloop.ranks import Ranks
from emloop.types import StateTree
from emloop_torch._programs.program_module import ProgramModule
from emloop_torch._programs.views import FORWARD
from emloop_torch._tensors.arrays import to_tensor
from emloop_torch._tensors.parameters import tied_names
from emloop_torch._training.optimizers import learnable

from .settings import Distributed
from .together import Together, digest

__all__ = ["Sharded"]

_HOOKS = "hooks"
_OF_WHOLES = ("Adafactor", "Muon", "Rprop")
"""Optimizers whose steps are others, or none, by parts of parameters."""
_LIBRARY = "torch.distributed.fsdp."


class Sharded(Together):
    """The part of this process of a model that is cut among all.

    Args:
        ranks: The processes.
        module: This process's module, whole; it is cut in place.
        settings: The key ``distributed``.
        device: Where this process computes.
        compiler: What compiles a function, if anything does.

    Raises:
        ConfigError: If it cannot be cut.
    """

    on_all_ranks = ("state_dict", "save", "predict")
    is_sharded = True
    why_no_shadow = "its parameters are sharded among processes"

    def __init__(
        self,
        ranks: Ranks,
        module: nn.Module,
        settings: Distributed,
        device: torch.device,
        compiler: Callable[[Any], Any] | None,
    ) -> None:
        units = _units(module, settings.wrap)
        _require_shardable(module, units)
        digests = [digest(parameter.detach().cpu()) for parameter in module.parameters()]
        self._digests = torch.stack(digests) if digests else torch.empty(0)
        self._units = [*units.values(), module]
        arguments = _arguments(settings, device)
        mesh = DeviceMesh.from_group(_get_default_group(), device.type)
        for unit in self._units:
            cls = type(unit)
            try:
                fully_shard(unit, mesh=mesh, **arguments)
            except (AssertionError, NotImplementedError, RuntimeError, ValueError) as error:
                raise ConfigError.about("distributed", f"fully_shard refuses: {error}") from error
            # It has become one of a derived class; nothing here needs that, and its code is looked for by its class.
            unit.__class__ = cls
        super().__init__(ranks, module, settings, device, None)
        self._compiled: dict[nn.Module, Any] = {}
        if compiler is not None:
            self._compiled = {unit: compiler(unit.forward) for unit in self._units[:-1] or self._units}
        self._checked: set[bool] = set()
        self._flags: list[bool] = []

    def around_state(self) -> AbstractContextManager[None]:
        """The context in which a state is made, which is gathered in rank 0."""
        return self.around("waits for the others' parts of a state")

    def check(self, optimizers: Sequence[optim.Optimizer], *, is_simple: bool) -> None:
        """Refuse what cannot train the module.

        Raises:
            ConfigError: If an optimizer looks at more than single numbers, or there are several losses.
        """
        if not is_simple:
            hint = "take the strategy ddp"
            raise ConfigError.about("optimizers", "a model that is sharded learns from one loss, at every step", hint)
        for optimizer in optimizers:
            if type(optimizer).__name__ in _OF_WHOLES:
                message = f"{type(optimizer).__name__} needs whole parameters, which no process has"
                raise ConfigError.about("optimizer", message, "take AdamW, or the strategy ddp")

    def begin_step(self, *, is_last: bool, by_hand: bool) -> None:  # noqa: ARG002 - as of any
        """Called before the forward pass of every training batch."""
        if not self._has_agreed:
            self._agree(by_hand=by_hand)
        now = [parameter.requires_grad for parameter in self._parameters]
        if now != self._flags:
            name = next(n for n, was, is_ in zip(learnable(self._module), self._flags, now, strict=True) if was != is_)
            what = "thawed" if self._module.get_parameter(name).requires_grad else "frozen"
            raise ConfigError.about("distributed", f"{name!r} is {what} within an epoch; do so at its end")

    def __call__(self, **inputs: torch.Tensor) -> Any:
        """The module's outputs of a training batch."""
        return self._compute(FORWARD, inputs, train=True)

    def method(self, name: str) -> Callable[..., Any]:
        """A method of the module, for batches that nobody learns from; all processes call it together."""
        return partial(self._evaluated, name)

    def settle(self) -> None:
        """Give back what has been gathered for a forward pass that no backward pass followed."""
        for unit in self._units:
            for group in fully_shard.state(unit)._fsdp_param_groups:  # type: ignore[attr-defined]
                group.reshard()

    def reduce(self) -> None:
        """Nothing: the backward passes have done it."""

    def end_epoch(self) -> None:
        """Let all processes agree anew on what is trained."""
        self._has_agreed = False

    def begin_anew(self) -> None:
        """Called after a state has been loaded."""
        super().begin_anew()
        self._digests = torch.empty(0)

    @contextmanager
    def alone(self, values: StateTree) -> Iterator[None]:
        """On rank 0: the module is what it would be in one process, on the host, and nobody else has to take part.

        Args:
            values: Its parameters by name, as part of a state.
        """
        with super().alone(values), _without_hooks(self._module), torch.no_grad():
            held: list[dict[str, Any]] = []
            for part in self._module.modules():
                held += vars(part)["_parameters"], vars(part)["_buffers"]
            kept = [dict(of) for of in held]
            wholes: dict[int, torch.Tensor] = {}
            for name, parameter in self._module.named_parameters():
                whole = nn.Parameter(to_tensor(values[name]), parameter.requires_grad)
                wholes[id(parameter)] = whole
            for buffer in self._module.buffers():
                wholes[id(buffer)] = buffer.cpu()
            for of in held:
                of.update({key: wholes[id(tensor)] for key, tensor in of.items() if tensor is not None})
            try:
                with torch.enable_grad():
                    yield
            finally:
                for of, own in zip(held, kept, strict=True):
                    of.clear()
                    of.update(own)

    def mean_gradients(self, own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The mean over all processes of gradients that each of them has."""
        named, found = learnable(self._module), dict[str, torch.Tensor]()
        flags = torch.tensor([name in own for name in named], dtype=torch.uint8)
        with self.around("waits for the others' gradients"):
            distributed.all_reduce(flags, distributed.ReduceOp.MAX)
            for (name, parameter), flag in zip(named.items(), flags.tolist(), strict=True):
                if flag:
                    gradient = own[name] if name in own else torch.zeros(parameter.shape, dtype=parameter.dtype)
                    distributed.all_reduce(gradient)
                    found[name] = gradient.div_(self._ranks.size)
        return found

    def _evaluated(self, name: str, **inputs: torch.Tensor) -> Any:
        with self.around("waits for the others in an evaluation"):
            outputs = self._compute(name, inputs, train=False)
            self.settle()
        return outputs

    def _compute(self, name: str, inputs: Mapping[str, torch.Tensor], *, train: bool) -> Any:
        # Only a call of the module itself gathers what a method needs.
        other = {} if name == FORWARD else {self._module: getattr(self._module, name)}
        calls = {**self._compiled, **other}
        for part, call in calls.items():
            part.__dict__["forward"] = call
        try:
            outputs = self._module(**inputs)
        finally:
            for part in calls:
                del part.__dict__["forward"]
        if train not in self._checked:
            self._checked.add(train)
            self._require_own(outputs)
        return outputs

    def _require_own(self, outputs: Any) -> None:
        shared = {p.untyped_storage().data_ptr() for p in self._module.parameters() if not hasattr(p, "full_tensor")}
        for name, output in outputs.items() if isinstance(outputs, Mapping) else ():
            if isinstance(output, torch.Tensor) and output.numel():
                storage = output.untyped_storage()
                if not storage.nbytes() or storage.data_ptr() in shared:
                    hint = "return a copy of it, .clone()"
                    raise BatchError(f"{name}: it is a parameter itself, whose memory is given back; {hint}")

    def _agree(self, *, by_hand: bool) -> None:  # noqa: ARG002 - as of any
        if self._digests.numel():
            first = self._digests.clone().to(self._device)
            distributed.broadcast(first, 0)
            own, self._digests = self._digests, torch.empty(0)
            if not torch.equal(own, first.cpu()):
                names = [name for name, _ in self._module.named_parameters()]
                name = next(name for name, same in zip(names, (own == first.cpu()).tolist(), strict=True) if not same)
                cause = (
                    f"{name!r} begins with other values than on rank 0; create_model has to make the same everywhere"
                )
                self._ranks.fail(cause)
                raise RankError(f"rank {self._ranks.rank} failed: {cause}")
        self._agree_on_trained()
        self._flags = [parameter.requires_grad for parameter in self._parameters]
        self._has_agreed = True


def _arguments(settings: Distributed, device: torch.device) -> dict[str, Any]:
    """Those of ``fully_shard``."""
    if settings.offload and device.type == "cpu":
        raise ConfigError.about(("distributed", "offload"), "the model is on the CPU already; leave it out")
    policy = settings.mp_policy
    dtypes = {} if policy is None else {key: getattr(torch, name) for key, name in vars(policy).items() if name}
    return {
        "reshard_after_forward": settings.reshard_after_forward,
        "mp_policy": MixedPrecisionPolicy(**dtypes),
        "offload_policy": CPUOffloadPolicy() if settings.offload else OffloadPolicy(),
    }


def _units(module: nn.Module, wrap: Sequence[str] | None) -> dict[str, nn.Module]:
    """Name → part that is cut by itself, inner ones first.

    Raises:
        ConfigError: If there is no such part.
    """
    parts = {name: part for name, part in module.named_modules() if name and any(True for _ in part.parameters())}
    if isinstance(module, ProgramModule):
        return {}  # its graph calls no part
    if wrap is None:
        items = {id(item) for part in module.modules() if isinstance(part, nn.ModuleList) for item in part}
        found = set[str]()
        for name, part in parts.items():
            # Of lists in one another, such as of experts, the outer one: not every process may call each of the inner.
            if id(part) in items and not isinstance(part, nn.ModuleList) and not _unit_of(name, found):
                found.add(name)
    else:
        found = set()
        for index, each in enumerate(wrap):
            fitting = {n for n, part in parts.items() if type(part).__name__ == each or re.fullmatch(each, n)}
            if not fitting:
                known = sorted({type(part).__name__ for part in parts.values()})
                message = f"no part of the module is a {each!r}, or is called so"
                raise ConfigError.about(("distributed", "wrap", index), message, f"types: {', '.join(known[:12])}")
            found |= fitting
    called = {name: part for name, part in parts.items() if name in found and type(part).forward is not _NOT_CALLED}
    return dict(reversed(called.items()))


def _unit_of(name: str, units: Iterable[str]) -> str:
    """The first unit that a name lies in; ``""``: none."""
    return next((unit for unit in units if name.startswith(f"{unit}.")), "")


_NOT_CALLED = nn.ModuleList().forward.__func__  # type: ignore[attr-defined]
"""What a container has in place of a forward pass."""


def _require_shardable(module: nn.Module, units: Mapping[str, nn.Module]) -> None:
    for name, parameter in module.named_parameters():
        if not parameter.ndim:
            message = f"{name!r} is a single number, which cannot be sharded"
            hint = "make it a vector of one, nn.Parameter(torch.ones(1)), or take the strategy ddp"
            raise ConfigError.about("distributed", message, hint)
    for name, part in module.named_modules():
        if getattr(part, "sparse", False) and isinstance(part, (nn.Embedding, nn.EmbeddingBag)):
            raise ConfigError.about(
                "distributed", f"{name!r} has sparse gradients; take the strategy ddp, or sparse=False"
            )
    for names in tied_names(module):
        owners = {_unit_of(name, units) for name in names}
        if len(owners) > 1:
            message = f"{names[0]!r} and {names[1]!r} are one, and would be sharded apart"
            hint = "name parts in wrap that have both of them, or none"
            raise ConfigError.about(("distributed", "wrap"), message, hint)


@contextmanager
def _without_hooks(module: nn.Module) -> Iterator[None]:
    """Without those that gather parameters, inside the block."""
    tables = [of for part in module.modules() for key, of in vars(part).items() if _HOOKS in key and of]
    kept = [(of, dict(of)) for of in tables]
    for of, entries in kept:
        for key, hook in entries.items():
            if (getattr(getattr(hook, "hook", hook), "__module__", None) or "").startswith(_LIBRARY):
                del of[key]
    try:
        yield
    finally:
        for of, entries in kept:
            of.clear()
            of.update(entries)
