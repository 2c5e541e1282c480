"""Base of datasets written in Python: keyword arguments, reproducible random numbers, a description of the streams."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from emloop._contracts import AbstractDataset
from emloop._contracts.ranks import current_ranks
from emloop._registry import LiveResolver
from emloop._settings.fitting import argument_problems
from emloop._settings.hints import Accepted
from emloop._settings.live import accepted_by
from emloop._streams import current_pass, describe_file, keyed_rng
from emloop._streams.shares import Share
from emloop._yaml import documents as yaml
from emloop.errors import ConfigError

from .stream_info import log_stream_info

__all__ = ["BaseDataset"]


class BaseDataset(AbstractDataset, ABC):
    """Base of datasets written in Python.

    .. code-block:: python

        class Digits(el.BaseDataset):
            def _configure_dataset(self, output_dir, batch_size=32):
                self._batch_size = batch_size
                self._digits = {"images": ..., "labels": ...}

            def train_stream(self):
                return IndexStream(self._digits, self._batch_size, rng=self.rng("train"))

    Args:
        config_str: The arguments of ``_configure_dataset`` as a YAML mapping.

    Raises:
        ConfigError: If the text is not a mapping, or names arguments that ``_configure_dataset`` does not take.
    """

    forwards_config_to: ClassVar[tuple[str, ...]] = ("_configure_dataset",)
    """Methods that receive the configuration's arguments."""

    def __init__(self, config_str: str) -> None:
        super().__init__(config_str)
        name = type(self).__name__
        config = {} if config_str is None else yaml.load(config_str, name)
        if config is None:
            config = {}
        if not isinstance(config, Mapping):
            raise ConfigError.about(name, f"expected arguments as a mapping, got a {type(config).__name__}: {config!r}")
        accepted = accepted_by(type(self), constructor=False)
        given = {key: value for key, value in config.items() if key != "output_dir"}
        found = list(argument_problems(accepted.without(("output_dir",)), given, LiveResolver()))
        if found:
            raise ConfigError(problem if problem.label else problem._replace(path=name) for problem in found)
        self._configure_dataset(**_with_output_dir(config, accepted))

    @abstractmethod
    def _configure_dataset(self, output_dir: str | None, **kwargs: Any) -> None:
        """Configure the dataset.

        Args:
            output_dir: The run directory; ``None`` for a dataset created by hand. A method need not take it.
            **kwargs: The ``dataset`` section without ``class``. A method that names its arguments instead gets no
                others: any that it does not take is an error.
        """

    def rng(self, stream: str) -> np.random.Generator:
        """A generator of random numbers for a stream, the same in every process of a run.

        While a run reads a stream, there is one generator per stream and pass: a second call within the pass returns
        it again. Every pass of an evaluation has the same numbers.

        Anywhere else (in ``_configure_dataset``, or in your own loop over ``train_stream()``) each call returns the
        next of a series of generators, which starts anew with every object. Threads of your own are "elsewhere", too:
        call this in the stream method, and pass them the generator.

        Args:
            stream: Name of the stream, or of anything else that needs random numbers, e.g. ``split``.
        """
        reading = current_pass()
        if reading is not None:
            return reading.rng(stream)
        # A subclass may have replaced the constructor.
        calls: Counter[str] = vars(self).setdefault("_rng_calls", Counter())
        calls[stream] += 1
        return keyed_rng(stream, "outside", calls[stream] - 1)

    @property
    def shard(self) -> Share:
        """Which of several processes that train one model this is: ``rank``, and how many there are, ``size``.

        Streams yield whole batches all the same, and each process gets its rows of them. A dataset may look at this to
        do better, such as download each part of its files once.
        """
        ranks = current_ranks()
        return Share(0, 1) if ranks is None else Share(ranks.rank, ranks.size)

    @property
    def named_files(self) -> Mapping[str, Mapping[str, Any]]:
        """What :meth:`reads` was given: absolute path → size, time and digest."""
        found: Mapping[str, Mapping[str, Any]] = vars(self).get("_named_files", {})
        return found

    def reads(self, path: str | os.PathLike[str]) -> Path:
        """Name a file, or a directory of files, that the data come from, so that the run notices when it changes.

        .. code-block:: python

            self._images = np.load(self.reads("data/train.npy"))

        It is looked at once: its size, its time and a digest, of the whole file up to 64 MiB, of 64 blocks spread over
        it beyond. Of a directory, names and sizes count.

        Args:
            path: The file.

        Returns:
            The same path.

        Raises:
            OSError: If it cannot be read.
        """
        files: dict[str, Mapping[str, Any]] = vars(self).setdefault("_named_files", {})
        name = os.path.abspath(path)  # noqa: PTH100 - links stay as they are named
        if name not in files:
            files[name] = describe_file(Path(name))
        return Path(path)

    def stream_info(self) -> None:
        """Log names, dtypes, shapes and ranges in the first batch of every stream.

        Raises:
            BatchError: If streams failed; raised after all have been read, and names them.
        """
        log_stream_info(self)


def _with_output_dir(config: Mapping[str, Any], accepted: Accepted) -> dict[str, Any]:
    """The arguments, with ``output_dir`` only if the method takes it, and always if it requires it."""
    arguments = dict(config)
    if "output_dir" in accepted.required:
        arguments.setdefault("output_dir", None)
    elif "output_dir" not in accepted.hints and not accepted.open:
        arguments.pop("output_dir", None)
    return arguments
