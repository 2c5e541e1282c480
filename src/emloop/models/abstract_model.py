"""The contract of models, at the path that the reference documents."""

from emloop._contracts import AbstractModel

__all__ = ["AbstractModel"]
