"""Taking over other libraries' loaders, for backends: see :func:`add_loader_adapter`."""

from emloop._streams.handover import add_carrier
from emloop._streams.loaders import Adapter, Loader, add_loader_adapter

__all__ = ["Adapter", "Loader", "add_carrier", "add_loader_adapter"]
