"""Convert tensors to what a state tree can hold and back, to the bit.

Tensors of a dtype that NumPy lacks are stored as bits: ``{"dtype": "bfloat16", "bits": …}``; sparse ones as parts:
``{"sparse": shape, "indices": …, "values": …, "coalesced": …}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from emloop.errors import StateError
from emloop.saved_models import Rows, may_lend, takes_rows

__all__ = ["WITHOUT_NUMPY", "dtype_name", "laid_out", "local", "marked", "mean_of", "to_plain", "to_tensor"]


def dtype_name(dtype: torch.dtype) -> str:
    """The name without the package: ``float32``."""
    return str(dtype).removeprefix("torch.")


WITHOUT_NUMPY = {torch.bfloat16: torch.uint16} | {
    getattr(torch, name): torch.uint8
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
    if hasattr(torch, name)
}
"""Dtype that NumPy lacks → dtype in which its bits are stored."""
_BY_NAME = {dtype_name(dtype): dtype for dtype in WITHOUT_NUMPY}


def to_plain(tensor: torch.Tensor) -> Any:
    """A tensor's values for a state tree: a copy, unless whoever takes the state may borrow what lies on the host.

    Of one that is sharded among processes, each has its rows; where somebody takes them for the whole, all are asked
    together, and only rank 0 gets it.

    Raises:
        StateError: If its layout cannot be stored.
    """
    if hasattr(tensor, "full_tensor") and takes_rows():
        return marked(_to_plain(local(tensor.detach()).to("cpu", copy=not may_lend())), Rows)
    if hasattr(tensor, "full_tensor"):
        sharded: Any = tensor.detach()
        whole = sharded.full_tensor()
        return np.empty(0, np.uint8) if sharded.device_mesh.get_rank() else _to_plain(whole.to("cpu"))
    return _to_plain(tensor.detach().to("cpu", copy=not may_lend()))


def _to_plain(host: torch.Tensor) -> Any:
    if host.layout is torch.sparse_coo:
        return {
            "sparse": list(host.shape),
            "indices": to_plain(host._indices()),
            "values": to_plain(host._values()),
            "coalesced": host.is_coalesced(),
        }
    if host.layout is not torch.strided:
        raise StateError(f"tensors of the layout {host.layout} cannot be kept; torch.sparse_coo and dense ones can")
    if host.dtype in WITHOUT_NUMPY:
        return {"dtype": dtype_name(host.dtype), "bits": host.contiguous().view(WITHOUT_NUMPY[host.dtype]).numpy()}
    return host.resolve_conj().resolve_neg().numpy()


def marked(plain: Any, kind: type[np.ndarray[Any, Any]]) -> Any:
    """What :func:`to_plain` returned, with its arrays seen as another class, unless they are of one already."""
    if isinstance(plain, Mapping):
        return {key: marked(value, kind) for key, value in plain.items()}
    return plain.view(kind) if type(plain) is np.ndarray else plain


def to_tensor(value: Any) -> torch.Tensor:
    """Convert what :func:`to_plain` returned back to a tensor on the host.

    Raises:
        StateError: If it is something else.
    """
    if isinstance(value, Mapping) and value.keys() == {"dtype", "bits"} and value["dtype"] in _BY_NAME:
        return torch.from_numpy(np.array(value["bits"])).view(_BY_NAME[value["dtype"]])
    if isinstance(value, Mapping) and value.keys() == {"sparse", "indices", "values", "coalesced"}:
        indices, values = to_tensor(value["indices"]), to_tensor(value["values"])
        shape, coalesced = value["sparse"], value["coalesced"]
        return torch.sparse_coo_tensor(indices, values, shape, check_invariants=True, is_coalesced=coalesced)
    if not isinstance(value, (np.ndarray, np.generic)):
        raise StateError(f"expected an array, got {type(value).__name__}")
    return torch.from_numpy(np.array(value))


def mean_of(values: Sequence[Any]) -> Any:
    """The mean of what :func:`to_plain` returned of several tensors of one kind; ``None``: of nothing but zeros."""
    tensors = [to_tensor(value) for value in values if value is not None]
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return to_plain(total / len(values))


def laid_out(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A tensor of the host, where another one lies; of one that is sharded among processes, this one's part."""
    if local(like) is like or tensor.shape != like.shape:
        return tensor.to(like.device)
    found: Any = torch.empty_like(like.detach(), dtype=tensor.dtype)
    mesh, (placement,) = found.device_mesh, found.placements
    for part in tensor.chunk(mesh.size(), placement.dim)[mesh.get_local_rank() :][:1]:
        local(found).copy_(part)
    return torch.as_tensor(found)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What of a tensor is in this process: itself, or its part of one that is sharded."""
    own: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return own
