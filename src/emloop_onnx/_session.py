"""Opening an ONNX file: by what it is run, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from emloop.errors import BatchError, ConfigError, SavedModelError
from emloop.suggest import check_choice

from ._names import some_names
from ._values import Value

__all__ = ["Session"]

_ERRORS: tuple[type[Exception], ...] = (
    runtime.EPFail,
    runtime.EngineError,
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NoModel,
    runtime.NoSuchFile,
    runtime.NotImplemented,
    runtime.RuntimeException,
)

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_OPTIONS = {_CUDA: {"use_tf32": "0"}}
"""CUDA would round what it multiplies to 19 bits."""

_ERRORS_ONLY = 3


class Session:
    """An ONNX file, ready to be run.

    Args:
        content: The file's path, or what it holds.
        name: What to call it in messages.
        providers: What to run it by, in order of preference; ``None``: CUDA where it is offered, and the CPU.
        threads: Threads of one run on the CPU; ``None``: as many as ONNX Runtime likes.

    Raises:
        ConfigError: If a provider is not there, or the number of threads is none.
        SavedModelError: If the file cannot be run.
    """

    def __init__(self, content: str | bytes, name: str, providers: Any = None, threads: Any = None) -> None:
        chosen = _providers(providers)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if threads is not None:
            options.intra_op_num_threads = _threads(threads)
        try:
            self._session = onnxruntime.InferenceSession(
                content,
                options,
                providers=chosen,
                provider_options=[_OPTIONS.get(provider, {}) for provider in chosen],
            )
        except _ERRORS as error:
            raise SavedModelError(
                f"{name} cannot be run by ONNX Runtime {onnxruntime.__version__}: {_said(error)}"
            ) from error
        if providers is not None:
            self._require(chosen)
        self.inputs = {argument.name: Value.read(argument, name) for argument in self._session.get_inputs()}
        """Name → what the graph takes."""
        self.outputs = [argument.name for argument in self._session.get_outputs()]
        """Names of what the graph gives."""
        self._name = name

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: list[str]) -> list[Any]:
        """The named outputs for some inputs.

        Raises:
            BatchError: If it cannot be computed.
        """
        try:
            return list(self._session.run(outputs, inputs))
        except _ERRORS as error:
            raise BatchError(f"{self._name} cannot compute this batch: {_said(error)}") from error

    def _require(self, chosen: list[str]) -> None:
        missing = [provider for provider in chosen if provider not in self._session.get_providers()]
        if missing:
            raise ConfigError(f"providers: ONNX Runtime knows {missing[0]}, but could not start it here")


def _providers(names: Any) -> list[str]:
    offered = onnxruntime.get_available_providers()
    if names is None:
        return [provider for provider in (_CUDA, _CPU) if provider in offered]
    return [check_choice("providers", name, offered) for name in some_names("providers", names)]


def _threads(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigError(f"threads: expected a number of threads, at least 1, got {number!r}")
    return number


def _said(error: Exception) -> str:
    """What ONNX Runtime says, without its own name and number of the error."""
    return " ".join(str(error).rpartition(" : ")[2].split())
