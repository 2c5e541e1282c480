"""Fits an estimator to all examples of an epoch: in one go, or for some rounds more than it has.

A round is what an estimator adds at a time: a tree of each class, for boosters and forests. What goes before it in a
pipeline is fitted once, with the first rounds, since trees mean what their features meant then.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline

from emloop.errors import Problem
from emloop_sklearn._fitting import is_fitted, last_step

from .libraries import boosted, library_of

__all__ = ["fit_in_one_go", "fit_more", "prepare", "rounds_problems"]

_COUNT, _OF_HISTOGRAMS = "n_estimators", "max_iter"


def rounds_problems(estimator: Any, *, is_overridden: bool) -> list[Problem]:
    """Find what keeps an estimator from learning in rounds."""
    last, keys = last_step(estimator), ("rounds_per_epoch",)
    name, parameter = type(last).__name__, _parameter(last)
    if is_overridden:
        return [Problem("has no effect, since fit_batch is overridden", keys=keys, hints=("remove it",))]
    if parameter is None:
        hint = "leave it out: it learns all at once, at the end of the first epoch, or batch by batch, if it can"
        return [Problem(f"{name} does not learn in rounds", keys=keys, hints=(hint,))]
    problems = []
    found, default = last.get_params()[parameter], type(last)().get_params()[parameter]
    if found != default and not is_fitted(last):
        message = f"{parameter}={found} of {name} has no effect beside rounds_per_epoch"
        hint = f"remove {parameter}; main_loop.epochs_count times rounds_per_epoch is the number of rounds"
        problems.append(Problem(message, keys=keys, hints=(hint,)))
    stops = {"early_stopping": getattr(last, "early_stopping", None) is True}
    stops |= {word: getattr(last, word, None) is not None for word in ("early_stopping_rounds", "n_iter_no_change")}
    if parameter == _OF_HISTOGRAMS:
        del stops["n_iter_no_change"]  # which means nothing without early_stopping
    for word in (word for word, is_set in stops.items() if is_set):
        message = f"{word} of {name} would stop within an epoch, by examples that another epoch trains on"
        problems.append(Problem(message, keys=keys, hints=("remove it; the hook EarlyStopping watches a stream",)))
    return problems


def prepare(last: Any) -> None:
    """Let an estimator that is to learn in rounds go on where it is."""
    if hasattr(last, "warm_start"):
        last.set_params(warm_start=True)
    if getattr(last, "early_stopping", None) == "auto":
        last.set_params(early_stopping=False)


def fit_in_one_go(estimator: Any, features: Any, labels: Any, weight: Any) -> None:
    """Fit an estimator, and all that goes before it in a pipeline, anew.

    Args:
        estimator: The estimator.
        features: ``[N, F]``, or a data frame.
        labels: ``[N]`` or ``[N, T]`` if it learns from them.
        weight: What each example counts, ``[N]``, for the last step; ``None``: all alike.
    """
    _fit_last(estimator, _before(estimator, features, labels, anew=True), labels, weight, more=False)


def fit_more(estimator: Any, rounds: int, done: int, seed: int | None, *data: Any) -> None:
    """Add rounds to an estimator.

    Args:
        estimator: The estimator.
        rounds: How many.
        done: How many it has.
        seed: With what its random numbers begin, where it does not itself remember how far it has drawn.
        data: Features, labels and weight, as for :func:`fit_in_one_go`.
    """
    features, labels, weight = data
    last = last_step(estimator)
    parameter = str(_parameter(last))
    features = _before(estimator, features, labels, anew=not done)
    if library_of(last) is None:
        last.set_params(**{parameter: done + rounds})
        _fit_last(estimator, features, labels, weight, more=done > 0)
        return
    own = last.get_params()
    # The same seed would draw the same examples and features in every epoch.
    drawn = {} if seed is None else {"random_state": (seed + done) % 2**31}
    last.set_params(**{parameter: rounds}, **drawn)
    _fit_last(estimator, features, labels, weight, more=done > 0)
    last.set_params(**{name: own[name] for name in (parameter, *drawn)})


def _before(estimator: Any, features: Any, labels: Any, *, anew: bool) -> Any:
    """What the steps before the last one make of the features."""
    if not isinstance(estimator, Pipeline) or len(estimator.steps) == 1:
        return features
    before = estimator[:-1]
    if not anew:
        return before.transform(features)
    transformed = before.fit_transform(features, labels)
    # A slice of a pipeline fits its steps in place, but for those that it copies for a cache.
    estimator.steps[:-1] = before.steps
    return transformed


def _fit_last(estimator: Any, features: Any, labels: Any, weight: Any, *, more: bool) -> None:
    last = last_step(estimator)
    if library_of(last) is not None:
        boosted(last, features, labels, weight, more=more)
    elif is_classifier(last) or is_regressor(last):
        last.fit(features, labels, **({} if weight is None else {"sample_weight": weight}))
    else:
        last.fit(features, **({} if weight is None else {"sample_weight": weight}))


def _parameter(last: Any) -> str | None:
    """The parameter that counts rounds."""
    parameters = last.get_params()
    if type(last).__name__.startswith("HistGradientBoosting"):
        return _OF_HISTOGRAMS
    grows = library_of(last) is not None or "warm_start" in parameters
    # The forests of XGBoost are grown at once.
    return _COUNT if grows and _COUNT in parameters and "XGBRF" not in type(last).__name__ else None
