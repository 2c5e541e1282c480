"""How much each feature counts for an estimator: its own ``feature_importances_``, or else ``coef_``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline

from emloop.errors import ConfigError, Problem

from ._fitting import last_step

__all__ = ["importances", "require_importances"]

_ATTRIBUTES = "feature_importances_", "coef_"


def require_importances(estimator: Any) -> None:
    """Refuse an estimator that has learned nothing yet, and will have no importances when it has.

    Raises:
        ConfigError: If that can be told.
    """
    last = last_step(estimator)
    # scikit-learn's own tests hold that the docstring of a class names all that its objects have after a fit.
    told = _told(last) if type(last).__module__.startswith("sklearn.") else []
    if told and not any(name in told or hasattr(type(last), name) for name in _ATTRIBUTES):
        raise _has_none(last, told)


def importances(estimator: Any, names: Sequence[str] | str) -> dict[str, float]:
    """Feature → importance, of a fitted estimator, or of the last step of a pipeline.

    Coefficients of several classes or targets become the sum of their absolute values, as scikit-learn selects features
    by; those of one stay as they are.

    Args:
        estimator: The estimator.
        names: Names of the features that it is given; or of all of them together, which are then numbered.

    Raises:
        ConfigError: If it has none.
    """
    last = last_step(estimator)
    found = next((value for name in _ATTRIBUTES if (value := getattr(last, name, None)) is not None), None)
    if found is None:
        own = [name for name in vars(last) if name.endswith("_") and not name.startswith("_")]
        raise _has_none(last, own)
    values: npt.NDArray[Any] = np.asarray(found.toarray() if hasattr(found, "toarray") else found)
    if values.ndim == 2:
        values = values[0] if len(values) == 1 else np.abs(values).sum(axis=0)
    return dict(zip(_names(estimator, names, len(values)), values.tolist(), strict=True))


def _names(estimator: Any, names: Sequence[str] | str, count: int) -> list[str]:
    """Names of the features that the last step is given."""
    if isinstance(names, str):
        names = [f"{names}[{number}]" for number in range(getattr(estimator, "n_features_in_", count))]
    given, step = list(names), "features"
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        step = estimator.steps[-2][0]
        try:
            given = list(map(str, estimator[:-1].get_feature_names_out(given)))
        except (AttributeError, ValueError):
            given = []  # some transformer does not say
    return given if len(set(given)) == count else [f"{step}[{number}]" for number in range(count)]


def _told(last: Any) -> list[str]:
    return re.findall(r"^ *(\w+[a-z]_) :", type(last).__doc__ or "", re.MULTILINE)


def _has_none(last: Any, has: Sequence[str]) -> ConfigError:
    message = f"{type(last).__name__} has no importances of features, neither {' nor '.join(_ATTRIBUTES)}"
    hints = f"it has: {', '.join(has) or 'nothing'}", "draw those of another estimator, or remove the hook"
    return ConfigError(Problem(message, hints=hints))
