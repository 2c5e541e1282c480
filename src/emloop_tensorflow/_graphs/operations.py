"""What the operations of a graph do beyond computing: draw what no state has, leave the graph, write variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow.python.framework import op_def_registry

__all__ = ["drawing", "foreign", "keeping", "kinds_of", "leaving", "writes"]

_LEAVING = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_WRITING = ("Assign", "Resource", "RngReadAndSkip", "RngSkip", "Stateful")
_READING = ("ResourceGather", "StatefulPartitionedCall")

_STATEFUL = frozenset(
    {
        *("VarHandleOp", "VarIsInitializedOp", "ReadVariableOp", "VariableShape", "DestroyResourceOp"),
        *("ResourceGather", "ResourceGatherNd", "RngReadAndSkip", "RngSkip", "RngSkipV2"),
        *("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case", "For"),
        *(
            "Assert",
            "CheckNumerics",
            "CheckNumericsV2",
            "HashTableV2",
            "MutableHashTableV2",
            "LookupTableFindV2",
            "LookupTableSizeV2",
            "LookupTableImportV2",
        ),
        *("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "CudnnRNNBackprop", "CudnnRNNBackpropV2", "CudnnRNNBackpropV3"),
        *("XlaLaunch", "StackV2", "TensorArrayV3", "CollectiveReduceV2", "NcclAllReduce", "SymbolicGradient"),
        *("StochasticCastToInt", "NonMaxSuppressionV5", "PlaceholderWithDefault", "PrintV2"),
    }
)
_FOREIGN = re.compile(
    "File|Dataset|Vocab|Checkpoint|Snapshot|Debug|^Copy|PyFunc|Proto|Mlir|CustomCall|HostConst|ImmutableConst|^_"
)
"""Parts of names of what reads or writes files, runs other code, or has no place in a graph of a model."""

_KEEPING = re.compile("Insert|Remove|Enqueue|Dequeue|GetNext|^Stage$|^Unstage$")
"""Parts of names of what changes a table, a queue or an iterator, which are no variables."""


def kinds_of(graph_def: Any) -> set[str]:
    """The kinds of all operations of a graph, those of its functions included."""
    return {node.op for node in _nodes(graph_def)}


def drawing(kinds: Iterable[str]) -> list[str]:
    """The kinds that draw from what no state has: they count what they have drawn in the kernel itself."""
    return sorted(kind for kind in kinds if _draws(kind))


def keeping(kinds: Iterable[str]) -> list[str]:
    """The kinds that change what is no variable, and which therefore no state has."""
    known = {kind: op_def_registry.get(kind) for kind in kinds if _KEEPING.search(kind)}
    return sorted(kind for kind, each in known.items() if each is not None and each.is_stateful)


def leaving(kinds: Iterable[str]) -> list[str]:
    """The kinds that call Python, which only the source has."""
    return sorted(_LEAVING.intersection(kinds))


def writes(kinds: Iterable[str]) -> bool:
    """Whether a variable is written."""
    return any(kind.startswith(_WRITING) and not kind.startswith(_READING) for kind in kinds)


def foreign(graph_def: Any) -> list[str]:
    """The kinds that no program of ours has any use for: what reads or writes files, talks to others, or is unknown."""
    own = {function.signature.name for function in graph_def.library.function}
    found = kinds_of(graph_def) - own
    # What is printed may go to a file, too.
    printing = {n.op for n in _nodes(graph_def) if n.op == "PrintV2" and n.attr["output_stream"].s.startswith(b"file")}
    return sorted(printing | {kind for kind in found if not _is_harmless(kind)})


def _is_harmless(kind: str) -> bool:
    known = op_def_registry.get(kind)
    if known is None or _FOREIGN.search(kind):
        return False
    return not known.is_stateful or kind in _STATEFUL or kind.startswith(_WRITING) or _draws(kind)


def _draws(kind: str) -> bool:
    known = op_def_registry.get(kind)
    return kind == "NonDeterministicInts" or (known is not None and any(each.name == "seed2" for each in known.attr))


def _nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def
