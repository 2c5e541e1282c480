"""An open ONNX file: its execution providers, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from emloop.errors import BatchError, ConfigError, SavedModelError
from emloop.models.exported import some_names
from emloop.suggest import check_choice

from ._values import read_value

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
"""Otherwise CUDA rounds the factors of matrix products to 19 bits."""

_ERRORS_ONLY = 3


class Session:
    """An ONNX file, ready to run.

    Args:
        content: Path or content of the file.
        name: Name of the file in messages.
        providers: Execution providers in order of preference; ``None``: CUDA if available, then the CPU.
        threads: Threads per run on the CPU; ``None``: ONNX Runtime's choice.

    Raises:
        ConfigError: If a provider is unavailable, or the number of threads is not positive.
        SavedModelError: If the file cannot be run.
    """

    def __init__(self, content: str | bytes, name: str, providers: Any = None, threads: Any = None) -> None:
        chosen = _providers(providers)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if threads is not None:
            if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
                raise ConfigError.about("threads", f"expected a number of threads, at least 1, got {threads!r}")
            options.intra_op_num_threads = threads
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
        missing = [provider for provider in chosen if provider not in self._session.get_providers()]
        if providers is not None and missing:
            raise ConfigError.about("providers", f"ONNX Runtime knows {missing[0]}, but could not start it here")
        self.inputs = {argument.name: read_value(argument, name) for argument in self._session.get_inputs()}
        """Name → dtype and shape of each input."""
        self.outputs = [argument.name for argument in self._session.get_outputs()]
        """Names of the outputs."""
        self._name = name

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: list[str]) -> list[Any]:
        """Compute the named outputs.

        Raises:
            BatchError: If ONNX Runtime cannot compute them.
        """
        try:
            return list(self._session.run(outputs, inputs))
        except _ERRORS as error:
            raise BatchError(f"{self._name} cannot compute this batch: {_said(error)}") from error


def _providers(names: Any) -> list[str]:
    offered = onnxruntime.get_available_providers()
    if names is None:
        return [provider for provider in (_CUDA, _CPU) if provider in offered]
    return [check_choice("providers", name, offered) for name in some_names("providers", names)]


def _said(error: Exception) -> str:
    """ONNX Runtime's message without its own name and error number."""
    return " ".join(str(error).rpartition(" : ")[2].split())
