"""Map-style datasets: whatever has a length and gives an example for a number, as those of PyTorch do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emloop.declare import Component, Family, Names, Streams
from emloop.errors import BatchError, ConfigError
from emloop.types import Batch

from ._ready import dataset
from ._ready.components import made_of
from ._ready.transforms import stacked

__all__ = ["Examples"]


class MapStyle(Family):
    """A class, or a function that makes an object, with a length and items."""

    functions: ClassVar[bool] = True
    word: ClassVar[str] = "dataset"


class Examples(dataset.ReadyDataset):
    """Examples of a map-style dataset, such as one of torchvision, or a ``torch.utils.data.Dataset`` of your own.

    .. code-block:: yaml

        dataset:
          class: Examples
          source: {class: my.Pairs, root: data}
          names: [images, labels]
          split: {train: 0.8, valid: 0.2}

    It is asked for one example at a time, in whichever process loads the batch. Numbers, and tensors, arrays and images
    of one dtype and shape, become an array ``[B, ...]``, anything else a list. An example that draws from global random
    generators is loaded by the training's process alone; let a transform draw instead. ``split: {stratify: …}`` and
    the like read every example once at the start.

    Args:
        source: The class or function with its arguments; or a mapping from stream to these.
        names: What to call the parts of an example that is a tuple or a list, or the only part.
        **kwargs: What all ready datasets take.

    Raises:
        ConfigError: If it has no length or no items.
    """

    streams_from: ClassVar[Sequence[Streams]] = (
        Streams("source", ("train",)),
        Streams("split", without=("stratify", "group", "seed")),
        Streams("folds", ("train",)),
        Streams("folds", ("valid",), unless=("fold", None)),
    )

    def _configure_dataset(  # type: ignore[override]
        self, source: Component[MapStyle] | Mapping[str, Component[MapStyle]], names: Names = (), **kwargs: Any
    ) -> None:
        self._names = names
        self._made = made_of(source, MapStyle, "source")
        self._sources = list(self._made)
        super()._configure_dataset(**kwargs)

    def _opened(self, source: str, named: Sequence[tuple[tuple[str, ...], str]]) -> dataset.Examples:
        keys, made = self._made[source]
        if not (hasattr(made, "__len__") and hasattr(made, "__getitem__")):
            raise ConfigError.about(keys, f"{type(made).__name__} has no length, or no items to be asked for by number")
        return _Items(made, self._names, named)


class _Items:
    def __init__(self, made: Any, names: Sequence[str], named: Sequence[tuple[tuple[str, ...], str]]) -> None:
        self._made, self._names = made, names
        first = self._example(0) if named and len(made) else {}
        for keys, name in named:
            if first and name not in first:
                raise ConfigError.about(keys, f"there is no {name!r}; an example has: {', '.join(first)}")

    def __len__(self) -> int:
        return len(self._made)

    def batch(self, indices: npt.NDArray[np.int64]) -> Batch:
        return stacked([self._example(index) for index in indices.tolist()])

    def column(self, name: str) -> Any:
        return [self._example(index)[name] for index in range(len(self))]

    def _example(self, index: int) -> Mapping[str, Any]:
        found = self._made[index]
        if not isinstance(found, Mapping):
            parts = found if isinstance(found, tuple | list) else (found,)
            if len(parts) != len(self._names):
                raise BatchError(
                    f"example {index} has {len(parts)} parts and no names; dataset.names has {len(self._names)}: "
                    f"{', '.join(self._names) or 'name them there, such as [images, labels]'}"
                )
            found = dict(zip(self._names, parts, strict=True))
        return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    is_array = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    return np.asarray(value) if is_array and not isinstance(value, np.generic) else value
