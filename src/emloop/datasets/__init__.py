"""Datasets: ready ones, their contract, a base class for your own, and streams that resume exactly."""

from emloop._support.lazy import lazy_names

_MODULES = {
    "AbstractDataset": "abstract_dataset",
    "Arrays": "arrays",
    "BaseDataset": "base_dataset",
    "DownloadableDataset": "downloadable_dataset",
    "IndexStream": "index_stream",
    "StreamWrapper": "stream_wrapper",
    "Table": "table",
}

__all__ = ["AbstractDataset", "Arrays", "BaseDataset", "DownloadableDataset", "IndexStream", "StreamWrapper", "Table"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {name: f".{module}" for name, module in _MODULES.items()} | {module: f".{module}" for module in _MODULES.values()},
)
