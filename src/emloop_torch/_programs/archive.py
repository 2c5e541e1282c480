"""A graph as bytes: a ``torch.export`` archive without weights, examples, source or pickles.

``torch.export.load`` would unpickle whatever an archive calls pickled, look up any operator's name in ``torch`` and
evaluate sizes as Python expressions. So :func:`check` reads an archive before it is loaded, and accepts only what
:func:`pack` writes.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import re
import typing
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram
from torch.utils._pytree import tree_map_only

from emloop.errors import SavedModelError, UntrustedError
from emloop.interrupting import uninterrupted

__all__ = ["RECOMPUTED", "check", "pack", "quiet", "unpack", "unpacked"]

_RELEASE = "2.13."
"""The release whose writing is known so well; others write as they are, in more time."""

RECOMPUTED = "recomputed_"
"""Marks nodes of activation checkpointing, together with the number of the checkpoint."""

_SAMPLES = "data/sample_inputs/model.pt"
_MEMBER = re.compile(
    r"[^/]+/("
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    rf"|{re.escape(_SAMPLES)}|models/model\.json|archive_format|archive_version|byteorder|\.data/\w+|\.format_version"
    r"|\.storage_alignment|version)"
)
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|higher_order)\.(__(and|or|xor|lshift|rshift)__|(?!from_file|__)[a-z_]\w*)(\.\w+)?"
    r"|torch\.sym_\w+"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem)"
    r"|math\.[a-z]\w*"
)
_FUNCTIONS = (
    "Abs|Add|And|CeilDiv|CleanDiv|Equality|ExprCondPair|FloatTrueDiv|FloorDiv|GreaterThan|IntTrueDiv|Integer|LessThan|Max|Min|Mod"
    "|ModularIndexing|Mul|Not|Or|Piecewise|Pow|PythonMod|Rational|RoundToInt|StrictGreaterThan|StrictLessThan|ToFloat|TruncToInt"
    "|Unequality"
)
_SYMBOLIC = re.compile(
    rf"(Symbol\('[a-z]+\d+'(, [a-z]+=(True|False))*\)|Float\('-?[\d.e+-]+', precision=\d+\)|({_FUNCTIONS})\("
    r"|[a-z]+\d+|-?\d+|[Tt]rue|[Ff]alse|int_oo|[-+*/%(),<>=\s])*"
)
_NAME = re.compile(r"[\w.]*")
_SPECS = re.compile(r'"type": ("builtins\.(tuple|list|dict)"|null)')


def pack(program: ExportedProgram) -> bytes:
    """Serialise an exported program without its weights, its examples and traces of its source.

    Raises:
        UntrustedError: If it contains operators that no restore would accept.
    """
    program.example_inputs = None
    for name, tensor in program.state_dict.items():
        program.state_dict[name] = _hollow(tensor)
    for name in program.graph_signature.non_persistent_buffers:
        program.constants[name] = _hollow(program.constants[name])
    program._guards_code = []  # kept as data instead, see sizes
    stands_for = cache(_single)
    for graph in program.graph_module.modules():
        if isinstance(graph, torch.fx.GraphModule):
            _inline_silent_blocks(graph)
            _name_recomputed(graph)
            for node in graph.graph.nodes:
                for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom"):
                    node.meta.pop(key, None)
                # Sizes of results are found by computing; to write and read them takes longer than all the rest.
                if node.op == "call_function" and "unbacked_bindings" not in node.meta:
                    node.meta["val"] = tree_map_only(
                        FakeTensor, lambda t: stands_for(t.fake_mode, t.dtype, t.device), node.meta.get("val")
                    )
    buffer = io.BytesIO()
    with _without_waste():
        torch.export.save(program, buffer)
    check(buffer.getvalue(), "the exported program")
    return buffer.getvalue()


@uninterrupted
@contextmanager
def _without_waste() -> Iterator[None]:
    """Let PyTorch look up types once a class, not once an object, and make no canonical form that it throws away."""
    if not torch.__version__.startswith(_RELEASE):
        yield
        return
    # It imports the compiler, which a training without exports can do without.
    serialize: Any = importlib.import_module("torch._export.serde.serialize")
    held = serialize.typing, serialize.canonicalize
    known = cache(lambda cls: typing.get_type_hints(cls, vars(serialize.schema)))
    serialize.typing = SimpleNamespace(**{**vars(typing), "get_type_hints": lambda cls, **_: known(cls)})
    serialize.canonicalize = lambda program, *_: program
    try:
        yield
    finally:
        serialize.typing, serialize.canonicalize = held


def _inline_silent_blocks(graph: torch.fx.GraphModule) -> None:
    """Inline blocks without gradients that give no result: PyTorch writes them, but cannot read them.

    What such a block changes in place, it changes through detached tensors, so still without gradients.
    """
    for node in graph.graph.nodes:
        if node.target is not torch.ops.higher_order.wrap_with_set_grad_enabled or node.meta.get("val"):
            continue
        enabled, block, *arguments = node.args
        body: Any = graph.get_submodule(block.target).graph
        if enabled or any(part.op == "get_attr" for part in body.nodes):
            continue
        with graph.graph.inserting_before(node):
            known = {}
            for place, given in zip(body.find_nodes(op="placeholder"), arguments, strict=True):
                known[place] = given
                if isinstance(given.meta["val"], torch.Tensor):
                    known[place] = graph.graph.call_function(torch.ops.aten.detach.default, (given,))
                    known[place].meta["val"] = place.meta["val"]
            for part in body.nodes:
                if part.op == "call_function":
                    known[part] = graph.graph.node_copy(part, known.__getitem__)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code(lambda node: node.op != "get_attr")
    graph.recompile()


def _name_recomputed(graph: torch.fx.GraphModule) -> None:
    """Keep in the names of nodes which of them a backward pass computes again; nothing else of them is written."""
    for node in graph.graph.nodes:
        region = node.meta.get("custom", {}).get(RECOMPUTED)
        # Results of the whole graph are listed elsewhere by name.
        if region is not None and not any(user.op == "output" for user in node.users):
            node._rename(f"{RECOMPUTED}{region}_{node.name}")


def unpack(content: bytes, name: str) -> ExportedProgram:
    """Read what :func:`pack` wrote.

    Args:
        content: The archive.
        name: Name of the archive in messages.

    Raises:
        UntrustedError: If it could run code that is not PyTorch's own.
        SavedModelError: If it cannot be read.
    """
    check(content, name)
    # It warns of every size that nothing in the graph looks at.
    with quiet(logging.ERROR, "torch._export.serde.serialize"), _without_waste():
        try:
            return torch.export.load(io.BytesIO(content))
        except Exception as error:  # a damaged or foreign file can break anything in PyTorch
            raise SavedModelError(
                f"{name} cannot be read by PyTorch {torch.__version__}: {type(error).__name__}: {error}"
            ) from error


@lru_cache(maxsize=4)
def unpacked(content: bytes, name: str) -> tuple[ExportedProgram, dict[str, Any]]:
    """What :func:`unpack` reads, which takes long, and its constants as they were; neither may be changed.

    What has been verified is read again to be compared.
    """
    exported = unpack(content, name)
    return exported, dict(exported.constants)


@uninterrupted
@contextmanager
def quiet(level: int, *loggers: str) -> Iterator[None]:
    """Silence warnings, and loggers below a level: exporting warns about things that only its developers can change."""
    levels = {logger: logger.level for logger in map(logging.getLogger, loggers)}
    for logger in levels:
        logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, before in levels.items():
            logger.setLevel(before)


def check(content: bytes, name: str) -> None:
    """Accept an archive only if it holds data and nothing else.

    Raises:
        UntrustedError: If the archive contains anything that :func:`pack` does not write; says what.
        SavedModelError: If it is not an archive.
    """
    try:
        with ZipFile(io.BytesIO(content)) as file:
            for entry in file.infolist():
                if entry.compress_type != ZIP_STORED or not _MEMBER.fullmatch(entry.filename):
                    raise _untrusted(name, f"the member {entry.filename!r}")
                if entry.filename.endswith(_SAMPLES) and entry.file_size:
                    raise _untrusted(name, "example data, pickled")
                if entry.filename.endswith(".json"):
                    _check_json(json.loads(file.read(entry)), name)
    except (BadZipFile, EOFError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, UntrustedError):
            raise
        raise SavedModelError(f"{name} is no program: {type(error).__name__}: {error}") from error


def _check_json(value: Any, name: str) -> None:
    for key, found in _entries(value):
        if key == "use_pickle" and found is not False:
            raise _untrusted(name, "a pickle")
        if key == "target" and isinstance(found, str) and not _OPERATOR.fullmatch(found):
            raise _untrusted(name, f"the operator {found!r}")
        # Names of arguments end up in Python that is made of the graph.
        if key == "name" and isinstance(found, str) and not _NAME.fullmatch(found):
            raise _untrusted(name, f"the name {found!r}")
        if key == "expr_str" and not _SYMBOLIC.fullmatch(found):
            raise _untrusted(name, f"the expression {found!r}")
        if key == "range_constraints" and not all(map(_SYMBOLIC.fullmatch, found)):
            raise _untrusted(name, f"the sizes {', '.join(map(repr, found))}")
        if key in ("guards_code", "metadata") and found:
            raise _untrusted(name, f"{key}: {found!r}"[:200])
        if key in ("in_spec", "out_spec") and isinstance(found, str) and '"type"' in _SPECS.sub("", found):
            raise _untrusted(name, f"arguments of types of its own: {found!r}"[:200])


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of every mapping, with its value."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from found.items()
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _hollow(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape that occupies the memory of one number."""
    hollow = torch.zeros((1,) * tensor.ndim, dtype=tensor.dtype, device=tensor.device).expand(tensor.shape)
    is_parameter = isinstance(tensor, torch.nn.Parameter)
    return torch.nn.Parameter(hollow, requires_grad=tensor.requires_grad) if is_parameter else hollow


def _single(mode: FakeTensorMode, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A single number."""
    with mode:
        return torch.empty((), dtype=dtype, device=device)


def _untrusted(name: str, what: str) -> UntrustedError:
    return UntrustedError(f"{name} holds what a program must not hold: {what}")
