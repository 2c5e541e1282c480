"""The contract of models: run batches, train on them, save."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from emloop.types import Batch

from .resume_changes import SAFE, ResumeChanges

if TYPE_CHECKING:
    from emloop._streams import StreamWrapper

    from .dataset import AbstractDataset

__all__ = ["AbstractModel", "bind_run", "weights_of"]


class AbstractModel(ABC):
    """Something that can be run on batches, trained by them, and saved.

    Whatever else a model can do, such as resume exactly or follow hooks, is an ability of :mod:`emloop.abilities`;
    none is needed.

    Args:
        dataset: The dataset of the run.
        log_dir: The run directory, where ``save`` writes; ``None`` for inference only.
        restore_from: Where to restore from, usually a saved model or a run directory; ``None`` for a fresh model.
        **kwargs: The ``model`` section of the configuration.
    """

    resume_changes: ClassVar[ResumeChanges] = {
        "name": SAFE,
        "*": "counts from here on; the model's state must fit",
    }
    """What a changed argument means for a resumed run: argument (``*``: any other) → ``safe``, ``refused``, or its
    effect in words. Shown, or refused, before anything is written."""

    only_when_fresh: ClassVar[Sequence[str]] = ()
    """Arguments, all with defaults, that only say how a fresh model begins. A resumed run builds the model without
    them, so what they name may be gone by then."""

    weights: Mapping[str, str] = MappingProxyType({})
    """Variable → the output or source that weighs it: a mask, the number of labels, how much an example counts.

    A mean of the variable is then ``Σ w·v / Σ w``, in training and for all hooks. A weight is in every batch that has
    the variable, holds numbers from 0 on or booleans, and has the variable's shape or a leading part of it, ``[B]`` for
    ``[B, T]``. May be a property."""

    def __init__(  # noqa: B027 - not abstract: a model may have no constructor of its own
        self,
        dataset: AbstractDataset | None = None,
        log_dir: str | None = None,
        restore_from: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Do nothing; what a model keeps is up to it."""

    @property
    @abstractmethod
    def input_names(self) -> Iterable[str]:
        """Names of the sources that a batch must hold."""

    @property
    @abstractmethod
    def output_names(self) -> Iterable[str]:
        """Names of the variables that ``run`` returns."""

    @abstractmethod
    def run(self, batch: Batch, train: bool, stream: StreamWrapper | None = None) -> Batch:
        """Compute the outputs for one batch; with ``train`` also update the parameters.

        Args:
            batch: ``B`` examples for every name in ``input_names``. ``B`` may shrink in the last batch but is never 0.
            train: Whether to take one training step.
            stream: Source of the batch; enter ``stream.allow_buffering`` around calls that release the interpreter
                lock. Implementations may omit this argument.

        Returns:
            ``B`` values for every name in ``output_names``: anything that ``len``, iteration and ``numpy.asarray``
            accept.
        """

    @abstractmethod
    def save(self, name_suffix: str) -> str:
        """Save the model durably under ``log_dir`` and return the path.

        Args:
            name_suffix: Distinguishes this saved model from the run's others, e.g. ``best`` or an epoch number.
        """

    @property
    def restore_fallback(self) -> str | type | None:
        """Class (or its full name) that restores any saved model of this backend without the model's source.

        ``None``: the source is needed.
        """
        return None


def weights_of(model: object) -> dict[str, str]:
    """Which variable of a model is weighed by which; an attribute of that name but of another kind says nothing."""
    weights: Any = getattr(model, "weights", None)
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for pair in weights.items() for name in pair):
        return {}
    return dict(weights)


def bind_run(model: AbstractModel) -> Callable[..., Batch]:
    """``model.run`` with the arguments ``batch``, ``train`` and ``stream``, whether or not the model takes the last."""
    run: Callable[..., Batch] = model.run
    try:
        parameters = inspect.signature(run).parameters.values()
    except (TypeError, ValueError):
        return run
    if any(parameter.name == "stream" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return run
    return lambda batch, train, stream: run(batch=batch, train=train)  # noqa: ARG005 - the model does not want it
