"""A trained model in one line: what predicts, wherever the model has come from.

.. code-block:: python

    predictor = emloop.load("log/digits_keen-noether")
    predictor.predict({"images": images})["predictions"]

``B`` is the number of examples.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from emloop import _build
from emloop._config import Config, load_config
from emloop._config._composing.foreign import mark_foreign
from emloop._config.untrusted import review
from emloop._contracts import AbstractModel, Predicting, bind_run
from emloop._contracts.ranks import use_ranks
from emloop._registry import import_backends_in_use
from emloop._run_dir.finding import find_restorable
from emloop._run_dir.layout import is_run_dir
from emloop._run_dir.summary import RunSummary
from emloop._settings.kinds import MEMBER
from emloop._state.random import random_state_kept
from emloop._support import trust
from emloop._support.suggest import did_you_mean
from emloop.constants import EL_DEFAULT_LOG_DIR
from emloop.errors import (
    BatchError,
    ConfigError,
    EmloopError,
    MissingExtraError,
    MissingVariableError,
    SavedModelError,
    UntrustedError,
    UsageError,
    VariableTypeError,
)
from emloop.models import Ensemble, members
from emloop.saved_models import (
    Described,
    Saved,
    array_of,
    describe_variables,
    find_saved,
    fitted,
    predicting,
)
from emloop.types import Batch

__all__ = ["Predictor", "load"]

logger = logging.getLogger(__name__)

_Arrays: TypeAlias = dict[str, Any]
"""Name → array, first axis ``B``."""

_MOST_EXAMPLES = 1024
_MOST_BYTES = 32 << 20
"""What a batch holds at most, unless the caller says how many examples; one example it holds in any case."""

_SOME = (8, 9)
"""What stands for a size that may be any."""


def load(
    where: str | Path,
    *,
    overrides: Sequence[str] = (),
    output_root: str | Path = EL_DEFAULT_LOG_DIR,
    trust_source: bool = False,
    untrusted: bool = False,
) -> Predictor:
    """Load a trained model to predict with; nothing is written, and no dataset or config of yours is needed.

    Args:
        where: A run, by its directory, the beginning of its name, ``@`` for the latest training, ``@-1`` for the one
            before it or ``best:valid.loss`` for the best; a saved or exported model; a checkpoint; or a directory with
            a ``config.yaml`` and a saved model. Of a run, it is the model ``best``, else its only saved model, else its
            newest commit.
        overrides: Changes of the config as on the command line, such as ``model.device=cpu``.
        output_root: Where runs are looked for by name.
        trust_source: Whether the source capsule in it may be imported, where the source is not there.
        untrusted: Whether it is a stranger's: no class but those of installed backends is imported for it, and no file
            outside of it is opened.

    Raises:
        RunDirError: If there is no such run.
        SavedModelError: If there is no model, it is damaged, or its source is needed and not there.
        ConfigError: If its config, or an override, is wrong, or its framework is not installed.
        UntrustedError: If it is untrusted and asks for more, or the capsule has been changed.
    """
    with trust.untrusted() if untrusted else nullcontext():
        origin = find_restorable(where, output_root)
        if origin.config is not None:
            mark_foreign(origin.config)
        config = _build.config_of(origin, overrides)
        if isinstance(config, Config):
            review(config, classes=False)
        if trust_source:
            members.trust_source(config, origin.path)
        import_backends_in_use()  # so that their random numbers are known
        # In a hook or a model that several processes train, what is loaded is each one's own.
        with use_ranks(None), random_state_kept(), predicting(), members.trusting_members(trust_source):
            model = _restored(config, str(origin.path))
        run = None if origin.config is None or not is_run_dir(origin.config.parent) else origin.config.parent
        if origin.config is not None and not isinstance(config, Config):
            config = load_config(str(origin.config))  # an exported model needs none, but its user may look
        return Predictor(model, config, origin.path, run)


class Predictor:
    """A trained model that predicts; see :func:`load`.

    Attributes:
        model: The model.
        config: The configuration that belongs to it.
        path: The saved model or checkpoint, or what else it was restored from.
        run: The run directory that it lies in, or ``None``.
        rung: How much of the model works without its source, e.g. ``exported``; ``None`` if that is not known.
        reason: Why it is not more.
    """

    def __init__(self, model: AbstractModel, config: Mapping[str, Any], path: Path, run: Path | None = None) -> None:
        saved: Saved | None = None
        with suppress(SavedModelError):  # a model may have restored itself from files of its own
            saved = find_saved(path)
        manifest = {} if saved is None else saved.manifest
        described = _described(find_saved(model.like) if saved is None and isinstance(model, Ensemble) else saved)
        self.model, self.config, self.run = model, config, run
        self.path = path if saved is None else saved.path
        self.rung: str | None = manifest.get("rung")
        self.reason: str | None = manifest.get("reason")
        self._told: set[str] = set()
        self._compute: Callable[[Batch], Batch]
        if isinstance(model, Predicting):
            names, self._compute = model.prediction_inputs, model.predict
        else:
            names, self._compute = list(model.input_names), self._one_by_one(model)
        takes = described.get("inputs") or {}
        self.inputs: Mapping[str, Described | None] = {name: Described.parse(takes.get(name)) for name in names}
        """Name → dtype and shape of each input, as in the training, ``None`` for sizes that may be any; ``None`` where
        nothing is known of it, as of the checkpoint of a run that has saved no model."""
        self._gives: Mapping[str, Any] = described.get("outputs") or {}

    def predict(self, inputs: Mapping[str, Any], *, batch_size: int | None = None) -> _Arrays:
        """Predict, in evaluation mode. May be called from several threads; the same inputs give the same outputs.

        Args:
            inputs: Any number of examples for every name in :attr:`inputs`, as arrays or what NumPy makes arrays of;
                other names are ignored. Integers and floats are converted to the dtype of the training where it holds
                them; floats are never made integers.
            batch_size: How many examples the model is given at once; by default up to 1024, of up to 32 MiB together.

        Returns:
            Output → array, first axis ``B``.

        Raises:
            MissingVariableError: If an input is missing; names those that there are.
            VariableTypeError: If the inputs are no mapping.
            BatchError: If an input does not fit; names what was expected and what was found.
            UsageError: If ``batch_size`` is not positive.
        """
        parts = list(self.in_batches(inputs, batch_size=batch_size))
        return (
            parts[0] if len(parts) == 1 else {name: _joined(name, [part[name] for part in parts]) for name in parts[0]}
        )

    def in_batches(self, inputs: Mapping[str, Any], *, batch_size: int | None = None) -> Iterator[_Arrays]:
        """Predict batch by batch, so that neither inputs nor outputs need to be in memory together.

        Args:
            inputs: As :meth:`predict` takes them; arrays may be mapped from a file.
            batch_size: As for :meth:`predict`.

        Yields:
            What :meth:`predict` would return for the next examples; of no examples, once, arrays without any.

        Raises:
            MissingVariableError, BatchError, UsageError: As :meth:`predict`.
        """
        passed: Any = inputs
        if not isinstance(passed, Mapping):
            names = ", ".join(f"{name!r}: …" for name in self.inputs)
            raise VariableTypeError(f"expected a mapping of inputs, {{{names}}}, got {type(passed).__name__}")
        for name in self.inputs:
            if name not in inputs:
                raise MissingVariableError(self._missing(inputs, name))
        given = {name: array_of(inputs[name], name) for name in self.inputs}
        count = _count(given)
        size = _fitting(count, given) if batch_size is None else batch_size
        if size < 1:
            raise UsageError(f"batch_size: expected a number of examples, at least 1, got {batch_size!r}")
        if not count:
            one = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in self._fitted(given).items()}
            yield {name: values[:0] for name, values in self._answer(one, 1).items()}
        for start in range(0, count, size):
            cut = given if size >= count else {name: array[start : start + size] for name, array in given.items()}
            yield self._answer(self._fitted(cut), min(size, count - start))

    @cached_property
    def outputs(self) -> Mapping[str, Described | None]:
        """Name → dtype and shape of each output of :meth:`predict`, as two batches of zeros tell them."""
        found: Mapping[str, Any] = {}
        if None not in self.inputs.values():
            with suppress(Exception):  # zeros need not make sense to a model
                for size in _SOME:
                    zeros = {name: _zeros(described, size) for name, described in self.inputs.items() if described}
                    found = describe_variables(self._answer(zeros, 2), found)
        # Of what the training has seen more is known.
        return {name: Described.parse(self._gives.get(name) or found.get(name)) for name in found or self._gives}

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """What the hooks have left of the epoch, stream → variable → value; empty if it is not in a run.

        The epoch is that in the saved model's name; of what ``SaveBest`` has saved, the best; otherwise the last one.
        """
        if self.run is None:
            return {}
        summary = RunSummary(self.run)
        if numbered := re.search(r"_(\d+)$", self.path.name):
            return summary.of_epoch(int(numbered[1])) or summary.metrics
        for seen in summary.trace.monitored:
            if seen.saved_as and self.path.name.partition("_")[2] == seen.saved_as:
                return summary.best(seen.metric, seen.better) or summary.metrics
        return summary.metrics

    def __repr__(self) -> str:
        section = self.config.get("model")
        name = section.get("class") if isinstance(section, Mapping) else type(self.model).__name__
        lines = [f"<Predictor of {self.path}: {name}{f', {self.rung}' if self.rung else ''}"]
        lines += [f"  takes {n}: {'unknown' if d is None else d}" for n, d in self.inputs.items()]
        lines += [f"  gives {n}: {'unknown' if d is None else d}" for n, d in self.outputs.items()]
        return "\n".join(lines) + ">"

    def _fitted(self, arrays: _Arrays) -> _Arrays:
        return {
            name: array if expected is None else fitted(array, name, expected, any_size=True)
            for (name, array), expected in zip(arrays.items(), self.inputs.values(), strict=True)
        }

    def _missing(self, inputs: Mapping[str, Any], name: str) -> str:
        takes = ", ".join(own if described is None else f"{own}: {described}" for own, described in self.inputs.items())
        parts = [f"the input {name!r} is missing", *did_you_mean(name, inputs.keys() - self.inputs.keys())]
        parts += [f"the model takes {takes}", f"there is {', '.join(map(repr, inputs)) or 'nothing'}"]
        if len(self.inputs) > 1 and set(self.inputs) == set(self.model.input_names):
            parts.append("it takes what its training takes, since what it does without labels is not known")
        return "; ".join(parts)

    def _answer(self, arrays: _Arrays, count: int) -> _Arrays:
        odd = [
            f"{name}: expected {expected}, got {array.dtype} {list(array.shape)}"
            for (name, array), expected in zip(arrays.items(), self.inputs.values(), strict=True)
            if expected is not None and not expected.takes(array.shape)
        ]
        try:
            outputs = self._compute(arrays)
        except EmloopError:
            raise
        except Exception as error:
            if odd:
                raise BatchError(f"{'; '.join(odd)}: {type(error).__name__}: {error}") from error
            raise
        for told in odd:
            # A convolution takes images of any size, but a model may also take what nobody meant.
            self._warn(told.partition(":")[0], f"{told}, and the model takes it")
        found: _Arrays = {}
        for name, values in outputs.items():
            array = np.asarray(values)
            if array.shape[:1] == (count,):
                shares = any(np.may_share_memory(array, given) for given in arrays.values())
                found[name] = array.copy() if shares else array
            else:
                self._warn(name, f"output {name!r} has no value for every example, and is left out")
        return found

    def _warn(self, subject: str, message: str) -> None:
        if subject not in self._told:
            self._told.add(subject)
            logger.warning("%s: %s", self.path, message)

    def _one_by_one(self, model: AbstractModel) -> Callable[[Batch], Batch]:
        """``model.run`` for one thread at a time."""
        run, lock = bind_run(model), threading.Lock()

        def compute(batch: Batch) -> Batch:
            with lock, random_state_kept():
                outputs = run(batch=batch, train=False, stream=None)
                fetched: _Arrays = {name: np.asarray(values) for name, values in outputs.items()}
                return fetched

        return compute


def _restored(config: Mapping[str, Any], path: str) -> AbstractModel:
    """The model, from its source or, where that cannot make it, from its program."""
    try:
        return _build.build_model(config, restore_from=path, kind=MEMBER)
    except (ConfigError, UntrustedError, MissingExtraError):
        raise
    except Exception as error:  # noqa: BLE001 - raised, unless the program does
        try:
            model = _build.build_fallback(config, None, path)
        except EmloopError:
            if not isinstance(error, EmloopError):
                error.add_note("to predict, a model is restored without a dataset: the argument `dataset` is None")
            raise error from None
        reason = f"{type(error).__name__}: {error}"
        logger.warning("%s is restored without its source, by which it cannot be: %s", path, reason)
        return model


def _described(saved: Saved | None) -> Mapping[str, Any]:
    """The manifest that tells of inputs and outputs: a checkpoint's does not, but its run's saved models do."""
    if saved is None:
        return {}
    if saved.kind == "checkpoint":
        for path in sorted(saved.path.parent.parent.glob("model_*")):
            with suppress(SavedModelError):
                return find_saved(path).manifest
    return saved.manifest


def _count(arrays: _Arrays) -> int:
    counts = {array.shape[0] if array.ndim else None for array in arrays.values()}
    if len(counts) != 1 or None in counts:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise BatchError(f"the inputs must hold the same number of examples, got {shapes or 'none'}")
    return counts.pop() or 0


def _fitting(count: int, arrays: _Arrays) -> int:
    """How many examples make a batch."""
    size: int = sum(array.nbytes for array in arrays.values())
    return min(_MOST_EXAMPLES, max(1, _MOST_BYTES * count // (1 + size)))


def _joined(name: str, parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    try:
        return np.concatenate(parts)
    except ValueError:
        shapes = ", ".join(sorted({str([*part.shape[1:]]) for part in parts}))
        raise BatchError(
            f"output {name!r} has another shape in every batch: {shapes}; a larger batch_size makes it one batch"
        ) from None


def _zeros(described: Described, size: int) -> npt.NDArray[Any]:
    return np.zeros((2, *(known or size for known in (described.shape or (None,))[1:])), described.dtype)
