"""Training with TensorFlow and Keras, and restoring without the source of the model."""

from emloop_tensorflow._graphs.importing import import_tensorflow

import_tensorflow()

from .base_model import BaseModel  # noqa: E402 - nothing of TensorFlow comes before what is set above
from .frozen_model import FrozenModel  # noqa: E402
from .litert_model import LiteRTModel  # noqa: E402

__all__ = ["BaseModel", "FrozenModel", "LiteRTModel"]
