"""Find the highest rung that is correct: exported, traced, inference or weights.

=============  =====================================================================================
exported       trains further and evaluates without the source
traced         the same, with gradients in the graph, for one precision and kind of device
inference      evaluates without the source; training needs it
weights        nothing works without the source
=============  =====================================================================================

Each rung is made from the live module, stored, loaded again, and compared with the live module; a copy would share with
it what its Python code refers to. Everything that the module can reach is put back, so a save changes nothing.
"""

from __future__ import annotations

import gc
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from emloop.interrupting import interruptible, uninterrupted
from emloop_torch._programs.exporting import View, export_view, narrow_view, trace_view
from emloop_torch._programs.program import FORMAT, Program
from emloop_torch._programs.program_module import LOSS, ProgramModule
from emloop_torch._programs.sizes import violated
from emloop_torch._tensors.arrays import dtype_name
from emloop_torch._tensors.parameters import tied_names, why_learning_differs

from .alarms import Alarms, is_trusted, look, unexported
from .places import told
from .surroundings import Snapshot
from .verifying import Results, Run, compare, forked, results, sizes_of, with_examples

__all__ = ["Request", "climb"]

logger = logging.getLogger(__name__)

_EXPORTED, _TRACED, _INFERENCE, _WEIGHTS = "exported", "traced", "inference", "weights"
_EQUAL = re.compile(r"(\w+)\.shape\[(\d+)\] == (\w+)\.shape\[(\d+)\]")
_NARROWED = "narrowed"
"""Of a view that is exported as a part of another."""


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
        moved: Names of what has changed beside the state since the last program was made.
        trusted: Regular expressions: names of what alarms may ignore.
        weights: Output → the output or input that weighs it.
        withheld: Inputs that are not for the module, only weigh its outputs.
        losses: Loss → names of the parameters that its gradient reaches; ``None``: ``loss`` is the only one, for all.
    """

    examples: Sequence[Mapping[str, torch.Tensor]]
    label_free: tuple[str, Sequence[str]] | None
    precision: Callable[[], AbstractContextManager[Any]]
    scaled: bool
    needs_source: str | None
    frozen: Sequence[str]
    weights: Mapping[str, str] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()
    moved: Collection[str] = ()
    trusted: Sequence[str] = ()
    losses: Mapping[str, Sequence[str]] | None = None

    @property
    def reached(self) -> Mapping[str, Sequence[str] | None]:
        """Each loss, and what its gradient reaches."""
        return {LOSS: None} if self.losses is None else self.losses


def climb(module: nn.Module, request: Request, known: Program | None = None) -> tuple[Program, set[str]]:
    """Make the best program of a module that is correct.

    Args:
        module: The live module; it is not changed.
        request: What the program has to do.
        known: A program made earlier, returned if it still does what the module does.

    Returns:
        The program, and the names of what the module leaves for others without ever reading it.
    """
    described: dict[str, Any] = {"format": FORMAT, "torch": torch.__version__, **_made_of(module, request.frozen)}
    described["losses"] = None if request.losses is None else {n: list(own) for n, own in request.losses.items()}
    if request.weights:
        described["weights"] = dict(request.weights)
    fallen = None
    # What has parted from the training does so in any version of PyTorch.
    if known is not None and all(known.description.get(key) == described[key] for key in described.keys() - {"torch"}):
        fallen = known.description.get("fallen")
    if fallen is not None and is_trusted(fallen[0], request.trusted):
        fallen = None
    snapshot = Snapshot(module)
    try:
        if snapshot.surroundings.irreversible:
            name = snapshot.surroundings.irreversible[0]
            reason = f"the generator {name!r} cannot be put back, so nothing can be tried out; a list can be"
            return Program({**described, "rung": _WEIGHTS, "reason": reason, "exact": None, "views": {}}), set()
        with warnings.catch_warnings(), _seldom_collected():
            # Large arrays are, for as long as steps are tried out.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return _climbed(snapshot, request, described, known, fallen)
    finally:
        snapshot.close()


def _climbed(
    snapshot: Snapshot, request: Request, described: dict[str, Any], known: Program | None, fallen: Sequence[str] | None
) -> tuple[Program, set[str]]:
    climber = _Climber(snapshot, request, described)
    try:
        alarms = climber.look()
        if alarms.evaluating is not None:
            return climber.program(_WEIGHTS, alarms.evaluating), set()
        fallen = fallen or alarms.fallen
        if fallen is not None:
            described["fallen"] = list(fallen)
        needs_source = (
            request.needs_source
            or why_learning_differs(snapshot.module)
            or (None if fallen is None else fallen[1])
            or alarms.training
        )
        if known is not None and climber.confirms(known, needs_source):
            return known, alarms.results
        climber.evaluate()
    except Exception as error:  # noqa: BLE001 - exporting may raise anything; the reason is reported
        return climber.program(_WEIGHTS, _reason("evaluation", error)), set()
    if needs_source is not None:
        return climber.program(_INFERENCE, needs_source), alarms.results
    reasons: list[str] = []
    for rung in (_EXPORTED, _TRACED):
        try:
            climber.train(rung)
            return climber.program(rung, _joined(*reasons) or None), alarms.results
        except Exception as error:  # noqa: BLE001 - as above
            reasons.append(_reason(rung, error))
    settled = climber.settle("train")
    return climber.program(settled or _INFERENCE, None if settled == _EXPORTED else _joined(*reasons)), alarms.results


@uninterrupted
@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Look for garbage less often, which takes a tenth of the time that making graphs does."""
    held = gc.get_threshold()
    gc.set_threshold(held[0] and max(held[0], 100_000), *held[1:])
    try:
        yield
    finally:
        gc.set_threshold(*held)


class _Operators(TorchDispatchMode):
    """Notes which operators are called, with what numbers, and with which of the known tensors.

    Args:
        known: Identities of these tensors.
    """

    def __init__(self, known: Collection[int]) -> None:
        super().__init__()
        self._known = known
        self.calls: list[Any] = []
        self.writes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (args, kwargs or {})
        self.calls.append((func, tree_map_only(torch.Tensor, self._told, given)))
        self.writes += func._schema.is_mutable
        return func(*args, **given[1])

    def _told(self, tensor: torch.Tensor) -> Any:
        return id(tensor) if id(tensor) in self._known else (tensor.dtype, tuple(tensor.shape))


class _Unreached(Exception):
    """A view cannot be made; the message says why."""


def _reason(rung: str, error: Exception) -> str:
    return str(error) if isinstance(error, _Unreached) else told(rung, error)


def _joined(*reasons: str) -> str:
    """Reasons of one rung after the other; one that both have is told once."""
    rungs, told_once = zip(*(reason.split(": ", 1) for reason in reasons), strict=True) if reasons else ((), ())
    return f"{', '.join(rungs)}: {told_once[0]}" if len(set(told_once)) == 1 else "; ".join(reasons)


class _Climber:
    """The views made so far."""

    def __init__(self, snapshot: Snapshot, request: Request, described: dict[str, Any]) -> None:
        self._snapshot = snapshot
        self._module = snapshot.module
        self._request = request
        self._described = described
        self._views: dict[str, dict[str, Any]] = {}
        self._graphs: dict[str, bytes] = {}
        self._of_several: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._exact = True
        self._noise = 0.0
        self._of_forward: list[str] = []
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

    @interruptible("trying out the model")
    def look(self) -> Alarms:
        """Look for what comparing does not show."""
        self._of_forward = self._outputs("forward", self._batches[0])
        alarms = look(self._snapshot, self._step, self._request.moved, self._request.trusted)
        self._noise = alarms.noise
        return alarms

    def confirms(self, known: Program, needs_source: str | None) -> bool:
        """Whether a program belongs to this module and does all that is requested."""
        own = {key: known.description.get(key) for key in self._described}
        wanted = {"eval", "train"} | ({"predict"} if self._request.label_free else set())
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
            logger.info("The program in the run is made anew: %s", told("verification", error))
            self._views, self._graphs, self._exact = {}, {}, True
            return False
        return True

    def evaluate(self) -> None:
        """Make and verify the views without gradients."""
        self._make_somehow("eval", "forward", list(self._batches[0]))
        if self._request.label_free is None:
            return
        method, names = self._request.label_free
        with suppress(Exception):  # whatever it is, the view can be made for itself
            if method == "predict" and self._hands_on(names):
                self._make("predict", method, names, _NARROWED)
                return
        self._make_somehow("predict", method, names)

    def train(self, kind: str) -> None:
        """Make and verify the training view, exported or traced."""
        self._make("train", "forward", list(self._batches[0]), kind)

    def program(self, rung: str, reason: str | None) -> Program:
        """The program of a rung, from the views made so far."""
        views = {} if rung == _WEIGHTS else {k: v for k, v in self._views.items() if k != "train" or rung != _INFERENCE}
        reached = {"rung": rung, "reason": reason, "exact": self._exact, "noise": self._noise, "views": views}
        description = {**self._described, **reached}
        return Program(description, {view: self._graphs[view] for view in views})

    def _make_somehow(self, view: str, method: str, names: Sequence[str]) -> None:
        try:
            self._make(view, method, names, _EXPORTED)
        except Exception as reason:  # noqa: BLE001 - as in climb
            try:
                self._make(view, method, names, _TRACED)
            except Exception as error:
                if self.settle(view) is None:
                    raise _Unreached(_joined(_reason(_EXPORTED, reason), _reason(_TRACED, error))) from error

    def settle(self, view: str) -> str | None:
        """Be content with a view that refuses a single example, if there is one; return its kind."""
        if view not in self._of_several:
            return None
        self._views[view], self._graphs[view] = self._of_several[view]
        return str(self._views[view]["kind"])

    @interruptible("making the model's program")
    def _make(self, view: str, method: str, names: Sequence[str], kind: str) -> None:
        started = perf_counter()
        example = {name: self._batches[0][name] for name in names}
        train = view == "train"
        try:
            outputs = self._outputs(method, example)
            if train and kind == _EXPORTED:
                reason = unexported(self._module, lambda: self._loss(example), self._request.trusted)
                if reason is not None:
                    raise _Unreached(f"{kind}: {reason}")
            gradients = self._trained(example) if train else []
            self._snapshot.put_back()
            maker = View(self._module, method, names, outputs, self._request.withheld, self._request.weights)
            if kind == _NARROWED:
                made = narrow_view(self._graphs["eval"], "eval.pt2", self._views["eval"], names, outputs)
                if not all(self._asks(method, condition, example) for condition in made.sizes):
                    raise _Unreached("what only the rest of forward asks of sizes")
                kind = _EXPORTED
            elif kind == _EXPORTED:
                made = export_view(maker, example, self._varying, train=train)
            elif train and self._request.scaled:
                raise _Unreached("traced: gradients of 16 bits, which vanish unless the loss is scaled first")
            else:
                precision = self._request.precision()
                by_loss = {
                    loss: [name for name in gradients if names is None or name in names]
                    for loss, names in self._request.reached.items()
                }
                gradients = [name for names in by_loss.values() for name in names]
                traced = {loss: names for loss, names in by_loss.items() if names}
                made = trace_view(maker, example, self._varying, precision, gradients=traced, train=train)
        finally:
            self._snapshot.put_back()
        inputs = {
            name: {
                "dtype": dtype_name(tensor.dtype),
                "shape": [
                    None if axis in (0, *self._varying[name]) else size for axis, size in enumerate(tensor.shape)
                ],
            }
            for name, tensor in example.items()
        }
        described = {"kind": kind, "inputs": inputs, "outputs": outputs, "gradients": gradients, "sizes": made.sizes}
        if made.decided:
            described["decided"] = made.decided
        self._views[view], self._graphs[view] = described, made.graph
        self._verify(view, method)
        logger.info("  %s: %s and verified, in %.1f s", view, kind, perf_counter() - started)

    @interruptible("verifying the model's program")
    def _verify(self, view: str, method: str) -> None:
        program = ProgramModule(self.program(_EXPORTED, None), self._module)
        own_method = view if view == "predict" else "forward"
        described, train = self._views[view], view == "train"
        runs = self._live(method), self._live(method)._replace(module=program, method=own_method, withheld=())
        # Not every module takes a single example; batch normalisation, for one, refuses it in training.
        single = with_examples(self._batches[0], 1)
        # With other weights, since a graph may have taken those of now for constants.
        moved = dict(self._batches[0])
        try:
            for batch in (*self._batches, *([] if _sees_parameters(self._module) else [moved]), single):
                back = partial(self._snapshot.take_back, moved=batch is moved)
                back()
                inputs = {name: batch[name] for name in described["inputs"]}
                shapes = {name: tensor.shape for name, tensor in inputs.items()}
                # Other sizes are refused without source.
                if violated(described["sizes"], shapes) is None:
                    outputs = described["outputs"]
                    how: Any = {"train": train, "optional": batch is moved or batch is single, "slack": self._noise}
                    self._exact = compare(*runs, back, inputs, outputs, **how) and self._exact
        except Exception as error:
            if batch is not single:
                raise
            first = next(iter(described["inputs"]))
            refusing = {**described, "sizes": [*described["sizes"], f"{first}.shape[0] != 1"]}
            self._of_several.setdefault(view, (refusing, self._graphs[view]))
            raise _Unreached(f"{_reason(described['kind'], error)}, with a single example") from error
        finally:
            self._snapshot.put_back()

    def _outputs(self, method: str, batch: Mapping[str, torch.Tensor]) -> list[str]:
        """Names of the outputs with a value for every example, and of the loss."""
        self._module.eval()
        with forked(batch), torch.no_grad():
            outputs = getattr(self._module, method)(**self._given(batch))
        self._snapshot.put_back()
        examples = len(next(iter(batch.values())))
        return [
            name
            for name, value in outputs.items()
            if isinstance(value, torch.Tensor)
            and (value.shape[:1] == (examples,) or (name in {LOSS, *self._request.reached} and not value.ndim))
        ]

    def _hands_on(self, names: Sequence[str]) -> bool:
        """Whether ``forward`` gives its inputs of these names to ``predict``, once, and hands on what it returns.

        It must write to nothing else, and ``predict`` must call the very operators that it calls when called alone:
        what ``forward`` clamps, or switches in ``predict``, may change nothing on these batches, and much on others.
        """
        predict: Any = self._module.predict
        batch, described = self._batches[0], self._views["eval"]
        in_order = [name for name in described["inputs"] if name in names] == list(names)
        if not in_order or described["kind"] != _EXPORTED or "decided" in described:
            return False
        calls: list[tuple[Mapping[str, Any], Any]] = []
        known = {id(value) for value in (*self._module.parameters(), *self._module.buffers())}
        operators, inside, alone = _Operators(known), _Operators(known), _Operators(known)

        def noted(*args: Any, **named: Any) -> Any:
            with inside:
                outputs = predict(*args, **named)
            calls.append((inspect.signature(predict).bind(*args, **named).arguments, outputs))
            return outputs

        given = self._given(batch)
        vars(self._module)["predict"] = noted
        try:
            self._module.eval()
            with forked(batch), torch.no_grad(), operators:
                outputs = self._module(**given)
        finally:
            self._snapshot.put_back()
        if len(calls) != 1:
            return False
        try:
            self._module.eval()
            with forked(batch), torch.no_grad(), alone:
                predict(**{name: given[name] for name in names})
        finally:
            self._snapshot.put_back()
        # What the inner one has seen, the outer one sees as well.
        if alone.calls != inside.calls or operators.writes != inside.writes:
            return False
        wanted = {name: id(given[name]) for name in names if name in given}
        taken, returned = calls[0]
        handed_on = all(
            value is outputs.get(name) for name, value in returned.items() if isinstance(value, torch.Tensor)
        )
        return handed_on and wanted == {name: id(value) for name, value in taken.items()}

    def _asks(self, method: str, condition: str, batch: Mapping[str, torch.Tensor]) -> bool:
        """Whether a method itself asks for two sizes to be equal, so that it refuses others."""
        found = _EQUAL.fullmatch(condition)
        if found is None:
            return False
        name, axis = found[1], int(found[2])
        if found[2] == found[4] == "0":
            return True
        try:
            self._outputs(method, {**batch, name: batch[name].narrow(axis, 0, batch[name].shape[axis] - 1)})
        except Exception:  # noqa: BLE001 - whatever it refuses them with
            return True
        return False

    def _loss(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The losses of a batch in training mode, with their graph."""
        if not self._module.training:
            self._module.train()
        with forked(batch), torch.enable_grad(), self._request.precision():
            outputs = self._module(**self._given(batch))
        return torch.stack([outputs[name].mean() for name in self._request.reached]).sum()

    def _trained(self, batch: Mapping[str, torch.Tensor]) -> list[str]:
        """Names of the parameters that get a gradient."""
        self._snapshot.put_back()
        found = results(self._live("forward"), batch, (), train=True)
        return [name for name, gradient in found["gradient"].items() if gradient is not None]

    def _step(self, train: bool) -> Mapping[str, Results]:
        """What the live module does with an example; nothing is put back."""
        batch = self._batches[0]
        with forked(batch):
            method = self._live("forward")
            return results(method, batch, self._of_forward, train=train)

    def _live(self, method: str) -> Run:
        request = self._request
        weights = request.weights
        return Run(self._module, method, request.precision, request.withheld, weights, request.reached)

    def _given(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What of a batch is for the module, copied."""
        return {name: tensor for name, tensor in _copied(batch).items() if name not in self._request.withheld}

    def _has_a_single(self, example: Mapping[str, torch.Tensor]) -> bool:
        """Whether a varying axis has size 1 in this example."""
        return any(
            example[name].shape[axis : axis + 1] == (1,) for name, axes in self._varying.items() for axis in axes
        )


def _sees_parameters(module: nn.Module) -> bool:
    """Whether a buffer is a parameter seen in another way, which a program has as a tensor of its own."""
    dense = [parameter for parameter in module.parameters() if parameter.layout is torch.strided]
    held = {parameter.untyped_storage().data_ptr() for parameter in dense}
    buffers = [buffer for buffer in module.buffers() if buffer.layout is torch.strided]
    return any(buffer.untyped_storage().data_ptr() in held for buffer in buffers)


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


def _copied(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Inputs that the module may change."""
    return {name: tensor.clone() for name, tensor in batch.items()}
