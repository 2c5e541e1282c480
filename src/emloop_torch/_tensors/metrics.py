"""Metrics that take tensors, given arrays: those of torchmetrics, and functions whose annotations ask for tensors."""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from emloop.errors import StateError
from emloop.saved_models import check_state
from emloop.types import StateTree

from .arrays import to_plain, to_tensor

__all__ = ["adapt_metric"]

_RESULTS = frozenset({"_cache", "_computed", "_forward_cache"})
"""Attributes of a metric that only repeat others."""

_PLAIN = (bool, int, float, str, type(None))


def adapt_metric(found: Callable[..., Any]) -> Callable[..., Any] | None:
    """What takes and gives arrays in place of a metric that wants tensors; ``None`` for any other."""
    if isinstance(found, type):
        is_metric = issubclass(found, nn.Module) and hasattr(found, "update") and hasattr(found, "compute")
        return functools.partial(TensorMetric, found) if is_metric else None
    annotations = (str(parameter.annotation) for parameter in inspect.signature(found).parameters.values())
    return _of_arrays(found) if any(re.search(r"\bTensor\b", text) for text in annotations) else None


class TensorMetric:
    """A metric of torchmetrics that is given arrays, on the host, and whose state is a tree.

    Args:
        cls: Its class.
        **arguments: Its arguments.
    """

    def __init__(self, cls: type[Any], **arguments: Any) -> None:
        self._metric = cls(**arguments)
        self._fresh = {name: _remembered(part) for name, part in _parts(self._metric)}
        self._compute = _of_arrays(self._metric.compute)
        update = _of_arrays(self._metric.update)

        @functools.wraps(update)
        def checked_update(**given: Any) -> None:
            for _, part in _parts(self._metric):
                _check_classes(getattr(part, "num_classes", None), given)
            update(**given)

        self.update = checked_update

    def compute(self) -> Any:
        """The value, as arrays; warns of classes that do not occur, which torchmetrics does not."""
        for text in dict.fromkeys(text for _, part in _parts(self._metric) for text in _absent(part)):
            warnings.warn(text, stacklevel=2)
        return self._compute()

    def state_dict(self) -> StateTree:
        """Every value that updates have changed, whether torchmetrics knows it as a state or not."""
        parts = {name: _remembered(part) for name, part in _parts(self._metric)}
        return {
            name: {
                key: _to_tree(value) for key, value in values.items() if not _same(value, self._fresh[name].get(key))
            }
            for name, values in parts.items()
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on where an equal metric stopped.

        Raises:
            StateError: If it is the state of another metric.
        """
        parts = dict(_parts(self._metric))
        for name, values in check_state("metric", state, {key: {str: object} for key in parts}).items():
            for key, value in values.items():
                if key not in self._fresh[name]:
                    raise StateError(f"{type(self._metric).__name__} has no {key!r}")
                setattr(parts[name], key, _from_tree(value))


def _parts(metric: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The metric and those it is made of."""
    return ((name, part) for name, part in metric.named_modules() if hasattr(part, "compute"))


def _remembered(part: nn.Module) -> dict[str, Any]:
    """Attributes that hold numbers, texts and tensors."""
    return {name: value for name, value in vars(part).items() if name not in _RESULTS and _is_kept(value)}


def _is_kept(value: Any) -> bool:
    return isinstance(value, (*_PLAIN, torch.Tensor)) or (isinstance(value, list) and all(map(_is_kept, value)))


def _same(value: Any, other: Any) -> bool:
    """Whether a setting is as it was; what tensors and lists hold may have changed in place."""
    return isinstance(value, _PLAIN) and type(value) is type(other) and value == other


def _to_tree(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return to_plain(value)
    if not isinstance(value, list) or not value:
        return value
    kinds = {(item.dtype, item.shape[1:]) if isinstance(item, torch.Tensor) and item.ndim else None for item in value}
    if len(kinds) == 1 and None not in kinds:
        # One array of many small ones, which would cost a commit more than what they hold.
        return {"rows": to_plain(torch.cat(value)), "lengths": [len(item) for item in value]}
    return [_to_tree(item) for item in value]


def _from_tree(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_tree(item) for item in value]
    if isinstance(value, Mapping) and value.keys() == {"rows", "lengths"}:
        return list(torch.split(to_tensor(value["rows"]), value["lengths"]))
    return value if isinstance(value, _PLAIN) else to_tensor(value)


def _absent(part: nn.Module) -> Iterator[str]:
    """What a metric that counts hits and misses of classes leaves unsaid."""
    if type(part).__name__.endswith(("ConfusionMatrix", "StatScores")):
        return  # they divide by nothing
    hits, wrong, missed, confusion = (getattr(part, name, None) for name in ("tp", "fp", "fn", "confmat"))
    if isinstance(confusion, torch.Tensor) and confusion.ndim == 2:
        there, found = confusion.sum(1), confusion.sum(0)
    elif isinstance(hits, torch.Tensor) and isinstance(wrong, torch.Tensor) and isinstance(missed, torch.Tensor):
        there, found = torch.atleast_1d(hits + missed), torch.atleast_1d(hits + wrong)
    else:
        return
    for what, totals in (("example", there), ("prediction", found)):
        if missing := [str(index) for index, total in enumerate(totals.tolist()) if not total]:
            which = f"class {', '.join(missing)}" if len(totals) > 1 else "the positive class"
            yield f"no {what} of {which}; what would be divided by zero is the metric's zero_division, 0 by default"


def _check_classes(classes: int | None, given: Mapping[str, Any]) -> None:
    """Refuse what a metric of classes takes for something else: scores for indices, one-hot targets for sequences."""
    scores, target = given.get("preds"), given.get("target")
    if classes is None or not (isinstance(scores, np.ndarray) and isinstance(target, np.ndarray)):
        return
    if scores.shape != target.shape:
        return
    if scores.dtype.kind == "f" and (scores != np.rint(scores)).any():
        raise ValueError("'preds' has the shape of 'target', but holds scores: a target is the index of a class")
    is_square = target.ndim == 2 and target.shape[1] == classes
    if is_square and np.isin(target, (0, 1)).all() and (target.sum(1) == 1).all():
        raise ValueError("'target' is one-hot: a target is the index of a class")


def _of_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors as one of arrays."""

    @functools.wraps(function)
    def call(**arguments: Any) -> Any:
        _check_classes(arguments.get("num_classes"), arguments)
        with torch.no_grad():
            return _to_arrays(function(**{name: _as_tensor(value) for name, value in arguments.items()}))

    return call


def _as_tensor(value: Any) -> Any:
    """An array as a tensor of a dtype that all operators take; texts as a list; what is no array as it is."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "US":
        return value.tolist()
    if value.dtype.kind in "iu":
        return torch.from_numpy(value.astype(np.int64))
    return torch.from_numpy(np.array(value, dtype=np.float32 if value.dtype == np.float16 else value.dtype))


def _to_arrays(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, Mapping):
        return {key: _to_arrays(item) for key, item in value.items()}
    return type(value)(map(_to_arrays, value)) if type(value) in (list, tuple) else value
