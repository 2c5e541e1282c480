"""Checks the trees in an archive, whose numbers scikit-learn uses as indices into memory without looking.

Whoever writes such numbers can make a prediction read, or a decision path write, where it should not (scikit-learn
#34558). A tree that passes has children that come after their parent and once only, features that the data have, and no
more levels than it says; of categorical splits, all that they index is there. ``GradientBoosting…``, which writes by
the shape of an array of trees, passes if its first guess has as many columns. Any other archive has to be trusted by
its reader.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

__all__ = ["INDEXING", "unsound_trees"]

_TREE = "sklearn.tree._tree.Tree"
_PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"

INDEXING = frozenset({_TREE, _PREDICTOR})
"""Classes that index memory with unchecked numbers from the file."""

_OWNERS = ("sklearn.tree.", "sklearn.ensemble.")
"""Where estimators are defined that check the number of features before they hand data on to trees."""

_CHECK = "sklearn.utils.validation.check_array"
"""Gives back what it is given, if that is in order."""

_FEATURES = ("n_features_in_", "_n_features")

_Array = npt.NDArray[Any]
_Node = Mapping[str, Any]


class _Unsound(Exception):
    """A tree that might lead anywhere."""


def unsound_trees(archive: bytes) -> set[str]:
    """Full names of the classes of :data:`INDEXING` of which an archive has an object that does not pass."""
    unsound = set()
    with ZipFile(io.BytesIO(archive)) as file:
        for node, owners in _trees(json.loads(file.read("schema.json")), ()):
            name = _name(node)
            try:
                features = _features(owners)
                if name == _TREE:
                    _check_boosting(file, owners)
                    _check_tree(file, node, features)
                else:
                    _check_predictor(file, node, features, owners[-1])
            except (_Unsound, KeyError, TypeError, ValueError, IndexError, AttributeError, OSError):
                unsound.add(name)
    return unsound


def _trees(value: Any, owners: tuple[_Node, ...]) -> Iterator[tuple[_Node, tuple[_Node, ...]]]:
    """All trees of a schema, with the objects around them, the outermost first."""
    if isinstance(value, Mapping):
        if "__class__" in value and _name(value) in INDEXING:
            yield value, owners
        around = (*owners, value) if value.get("__loader__") == "ObjectNode" else owners
        for child in value.values():
            yield from _trees(child, around)
    elif isinstance(value, list):
        for child in value:
            yield from _trees(child, owners)


def _features(owners: tuple[_Node, ...]) -> int:
    """How many features the data have that reach a tree, at least."""
    counts = []
    for owner in owners:
        name = _name(owner)
        attributes = owner["content"]["content"]
        _require(not name.startswith(_OWNERS) or _FEATURES[0] in attributes)
        counts += [_integer(attributes[key]) for key in _FEATURES if key in attributes]
    return min(counts)


def _check_tree(file: ZipFile, node: _Node, features: int) -> None:
    own_features, classes, outputs = node["__reduce__"]["args"]["content"]
    state = node["content"]["content"]
    nodes, counts = _array(file, state["nodes"]), _array(file, classes)
    _require(counts.ndim == 1 and 1 <= len(counts) == _integer(outputs) and bool((counts >= 1).all()))
    _require(nodes.ndim == 1 and len(nodes) == _integer(state["node_count"]) >= 1)
    left, right = (nodes[name].astype(np.int64) for name in ("left_child", "right_child"))
    leaf = left == -1
    _require(bool((right[leaf] == -1).all()))
    used = nodes["feature"][~leaf]
    _require(bool((used >= 0).all() and (used < min(features, _integer(own_features))).all()))
    _require(_depth(left, right, leaf) <= _integer(state["max_depth"]))


def _check_boosting(file: ZipFile, owners: tuple[_Node, ...]) -> None:
    """Of ``GradientBoosting…``: trees write into as many columns as their first guess has."""
    for owner in owners:
        if not _name(owner).startswith("sklearn.ensemble._gb."):
            continue
        attributes = owner["content"]["content"]
        columns, first = _integer(attributes["estimators_"]["shape"]["content"][1]), attributes["init_"]
        if first["__loader__"] == "JsonNode":
            _require(json.loads(first["content"]) == "zero")
            _require(1 <= columns <= _integer(attributes["n_trees_per_iteration_"]))
            continue
        guess, of_classes = first["content"]["content"], _name(first) == "sklearn.dummy.DummyClassifier"
        _require(of_classes == (owner["__class__"] == "GradientBoostingClassifier"))
        _require(of_classes or (_name(first) == "sklearn.dummy.DummyRegressor" and columns == 1))
        _require(_integer(guess["n_outputs_"]) == 1)
        if of_classes:
            loss, prior = attributes["_loss"], _array(file, guess["class_prior_"])
            _require(json.loads(guess["_strategy"]["content"]) == "prior" and prior.ndim == 1 and len(prior) >= 1)
            is_wide = _name(loss) == "sklearn._loss.loss.HalfMultinomialLoss"
            _require("is_multiclass" not in loss["content"]["content"])
            _require(columns == (len(prior) if is_wide else 1))


def _check_predictor(file: ZipFile, node: _Node, features: int, boosting: _Node) -> None:
    described, around = node["content"]["content"], boosting["content"]["content"]
    nodes = _array(file, described["nodes"])
    _require(nodes.ndim == 1 and len(nodes) >= 1)
    leaf = nodes["is_leaf"] != 0
    inner = nodes[~leaf]
    _require(bool((inner["feature_idx"] >= 0).all() and (inner["feature_idx"] < features).all()))
    if around["_preprocessor"]["__loader__"] != "JsonNode":
        _check_columns(file, around["_preprocessor"]["content"]["content"], features)
    if len(splits := inner[inner["is_categorical"] != 0]):
        known = _array(file, around["_bin_mapper"]["content"]["content"]["is_categorical_"])
        _require(known.dtype.kind in "bu" and known.ndim == 1 and len(known) >= features)
        _require(bool(known[splits["feature_idx"]].all()))
        for table in ("raw_left_cat_bitsets", "binned_left_cat_bitsets"):
            bits = _array(file, described[table])
            _require(bits.ndim == 2 and bits.shape[1] == 8 and bool((splits["bitset_idx"] < len(bits)).all()))
    _depth(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), leaf)


def _check_columns(file: ZipFile, transformer: Mapping[str, _Node], features: int) -> None:
    """What puts the categorical columns first and numbers them gives one column for each."""
    masks = []
    for part in transformer["transformers_"]["content"]:
        _, step, mask = part["content"]
        if step["__loader__"] == "JsonNode" and json.loads(step["content"]) == "drop":
            continue
        name = _name(step)
        _require(
            name.startswith("sklearn.preprocessing.") and name.endswith((".OrdinalEncoder", ".FunctionTransformer"))
        )
        if name.endswith(".FunctionTransformer"):
            function = step["content"]["content"]["func"]
            is_check = function["__loader__"] == "PartialNode" and _name(function["content"]["func"]) == _CHECK
            _require(is_check or (function["__loader__"] == "JsonNode" and json.loads(function["content"]) is None))
        masks.append(_array(file, mask))
    _require(all(mask.dtype == bool and mask.ndim == 1 for mask in masks))
    _require(sum(int(mask.sum()) for mask in masks) >= features)


def _depth(left: _Array, right: _Array, leaf: _Array) -> int:
    """Number of levels below the root of what is a tree indeed."""
    parents = np.flatnonzero(~leaf)
    children = np.concatenate([left[parents], right[parents]])
    _require(bool((children > np.tile(parents, 2)).all() and (children < len(leaf)).all()))
    _require(len(np.unique(children)) == len(children))
    level, depth = parents[parents == 0], 0
    while len(level):
        depth += 1
        below = np.concatenate([left[level], right[level]])
        level = below[~leaf[below]]
    return depth


def _array(file: ZipFile, node: _Node) -> _Array:
    _require(node["__loader__"] == "NdArrayNode" and node["type"] == "numpy")
    return np.asarray(np.load(io.BytesIO(file.read(node["file"])), allow_pickle=False))


def _integer(node: _Node) -> int:
    number = json.loads(node["content"]) if node["__loader__"] == "JsonNode" else None
    _require(type(number) is int)
    return int(number or 0)


def _name(node: _Node) -> str:
    return f"{node.get('__module__')}.{node['__class__']}"


def _require(holds: bool) -> None:
    if not holds:
        raise _Unsound
