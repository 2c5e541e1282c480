"""Abilities that a model may have beside its contract, one small protocol each.

Nothing has to be inherited or registered: a model that defines the members has the ability. Code that needs one asks
``isinstance(model, Stateful)`` once, when it is built, never per batch. Members must be found without ``__getattr__``,
so a model that wraps another defines those that it passes on; one that sets ``state_dict = None`` opts out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from emloop.types import Batch, StateTree

__all__ = [
    "EpochAware",
    "Explaining",
    "Exportable",
    "Gathering",
    "Inspectable",
    "NaNAware",
    "Predicting",
    "Prefetching",
    "Restorable",
    "Stateful",
    "Steerable",
]


@runtime_checkable
class Stateful(Protocol):
    """A model that resumes exactly.

    Without it a model is committed by its own ``save``, at epoch ends only, and resumes with its weights alone.
    """

    def state_dict(self) -> StateTree:
        """A snapshot of everything that training depends on: parameters, optimizer, schedule, step, generators.

        Returns:
            Nested dicts and lists of None, bool, int, float, str, bytes and NumPy arrays of any dtype and shape. Later
            training must not change it, and taking it must not change the training.
        """

    def load_state_dict(self, state: StateTree) -> None:
        """Take up a state, so that training goes on to the bit as where it was taken.

        Args:
            state: What :meth:`state_dict` of an equally configured model returned, tuples as lists. Its arrays may be
                kept and written to.

        Raises:
            StateError: If it is the state of something else. The model is then not used any further.
        """


@runtime_checkable
class Inspectable(Protocol):
    """A model with numbers that hooks may read, such as the learning rate."""

    def get_variable(self, name: str) -> float:
        """The value of one of the model's numbers.

        Raises:
            MissingVariableError: If there is none of that name; lists those there are.
        """


@runtime_checkable
class Steerable(Inspectable, Protocol):
    """A model with numbers that hooks may change, such as the learning rate."""

    def set_variable(self, name: str, value: float) -> None:
        """Change one of the model's numbers from the next batch on; the change is part of the state.

        Raises:
            MissingVariableError: If there is none of that name; lists those there are.
        """


@runtime_checkable
class Prefetching(Protocol):
    """A model that prepares batches ahead of time, for instance by copying them to a device."""

    def prefetch(self, batch: Batch) -> Any:
        """Prepare a batch that ``run`` will be given later; runs in the thread that reads ahead.

        Args:
            batch: ``B`` examples for every source, as the stream gave them; not to be changed.

        Returns:
            Anything; ``run`` finds it as ``stream.prefetched``. An exception ends the run as one of the stream would.
        """


@runtime_checkable
class EpochAware(Protocol):
    """A model with something to do at the end of an epoch, such as a step of its schedule."""

    def end_epoch(self) -> None:
        """Called after the last batch of every training epoch, before anything is evaluated, saved or committed."""


@runtime_checkable
class Gathering(Protocol):
    """A model that keeps batches until it learns from them together, and cannot go on from a state taken meanwhile.

    While it cannot, nothing is committed: a training that is stopped there goes on from the last commit.
    """

    @property
    def can_stop_here(self) -> bool:
        """Whether ``state_dict`` has all that the training depends on, now."""


@runtime_checkable
class NaNAware(Protocol):
    """A model that notices a loss that is not a number where it computes it, so that nobody has to fetch every batch.

    Of other models, an output ``loss`` is looked at where it is an array on the host.
    """

    def first_nan(self) -> Any:
        """The first batch with such a loss, of those run since the last call.

        Returns:
            Its number, from 1, or 0 if there is none: anything that ``int`` takes, maybe still on its way from the
            device. ``None`` if there was no batch with a loss.
        """


@runtime_checkable
class Restorable(Protocol):
    """A model whose saved models can be restored without its source.

    Attributes:
        restore_fallback: The class, or its full name, that restores any saved model of the backend; ``None`` if the
            source is needed. Written into the run's configuration and into every saved model.
    """

    @property
    def restore_fallback(self) -> str | type | None: ...


@runtime_checkable
class Described(Protocol):
    """A model that can say in a few words what it is and where it runs."""

    def model_facts(self) -> Sequence[str]:
        """What to show when a run begins, such as ``torch 2.9``, ``cuda:0``, ``1,234 parameters``."""


@runtime_checkable
class Explaining(Protocol):
    """A model that can say how much each of its features counts."""

    def importances(self) -> Mapping[str, float]:
        """Feature → its importance or coefficient, in the order of the features; empty before anything was learned.

        Raises:
            ConfigError: If there never are any, as early as that can be told; says what there is.
        """


@runtime_checkable
class Predicting(Protocol):
    """A model that predicts from less than it trains on, or for several threads at once.

    Of any other model, a predictor calls ``run`` with all its ``input_names``, from one thread at a time.
    """

    @property
    def prediction_inputs(self) -> Sequence[str]:
        """Names of the sources that :meth:`predict` needs: no labels, if the model knows what to do without."""

    def predict(self, batch: Batch) -> Batch:
        """Compute everything that can be told from these sources.

        Called from several threads at once. It changes nothing, global random generators included, and returns the same
        for the same batch, as evaluations do.

        Args:
            batch: ``B`` examples for every name in ``prediction_inputs``; other names are ignored.

        Returns:
            ``B`` values for every output, as ``run`` returns them.
        """


@runtime_checkable
class Exportable(Protocol):
    """A model that ``emloop export`` can export.

    Attributes:
        exports_to: The formats, as ``--to`` names them.
    """

    exports_to: Sequence[str]

    def export(self, to: str, directory: str, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Write the model for another runtime, and leave it as it is.

        What is written is a saved model: its ``exported`` files, inputs and outputs that need no labels, and, as
        ``restore_fallback``, the class that runs it. The caller restores it and compares the two.

        Args:
            to: One of ``exports_to``.
            directory: Where to write it, see :func:`emloop.saved_models.write_saved_model`; it does not exist yet.
            batches: Batches of several sizes, a large one first, with all sources of the model. They show shapes and
                dtypes; none of their values may end up in what is written.

        Returns:
            The model's own outputs for each batch, one for every output of the exported model, first axis ``B``.

        Raises:
            SaveError: If the model cannot be expressed in the format.
        """
