"""Trial of an export: write it, run it on the batches that the model runs on, and compare.

The batches are those of the dataset or, where there is none, made up in the right shape.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from emloop._build import build_dataset, build_model
from emloop._contracts import AbstractModel, Exportable, bind_run
from emloop._registry import full_name
from emloop._support.suggest import check_choice
from emloop.constants import EL_DEFAULT_TRAIN_STREAM
from emloop.errors import BatchError, EmloopError, SaveError, UnknownClassError, UsageError
from emloop.main_loop.streams import Buffer, Streams
from emloop.saved_models import Saved, class_of_export
from emloop.types import Batch

from .agreement import compared

logger = logging.getLogger(__name__)

_LOOKED_AT = 8
"""Batches among which one of another shape is looked for."""

_FEWEST = 4
"""Examples of the largest batch, at least."""

_SEED = 20


class Trial:
    """A model with batches of several sizes, to export it and to try the export.

    Args:
        config: Config of the model and its dataset.
        saved: The saved model.
        to: The format.

    Raises:
        UsageError: If the model has no such format.
    """

    def __init__(self, config: Mapping[str, Any], saved: Saved, to: str) -> None:
        dataset, why_none = dataset_of(config)
        model = build_model(config, None, dataset, str(saved.path))
        if not isinstance(model, Exportable):
            raise UsageError(f"--to {to}: a {full_name(type(model))} cannot be exported; it offers no format")
        self._model: Exportable = model
        self._to = check_choice("--to", to, model.exports_to)
        self._batches, self.origin = examples_of(model, config, dataset, saved, why_none)
        self.sizes = list(map(_count, self._batches))

    def export(self, directory: Path, target: Path) -> Mapping[str, str]:
        """Write the model, restore it as its users will, and compare.

        Args:
            directory: Where to write.
            target: Where it will be moved, for messages.

        Returns:
            Output → how much it is off, in words.

        Raises:
            SaveError: If the model cannot be exported, or the exported one does something else.
        """
        expected = self._model.export(self._to, str(directory), self._batches)
        try:
            exported = build_model({"model": {"class": class_of_export(directory)}}, restore_from=str(directory))
            run = bind_run(exported)
            answers = [run(batch=batch, train=False, stream=None) for batch in self._batches]
        except EmloopError as error:
            text = str(error).replace(str(directory), str(target))
            raise SaveError(f"what was exported does not work, and is not kept: {text}") from error
        try:
            return compared(expected, answers)
        except SaveError as error:
            raise SaveError(f"the exported model differs from the original, and is not kept: {error}") from error


def dataset_of(config: Mapping[str, Any]) -> tuple[Any, str]:
    """The dataset of a model; or none, and why: its source or its files may have stayed behind."""
    try:
        return build_dataset(config), ""
    except (UnknownClassError, ImportError, OSError) as error:
        return None, str(error)


def examples_of(
    model: AbstractModel, config: Mapping[str, Any], dataset: Any, saved: Saved, why_none: str
) -> tuple[list[Batch], str]:
    """Find batches of several sizes; say where they come from."""
    name = (config.get("main_loop") or {}).get("train_stream_name") or EL_DEFAULT_TRAIN_STREAM
    if dataset is not None:
        try:
            stream = Streams(dataset, Buffer(), lambda _: -1).get(name, training=False)
            return _of_several_sizes(_two_of(stream, model.input_names)), f"of the stream {name!r}"
        except (BatchError, OSError) as error:
            why_none = str(error)
    logger.warning("It is tried with numbers at random, since there is no batch of the dataset: %s", why_none)
    return _of_several_sizes([_made_up(saved.manifest.get("inputs", {}), str(saved.path))]), "made up"


def _two_of(stream: Iterable[Batch], names: Iterable[str]) -> list[Batch]:
    """The first batch of a stream, and the next one in which sources have other shapes, if it comes soon.

    Args:
        stream: The stream.
        names: The sources whose shapes count.

    Raises:
        BatchError: If there is no batch at all.
    """
    batches = iter(stream)
    first = next(batches, None)
    if first is None:
        raise BatchError("the stream is empty")
    shapes = _shapes(first, names)
    other = next((batch for batch in islice(batches, _LOOKED_AT) if _shapes(batch, names) != shapes), None)
    return [first] if other is None else [first, other]


def _of_several_sizes(batches: Sequence[Batch]) -> list[Batch]:
    """Cut batches of three sizes, down to a single example, from the first one; keep the others."""
    first = batches[0]
    full = max(_count(first), _FEWEST)
    return [*(_taken(first, count) for count in (full, full // 2, 1)), *batches[1:]]


def _made_up(described: Mapping[str, Any], origin: str) -> Batch:
    """Make up a batch of random numbers: floats around 0, bytes of any value, whole numbers 0 and 1.

    Larger whole numbers may be out of range, as indices of words are.

    Args:
        described: Source → ``dtype`` and ``shape``, see :func:`emloop.saved_models.describe_variables`.
        origin: Who describes them.

    Raises:
        UsageError: If they are not described.
    """
    unknown = [name for name, source in described.items() if source is None]
    if unknown or not described:
        raise UsageError(f"{origin} does not say what {', '.join(unknown) or 'its inputs'} look like")
    random = np.random.default_rng(_SEED)
    return {name: _random(random, source) for name, source in described.items()}


def _random(random: np.random.Generator, source: Mapping[str, Any]) -> Any:
    dtype, shape = np.dtype(source["dtype"]), [size or _FEWEST for size in source["shape"]]
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    return random.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)


def _count(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _taken(batch: Batch, count: int) -> Batch:
    """Take so many examples in turn, from the first again after the last."""
    places = np.arange(count) % _count(batch)
    return {name: _at(values, places) for name, values in batch.items()}


def _at(values: Any, places: Any) -> Any:
    return values[places] if hasattr(values, "shape") else [values[place] for place in places]


def _shapes(batch: Batch, names: Iterable[str]) -> list[tuple[int, ...]]:
    return [np.shape(batch[name])[1:] for name in names if name in batch]
