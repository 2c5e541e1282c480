"""The streams of a loop: one wrapper for training and one for evaluation, kept between epochs.

Their cursors are separate, so that a zeroth epoch or an extra evaluation does not change any training batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from emloop._settings.reading import read_settings
from emloop._state.random import current_seed, random_state_kept, seed_everything
from emloop._streams import Gate, StreamWrapper
from emloop._streams.shares import Sharing
from emloop._support.problems import no_stream
from emloop.declare import Count
from emloop.errors import ConfigError, MissingStreamError
from emloop.types import Batch

if TYPE_CHECKING:
    from emloop._streams.workers import Workers

__all__ = ["Buffer", "StreamLike", "Streams", "stream_names"]

StreamLike = str | StreamWrapper | Iterable[Batch]


@dataclass(frozen=True)
class Buffer:
    """The section ``main_loop.buffer``.

    Args:
        size: Number of batches to read ahead in a thread.
        gate: When to read them: ``open``: whenever there is room; ``model``: only where the model allows it, inside
            ``stream.allow_buffering``. A stream that draws from global random generators is read only while the loop
            waits for it, with either.
    """

    size: Count = 0
    gate: Gate = "open"

    @classmethod
    def parse(cls, config: int | Self | Mapping[str, Any]) -> Self:
        """Read ``main_loop.buffer``; a number is the size.

        Raises:
            ConfigError: If a key or a value is not understood.
        """
        if isinstance(config, cls):
            return config
        given = config if isinstance(config, Mapping) else {"size": config}
        return read_settings(cls, given, owner="main_loop.buffer", keys=("main_loop", "buffer"))


@dataclass
class Streams:
    """Looks streams up in a dataset and keeps their wrappers.

    Args:
        dataset: Object with a ``<name>_stream`` method for every stream.
        buffer: How many batches to read ahead, and when.
        epoch_size: Returns a stream's number of batches per epoch; -1 for one pass.
        prefetch: Called with every batch that is read ahead.
        workers: Processes that load batches of the dataset's streams; may be set before any is looked up.
        sharing: How several processes that train one model share in every batch; may be set like ``workers``.
        first: Number of batches to which every stream of the dataset is cut, the same in every pass; ``None``: whole.
    """

    dataset: object
    buffer: Buffer
    epoch_size: Callable[[str], int]
    prefetch: Callable[[Batch], Any] | None = None
    workers: Workers | None = None
    sharing: Sharing | None = None
    first: int | None = None
    _wrappers: dict[tuple[str, bool], StreamWrapper] = field(default_factory=dict, init=False)
    _cut: dict[str, list[Batch]] = field(default_factory=dict, init=False)

    def get(self, name: str, *, training: bool) -> StreamWrapper:
        """The wrapper of a stream.

        Raises:
            MissingStreamError: If the dataset has no such stream; lists those it has.
        """
        key = (name, training)
        if key not in self._wrappers:
            method: Callable[[], Iterable[Batch]] | None = getattr(self.dataset, f"{name}_stream", None)
            if not callable(method):
                message = no_stream(type(self.dataset).__name__, name, stream_names(self.dataset))
                raise MissingStreamError(message)
            if self.first is not None:
                method = partial(self._first_batches, name, method)
            self._wrappers[key] = self._wrap(method, name, training=training)
        return self._wrappers[key]

    def prepare(self, streams: Sequence[StreamLike], base_name: str, *, training: bool) -> dict[str, StreamWrapper]:
        """Wrap streams given by name, as iterables or as wrappers; unnamed ones become ``unnamed_<base_name>_<k>``.

        Raises:
            ConfigError: If a name occurs twice.
        """
        prepared: dict[str, StreamWrapper] = {}
        unnamed = 0
        for stream in streams:
            wrapper = self._prepare_one(stream, training=training)
            if wrapper.name is None:
                wrapper.name = f"unnamed_{base_name}_{unnamed}"
                unnamed += 1
            if wrapper.name in prepared:
                raise ConfigError(f"stream {wrapper.name!r} is given twice; every stream needs a name of its own")
            prepared[wrapper.name] = wrapper
        return prepared

    def training(self) -> dict[str, StreamWrapper]:
        """Wrappers of the streams that train the model, by name."""
        return {name: wrapper for (name, training), wrapper in self._wrappers.items() if training}

    def close(self) -> None:
        """End worker processes; they start again where streams are read on."""
        if self.workers is not None:
            self.workers.close()

    def forget(self) -> None:
        """Drop every wrapper and with it the position in its stream."""
        self._wrappers.clear()

    def _first_batches(self, name: str, method: Callable[[], Iterable[Batch]]) -> list[Batch]:
        """The batches to which a stream is cut; in any process the same, whatever was drawn before."""
        if name not in self._cut:
            with random_state_kept():
                seed_everything(current_seed() or 0)
                # An evaluation draws the same numbers in every pass.
                self._cut[name] = list(islice(StreamWrapper(method, name=name, training=False), self.first))
        return self._cut[name]

    def _prepare_one(self, stream: StreamLike, *, training: bool) -> StreamWrapper:
        if isinstance(stream, str):
            return self.get(stream, training=training)
        if isinstance(stream, StreamWrapper):
            return stream
        return self._wrap(lambda: stream, None, training=training)

    def _wrap(self, stream_fn: Callable[[], Iterable[Batch]], name: str | None, *, training: bool) -> StreamWrapper:
        return StreamWrapper(
            stream_fn,
            buffer_size=self.buffer.size,
            gate=self.buffer.gate,
            epoch_size=self.epoch_size(name) if name is not None else -1,
            name=name,
            training=training,
            prefetch=self.prefetch,
            workers=self.workers if name is not None and self.first is None else None,
            sharing=self.sharing if name is not None else None,
        )


def stream_names(dataset: object) -> list[str]:
    """Names of all streams of a dataset, sorted."""
    ending = "_stream"
    names = (name for name in dir(dataset) if name.endswith(ending) and not name.startswith("_"))
    return sorted(name.removesuffix(ending) for name in names if callable(inspect.getattr_static(dataset, name)))
