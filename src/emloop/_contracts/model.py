"""What a model promises: to run batches, to save itself, and to say what its training depends on."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from emloop.types import Batch

from .resume_changes import SAFE, ResumeChanges

if TYPE_CHECKING:
    from emloop._streams import StreamWrapper

    from .dataset import AbstractDataset

__all__ = ["AbstractModel", "bind_run", "has_state", "optional_method"]


class AbstractModel(ABC):
    """Something that can be run on batches, trained by them, and saved.

    Beside the methods below a model may have: ``state_dict`` and ``load_state_dict``, all that its training depends on;
    ``get_variable(name)`` and ``set_variable(name, value)`` for hooks that steer; ``prefetch(batch)``, called with each
    batch that is read ahead, in the thread that reads, whose result ``run`` finds as ``stream.prefetched``;
    ``end_epoch()``, called after the last batch of every training epoch; and ``export``, see :class:`Exportable`.

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
    """What a change of an argument means to a run that goes on: argument (``*``: any other) → ``safe``, ``refused``, or
    what it does. Shown, and refused, before anything is written."""

    only_when_fresh: ClassVar[Sequence[str]] = ()
    """Arguments, all with defaults, that say how a fresh model begins: one that is given its state later, as in a run
    that goes on, is built without them, so that what they name may be gone."""

    def __init__(  # noqa: B027 - not abstract: a model may have no constructor of its own
        self,
        dataset: AbstractDataset | None = None,
        log_dir: str | None = None,
        restore_from: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Do nothing: what a model needs is its own affair."""

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
            stream: Source of the batch; enter ``stream.allow_buffering`` around calls that free the interpreter lock.
                An implementation may leave this argument out.

        Returns:
            ``B`` values for every name in ``output_names``: anything that ``len``, iteration and ``numpy.asarray``
            accept.
        """

    @abstractmethod
    def save(self, name_suffix: str) -> str:
        """Save the model under ``log_dir`` and return the path.

        Args:
            name_suffix: What tells this saved model from the run's others, e.g. ``best`` or an epoch number.
        """

    @property
    def restore_fallback(self) -> str | type | None:
        """Class (or its full name) that can restore any saved model of this backend without the model's source.

        ``None``: the source is needed.
        """
        return None


def bind_run(model: AbstractModel) -> Callable[..., Batch]:
    """``model.run``, taking ``batch``, ``train`` and ``stream``, whether or not the model wants the stream.

    Args:
        model: A model; one whose ``run`` takes two arguments will do.
    """
    run: Callable[..., Batch] = model.run
    try:
        parameters = inspect.signature(run).parameters.values()
    except (TypeError, ValueError):
        return run
    if any(parameter.name == "stream" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return run
    return lambda batch, train, stream: run(batch=batch, train=train)  # noqa: ARG005 - the model does not want it


def optional_method(model: object, name: str) -> Callable[..., Any] | None:
    """A method that a model may have or not, see :class:`AbstractModel`; ``None`` if it has none."""
    method = getattr(model, name, None)
    return method if callable(method) else None


def has_state(model: object) -> bool:
    """Whether the model offers all that its training depends on as a state tree."""
    return callable(getattr(model, "state_dict", None)) and callable(getattr(model, "load_state_dict", None))
