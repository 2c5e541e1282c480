"""Datasets: ready ones, their contract, a base class for your own, and streams that resume exactly."""

from emloop._support.lazy import lazy_names

_MODULES = {
    "AbstractDataset": "abstract_dataset",
    "Arrays": "arrays",
    "BaseDataset": "base_dataset",
    "DownloadableDataset": "downloadable_dataset",
    "Examples": "examples",
    "Frame": "frame",
    "HuggingFace": "hugging_face",
    "Images": "images",
    "IndexStream": "index_stream",
    "StreamWrapper": "stream_wrapper",
    "Table": "table",
    "TextLines": "text_lines",
}

__all__ = [
    "AbstractDataset",
    "Arrays",
    "BaseDataset",
    "DownloadableDataset",
    "Examples",
    "Frame",
    "HuggingFace",
    "Images",
    "IndexStream",
    "StreamWrapper",
    "Table",
    "TextLines",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {name: f".{module}" for name, module in _MODULES.items()} | {module: f".{module}" for module in _MODULES.values()},
)
