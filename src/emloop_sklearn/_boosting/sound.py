"""Checks boosters of LightGBM and XGBoost, whose numbers the libraries use as indices into memory without looking.

As for trees of scikit-learn: children come after their parent and once only, features and categories are those there
are, and every table is as long as the others say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["require_sound"]

_Integers = npt.NDArray[np.int64]


def require_sound(library: str, text: str) -> None:
    """
    Raises:
        ValueError: If a booster might lead anywhere, or its form is not known.
    """
    _CHECKS[library](text)


# -- LightGBM ---------------------------------------------------------------------------------------------------------


def _check_lightgbm(text: str) -> None:
    """The text of LightGBM: a header, the trees, and what else only people read."""
    head, _, rest = text.partition("\n\n")
    header = _fields(head)
    _require(header["version"] == "v4" and head.startswith("tree\n"), "its version")
    # Threads begin to read the trees where these sizes say.
    sizes, at = _integers(header["tree_sizes"]), 0
    trees = []
    for number, size in enumerate(sizes):
        tree = rest[at : at + int(size)]
        _require(size > 0 and tree.startswith(f"Tree={number}\n") and tree.isascii(), "the sizes of its trees")
        trees.append(_fields(tree))
        at += int(size)
    _require(rest[at:].startswith("end of trees\n"), "the sizes of its trees")
    groups = int(header["num_tree_per_iteration"])
    _require(groups >= 1 and len(trees) % groups == 0 and int(header["num_class"]) == groups, "its classes")
    objective = dict(part.partition(":")[::2] for part in header.get("objective", "").split())
    # Which says how many numbers are written for each example.
    _require(int(objective.get("num_class", groups)) == groups, "its classes")
    features = int(header["max_feature_idx"]) + 1
    names = (header["feature_names"].split(" "), header["feature_infos"].split(" "))
    _require(features >= 1 and all(len(listed) == features for listed in names), "its features")
    for fields in trees:
        _check_lightgbm_tree(fields, features)


def _check_lightgbm_tree(tree: Mapping[str, str], features: int) -> None:
    leaves, categorical = int(tree["num_leaves"]), int(tree["num_cat"])
    _require(leaves >= 1 and categorical >= 0 and tree["is_linear"] == "0", "its kind of tree")
    _require(len(tree["leaf_value"].split()) == leaves, "its leaves")
    if leaves == 1:
        return
    inner = leaves - 1
    tables = {name: _integers(tree[name]) for name in ("split_feature", "decision_type", "left_child", "right_child")}
    thresholds = np.array(tree["threshold"].split(), float)
    _require(all(len(table) == inner for table in (*tables.values(), thresholds)), "the number of its nodes")
    _require(_within(tables["split_feature"], features), "its features")
    children = np.concatenate([tables["left_child"], tables["right_child"]])
    _check_children(children, np.tile(np.arange(inner), 2), inner)
    _require(_within(~children[children < 0], leaves), "its leaves")
    splits = thresholds[tables["decision_type"] & 1 == 1]
    if categorical:
        bounds, table = _integers(tree["cat_boundaries"]), tree["cat_threshold"].split()
        _require(len(bounds) == categorical + 1 and bounds[0] == 0 and bounds[-1] == len(table), "its categories")
        _require(bool((np.diff(bounds) >= 0).all()), "its categories")
    _require(bool(((splits >= 0) & (splits < categorical)).all()), "its categories")


def _fields(text: str) -> dict[str, str]:
    lines = [line.partition("=") for line in text.splitlines()]
    fields = {name: value for name, _, value in lines}
    _require(len(fields) >= len([name for name, _, _ in lines if name]), "a field that is there twice")
    return fields


# -- XGBoost ----------------------------------------------------------------------------------------------------------


def _check_xgboost(text: str) -> None:
    """The JSON of XGBoost."""
    learner = json.loads(text)["learner"]
    sizes = learner["learner_model_param"]
    features, classes, targets = (int(sizes[name]) for name in ("num_feature", "num_class", "num_target"))
    _require(features >= 1 and classes >= 0 and targets >= 1, "its sizes")
    groups = max(classes, targets, 1)
    of_objective = learner["objective"].get("softmax_multiclass_param", {"num_class": classes})
    _require(int(of_objective["num_class"]) == classes, "its classes")
    boosting = learner["gradient_booster"]
    _require(boosting["name"] in ("gbtree", "dart", "gblinear"), f"the kind {boosting['name']!r}")
    if boosting["name"] == "gblinear":
        _require(len(boosting["model"]["weights"]) == (features + 1) * groups, "its weights of features")
        return
    if boosting["name"] == "dart":
        model = boosting["gbtree"]["model"]
        _require(len(boosting["weight_drop"]) == len(model["trees"]), "its weights of trees")
    else:
        model = boosting["model"]
    trees, of_groups = model["trees"], np.array(model["tree_info"], np.int64)
    bounds = np.array(model["iteration_indptr"], np.int64)
    _require(int(model["gbtree_model_param"]["num_trees"]) == len(trees) == len(of_groups), "its number of trees")
    _require(_within(of_groups, groups), "its classes")
    _require(bounds[0] == 0 and bounds[-1] == len(trees) and bool((np.diff(bounds) >= 0).all()), "its rounds")
    for tree in trees:
        _check_xgboost_tree(tree, features)
    if "cats" in model:
        _check_xgboost_categories(model["cats"], features)


def _check_xgboost_tree(tree: Mapping[str, Any], features: int) -> None:
    sizes = {name: int(value) for name, value in tree["tree_param"].items()}
    nodes = sizes["num_nodes"]
    _require(nodes >= 1 and sizes["num_deleted"] == 0 and sizes["size_leaf_vector"] <= 1, "its kind of tree")
    _require(sizes["num_feature"] == features, "its features")
    tables = (
        *("base_weights", "default_left", "loss_changes", "parents", "split_conditions", "split_indices"),
        *("split_type", "sum_hessian", "left_children", "right_children"),
    )
    _require(all(len(tree[name]) == nodes for name in tables), "the number of its nodes")
    left, right = (np.array(tree[name], np.int64) for name in ("left_children", "right_children"))
    leaf = left == -1
    _require(bool((leaf == (right == -1)).all()), "its leaves")
    children = np.concatenate([left[~leaf], right[~leaf]])
    parents = np.tile(np.flatnonzero(~leaf), 2)
    _check_children(children, parents, nodes)
    _require(bool((children >= 0).all()), "its leaves")
    _require(_within(np.array(tree["split_indices"], np.int64)[~leaf], features), "its features")
    kinds = np.array(tree["split_type"], np.int64)
    of_nodes = [np.array(tree[name], np.int64) for name in ("categories_nodes", "categories_segments")]
    lengths, table = np.array(tree["categories_sizes"], np.int64), np.array(tree["categories"], np.int64)
    _require(_within(kinds, 2) and of_nodes[0].tolist() == np.flatnonzero(kinds == 1).tolist(), "its categories")
    _require(len(of_nodes[0]) == len(of_nodes[1]) == len(lengths) and _within(table, 2**24), "its categories")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    _require(bool((lengths > 0).all()) and of_nodes[1].tolist() == starts[:-1].tolist(), "its categories")
    _require(starts[-1] == len(table), "its categories")


def _check_xgboost_categories(known: Mapping[str, Any], features: int) -> None:
    """The values of the categories that it was trained with."""
    segments, order = (np.array(known[name], np.int64) for name in ("feature_segments", "sorted_idx"))
    if not known["enc"] and not len(order):
        return
    counts = []
    for column in known["enc"]:
        if "offsets" in column:
            bounds = np.array(column["offsets"], np.int64)
            ends = bounds if len(bounds) else np.zeros(1, np.int64)
            _require(ends[0] == 0 and ends[-1] == len(column["values"]), "its categories")
            _require(bool((np.diff(ends) >= 0).all()), "its categories")
            counts.append(max(len(bounds) - 1, 0))
        else:
            counts.append(len(column["values"]))
    _require(len(counts) == features and segments.tolist() == [0, *np.cumsum(counts).tolist()], "its categories")
    _require(len(order) == segments[-1], "its categories")
    for start, count in zip(segments, counts, strict=False):
        _require(_within(order[start : start + count], max(count, 1)), "its categories")


# -- both -------------------------------------------------------------------------------------------------------------


def _check_children(children: _Integers, parents: _Integers, nodes: int) -> None:
    """Of nodes, those that are no leaves: every one but the first follows once, after its parent."""
    inner = children[children >= 0]
    _require(bool((inner > parents[children >= 0]).all() and (inner < nodes).all()), "its children")
    _require(len(np.unique(children)) == len(children), "its children")


def _within(numbers: _Integers, end: int) -> bool:
    return bool(((numbers >= 0) & (numbers < end)).all())


def _integers(text: str) -> _Integers:
    return np.array(text.split(), np.int64)


def _require(holds: bool | np.bool_, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} cannot be those of a booster")


_CHECKS: Mapping[str, Callable[[str], None]] = {"lightgbm": _check_lightgbm, "xgboost": _check_xgboost}
