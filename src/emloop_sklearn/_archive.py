"""Estimators as bytes and back, by skops: no pickle is written or read.

skops writes a zip archive of ``schema.json`` and NumPy files, which includes things that differ between processes:
object identities, which also name the files, and times. :func:`dump` removes these, so that equal estimators have equal
bytes and a resumed run can be compared with one that was never stopped.

:func:`load` only creates objects of types that cannot do harm by themselves: those that skops trusts, and classes (not
functions, but for a few that only compute) defined by an imported scikit-learn, NumPy or SciPy; of trees, those that
``_trees`` has looked through. Every other type must be agreed to by name.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from emloop.errors import ConfigError, Problem, StateError, UntrustedError

from ._skops import skops
from ._trees import INDEXING, unsound_trees

__all__ = ["dump", "load", "require_trusted", "untrusted_types"]

_SCHEMA = "schema.json"
_LIBRARIES = ("numpy", "scipy", "sklearn")

_FUNCTIONS = frozenset(
    {
        "numpy.mean",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "sklearn.cluster._kmeans._kmeans_single_elkan",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.feature_selection._univariate_selection.r_regression",
        "sklearn.metrics._classification.balanced_accuracy_score",
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
    try:
        # A copy keeps the memory order of an array's axes, which skops loses if there are gaps between them; sums of
        # the same numbers in another order may differ in the last bits.
        archive = skops.io.dumps(copy.deepcopy(estimator))
    except (TypeError, ValueError, AttributeError) as error:
        raise StateError(f"{type(estimator).__name__} cannot be saved: {error}") from error
    return _normalised(archive)


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
        return skops.io.loads(archive, trusted=unknown)
    except _UNREADABLE as error:
        raise _unreadable(error) from error


def _unknown_to_skops(archive: bytes) -> list[str]:
    try:
        with ZipFile(io.BytesIO(archive)) as file:
            _check_sizes(file, len(archive))
        return list(skops.io.get_untrusted_types(data=archive))
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


def _normalised(archive: bytes) -> bytes:
    """Strip an archive of identities and times.

    Only identities shared by mutable objects mean something; they are numbered in order. Files are named by their
    content.
    """
    with ZipFile(io.BytesIO(archive)) as file:
        content = {name: file.read(name) for name in file.namelist()}
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
    files = {names[name]: data for name, data in content.items()}
    files[_SCHEMA] = json.dumps(schema, separators=(",", ":")).encode()
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as file:
        for name in sorted(files):
            file.writestr(ZipInfo(name), files[name])
    return buffer.getvalue()


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
