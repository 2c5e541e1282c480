"""Files for LiteRT, which was TensorFlow Lite, for evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop.errors import BatchError, SavedModelError
from emloop.models.exported import ExportedModel
from emloop.saved_models import Described

__all__ = ["LiteRTModel"]


class LiteRTModel(ExportedModel):
    """Runs a file of LiteRT on the CPU, as a telephone would; for evaluation only.

    Files made by ``emloop export --to litert`` are restored like any saved model. A file from elsewhere is given by its
    path. The interpreter is that of the package ``ai-edge-litert`` or, without it, the one that TensorFlow has.

    .. code-block:: yaml

        model:
          class: emloop_tensorflow.LiteRTModel
          path: mobilenet.tflite
          inputs: [images]
          outputs: [scores]
          rename: {images: "serving_default_input_1:0", scores: "StatefulPartitionedCall:0"}

    Args:
        dataset: Not used.
        log_dir: Not used, since nothing is saved.
        restore_from: An exported model, or a file of LiteRT.
        path: A file of LiteRT; takes precedence over ``restore_from``.
        inputs: Names of all sources it takes.
        outputs: Names of the outputs to compute; by default all.
        rename: Name of an input or output here → its name in the file.
        threads: Threads per run; by default LiteRT's choice.

    Raises:
        ConfigError: If an argument names something that the file lacks.
        SavedModelError: If the file is missing, damaged, or cannot be run.
    """

    backend = "litert"
    suffix = ".tflite"
    word = "LiteRT file"

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
        threads: int | None = None,
    ) -> None:
        del dataset, log_dir
        file, self._name = self.find(path, restore_from)
        self._interpreter = _opened(file if isinstance(file, bytes) else Path(file).read_bytes(), self._name, threads)
        signatures = self._interpreter.get_signature_list()
        self._runner = self._interpreter.get_signature_runner(next(iter(signatures))) if signatures else None
        of = self._interpreter if self._runner is None else self._runner
        self._takes_there = _by_name(of.get_input_details())
        self._gives_there = _by_name(of.get_output_details())
        takes = {name: _described(entry) for name, entry in self._takes_there.items()}
        super().__init__(takes, self._gives_there, inputs, outputs, rename)

    def compute(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> Sequence[Any]:
        """Compute the named outputs."""
        try:
            found = self._by_index(inputs) if self._runner is None else self._runner(**inputs)
        except (RuntimeError, ValueError) as error:
            told = str(error).partition("\n")[0]
            raise BatchError(f"{self._name} cannot compute this batch: {told}") from error
        return [found[name] for name in outputs]

    def _by_index(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        for name, array in inputs.items():
            self._interpreter.resize_tensor_input(self._takes_there[name]["index"], array.shape)
        self._interpreter.allocate_tensors()
        for name, array in inputs.items():
            self._interpreter.set_tensor(self._takes_there[name]["index"], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(entry["index"]) for name, entry in self._gives_there.items()}


def _opened(content: bytes, name: str, threads: int | None) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        from tensorflow.lite.python.interpreter import Interpreter  # noqa: PLC0415 - dear, and deprecated there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            told = str(error).partition("\n")[0]
            raise SavedModelError(f"{name} cannot be run by LiteRT: {told}") from error
    return interpreter


def _by_name(details: Any) -> dict[str, Any]:
    """Name → what LiteRT says of an input or output; a signature tells that by name, an interpreter in a list."""
    return dict(details) if isinstance(details, Mapping) else {entry["name"]: entry for entry in details}


def _described(entry: Mapping[str, Any]) -> Described:
    shape = entry.get("shape_signature", entry["shape"])
    return Described(np.dtype(entry["dtype"]), tuple(None if size < 0 else int(size) for size in shape))
