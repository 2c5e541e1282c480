"""What the operations of a graph do beyond computing: draw what no state has, leave the graph, write variables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow.python.framework import op_def_registry

__all__ = ["drawing", "foreign", "kinds_of", "leaving", "writes"]

_DRAWING = frozenset(
    {
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "TruncatedNormal",
        "ParameterizedTruncatedNormal",
        "RandomShuffle",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "Multinomial",
        "RandomCrop",
        "SampleDistortedBoundingBox",
        "SampleDistortedBoundingBoxV2",
        "RandomGammaGrad",
        "FractionalMaxPool",
        "FractionalAvgPool",
    }
)
"""They count what they have drawn in the kernel itself, where nobody reads it."""
_LEAVING = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_WRITING = ("Assign", "ResourceApply", "ResourceSparseApply", "ResourceScatter", "RngReadAndSkip", "RngSkip")

_STATEFUL = frozenset(
    {
        *("VarHandleOp", "VarIsInitializedOp", "ReadVariableOp", "VariableShape", "DestroyResourceOp"),
        *("ResourceGather", "ResourceGatherNd", "RngReadAndSkip", "RngSkip", "RngSkipV2"),
        *("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case", "For"),
        *(
            "Assert",
            "HashTableV2",
            "MutableHashTableV2",
            "LookupTableFindV2",
            "LookupTableSizeV2",
            "LookupTableImportV2",
        ),
        *("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "CudnnRNNBackprop", "CudnnRNNBackpropV2", "CudnnRNNBackpropV3"),
        *("XlaLaunch", "StackV2", "TensorArrayV3", "CollectiveReduceV2", "NcclAllReduce", "SymbolicGradient"),
        *("StochasticCastToInt", "NonMaxSuppressionV5", "PlaceholderWithDefault"),
        *_DRAWING,
    }
)
_FILES = frozenset({"ReadFile", "WriteFile", "MatchingFiles", "ImmutableConst", "DecodeProtoV2", "EncodeProto"})


def kinds_of(graph_def: Any) -> set[str]:
    """The kinds of all operations of a graph, those of its functions included."""
    return {node.op for node in _nodes(graph_def)}


def drawing(kinds: Iterable[str]) -> list[str]:
    """The kinds that draw from what no state has."""
    return sorted(_DRAWING.intersection(kinds))


def leaving(kinds: Iterable[str]) -> list[str]:
    """The kinds that call Python, which only the source has."""
    return sorted(_LEAVING.intersection(kinds))


def writes(kinds: Iterable[str]) -> bool:
    """Whether a variable is written."""
    return any(kind.startswith(_WRITING) for kind in kinds)


def foreign(graph_def: Any) -> list[str]:
    """The kinds that no program of ours has any use for: what reads or writes files, talks to others, or is unknown."""
    own = {function.signature.name for function in graph_def.library.function}
    found = kinds_of(graph_def) - own
    return sorted(kind for kind in found if not _is_harmless(kind))


def _is_harmless(kind: str) -> bool:
    known = op_def_registry.get(kind)
    if known is None or kind in _FILES:
        return False
    return not known.is_stateful or kind in _STATEFUL or kind.startswith(_WRITING)


def _nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def
