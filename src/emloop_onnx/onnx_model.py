"""An exported model, for evaluation.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from emloop.errors import BatchError, ConfigError, MissingVariableError, SavedModelError, UsageError
from emloop.models.abstract_model import AbstractModel
from emloop.saved_models import find_saved, fitted
from emloop.types import Batch

from ._names import Names
from ._session import Session
from ._values import checked_output

if TYPE_CHECKING:
    from emloop.datasets.stream_wrapper import StreamWrapper

__all__ = ["OnnxModel"]

logger = logging.getLogger(__name__)

_BACKEND = "onnx"
_SUFFIX = ".onnx"


class OnnxModel(AbstractModel):
    """Runs an ONNX file in ONNX Runtime; for evaluation only.

    Files made by ``emloop export`` are restored like any saved model. A file from elsewhere is given by its path:

    .. code-block:: yaml

        model:
          class: emloop_onnx.OnnxModel
          path: resnet50.onnx
          inputs: [images]
          outputs: [scores]
          rename: {images: input.1, scores: "495"}

    Args:
        dataset: Not used.
        log_dir: Not used, since nothing is saved.
        restore_from: An exported model, or an ONNX file.
        path: An ONNX file; takes precedence over ``restore_from``.
        inputs: Names of all sources it takes.
        outputs: Names of the outputs to compute; by default all.
        rename: Name of an input or output here → its name in the file.
        providers: Execution providers of ONNX Runtime, in order of preference; by default CUDA if available, then the
            CPU.
        threads: Threads per run on the CPU; by default ONNX Runtime's choice.

    Raises:
        ConfigError: If an argument is wrong, or names something that the file lacks.
        SavedModelError: If the file is missing, damaged, or cannot be run.
    """

    def __init__(
        self,
        dataset: object = None,
        log_dir: str | None = None,
        restore_from: str | None = None,
        *,
        path: str | None = None,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        del dataset, log_dir
        content, name, self.weights = _file(path, restore_from)
        self._session = Session(content, name, providers, threads)
        names = Names(self._session.inputs, self._session.outputs, rename)
        self._inputs, self._outputs = names.chosen(inputs, outputs)

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
            raise UsageError("an OnnxModel cannot be trained; train the model that it was exported from")
        missing = [name for name in self._inputs if name not in batch]
        if missing:
            raise MissingVariableError(f"the batch has no {missing[0]!r}; it has {', '.join(map(repr, batch))}")
        feeds = {inner: fitted(batch[name], name, self._session.inputs[inner]) for name, inner in self._inputs.items()}
        sizes = {len(array) for array in feeds.values()}
        if len(sizes) > 1:
            raise BatchError(f"the inputs hold different numbers of examples: {', '.join(map(str, sorted(sizes)))}")
        with nullcontext() if stream is None else stream.allow_buffering:
            arrays = self._session.run(feeds, list(self._outputs.values()))
        (examples,) = sizes
        return {name: checked_output(array, name, examples) for name, array in zip(self._outputs, arrays, strict=True)}

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
        raise NotImplementedError("an OnnxModel is not saved; it is a file that can be copied")


def _file(path: str | None, restore_from: str | None) -> tuple[str | bytes, str, Mapping[str, str]]:
    """Path or content of the ONNX file, its name in messages, and what weighs its outputs."""
    if path is not None and restore_from is not None:
        logger.info("The file is %s, as configured; %s is left aside", path, restore_from)
    chosen = path if path is not None else restore_from
    if chosen is None:
        raise ConfigError.about("path", "name an ONNX file, or restore the model from what `emloop export` has made")
    if path is not None or Path(chosen).suffix == _SUFFIX:
        if not Path(chosen).is_file():
            raise SavedModelError(f"there is no file {chosen}")
        return str(chosen), str(chosen), {}
    saved = find_saved(chosen)
    saved.require_backend(_BACKEND)
    saved.tree()
    names = [name for name in saved.manifest.get("exported", ()) if name.endswith(_SUFFIX)]
    if len(names) != 1:
        raise SavedModelError(f"{saved.path}: expected one {_SUFFIX} file, got {', '.join(names) or 'none'}")
    return saved.exported(names[0]), str(saved.path / names[0]), saved.manifest.get("weights", {})
