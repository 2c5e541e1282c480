"""A package that re-exports what its modules define."""

from ._dogs import *  # noqa: F403 - packages do so, and it has to be followed
from .cats import Cat as Tom
from .cats import Cats

__all__ = ["Cats", "Dogs", "Tom"]  # noqa: F405
