"""What a dataset promises."""

from emloop._contracts import AbstractDataset

__all__ = ["AbstractDataset"]
