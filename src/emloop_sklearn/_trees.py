"""Checks the trees in an archive, whose numbers scikit-learn uses as indices into memory without looking.

Whoever writes such numbers can make a prediction read, or a decision path write, where it should not (scikit-learn
#34558). A tree that passes has children that come after their parent and once only, features that the data have, and no
more levels than it says. Categorical splits, which index further tables, do not pass, nor does what is boosted by
``GradientBoosting…``, which writes by the shape of an array of trees; such an archive has to be trusted by its reader.
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
                (_check_tree if name == _TREE else _check_predictor)(file, node, features)
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
        _require(not name.startswith("sklearn.ensemble._gb."))
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


def _check_predictor(file: ZipFile, node: _Node, features: int) -> None:
    nodes = _array(file, node["content"]["content"]["nodes"])
    _require(nodes.ndim == 1 and len(nodes) >= 1)
    leaf = nodes["is_leaf"] != 0
    inner = nodes[~leaf]
    _require(not inner["is_categorical"].any())
    _require(bool((inner["feature_idx"] >= 0).all() and (inner["feature_idx"] < features).all()))
    _depth(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), leaf)


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
