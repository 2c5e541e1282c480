"""Compare a program with the live module it was made from.

Outputs, gradients and buffers must agree, for batches of several sizes, with the same random numbers; both get their
own copies of the inputs, which they may change. Values that are not equal to the bit may differ by rounding only: in
proportion to the largest number in the tensor plus a hundredth of the largest in all tensors, and by what the module
differs from itself by when it is run twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from emloop.interrupting import uninterrupted
from emloop_torch._programs.program_module import LOSS, ProgramModule
from emloop_torch._tensors.means import weighted_mean

__all__ = [
    "Difference",
    "Run",
    "agree",
    "compare",
    "distance",
    "forked",
    "leaves_of",
    "nodes_of",
    "results",
    "sizes_of",
    "with_examples",
]

Tensors = Mapping[str, torch.Tensor]
Results = Mapping[str, torch.Tensor | None]

_TOLERANCE = {
    torch.complex128: 1e-9,
    torch.float64: 1e-9,
    torch.complex64: 1e-5,
    torch.float32: 1e-5,
    torch.bfloat16: 2e-2,
    torch.float16: 2e-3,
}


class Difference(Exception):
    """A program deviates from the live module; the message says how."""


def sizes_of(examples: int) -> list[int]:
    """Three batch sizes to compare with, starting from the given one, or from 5 if that is too small for three."""
    full = max(examples, 5)
    return [full, full - 1, full // 2]


def with_examples(batch: Tensors, count: int) -> dict[str, torch.Tensor]:
    """A batch of the given size that cycles through the examples."""
    return {name: tensor[torch.arange(count, device=tensor.device) % len(tensor)] for name, tensor in batch.items()}


class Run(NamedTuple):
    """A method of a module to run.

    Args:
        module: The module; running changes it.
        method: ``forward`` or ``predict``.
        precision: Makes the context of a forward pass.
        withheld: Inputs that are not for the module.
        weights: Output → the output or input that weighs it.
        losses: Loss → names of the parameters that its gradient reaches; ``None``: all.
    """

    module: nn.Module
    method: str
    precision: Callable[[], AbstractContextManager[Any]]
    withheld: Collection[str] = ()
    weights: Mapping[str, str] = {}
    losses: Mapping[str, Collection[str] | None] = {LOSS: None}


def compare(
    live: Run,
    program: Run,
    take_back: Callable[[], Tensors],
    batch: Tensors,
    outputs: Sequence[str],
    *,
    train: bool,
    optional: bool = False,
    slack: float = 0.0,
) -> bool:
    """Run both on a batch and compare them.

    Args:
        live: The live module.
        program: The program, with the parameters of the module.
        take_back: Undoes what a run has written to parameters, and returns it.
        batch: The inputs.
        outputs: Names of the outputs.
        train: Whether to run in training mode, with gradients.
        optional: Whether the module may refuse the batch; then neither of the two can be used any further.
        slack: Difference to allow beside rounding, in the same proportion.

    Returns:
        Whether all numbers are equal to the bit.

    Raises:
        Difference: If rounding cannot explain a difference.
    """
    try:
        with forked(batch):
            expected = results(live, batch, outputs, train=train)
    except Exception:
        if optional:
            return True
        raise
    written = take_back()
    with forked(batch):
        found = results(program, batch, outputs, train=train)
    others = take_back()
    named = {name: parameter.detach() for name, parameter in live.module.named_parameters()}
    both = written.keys() | others.keys()
    expected, found = (
        {**one, "parameter": {name: new.get(name, named[name]) for name in both}}
        for one, new in ((expected, written), (found, others))
    )
    return agree(expected, found, slack)


@uninterrupted
@contextmanager
def forked(batch: Tensors) -> Iterator[None]:
    """Draw PyTorch's random numbers from where they stand, and put them back."""
    with torch.random.fork_rng(devices={tensor.device for tensor in batch.values() if tensor.is_cuda}):
        yield


def results(run: Run, batch: Tensors, outputs: Sequence[str], *, train: bool) -> dict[str, Results]:
    """Outputs, gradients and buffers of a module for a batch; gradients of whatever else takes part are left alone."""
    module = run.module
    if module.training is not train:
        module.train(train)
    module.zero_grad(set_to_none=True)
    with torch.set_grad_enabled(train):
        inputs = {name: tensor.clone() for name, tensor in batch.items()}
        with run.precision():
            given = {name: tensor for name, tensor in inputs.items() if name not in run.withheld}
            computed = module(**given) if run.method == "forward" else getattr(module, run.method)(**given)
        found: dict[str, Results] = {"output": {name: computed[name] for name in outputs}}
        if train:
            means = {name: _mean(run, name, computed, inputs) for name in run.losses}
            leaves = {id(leaf): (leaf, leaf.grad) for mean in means.values() for leaf in leaves_of(mean)}
            try:
                for leaf, _ in leaves.values():
                    leaf.grad = None
                for number, (loss, names) in enumerate(run.losses.items(), 1):
                    reached = None if names is None else _trained(module, names)
                    if reached != []:
                        means[loss].backward(inputs=reached, retain_graph=number < len(means))
                found["gradient"] = {name: parameter.grad for name, parameter in module.named_parameters()}
            finally:
                for leaf, gradient in leaves.values():
                    leaf.grad = gradient
    found["buffer"] = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return {
        kind: {name: None if value is None else value.detach() for name, value in tensors.items()}
        for kind, tensors in found.items()
    }


def _mean(run: Run, loss: str, computed: Tensors, inputs: Tensors) -> torch.Tensor:
    weight = {**inputs, **computed}[run.weights[loss]] if loss in run.weights else None
    if isinstance(run.module, ProgramModule):
        return run.module.mean_loss(loss, computed[loss], weight)
    return weighted_mean(computed[loss], weight)


def _trained(module: nn.Module, names: Collection[str]) -> list[nn.Parameter]:
    return [parameter for name, parameter in module.named_parameters() if name in names and parameter.requires_grad]


def nodes_of(tensor: torch.Tensor) -> Iterator[Any]:
    """The nodes of the graph that a tensor was computed by."""
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [following for following, _ in node.next_functions]


def leaves_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors that back-propagation from a tensor would give gradients to."""
    return [node.variable for node in nodes_of(tensor) if hasattr(node, "variable")]


def agree(expected: Mapping[str, Results], found: Mapping[str, Results], slack: float = 0.0) -> bool:
    """Compare what :func:`results` returned.

    Returns:
        Whether all numbers are equal to the bit.

    Raises:
        Difference: If rounding cannot explain a difference.
    """
    # All of them, since each may raise.
    agreements = [_agree(kind, expected[kind], found[kind], slack) for kind in expected]
    return all(agreements)


def distance(expected: Mapping[str, Results], found: Mapping[str, Results]) -> float:
    """By how much one run differs from another, in the proportion that ``slack`` is given in."""
    largest = 0.0
    for kind, tensors in expected.items():
        most = max((_largest(tensor) for tensor in tensors.values() if tensor is not None), default=0.0)
        for name, tensor in tensors.items():
            other = found[kind].get(name)
            if tensor is not None and other is not None and not torch.equal(tensor.to_dense(), other.to_dense()):
                off = _off(tensor.to_dense(), other.to_dense())
                largest = max(largest, off / (_largest(tensor) + most / 100 or 1.0))
    return largest


def _agree(kind: str, expected: Results, found: Results, slack: float) -> bool:
    largest: float | None = None
    exact = True
    for name, wanted in expected.items():
        got = found.get(name)
        if wanted is None or got is None:
            if wanted is not got:
                raise Difference(f"the {kind} of {name!r} is {_shown(got)}, not {_shown(wanted)}")
            continue
        if _shown(wanted) != _shown(got):
            raise Difference(f"the {kind} {name!r} is {_shown(got)}, not {_shown(wanted)}")
        tensor, other = wanted.to_dense(), got.to_dense()
        if torch.equal(tensor, other):
            continue
        if largest is None:
            largest = max(_largest(tensor) for tensor in expected.values() if tensor is not None)
        allowed = (_TOLERANCE.get(tensor.dtype, 0.0) + slack) * (_largest(tensor) + largest / 100)
        off = _off(tensor, other)
        if not off <= allowed:
            raise Difference(f"the {kind} of {name!r} is off by {off:.2g}, where it is at most {_largest(tensor):.2g}")
        exact = exact and off == 0
    return exact


def _off(tensor: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference; values that are not finite must match."""
    one, two = (
        value.to(torch.float64) if not value.is_complex() else torch.view_as_real(value) for value in (tensor, other)
    )
    same = (one == two) | (one.isnan() & two.isnan())
    return float((one - two).abs().masked_fill(same, 0.0).max())


def _largest(tensor: torch.Tensor) -> float:
    dense = tensor.detach().to_dense()
    values = (torch.view_as_real(dense) if dense.is_complex() else dense).to(torch.float64).abs()
    finite: Any = values[values.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


def _shown(tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return "missing"
    layout = "" if tensor.layout is torch.strided else f"{_plain(tensor.layout)} "
    return f"{layout}{_plain(tensor.dtype)} {list(tensor.shape)}"


def _plain(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")
