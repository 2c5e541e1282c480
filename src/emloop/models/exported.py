"""Models that another runtime computes from files, for evaluation.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from emloop._contracts import AbstractModel
from emloop._streams import StreamWrapper
from emloop._support.arguments import distinct_names
from emloop._support.suggest import did_you_mean
from emloop._support.trust import is_untrusted, is_vouched
from emloop.errors import (
    BatchError,
    ConfigError,
    Problem,
    SavedModelError,
    UntrustedError,
    UsageError,
)
from emloop.saved_models import Described, Saved, find_saved, fitted, require_sources
from emloop.types import Batch

__all__ = ["ExportedModel", "some_names"]

logger = logging.getLogger(__name__)


class ExportedModel(AbstractModel):
    """Runs files that a runtime reads; to be extended by those who know the runtime.

    A class says what it reads, opens it in its constructor, and calls the one here with what there is:

    .. code-block:: python

        class OnnxModel(ExportedModel):
            backend = "onnx"
            suffix = ".onnx"
            word = "ONNX file"

            def __init__(self, dataset=None, log_dir=None, restore_from=None, *, path=None, outputs=None):
                file, name = self.find(path, restore_from)
                self._session = Session(file, name)
                super().__init__(self._session.inputs, self._session.outputs, outputs=outputs)

            def compute(self, inputs, outputs):
                return self._session.run(inputs, outputs)

    Args:
        takes: Name in the file → what each input looks like.
        gives: Names of the outputs in the file.
        inputs: Names of all sources that it takes; by default those of the file.
        outputs: Names of the outputs to compute; by default all.
        rename: Name of an input or output here → its name in the file.

    Raises:
        ConfigError: If an argument names something that the file lacks.
    """

    backend: ClassVar[str]
    """Name in the manifest of what ``emloop export`` writes for it."""

    suffix: ClassVar[str]
    """How the names of its files end."""

    word: ClassVar[str]
    """What to call such a file."""

    only_computes: ClassVar[bool] = True
    """Whether no such file can do more than to compute, so that a stranger's may be opened."""

    weights: Mapping[str, str] = {}

    def __init__(
        self,
        takes: Mapping[str, Described],
        gives: Iterable[str],
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
    ) -> None:
        self._takes = takes
        self._inputs, self._outputs = _Names(takes, gives, rename).chosen(inputs, outputs)

    @abstractmethod
    def compute(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> Sequence[Any]:
        """Compute the named outputs, in that order, all by their names in the file.

        Args:
            inputs: ``B`` examples for every input, as the file takes them.
            outputs: Names of the outputs.

        Raises:
            BatchError: If the runtime cannot.
        """

    def find(self, path: str | None, restore_from: str | None) -> tuple[str | bytes, str]:
        """Path or verified content of the file to read, and its name in messages.

        Args:
            path: The key ``path``, which takes precedence.
            restore_from: The same, or what ``emloop export`` has made.

        Raises:
            ConfigError: If there is neither.
            SavedModelError: If there is no such file, or it is damaged.
            UntrustedError: If a stranger's may do harm.
        """
        if path is not None and restore_from is not None:
            logger.info("The file is %s, as configured; %s is left aside", path, restore_from)
        chosen = path if path is not None else restore_from
        if chosen is None:
            hint = "or restore the model from what `emloop export` has made"
            raise ConfigError.about("path", f"name {_one(self.word)}, {hint}")
        if not self.only_computes and is_untrusted() and not is_vouched(chosen):
            raise UntrustedError(f"{chosen}: {_one(self.word)} may read and write files, so a stranger's is not opened")
        if path is not None or self.reads(Path(chosen)):
            if not Path(chosen).exists():
                raise SavedModelError(f"there is no file {chosen}")
            return str(chosen), str(chosen)
        saved = find_saved(chosen)
        saved.require_backend(self.backend)
        saved.tree()
        self.weights = saved.manifest.get("weights", {})
        return self.take(saved)

    def reads(self, path: Path) -> bool:
        """Whether a path is that of a file from elsewhere, rather than of an exported model."""
        return path.suffix == self.suffix

    def take(self, saved: Saved) -> tuple[str | bytes, str]:
        """Content of the one file of an exported model, and its name.

        Raises:
            SavedModelError: If there is not one, or it is damaged.
        """
        names = [name for name in saved.manifest.get("exported", ()) if name.endswith(self.suffix)]
        if len(names) != 1:
            raise SavedModelError(f"{saved.path}: expected one {self.suffix} file, got {', '.join(names) or 'none'}")
        return saved.exported(names[0]), str(saved.path / names[0])

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that a batch must hold."""
        return list(self._inputs)

    @property
    def output_names(self) -> list[str]:
        """Names of the variables that ``run`` returns."""
        return list(self._outputs)

    def run(self, batch: Batch, train: bool = False, stream: StreamWrapper | None = None) -> Batch:
        """Compute the outputs for one batch.

        Args:
            batch: ``B`` examples for every name in ``input_names``.
            train: Must not be set.
            stream: Source of the batch, which may read ahead meanwhile.

        Returns:
            An array for every name in ``output_names``, first axis ``B``.

        Raises:
            UsageError: If ``train`` is set.
            MissingVariableError: If the batch lacks a source.
            BatchError: If a source does not fit the file, or an output lacks ``B`` values.
        """
        if train:
            raise UsageError(
                f"{_one(type(self).__name__)} cannot be trained; train the model that it was exported from"
            )
        require_sources(batch, self._inputs)
        feeds = {inner: fitted(batch[name], name, self._takes[inner]) for name, inner in self._inputs.items()}
        sizes = {len(array) for array in feeds.values()}
        if len(sizes) > 1:
            raise BatchError(f"the inputs hold different numbers of examples: {', '.join(map(str, sorted(sizes)))}")
        with nullcontext() if stream is None else stream.allow_buffering:
            arrays = self.compute(feeds, list(self._outputs.values()))
        (examples,) = sizes
        return {name: _checked(array, name, examples) for name, array in zip(self._outputs, arrays, strict=True)}

    @property
    def prediction_inputs(self) -> list[str]:
        """Names of the sources that :meth:`predict` needs: all."""
        return self.input_names

    def predict(self, batch: Batch) -> Batch:
        """Compute the outputs for one batch; see :meth:`run`."""
        return self.run(batch)

    def save(self, name_suffix: str) -> NoReturn:
        """
        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"{_one(type(self).__name__)} is not saved; it is a file that can be copied")


def _one(noun: str) -> str:
    # "an ONNX file", whose letters are read one by one, but "a LiteRT file".
    return f"{'an' if noun[0] in 'AEIO' else 'a'} {noun}"


def _checked(values: Any, name: str, examples: int) -> Any:
    shape = np.shape(values)
    if shape[:1] != (examples,):
        raise BatchError(f"output {name!r}: expected {examples} values, one for every example, got shape {shape}")
    return values


class _Names:
    """Names of inputs and outputs, in the file and in the configuration.

    Args:
        inputs: Inputs of the file.
        outputs: Outputs of the file.
        rename: Name in the configuration → name in the file, where they differ.

    Raises:
        ConfigError: If the file lacks a name, or two names mean one.
    """

    def __init__(self, inputs: Iterable[str], outputs: Iterable[str], rename: Any = None) -> None:
        called = _renamed({} if rename is None else rename, [*inputs, *outputs])
        self._inputs = {called.get(name, name): name for name in inputs}
        self._outputs = {called.get(name, name): name for name in outputs}

    def chosen(self, inputs: Any, outputs: Any) -> tuple[dict[str, str], dict[str, str]]:
        """Name in the configuration → name in the file, of the inputs and of the outputs to use.

        Args:
            inputs: All inputs, in any order; ``None``: in that of the file.
            outputs: Some of the outputs; ``None``: all.

        Raises:
            ConfigError: With every unknown or missing name.
        """
        taken, problems = _chosen("inputs", "takes", inputs, self._inputs)
        given, more = _chosen("outputs", "gives", outputs, self._outputs)
        missing = [name for name in self._inputs if name not in taken]
        if missing:
            problems.append(Problem(f"the file needs {', '.join(map(repr, missing))} as well", keys=("inputs",)))
        if problems or more:
            raise ConfigError(problems + more)
        return taken, given


def some_names(argument: str, names: Any) -> list[str]:
    """The names that an argument lists.

    Raises:
        ConfigError: If it is not a list of different names, or is empty.
    """
    listed = list(distinct_names(argument, names))
    if not listed:
        raise ConfigError.about(argument, "expected a list of different names, got []")
    return listed


def _renamed(rename: Any, known: list[str]) -> dict[str, str]:
    """Name in the file → name in the configuration."""
    if not isinstance(rename, Mapping) or not all(isinstance(name, str) for pair in rename.items() for name in pair):
        raise ConfigError.about("rename", f"expected a mapping such as {{images: input.1}}, got {rename!r}")
    called = {inner: name for name, inner in rename.items()}
    if len(called) < len(rename):
        raise ConfigError.about("rename", f"expected one name for each input and output, got {dict(rename)}")
    for name in called:
        if name not in known:
            hints = (*did_you_mean(name, known), f"the file has: {', '.join(known)}")
            raise ConfigError(Problem(f"there is no {name!r} in the file", keys=("rename",), hints=hints))
    return called


def _chosen(argument: str, verb: str, names: Any, there: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    listed = list(there) if names is None else some_names(argument, names)
    problems = [
        Problem(
            f"{argument}: the file {verb} no {name!r}",
            hints=(*did_you_mean(name, there), f"it {verb}: {', '.join(there)}"),
        )
        for name in listed
        if name not in there
    ]
    return {name: there[name] for name in listed if name in there}, problems
