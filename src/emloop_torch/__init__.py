"""Training PyTorch modules, and restoring them without their source."""

from emloop.errors import MissingExtraError

try:
    import torch as _torch  # so that its absence is one clear line
except ModuleNotFoundError as error:
    raise MissingExtraError("emloop_torch", "torch") from error

from emloop.datasets.loaders import add_carrier, add_loader_adapter
from emloop.hooks.metrics import add_metric_adapter
from emloop.seeding import add_global_generator
from emloop_torch._tensors.generators import GlobalGenerators
from emloop_torch._tensors.loaders import take_over
from emloop_torch._tensors.metrics import adapt_metric

from .base_model import BaseModel
from .supervised import Supervised

add_global_generator("torch", GlobalGenerators())
add_loader_adapter(take_over)
add_metric_adapter(adapt_metric)
# A clone, since arithmetic on what PyTorch has not allocated itself may differ in the last bit.
add_carrier("torch", _torch.Tensor, _torch.Tensor.numpy, lambda array: _torch.from_numpy(array).clone())

__all__ = ["BaseModel", "Supervised"]
