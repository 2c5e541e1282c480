"""Training PyTorch modules, and restoring them without their source."""

from emloop.errors import MissingExtraError

try:
    import torch as _torch  # noqa: F401 - so that its absence is one clear line
except ModuleNotFoundError as error:
    raise MissingExtraError("emloop_torch", "torch") from error

from emloop.datasets.loaders import add_loader_adapter
from emloop.seeding import add_global_generator
from emloop_torch._tensors.generators import GlobalGenerators
from emloop_torch._tensors.loaders import take_over

from .base_model import BaseModel
from .supervised import Supervised

add_global_generator("torch", GlobalGenerators())
add_loader_adapter(take_over)

__all__ = ["BaseModel", "Supervised"]
