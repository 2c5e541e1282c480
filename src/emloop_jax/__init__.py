"""Training with JAX, and restoring without the source of the model."""

from emloop.errors import MissingExtraError

try:
    import jax as _jax  # noqa: F401 - its absence shall be one clear line
except ModuleNotFoundError as error:
    raise MissingExtraError("emloop_jax", "jax") from error

from emloop_jax._steps.networks import Functions

from .base_model import BaseModel

__all__ = ["BaseModel", "Functions"]
