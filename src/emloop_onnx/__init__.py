"""Exported models in evaluations, run by ONNX Runtime."""

from emloop.errors import MissingExtraError

try:
    import onnxruntime as _onnxruntime  # noqa: F401 - so that its absence is one clear line
except ModuleNotFoundError as error:
    raise MissingExtraError("emloop_onnx", "onnx") from error

from .onnx_model import OnnxModel

__all__ = ["OnnxModel"]
