"""What a configuration says of a training on several processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from emloop.declare import Limits, Names, Positive

__all__ = ["OF_DDP", "OF_FSDP", "Distributed", "MixedPrecision"]


@dataclass(frozen=True)
class MixedPrecision:
    """The key ``distributed.mp_policy``: in which precision sharded parameters are gathered, and gradients summed."""

    param_dtype: Literal["bfloat16", "float16", "float32"] | None = None
    reduce_dtype: Literal["bfloat16", "float16", "float32"] | None = None


@dataclass(frozen=True)
class Distributed:
    """The key ``distributed``: how several processes train the model.

    Args:
        strategy: ``ddp``: every process has the whole model, and a part of each batch; ``fsdp``: of the model, too.
        timeout: Seconds within which every process answers the others; else all of them end.
        sync_batch_norm: Whether batch normalisations take the statistics of the whole batch; on CUDA.
        bucket_cap_mb: As the keys that follow, an argument of ``DistributedDataParallel``.
        reshard_after_forward: As ``mp_policy``, an argument of ``fully_shard``.
        offload: Whether parameters and what optimizers remember of them are kept on the host.
        wrap: Types of modules, or regular expressions of their names, that are gathered one by one; by default the
            items of the outermost ``ModuleList``.
    """

    strategy: Literal["ddp", "fsdp"] = "ddp"
    timeout: Annotated[float, Limits(above=0)] = 60
    sync_batch_norm: bool = False
    bucket_cap_mb: Annotated[float, Limits(above=0)] | None = None
    find_unused_parameters: bool = False
    gradient_as_bucket_view: bool = False
    static_graph: bool = False
    reshard_after_forward: bool | Positive | None = None
    mp_policy: MixedPrecision | None = None
    offload: bool = False
    wrap: Names | None = None


OF_DDP = ("bucket_cap_mb", "find_unused_parameters", "gradient_as_bucket_view", "static_graph")
OF_FSDP = ("reshard_after_forward", "mp_policy", "offload", "wrap")
"""Keys of one strategy only."""
