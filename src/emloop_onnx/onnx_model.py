"""An exported model, for evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from emloop.models.exported import ExportedModel

from ._session import Session

__all__ = ["OnnxModel"]


class OnnxModel(ExportedModel):
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

    backend = "onnx"
    suffix = ".onnx"
    word = "ONNX file"

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
        self._session = Session(*self.find(path, restore_from), providers, threads)
        super().__init__(self._session.inputs, self._session.outputs, inputs, outputs, rename)

    def compute(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> Sequence[Any]:
        """Compute the named outputs."""
        return self._session.run(inputs, list(outputs))
