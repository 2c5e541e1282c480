"""What a model computes together with those of the other processes: gradients, and what follows from them.

Each process has some rows of a batch, and the mean over these. ``DistributedDataParallel`` averages gradients over
processes, so each mean is scaled by how much its rows count: own weight · processes / weight of the whole batch. All
then take the same step. Buffers are those of rank 0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import distributed, nn, optim
from torch._C._distributed_c10d import _broadcast_coalesced
from torch.distributed.distributed_c10d import _get_default_group
from torch.nn.parallel import DistributedDataParallel

from emloop.errors import BatchError, ConfigError, RankError
from emloop.ranks import Part, Ranks
from emloop.types import Batch
from emloop_torch._training.optimizers import learnable

from .joining import TorchRanks, of_others
from .settings import OF_DDP, Distributed

__all__ = ["Together", "digest"]

logger = logging.getLogger(__name__)

_Weight = float | torch.Tensor
_BYTES = 25 << 20
"""Size of what is summed up in one go."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_SPARSE = 2
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Together:
    """The model of this process, among those of the others.

    Args:
        ranks: The processes.
        module: This process's module.
        settings: The key ``distributed``.
        device: Where it computes.
        compiler: What compiles a module, if anything does.

    Raises:
        ConfigError: If the processes have come together by other means than PyTorch's.
    """

    on_all_ranks: Sequence[str] = ()
    """What of the model all processes have to do together."""
    why_no_shadow: str | None = None
    """Why a program cannot be compared with the training."""
    is_sharded = False
    """Whether each process has a part of the parameters only, and gradients that wait for a step are those of all."""

    def __init__(
        self,
        ranks: Ranks,
        module: nn.Module,
        settings: Distributed,
        device: torch.device,
        compiler: Callable[[nn.Module], Any] | None,
    ) -> None:
        if not isinstance(ranks, TorchRanks):
            raise ConfigError(
                "several processes train a PyTorch module after BaseModel.join_ranks, which connects them"
            )
        self._ranks = ranks
        self._group = _get_default_group()
        self._module = module
        self._settings = settings
        self._compiler = compiler
        self._wrapped: DistributedDataParallel | None = None
        self._call: Any = module
        self._trained: list[str] | None = None
        """Names of the parameters that are trained, where all have agreed on it."""
        self._has_agreed = self._is_reduced = False
        self._rows = 0
        self._is_filler = False
        self._parameters = list(learnable(module).values())
        self._device = device
        self._synchronised: dict[nn.Module, type[nn.Module]] = {}
        if settings.sync_batch_norm:
            self._synchronise()

    def check(self, optimizers: Sequence[optim.Optimizer], *, is_simple: bool) -> None:
        """Refuse what cannot train the module; ``is_simple``: by one loss, at every step."""

    def around(self, what: str = "waits for the others in a training batch") -> AbstractContextManager[None]:
        """The context of what all do together, in which a failure of another process is told as such."""
        return self._ranks.together(what)

    def around_state(self) -> AbstractContextManager[None]:
        """The context in which a state is made."""
        return nullcontext()

    def begin(self, batch: Batch) -> None:
        """Take note of how many rows a training batch has.

        Raises:
            BatchError: If it is no part of one.
        """
        if not isinstance(batch, Part):
            raise BatchError(
                "several processes train the model, so each takes its own part of a batch, as a stream has; a run of "
                "your own hands on the batch that it got, changed by batch[name] = …, and no copy"
            )
        self._rows, self._is_filler = batch.rows, batch.is_filler

    def begin_step(self, *, is_last: bool, by_hand: bool) -> None:
        """Called before the forward pass of every training batch.

        Args:
            is_last: Whether a step of the optimizer follows.
            by_hand: Whether there may be other than one forward and one backward pass.
        """
        if not self._has_agreed:
            self._agree(by_hand=by_hand)
        self._is_reduced = False
        if self._wrapped is not None:
            # What `no_sync` does.
            self._wrapped.require_backward_grad_sync = is_last

    def __call__(self, **inputs: torch.Tensor) -> Any:
        """The module's outputs of a training batch."""
        if self._wrapped is not None:
            self._is_reduced = self._wrapped.require_backward_grad_sync
        return self._call(**inputs)

    def weigh(
        self, totals: Mapping[str, _Weight], weighed: Sequence[str], examples: int
    ) -> tuple[dict[str, _Weight], dict[str, _Weight]]:
        """What the whole batch counts, and by what the mean over this process's rows is scaled.

        Args:
            totals: Loss → what the rows of this process count.
            weighed: Losses that have a weight.
            examples: Number of these rows.

        Raises:
            BatchError: If a loss without a weight is not one value for every example, or their mean.
        """
        whole: dict[str, _Weight] = dict.fromkeys(totals, float(self._rows))
        for name, total in totals.items():
            if name not in weighed and total != examples:
                raise BatchError(f"{name}: expected a value for each of {examples} examples, got {total:g}; weigh it")
        own = {name: 0.0 if self._is_filler else total for name, total in totals.items()}
        if weighed:
            summed = torch.stack([_double(own[name], self._device) for name in weighed])
            distributed.all_reduce(summed)
            whole.update(zip(weighed, summed.tolist() if summed.is_cpu else summed, strict=True))
        return whole, {name: _share(own[name], whole[name], self._ranks.size) for name in totals}

    def method(self, name: str) -> Callable[..., Any]:
        """A method of the module, for batches that nobody learns from."""
        found: Callable[..., Any] = getattr(self._module, name)
        return found

    @contextmanager
    def alone(self, values: Mapping[str, Any]) -> Iterator[None]:  # noqa: ARG002 - others need them
        """Around what rank 0 does with the module as if there were no other processes.

        Args:
            values: Its parameters by name, as part of a state.
        """
        for part, cls in self._synchronised.items():
            part.__class__ = cls
        try:
            yield
        finally:
            for part in self._synchronised:
                part.__class__ = nn.SyncBatchNorm

    def mean_gradients(self, own: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The gradients with which this process goes on, of those that it had before a step, on the host."""
        return own

    def settle(self) -> None:
        """Called before somebody looks at the parameters."""

    @torch.no_grad()
    def spread_buffers(self) -> None:
        """Give the module the buffers of rank 0; called after the backward passes, which may need the old ones."""
        buffers = list(self._module.buffers())
        if buffers:
            _broadcast_coalesced(self._group, buffers, _BYTES, 0)

    @torch.no_grad()
    def reduce(self) -> None:
        """Average the gradients over all processes, unless that has been done in the backward pass."""
        if self._is_reduced and self._wrapped is not None:
            self._is_reduced = False
            # Else it would be told in the next batch, after a step without the others.
            self._wrapped._check_reducer_finalized()
            return
        kinds = torch.tensor([_kind(p) for p in self._parameters], dtype=torch.int32, device=self._device)
        distributed.all_reduce(kinds, distributed.ReduceOp.MAX)
        dense = list[nn.Parameter]()
        for parameter, kind in zip(self._parameters, kinds.tolist(), strict=True):
            if kind == _SPARSE:
                gradient = _nothing(parameter) if parameter.grad is None else parameter.grad.coalesce()
                distributed.all_reduce(gradient)
                parameter.grad = gradient.div_(self._ranks.size)
            elif kind:
                dense.append(parameter)
        for bucket in _buckets(dense):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            distributed.all_reduce(flat)
            flat.div_(self._ranks.size)
            for parameter, gradient, part in zip(bucket, gradients, _split(flat, gradients), strict=True):
                parameter.grad = gradient.copy_(part)

    def end_epoch(self) -> None:
        """Check that all processes still have the same parameters, and let them agree anew on what is trained.

        Raises:
            RankError: If they have parted; names a parameter.
        """
        self._has_agreed = False
        named = dict(self._module.named_parameters())
        if not named:
            return
        own = torch.stack([digest(parameter.detach()).to(self._device) for parameter in named.values()])
        first = own.clone()
        distributed.broadcast(first, 0)
        if not torch.equal(own, first):
            name = next(name for name, same in zip(named, (own == first).tolist(), strict=True) if not same)
            cause = (
                f"{name!r} is no longer what it is on rank 0: something trains, or changes, the module beside "
                "`self.update`, or on one process only"
            )
            self._ranks.fail(cause)
            raise RankError(f"rank {self._ranks.rank} failed: {cause}")

    def begin_anew(self) -> None:
        """Called after a state has been loaded."""
        self._has_agreed = False

    def _agree(self, *, by_hand: bool) -> None:
        """Train what rank 0 trains; a hook there may have thawed something."""
        by_hand = by_hand or any(getattr(part, "sparse", False) for part in self._module.modules())
        trained = self._agree_on_trained()
        if trained != self._trained and not by_hand:
            self._wrap(is_first=self._trained is None)
        elif by_hand and self._trained is None:
            tensors = [*self._module.parameters(), *self._module.buffers()]
            with torch.no_grad():
                _broadcast_coalesced(self._group, tensors, _BYTES, 0)
        self._trained, self._has_agreed = trained, True

    def _synchronise(self) -> None:
        found = {part: type(part) for part in self._module.modules() if type(part) in _NORMALISATIONS}
        at = ("distributed", "sync_batch_norm")
        if self._device.type != "cuda":
            raise ConfigError.about(at, f"PyTorch has this on CUDA only, and the device is {self._device}")
        if not found:
            raise ConfigError.about(at, "the module has no batch normalisation", "leave it out")
        self._synchronised = found
        self.why_no_shadow = "its batch normalisations take the statistics of all processes"
        for part in found:
            # Another class, not another module, so that in one process it is what it was.
            part.__class__ = nn.SyncBatchNorm
            vars(part)["process_group"] = None

    def _agree_on_trained(self) -> list[str]:
        named = learnable(self._module)
        flags = torch.tensor([p.requires_grad for p in named.values()], dtype=torch.uint8, device=self._device)
        distributed.broadcast(flags, 0)
        for parameter, flag in zip(named.values(), flags.tolist(), strict=True):
            if parameter.requires_grad != bool(flag):
                parameter.requires_grad_(bool(flag))
        return [name for name, parameter in named.items() if parameter.requires_grad]

    def _wrap(self, *, is_first: bool) -> None:
        arguments = {key: getattr(self._settings, key) for key in OF_DDP}
        try:
            self._wrapped = DistributedDataParallel(
                self._module, init_sync=is_first, forward_sync_buffers=False, **arguments
            )
        except (RuntimeError, ValueError) as error:
            if of_others(error):
                raise
            raise ConfigError.about("distributed", f"DistributedDataParallel refuses: {error}") from error
        self._settle_buckets(self._wrapped)
        self._call = self._wrapped if self._compiler is None else self._compiler(self._wrapped)

    def _settle_buckets(self, wrapped: DistributedDataParallel) -> None:
        """Let the buckets be what they are to be, by a backward pass of zeros.

        They are arranged anew after the first one, in the order in which gradients have come. Where a gradient lies in
        a bucket decides in which order three or more processes sum it up, so a run that is resumed, whose first batch
        is another one, would differ in the last bit.
        """
        if self._settings.find_unused_parameters or self._settings.static_graph:
            return  # never arranged anew, or by the first batch alone
        trained = [parameter for parameter in self._parameters if parameter.requires_grad]
        gradients = [parameter.grad for parameter in trained]
        for parameter in trained:
            parameter.grad = None
        wrapped.reducer.prepare_for_backward([])
        for parameter in reversed(trained):
            parameter.backward(torch.zeros_like(parameter))
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient


def _share(own: _Weight, whole: _Weight, size: int) -> _Weight:
    if isinstance(whole, torch.Tensor):
        return torch.where(whole > 0, own * size / whole, 0.0)
    return own * size / whole if whole else 0.0


def _double(value: _Weight, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=device)


def _kind(parameter: nn.Parameter) -> int:
    gradient = parameter.grad
    return 0 if gradient is None else _SPARSE if gradient.is_sparse else 1


def _nothing(parameter: nn.Parameter) -> torch.Tensor:
    """A sparse gradient, as of an embedding, that is 0 everywhere."""
    values = parameter.new_empty((0, *parameter.shape[1:]))
    return torch.sparse_coo_tensor(torch.empty((1, 0), dtype=torch.int64), values, parameter.shape, is_coalesced=True)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of one dtype, a few megabytes together."""
    bucket, size = list[nn.Parameter](), 0
    for parameter in parameters:
        if bucket and (size >= _BYTES or parameter.dtype is not bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel() * parameter.element_size()
    if bucket:
        yield bucket


def _split(flat: torch.Tensor, like: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    parts = flat.split([tensor.numel() for tensor in like])
    return (part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True))


def digest(tensor: torch.Tensor) -> torch.Tensor:
    """A number that is another one where a bit is."""
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return plain.view(_INTEGERS[plain.element_size()]).sum(dtype=torch.int64)
