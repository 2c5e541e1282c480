"""Estimators of LightGBM and XGBoost: how they are told apart, learn more rounds, and are written without pickle.

Both libraries give their estimators scikit-learn's interface; what they have learned is in a *booster*, which is kept
as the library's own text: that of LightGBM, the JSON of XGBoost. Both print numbers so that they are read back to the
bit. What else belongs to an estimator are plain values, which are kept as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelEncoder

from emloop.errors import MissingExtraError, StateError

from .sound import require_sound

__all__ = ["CLASSES", "boosted", "defaults_of", "library_of", "read", "written"]

CLASSES = (
    *(f"lightgbm.sklearn.LGBM{kind}" for kind in ("Classifier", "Regressor")),
    *(f"xgboost.sklearn.XGB{kind}" for kind in ("Classifier", "Regressor", "RFClassifier", "RFRegressor")),
)
"""Full names of the estimators; only these are ever made when a file is read."""

_DEFAULTS: dict[str, dict[str, Any]] = {
    # Without these, it times two ways to sum when it begins, and takes the faster one, with other last bits.
    "lightgbm": {"deterministic": True, "force_col_wise": True, "verbose": -1},
    "xgboost": {},
}
_UNSAFE = "predict_disable_shape_check"
"""Lets LightGBM look for columns that data do not have."""


def library_of(estimator: Any) -> str | None:
    """``lightgbm`` or ``xgboost``, for an estimator of exactly one of their classes."""
    cls = type(estimator)
    name = f"{cls.__module__}.{cls.__qualname__}"
    return name.partition(".")[0] if name in CLASSES else None


def defaults_of(estimator: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that a configuration leaves out, to be set so that the same data always give the same booster."""
    defaults = dict(_DEFAULTS.get(library_of(estimator) or "", {}))
    if "force_row_wise" in given:
        defaults.pop("force_col_wise", None)
    return {name: value for name, value in defaults.items() if name not in given}


def boosted(estimator: Any, features: Any, labels: Any, weight: Any, *, more: bool) -> None:
    """Fit an estimator of one of the libraries.

    Args:
        estimator: The estimator.
        features: ``[N, F]``, or a data frame.
        labels: ``[N]``.
        weight: What each example counts, ``[N]``, or ``None``.
        more: Whether to go on with the rounds it has, rather than anew.
    """
    argument, held = ("init_model", "booster_") if library_of(estimator) == "lightgbm" else ("xgb_model", "_Booster")
    options = {argument: getattr(estimator, held)} if more else {}
    estimator.fit(features, labels, sample_weight=weight, **options)


def written(estimator: Any) -> bytes:
    """An estimator of one of the libraries, and all it has learned, as bytes.

    Raises:
        StateError: If it holds something that is no plain value, such as a function.
    """
    cls = type(estimator)
    try:
        content = {name: _plain(value) for name, value in sorted(vars(estimator).items())}
    except TypeError as error:
        raise StateError(f"{cls.__name__} cannot be saved: {error}") from error
    return json.dumps({"class": f"{cls.__module__}.{cls.__qualname__}", "content": content}).encode()


def read(content: bytes) -> Any:
    """The estimator that :func:`written` was given.

    Raises:
        StateError: If it is none, or its booster would lead out of its own tables.
        MissingExtraError: If its library is not installed.
    """
    try:
        described = json.loads(content)
        name, values = described["class"], described["content"]
        if name not in CLASSES or not isinstance(values, dict):
            raise ValueError(f"{name!r} is no known class")  # noqa: TRY301 - told as one with what it finds itself
        module, _, attribute = name.rpartition(".")
        library = module.partition(".")[0]
        try:
            cls = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise MissingExtraError(name, "boosting") from error
        estimator = cls.__new__(cls)
        estimator.__dict__.update({key: _restored(value, library) for key, value in values.items()})
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise StateError(f"the booster cannot be read: {type(error).__name__}: {error}") from error
    return estimator


def _plain(value: Any) -> Any:
    """A value as JSON, in which a mapping with one key says what it stands for."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        return {"array": _plain(value.tolist()), "dtype": "object" if value.dtype == object else value.dtype.str}
    if isinstance(value, Mapping):
        return {"pairs": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, LabelEncoder):
        return {"labels": _plain(getattr(value, "classes_", None))}
    if type(value).__name__ == "Booster":
        is_text = type(value).__module__.startswith("lightgbm")
        text = value.model_to_string() if is_text else bytes(value.save_raw("json")).decode()
        return {"booster": text}
    raise TypeError(f"{value!r} is no plain value")


def _restored(value: Any, library: str) -> Any:
    if isinstance(value, list):
        return [_restored(item, library) for item in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        dtype = np.dtype(value["dtype"])
        if dtype.kind not in "biufUO" or (dtype.hasobject and dtype.kind != "O"):
            raise ValueError(f"an array of {dtype}")
        return np.array(_restored(value["array"], library), dtype)
    if "pairs" in value:
        pairs = {_restored(key, library): _restored(item, library) for key, item in value["pairs"]}
        if _UNSAFE in pairs:
            raise ValueError(_UNSAFE)
        return pairs
    if "labels" in value:
        encoder = LabelEncoder()
        if value["labels"] is not None:
            encoder.classes_ = _restored(value["labels"], library)
        return encoder
    text = value["booster"]
    require_sound(library, text)
    booster = sys.modules[library].Booster
    return booster(model_str=text) if library == "lightgbm" else booster(model_file=bytearray(text.encode()))
