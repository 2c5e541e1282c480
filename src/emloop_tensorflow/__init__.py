"""Training with TensorFlow and Keras, and restoring without the source of the model."""

from emloop.errors import MissingExtraError

try:
    import tensorflow as _tensorflow  # noqa: F401 - its absence shall be one clear line
except ModuleNotFoundError as error:
    raise MissingExtraError("emloop_tensorflow", "tensorflow") from error

from .base_model import BaseModel
from .frozen_model import FrozenModel
from .litert_model import LiteRTModel

__all__ = ["BaseModel", "FrozenModel", "LiteRTModel"]
