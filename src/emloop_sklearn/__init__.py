"""Train scikit-learn estimators batch by batch, with ``partial_fit``."""

from emloop.errors import MissingExtraError

try:
    import sklearn as _sklearn  # noqa: F401 - its absence shall be one clear line
    import skops as _skops  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("emloop_sklearn", "sklearn") from error

from .base_model import BaseModel

__all__ = ["BaseModel"]
