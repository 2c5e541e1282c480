"""Estimators as bytes and back, by skops: no pickle is written or read.

skops writes a zip archive of ``schema.json`` and NumPy files, which includes things that differ between processes:
object identities, which also name the files, and times. :func:`dump` removes these, so that equal estimators have equal
bytes and a resumed run can be compared with one that was never stopped.

:func:`load` only creates objects of types that cannot do harm by themselves: those that skops trusts, and classes (not
functions, but for a few that only compute) defined by an imported scikit-learn, NumPy or SciPy; of trees, those that
``trees`` has looked through. Every other type must be agreed to by name.

An estimator of LightGBM or XGBoost, alone or as the last step of a pipeline, is a file of its own in the archive, in
the library's format; an estimator that knows nothing stands in its place.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline

from emloop.errors import ConfigError, Problem, StateError, UntrustedError
from emloop_sklearn._boosting import libraries
from emloop_sklearn._fitting import last_step

from .skops_alone import skops_io
from .trees import INDEXING, unsound_trees

__all__ = ["dump", "load", "require_trusted", "untrusted_types"]

_SCHEMA, _BOOSTED = "schema.json", "boosted.json"
_LIBRARIES = ("numpy", "scipy", "sklearn")

_FUNCTIONS = frozenset(
    {
        "functools.partial",  # of one of these
        "numpy.mean",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "sklearn.cluster._kmeans._kmeans_single_elkan",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.feature_selection._univariate_selection.r_regression",
        "sklearn.metrics._classification.balanced_accuracy_score",
        "sklearn.utils.validation.check_array",
    }
)
"""Functions that estimators hold by default; all they do is compute."""

_UNCHANGING = frozenset({"FunctionNode", "JsonNode", "TupleNode", "TypeNode"})
"""Loaders of immutable objects, for which sharing makes no difference."""

_UNREADABLE = (BadZipFile, EOFError, KeyError, ValueError, TypeError, AttributeError, ImportError, RecursionError)


def dump(estimator: Any) -> bytes:
    """Render an estimator and all it has learned as bytes; equal estimators give equal bytes.

    Raises:
        StateError: If skops cannot write one of its parts.
    """
    last = last_step(estimator)
    is_boosted = libraries.library_of(last) is not None
    estimator = _with_last(estimator, DummyRegressor()) if is_boosted else estimator
    try:
        # A copy keeps the memory order of an array's axes, which skops loses if there are gaps between them; sums of
        # the same numbers in another order may differ in the last bits.
        archive = skops_io().dumps(copy.deepcopy(estimator))
    except (TypeError, ValueError, AttributeError) as error:
        raise StateError(f"{type(estimator).__name__} cannot be saved: {error}") from error
    return _normalised(archive, {_BOOSTED: libraries.written(last)} if is_boosted else {})


def untrusted_types(archive: bytes, trusted: Collection[str] = ()) -> list[str]:
    """Types in an archive that need explicit trust.

    Args:
        archive: What :func:`dump` returned.
        trusted: Full names of types already agreed to.

    Raises:
        StateError: If the archive cannot be read.
    """
    return _foreign(archive, _unknown_to_skops(archive), trusted)


def require_trusted(estimator: Any, trusted: Collection[str] = ()) -> None:
    """Refuse an estimator that could be saved but not restored.

    Raises:
        ConfigError: If it holds types that would not be trusted; lists them.
        StateError: If it cannot even be saved.
    """
    foreign = untrusted_types(dump(estimator), trusted)
    if foreign:
        hint = f"if you trust what they do: trusted_types: [{', '.join(foreign)}]"
        message = f"{type(estimator).__name__} could be saved but not restored: {', '.join(foreign)} is not trusted"
        raise ConfigError(Problem(message, hints=(hint,)))


def load(archive: bytes, trusted: Collection[str] = ()) -> Any:
    """Rebuild the estimator rendered by :func:`dump`.

    Args:
        archive: What :func:`dump` returned.
        trusted: Full names of types to allow beside those that are always allowed.

    Raises:
        UntrustedError: If it contains other types; lists them.
        StateError: If the archive cannot be read.
    """
    unknown = _unknown_to_skops(archive)
    foreign = _foreign(archive, unknown, trusted)
    if foreign:
        raise UntrustedError(
            f"the estimator contains types that are not trusted by default: {', '.join(foreign)}\n"
            f"  if you know where it comes from: trusted_types: [{', '.join(foreign)}]"
        )
    try:
        loaded = skops_io().loads(archive, trusted=unknown)
        with ZipFile(io.BytesIO(archive)) as file:
            boosted = file.read(_BOOSTED) if _BOOSTED in file.namelist() else None
    except _UNREADABLE as error:
        raise _unreadable(error) from error
    return loaded if boosted is None else _with_last(loaded, libraries.read(boosted))


def _with_last(estimator: Any, last: Any) -> Any:
    """An estimator with another last step, which may be all of it; the original stays as it is."""
    if not isinstance(estimator, Pipeline):
        return last
    changed = copy.copy(estimator)
    changed.steps = [*estimator.steps[:-1], (estimator.steps[-1][0], last)]
    return changed


def _unknown_to_skops(archive: bytes) -> list[str]:
    try:
        with ZipFile(io.BytesIO(archive)) as file:
            _check_sizes(file, len(archive))
        return list(skops_io().get_untrusted_types(data=archive))
    except _UNREADABLE as error:
        raise _unreadable(error) from error


def _foreign(archive: bytes, names: Iterable[str], trusted: Collection[str]) -> list[str]:
    untrusted = [name for name in names if name not in trusted]
    refused = unsound_trees(archive) if INDEXING.intersection(untrusted) else ()
    return [name for name in untrusted if name in refused or not (name in _FUNCTIONS or _is_library_class(name))]


def _check_sizes(file: ZipFile, size: int) -> None:
    """Refuse an archive that would unpack to more than its own size; :func:`dump` does not compress."""
    entries = file.infolist()
    if any(entry.compress_type != ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
        raise ValueError("it is compressed")


def _is_library_class(name: str) -> bool:
    # skops has imported every module that holds an estimator; importing others would run their code.
    module, _, attribute = name.rpartition(".")
    found = getattr(sys.modules.get(module), attribute, None)
    return module.partition(".")[0] in _LIBRARIES and isinstance(found, type)


def _unreadable(error: Exception) -> StateError:
    return StateError(f"the estimator cannot be read: {type(error).__name__}: {error}")


def _normalised(archive: bytes, beside: Mapping[str, bytes]) -> bytes:
    """Strip an archive of identities and times.

    Only identities shared by mutable objects mean something; they are numbered in order. Files are named by their
    content.
    """
    with ZipFile(io.BytesIO(archive)) as file:
        content = {name: _without_gaps(file.read(name)) for name in file.namelist()}
    schema = json.loads(content.pop(_SCHEMA))
    names = {
        name: f"{hashlib.sha256(data).hexdigest()[:32]}.{name.rpartition('.')[2]}" for name, data in content.items()
    }
    references = Counter(node["__id__"] for node in _nodes(schema) if _can_change(node))
    numbers: dict[int, int] = {}
    for node in _nodes(schema):
        identity = node.pop("__id__")
        if _can_change(node) and references[identity] > 1:
            node["__id__"] = numbers.setdefault(identity, len(numbers) + 1)
        if node.get("file") in names:
            node["file"] = names[node["file"]]
    files = {**beside, **{names[name]: data for name, data in content.items()}}
    files[_SCHEMA] = json.dumps(schema, separators=(",", ":")).encode()
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as file:
        for name in sorted(files):
            file.writestr(ZipInfo(name), files[name])
    return buffer.getvalue()


def _without_gaps(data: bytes) -> bytes:
    """A NumPy file with zeros where records have whatever was in memory before: in gaps, and in leaves of trees."""
    if b"('', '|V" not in data[:1024]:
        return data
    records = np.load(io.BytesIO(data), allow_pickle=False).reshape(-1)
    # NumPy itself copies gaps or leaves them as they are, as it likes.
    clean = np.zeros((len(records), records.dtype.itemsize), np.uint8)
    for name, (dtype, offset, *_) in records.dtype.fields.items():
        values = np.ascontiguousarray(records[name])
        if name == "missing_go_to_left" and "left_child" in records.dtype.names:
            values[records["left_child"] == -1] = 0
        clean[:, offset : offset + dtype.itemsize] = values.view(np.uint8).reshape(len(records), -1)
    return data[: len(data) - clean.nbytes] + clean.tobytes()


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All nodes of a schema, i.e. mappings with an identity, outermost first."""
    if isinstance(value, dict):
        if "__id__" in value:
            yield value
        value = value.values()
    elif not isinstance(value, list):
        return
    for child in list(value):
        yield from _nodes(child)


def _can_change(node: dict[str, Any]) -> bool:
    loader = node.get("__loader__")
    is_scalar = loader == "NdArrayNode" and node.get("__class__") != "ndarray"
    return loader not in _UNCHANGING and not is_scalar
