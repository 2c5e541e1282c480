"""Dividing examples among streams: by shares or in folds, evenly over classes, groups kept together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from emloop.errors import ConfigError

__all__ = ["divided", "shares_of"]

_Codes = npt.NDArray[np.int64]


def shares_of(split: Mapping[str, Any], folds: int | None, fold: int | None) -> dict[str, float]:
    """The share of each stream; of folds, that of each fold, numbered, then those that are set aside.

    Raises:
        ConfigError: If they are not what they must be.
    """
    shares = {name: share for name, share in split.items() if name not in ("stratify", "group", "seed")}
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise ConfigError.about(("split", name), f"expected a share between 0 and 1, got {share!r}")
    total = math.fsum(shares.values())
    if folds is None:
        if shares and "train" not in shares:
            raise ConfigError.about("split", f"expected a share of 'train', got {', '.join(shares)}")
        if shares and not math.isclose(total, 1, abs_tol=1e-6):
            raise ConfigError.about("split", f"the shares add up to {total:g}, not to 1")
        return shares
    if fold is not None and fold >= folds:
        raise ConfigError.about("fold", f"expected a fold from 0 to {folds - 1}, got {fold}")
    for name in {"train", "valid"} & set(shares):
        hint = "leave it out: fold 'fold' is 'valid', and the other folds are 'train'"
        raise ConfigError.about(
            ("split", name), "with folds, split says what is set aside before, such as 'test'", hint
        )
    if total >= 1:
        raise ConfigError.about("split", f"the shares add up to {total:g}, which leaves nothing for the folds")
    return {str(number): (1 - total) / folds for number in range(folds)} | shares


def divided(
    count: int, shares: Mapping[str, float], seed: int, strata: _Codes | None = None, groups: _Codes | None = None
) -> dict[str, npt.NDArray[np.int64]]:
    """Divide examples at random; the same way whatever the run's seed.

    Without groups, the size of a part, and its number of examples of each class, differ from the exact share by less
    than two. With groups, parts are filled group by group, the largest first, each time where most is missing.

    Args:
        count: Number of examples.
        shares: Name → share, adding up to 1.
        seed: What the division depends on.
        strata: ``int64 [N]``, the class of each example.
        groups: ``int64 [N]``, numbers of groups that must not be torn apart.

    Returns:
        Name → indices of examples, ascending.

    Raises:
        ConfigError: If a part is empty.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, count])))
    exact = np.array(list(shares.values()))
    classes = np.zeros(count, np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    part = _by_example(classes, exact, rng) if groups is None else _by_group(groups, classes, exact, rng)
    found = {name: np.flatnonzero(part == number) for number, name in enumerate(shares)}
    for name, indices in found.items():
        if not len(indices):
            what = f"{count} examples" if groups is None else f"{len(np.unique(groups))} groups"
            keys = "folds" if name.isdecimal() else ("split", name)
            raise ConfigError.about(keys, f"{shares[name]:.3g} of {what} is not one; it would be empty")
    return found


def _by_example(classes: _Codes, shares: npt.NDArray[np.float64], rng: np.random.Generator) -> _Codes:
    order = np.lexsort((rng.permutation(len(classes)), classes))
    ends = np.cumsum(shares)
    ends[-1] = 1
    part = np.empty(len(classes), np.int64)
    borders = [*np.flatnonzero(np.diff(classes[order], prepend=-1)), len(classes)]
    for start, end in pairwise(borders):
        # Rounded as positions among all examples, so that what rounding adds to one class it takes from another.
        bounds = np.maximum.accumulate(np.floor(ends * end + 0.5) - np.floor(ends * start + 0.5))
        part[order[start:end]] = np.searchsorted(bounds, np.arange(end - start), side="right")
    return part


def _by_group(groups: _Codes, classes: _Codes, shares: npt.NDArray[np.float64], rng: np.random.Generator) -> _Codes:
    group = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(group)
    totals = np.bincount(classes)
    # What is missing of each class, in parts of the whole class: a rare class counts as much as a frequent one.
    missing = np.repeat(shares[:, None], len(totals), axis=1)
    order = np.lexsort((rng.permutation(len(sizes)), -sizes))
    members = np.split(classes[np.argsort(group, kind="stable")], np.cumsum(sizes)[:-1])
    chosen = np.empty(len(sizes), np.int64)
    for number in order.tolist():
        found, counts = np.unique(members[number], return_counts=True)
        amount = counts / totals[found]
        chosen[number] = best = int(np.argmax(missing[:, found] @ amount))
        missing[best, found] -= amount
    return chosen[group]
