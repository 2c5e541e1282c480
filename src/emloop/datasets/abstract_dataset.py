"""The public path of the dataset contract."""

from emloop._contracts import AbstractDataset

__all__ = ["AbstractDataset"]
