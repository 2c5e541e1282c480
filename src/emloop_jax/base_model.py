"""The model of every function that JAX differentiates."""

from __future__ import annotations

from emloop.models.abstract_model import AbstractModel

__all__ = ["BaseModel"]


class BaseModel(AbstractModel):
    """To be written."""
