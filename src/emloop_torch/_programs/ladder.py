"""Find the highest rung that is correct: exported, traced, inference or weights.

=============  =====================================================================================
exported       trains further and evaluates without the source
traced         the same, with gradients in the graph, for one precision and kind of device
inference      evaluates without the source; training needs it
weights        nothing works without the source
=============  =====================================================================================

Each rung is made from a copy of the module, stored, loaded again, and compared with another copy. So the module itself,
including plain Python attributes, stays as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from emloop_torch._tensors.arrays import dtype_name
from emloop_torch._tensors.parameters import copy_of, load_values, tied_names, values_of, why_learning_differs

from .exporting import View, export_view, trace_view
from .program import FORMAT, Program
from .program_module import LOSS, ProgramModule
from .verifying import Difference, Run, compare, sizes_of, with_examples

__all__ = ["Request", "climb"]

logger = logging.getLogger(__name__)

_EXPORTED, _TRACED, _INFERENCE, _WEIGHTS = "exported", "traced", "inference", "weights"
_REASON_LENGTH = 300
_ADVICE = 'For more information, run with TORCH_LOGS="+dynamic".'


@dataclass(frozen=True)
class Request:
    """What a program has to do.

    Args:
        examples: Batches to make and verify it with, at least one; they do not end up in it.
        label_free: Method that needs no labels, and its inputs; ``None`` if there is none.
        precision: Makes the context of a forward pass.
        scaled: Whether losses are scaled before the backward pass.
        needs_source: Why training needs the source in any case, e.g. an overridden training step.
        frozen: Names of parameters that only the configuration excludes from training.
    """

    examples: Sequence[Mapping[str, torch.Tensor]]
    label_free: tuple[str, Sequence[str]] | None
    precision: Callable[[], AbstractContextManager[Any]]
    scaled: bool
    needs_source: str | None
    frozen: Sequence[str]


def climb(module: nn.Module, request: Request, known: Program | None = None) -> Program:
    """Make the best program of a module that is correct.

    Args:
        module: The live module; it is not changed.
        request: What the program has to do.
        known: A program made earlier, returned if it still does what the module does.
    """
    described: dict[str, Any] = {"format": FORMAT, "torch": torch.__version__, **_made_of(module, request.frozen)}
    if known is not None and _Climber(module, request, described).confirms(known):
        return known
    climber = _Climber(module, request, described)
    try:
        climber.evaluate()
    except Exception as error:  # noqa: BLE001 - exporting may raise anything; the reason is reported
        return climber.program(_WEIGHTS, str(error) if isinstance(error, _Unreached) else _told("evaluation", error))
    needs_source = request.needs_source or why_learning_differs(module)
    if needs_source is not None:
        return climber.program(_INFERENCE, needs_source)
    reasons: list[str] = []
    for rung in (_EXPORTED, _TRACED):
        try:
            climber.train(rung)
            return climber.program(rung, "; ".join(reasons) or None)
        except Exception as error:  # noqa: BLE001 - as above
            reasons.append(str(error) if isinstance(error, _Unreached) else _told(rung, error))
    return climber.program(_INFERENCE, "; ".join(reasons))


class _Unreached(Exception):
    """A view cannot be made; the message says why."""


class _Climber:
    """The views made so far."""

    def __init__(self, module: nn.Module, request: Request, described: dict[str, Any]) -> None:
        self._module = module
        self._request = request
        self._described = described
        self._views: dict[str, dict[str, Any]] = {}
        self._graphs: dict[str, bytes] = {}
        self._exact = True
        self._varying = {
            name: [
                axis
                for axis in range(1, tensor.ndim)
                if len({example[name].shape[axis : axis + 1] for example in request.examples}) > 1
            ]
            for name, tensor in request.examples[0].items()
        }
        # Graphs are made with the first, in which an axis of size 1 would be fixed.
        self._batches = [
            with_examples(example, size)
            for example in sorted(request.examples, key=self._has_a_single)
            for size in sizes_of(len(next(iter(example.values()))))
        ]

    def confirms(self, known: Program) -> bool:
        """Whether a program belongs to this module and does all that is requested."""
        own = {key: known.description.get(key) for key in self._described}
        wanted = {"eval", "train"} | ({"predict"} if self._request.label_free else set())
        needs_source = self._request.needs_source or why_learning_differs(self._module)
        if needs_source is not None:
            wanted.remove("train")
        if own != self._described or known.reason != (needs_source or known.reason):
            return False
        if known.description["views"].keys() != wanted:
            return False
        self._views, self._graphs = dict(known.description["views"]), dict(known.graphs)
        method = self._request.label_free[0] if self._request.label_free else ""
        try:
            for view in self._views:
                self._verify(view, method if view == "predict" else "forward")
        except Exception as error:  # noqa: BLE001 - whatever it is, the program has to be remade
            logger.info("The program in the run is made anew: %s", _told("verification", error))
            return False
        return True

    def evaluate(self) -> None:
        """Make and verify the views without gradients."""
        self._make_somehow("eval", "forward", list(self._batches[0]))
        if self._request.label_free is not None:
            self._make_somehow("predict", *self._request.label_free)

    def train(self, kind: str) -> None:
        """Make and verify the training view, exported or traced."""
        self._make("train", "forward", list(self._batches[0]), kind)

    def program(self, rung: str, reason: str | None) -> Program:
        """The program of a rung, from the views made so far."""
        views = {} if rung == _WEIGHTS else {k: v for k, v in self._views.items() if k != "train" or rung != _INFERENCE}
        description = {**self._described, "rung": rung, "reason": reason, "exact": self._exact, "views": views}
        return Program(description, {view: self._graphs[view] for view in views})

    def _make_somehow(self, view: str, method: str, names: Sequence[str]) -> None:
        try:
            self._make(view, method, names, _EXPORTED)
        except Exception as reason:  # noqa: BLE001 - as in climb
            try:
                self._make(view, method, names, _TRACED)
            except Exception as error:
                raise _Unreached(f"{_told(_EXPORTED, reason)}; {_told(_TRACED, error)}") from error

    def _make(self, view: str, method: str, names: Sequence[str], kind: str) -> None:
        example = {name: self._batches[0][name] for name in names}
        outputs, train = self._outputs(method, example), view == "train"
        maker = View(copy_of(self._module), method, names, outputs)
        gradients = self._trained(example) if train else []
        if kind == _EXPORTED:
            self._graphs[view] = export_view(maker, example, self._varying, train=train)
        elif train and self._request.scaled:
            raise _Unreached("traced: gradients of 16 bits, which vanish unless the loss is scaled first")
        else:
            precision = self._request.precision()
            self._graphs[view] = trace_view(maker, example, self._varying, precision, gradients=gradients, train=train)
        inputs = {
            name: {
                "dtype": dtype_name(tensor.dtype),
                "shape": [
                    None if axis in (0, *self._varying[name]) else size for axis, size in enumerate(tensor.shape)
                ],
            }
            for name, tensor in example.items()
        }
        self._views[view] = {"kind": kind, "inputs": inputs, "outputs": outputs, "gradients": gradients}
        self._verify(view, method)

    def _verify(self, view: str, method: str) -> None:
        live = copy_of(self._module)
        program = ProgramModule(self.program(_EXPORTED, None))
        program.to(next(iter(self._batches[0].values())).device)
        values: Any = values_of(live)
        # Without what the module's class keeps of its own.
        load_values(program, {kind: values[kind] for kind in ("parameters", "buffers")})
        for name in self._request.frozen:
            program.get_parameter(name).requires_grad_(False)
        own_method = view if view == "predict" else "forward"
        described = self._views[view]
        precision = self._request.precision
        runs = Run(live, method, precision), Run(program, own_method, precision)
        for batch in self._batches:
            inputs = {name: batch[name] for name in described["inputs"]}
            exact = compare(*runs, inputs, described["outputs"], train=view == "train")
            self._exact = self._exact and exact
        single = with_examples({name: self._batches[0][name] for name in described["inputs"]}, 1)
        # Not every module takes a single example; batch normalisation, for one, refuses it in training.
        exact = compare(*runs, single, described["outputs"], train=view == "train", optional=True)
        self._exact = self._exact and exact

    def _outputs(self, method: str, batch: Mapping[str, torch.Tensor]) -> list[str]:
        """Names of the outputs with a value for every example."""
        module = copy_of(self._module).eval()
        with torch.random.fork_rng(), torch.no_grad():
            outputs = getattr(module, method)(**batch)
        examples = len(next(iter(batch.values())))
        return [
            name
            for name, value in outputs.items()
            if isinstance(value, torch.Tensor) and value.shape[:1] == (examples,)
        ]

    def _trained(self, batch: Mapping[str, torch.Tensor]) -> list[str]:
        """Names of the parameters that get a gradient."""
        module = copy_of(self._module).train()
        with torch.random.fork_rng():
            with self._request.precision():
                loss = module(**batch)[LOSS]
            loss.mean().backward()
        return [name for name, parameter in module.named_parameters() if parameter.grad is not None]

    def _has_a_single(self, example: Mapping[str, torch.Tensor]) -> bool:
        """Whether a varying axis has size 1 in this example."""
        return any(
            example[name].shape[axis : axis + 1] == (1,) for name, axes in self._varying.items() for axis in axes
        )


def _made_of(module: nn.Module, frozen: Sequence[str]) -> dict[str, Any]:
    persistent = set(module.state_dict(keep_vars=True))
    parameters = dict(module.named_parameters())
    device = next(iter(parameters.values()), torch.empty(0)).device
    return {
        "device": device.type,
        "parameters": [
            {**_entry(name, p), "trainable": p.requires_grad or name in frozen, "frozen": name in frozen}
            for name, p in parameters.items()
        ],
        "buffers": [{**_entry(name, b), "persistent": name in persistent} for name, b in module.named_buffers()],
        "tied": tied_names(module),
    }


def _entry(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    entry = {"name": name, "shape": list(tensor.shape), "dtype": dtype_name(tensor.dtype)}
    # Kernels depend on the memory layout: channels last, or transposed.
    unusual = tensor.layout is torch.strided and not tensor.is_contiguous() and 0 not in tensor.stride()
    return {**entry, "strides": list(tensor.stride())} if unusual else entry


def _told(rung: str, error: Exception) -> str:
    """Why a rung was not reached, in one line."""
    said = " ".join(str(error).replace(_ADVICE, "").split())
    text = f"{rung}: {said}" if isinstance(error, Difference) else f"{rung}: {type(error).__name__}: {said}"
    return text if len(text) <= _REASON_LENGTH else f"{text[: _REASON_LENGTH - 1]}…"
