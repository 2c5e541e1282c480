"""The base of datasets that are used from a configuration alone: divided, shuffled, balanced, transformed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import glob, has_magic
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from emloop._support.problems import no_stream
from emloop._support.suggest import did_you_mean
from emloop.declare import Component, Count, Limits, Positive, Streams
from emloop.errors import ConfigError, MissingExtraError, MissingStreamError
from emloop.types import Batch

from ..base_dataset import BaseDataset
from ..index_stream import IndexStream
from .dividing import divided, shares_of
from .transforms import Draws, Step, Transform, steps_of, transformed

__all__ = ["Examples", "Paths", "ReadyDataset"]

Paths = str | Sequence[str] | Mapping[str, str | Sequence[str]]
"""Files, patterns, or lists of them; or those of each stream."""

_NAMING = ("stratify", "group")
_Indices = npt.NDArray[np.int64]


class Examples(Protocol):
    """Examples of a source, read when they are asked for."""

    def __len__(self) -> int:
        """Number of examples."""

    def batch(self, indices: _Indices) -> Batch:
        """The examples with these indices, in this order."""

    def column(self, name: str) -> Any:
        """All values of one name."""


@dataclass(frozen=True)
class _Part:
    """A stream's share of the examples.

    Args:
        examples: The source.
        indices: Its own among them; ``None``: all.
        likely: Weight of each in drawing; ``None``: each comes once.
        classes: Class of each, over which drawing is even.
    """

    examples: Examples
    indices: _Indices | None
    likely: npt.NDArray[np.float64] | None = None
    classes: _Indices | None = None

    def __len__(self) -> int:
        return len(self.examples) if self.indices is None else len(self.indices)


class ReadyDataset(BaseDataset):
    """What all ready datasets take.

    Args:
        batch_size: Examples in a batch.
        split: Stream → share of the examples, ``{train: 0.8, valid: 0.1, test: 0.1}``; beside that ``stratify``: name
            of the class whose shares are to be the same in each, ``group``: name of what must not be torn apart, such
            as a patient, and ``seed``. It does not depend on the run's seed, so that all runs leave out the same
            examples. Where ``path`` names several streams, ``train`` is divided, and no group may be in two.
        folds: Number of equal parts, of which one is the stream ``valid``, and the others ``train``.
        fold: Which one, from 0 on; ``null``: none, all of them are ``train``, and there is no ``valid``.
        shuffle: Whether the stream ``train`` comes in another order in every pass.
        drop_last: Whether the stream ``train`` leaves out a last batch that is smaller than the others.
        balance: Name of a class. The stream ``train`` draws from each class equally often: examples of rare ones come
            several times in a pass, others not at all.
        weights: Name of what examples of the stream ``train`` are drawn by, in proportion.
        transforms: Stream → functions or classes, each by its name or as ``{class: my.augment, strength: 0.1}``. They
            are called with an example (with ``per: batch``: a batch) and a NumPy generator, which depends on the run's
            seed, the pass and the place in it only, and return the new one. With ``inputs``, a list of names, ``class``
            makes something that is called with these instead, such as a tokenizer, and with the arguments in ``call``;
            the mapping that it returns is added.

    Raises:
        ConfigError: If examples cannot be divided so, or a name is not there.
        MissingExtraError: If a package is not installed.
    """

    _sources: Sequence[str]
    """What :meth:`_opened` opens; set by subclasses beforehand."""

    streams_from: ClassVar[Sequence[Streams]] = (
        Streams("path", ("train",)),
        Streams("split", without=("stratify", "group", "seed")),
        Streams("folds", ("train",)),
        Streams("folds", ("valid",), unless=("fold", None)),
    )
    """What the names of streams follow from."""

    packages: ClassVar[Sequence[tuple[str, str]]] = ()
    """Modules that are needed, each with the extra of emloop that brings it; the check tells what is missing, too."""

    sources_from: ClassVar[str] = ""
    """Argument that names sources, all of them but ``sources_beside``, where it is given."""

    sources_beside: ClassVar[Sequence[str]] = ()

    def __init__(self, config_str: str) -> None:
        for module, extra in self.packages:
            if find_spec(module) is None:
                raise MissingExtraError(type(self).__name__, extra)
        super().__init__(config_str)

    def _configure_dataset(  # type: ignore[override]
        self,
        batch_size: Positive = 32,
        split: Mapping[str, float | str] | None = None,
        folds: Annotated[int, Limits(minimum=2)] | None = None,
        fold: Count | None = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        balance: str | None = None,
        weights: str | None = None,
        transforms: Mapping[str, Sequence[Component[Transform]]] | None = None,
    ) -> None:
        """Open what ``_sources`` names, and divide it; the arguments are the class's."""
        self._batch_size, self._shuffle, self._drop_last = batch_size, shuffle, drop_last
        given = dict(split or {})
        named: dict[tuple[str, ...], Any] = {("split", key): given[key] for key in _NAMING if key in given}
        named |= {(key,): name for key, name in {"balance": balance, "weights": weights}.items() if name is not None}
        shares = shares_of(given, folds, fold)
        if shares and "train" not in self._sources:
            raise ConfigError.about("split", f"divides the source 'train', and there is {', '.join(self._sources)}")
        self._parts: dict[str, _Part] = {}
        groups = {}
        for source in self._sources:
            wanted = [(keys, str(name)) for keys, name in named.items() if source == "train" or keys[-1] == "group"]
            examples = self._opened(source, wanted)
            if not len(examples):
                raise ConfigError.about("path", f"the stream {source!r} has no examples")
            found = {keys[-1]: _values(examples, name, keys) for keys, name in wanted}
            if "group" in found:
                groups[source] = found["group"]
            parts: Mapping[str, _Indices | None] = {source: None}
            if source == "train" and shares:
                parts = _divided(len(examples), shares, given.get("seed", 0), found)
                parts = parts if folds is None else _folded(parts, fold)
            for name, indices in parts.items():
                if name in self._parts:
                    raise ConfigError.about(("split", name), f"path names a stream {name!r}, too")
                self._parts[name] = _Part(examples, indices)
            if source == "train":
                self._parts["train"] = _weighed(self._parts["train"], found)
        if drop_last and len(self._parts.get("train", ())) < batch_size and "train" in self._parts:
            message = f"the stream 'train' has {len(self._parts['train'])} examples, less than a batch of {batch_size}"
            raise ConfigError.about("drop_last", f"{message}, so it would be empty", "have a smaller `batch_size`")
        _require_whole(groups)
        self._steps = {name: self._transforms(name, described) for name, described in (transforms or {}).items()}
        vars(self).update({f"{name}_stream": partial(self._stream, name) for name in self._parts if name != "train"})

    def _transforms(self, stream: str, described: Sequence[Any]) -> list[Step]:
        if stream not in self._parts:
            hints = (*did_you_mean(stream, self._parts), f"its streams: {', '.join(self._parts)}")
            raise ConfigError.about(("transforms", stream), f"there is no stream {stream!r}", *hints)
        return steps_of(described, ("transforms", stream))

    @abstractmethod
    def _opened(self, source: str, named: Sequence[tuple[tuple[str, ...], str]]) -> Examples:
        """Open a source.

        Args:
            source: Its name.
            named: Where the configuration names something that :meth:`Examples.column` has to know, and its name.
        """

    _classes: Sequence[str] | None = None

    def classes_names(self) -> Sequence[str] | None:
        """What indices stand for in the only source of classes, or in ``label`` or ``labels``; ``None``: in neither."""
        return self._classes

    def num_classes(self) -> int | None:
        """Their number."""
        return None if self._classes is None else len(self._classes)

    def train_stream(self) -> Sequence[Batch]:
        """The batches to train with."""
        if "train" not in self._parts:
            raise MissingStreamError(no_stream(type(self).__name__, "train", self._parts))
        return self._stream("train")

    def _stream(self, name: str) -> Sequence[Batch]:
        part, is_train = self._parts[name], name == "train"
        order = self._order(part) if is_train else part.indices
        steps = self._steps.get(name, ())
        draws = Draws(self.rng(f"{name}: transforms")) if steps else None
        source = _Ordered(part.examples, order, steps, draws, self._batch_size)
        return IndexStream(source, self._batch_size, drop_last=self._drop_last and is_train)

    def _order(self, part: _Part) -> _Indices | None:
        if not self._shuffle and part.likely is None:
            return part.indices
        rng = self.rng("train")
        places = rng.permutation(len(part))
        if part.likely is not None:
            if part.classes is not None:
                places = places[np.argsort(part.classes[places], kind="stable")]
            # Evenly spaced in the sum of weights, so that each comes as often as it should, rounded up or down.
            ends = np.cumsum(part.likely[places])
            marks = (np.arange(len(places)) + rng.random()) * (ends[-1] / len(places))
            places = places[np.minimum(np.searchsorted(ends, marks, side="right"), len(places) - 1)]
            places = rng.permutation(places) if self._shuffle else np.sort(places)
        return places if part.indices is None else part.indices[places]

    def _found(self, path: Paths) -> dict[str, list[Path]]:
        """The files of each source, all of them named to the run.

        Raises:
            ConfigError: If there is none, or one cannot be read.
        """
        found: dict[str, list[Path]] = {}
        for source, paths in (path if isinstance(path, Mapping) else {"train": path}).items():
            keys = ("path", source) if isinstance(path, Mapping) else ("path",)
            for one in [paths] if isinstance(paths, str) else paths:
                is_pattern = has_magic(one) and not Path(one).exists()
                files = sorted(glob(one, recursive=True)) if is_pattern else [one]  # noqa: PTH207 - of any directory
                if not files:
                    raise ConfigError.about(keys, f"no file has a name like {one}")
                try:
                    found.setdefault(source, []).extend(map(self.reads, files))
                except FileNotFoundError as error:
                    hint = "a relative path begins in the directory where the command runs"
                    raise ConfigError.about(keys, f"there is no file {error.filename}", hint) from None
                except OSError as error:
                    raise ConfigError.about(keys, f"{one} cannot be read: {error.strerror}") from error
            if source not in found:
                raise ConfigError.about(keys, "expected a file, or a list of files, got none")
        if not found:
            raise ConfigError.about("path", "expected a file, or a list of files, got none")
        return found


class _Ordered:
    """Examples by their place in the pass."""

    def __init__(
        self, examples: Examples, order: _Indices | None, steps: Sequence[Step], draws: Draws | None, size: int
    ) -> None:
        self._examples, self._order, self._steps, self._draws, self._size = examples, order, steps, draws, size

    def __len__(self) -> int:
        return len(self._examples) if self._order is None else len(self._order)

    def batch(self, indices: _Indices) -> Batch:
        batch = self._examples.batch(indices if self._order is None else self._order[indices])
        if self._draws is None:
            return batch
        return transformed(batch, self._steps, self._draws, indices, self._size)


def _values(examples: Examples, name: str, keys: tuple[str, ...]) -> npt.NDArray[Any]:
    """What examples are divided or drawn by: a value for each."""
    try:
        values = np.asarray(examples.column(name))
    except ValueError:  # of different lengths
        values = np.empty((0, 0))
    if values.ndim != 1:
        raise ConfigError.about(keys, f"expected one value for each example, and {name!r} has several")
    gone = np.flatnonzero([value is None for value in values] if values.dtype == object else values != values)  # noqa: PLR0124 - NaN
    if len(gone):
        message = f"{name!r} has no value for {len(gone)} of {len(values)} examples, first for number {gone[0] + 1}"
        raise ConfigError.about(keys, message, "leave these out, or say what stands for a missing value")
    return values


def _codes(values: npt.NDArray[Any]) -> _Indices:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _divided(
    count: int, shares: Mapping[str, float], seed: object, found: Mapping[str, npt.NDArray[Any]]
) -> Mapping[str, _Indices]:
    """The indices of each stream, or fold."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError.about(("split", "seed"), f"expected a whole number from 0 on, got {seed!r}")
    codes = {key: _codes(found[key]) for key in _NAMING if key in found}
    return divided(count, shares, seed, codes.get("stratify"), codes.get("group"))


def _folded(parts: Mapping[str, _Indices], fold: int | None) -> Mapping[str, _Indices]:
    """The streams that folds, and what is set aside, make."""
    others = [indices for name, indices in parts.items() if name.isdecimal() and name != str(fold)]
    held_out = {} if fold is None else {"valid": parts[str(fold)]}
    aside = {name: indices for name, indices in parts.items() if not name.isdecimal()}
    return {"train": np.sort(np.concatenate(others)), **held_out, **aside}


def _weighed(part: _Part, found: Mapping[str, npt.NDArray[Any]]) -> _Part:
    """The training's examples, with what they are drawn by."""
    own = {key: values if part.indices is None else values[part.indices] for key, values in found.items()}
    if "weights" not in own and "balance" not in own:
        return part
    likely = np.ones(len(part))
    if "weights" in own:
        likely = own["weights"]
        if likely.dtype.kind not in "biuf":
            raise ConfigError.about("weights", f"expected a number for each example, got {likely[0].item()!r}")
        likely = likely.astype(np.float64)
        if not np.isfinite(likely).all() or likely.min() < 0 or not likely.any():
            raise ConfigError.about("weights", "expected numbers from 0 on, and not only zeros")
    if "balance" not in own:
        return replace(part, likely=likely)
    classes = _codes(own["balance"])
    totals = np.bincount(classes, likely)
    if not totals.all():
        raise ConfigError.about("weights", "all examples of a class that is to be balanced have the weight 0")
    return replace(part, likely=likely / totals[classes], classes=classes)


def _require_whole(groups: Mapping[str, Any]) -> None:
    """Refuse a group that is in two sources."""
    for one, other in combinations([name for name, values in groups.items() if values is not None], 2):
        both = np.intersect1d(groups[one], groups[other])
        if len(both):
            shown = ", ".join(map(repr, both[:5].tolist())) + (", …" if len(both) > 5 else "")
            message = f"{one} and {other} share {len(both)} groups, so one tells of the other: {shown}"
            raise ConfigError.about(("split", "group"), message, "keep each group in one file, or let `split` divide")
