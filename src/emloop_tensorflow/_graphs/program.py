"""The program of a model: its graphs as a SavedModel without the values of variables, and a description.

``program.json`` names the variables, in the order in which the SavedModel has them, and says what each graph takes and
gives. The SavedModel holds data only: graphs whose operations compute, and know no files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from emloop.errors import SavedModelError, StateError, UntrustedError
from emloop.saved_models import check_state

from .operations import foreign
from .variables import plain

__all__ = ["FOLDER", "Program", "quietly"]

FOLDER = "program"
_FORMAT = 1
_DESCRIPTION, _GRAPHS = "program.json", "saved_model.pb"
_DESCRIBED = {
    "format": int,
    **dict.fromkeys(("sha256", "rung"), str),
    **{key: [str, ...] for key in ("weighing", "sources", "unsaved", "variables", "functions")},
    "reason": (str, None),
    "versions": {str: str},
    "initial_rate": (float, None),
    "configured": {str: object},
    "weights": {str: str},
    "graphs": {str: {"sources": [str, ...], "outputs": [str, ...], "signature": {str: object}}},
}
_GROUPS = ("variables:", "optimizer:", "learner:", "own:")
_FUNCTIONS = frozenset({"train", "eval", "infer", "end_epoch"})
_COUNTED = re.compile(r"[-_]\d+(?=[-_]|$)")
"""Numbers in names of functions, of which a process gives every one its own."""
_UNUSED = re.compile(r"_\d+(?=___redundant_placeholder\d+$)")
"""Such a number in the name of what a condition is given, and does not look at."""
_GRADIENT = "_gradient_op_type"
_SAVER = ("__inference__traced_save", "__inference__traced_restore")
_KINDS = {"user_object", "variable", "bare_concrete_function", "constant"}
_REGISTERED = {"", "tf.TrackableConstant"}
_OBJECTS = {"_generic_user_object", "trackable_list_wrapper", "signature_map"}


@dataclass(frozen=True)
class Program:
    """A model as data.

    Args:
        description: Content of ``program.json``.
        graphs: Content of ``saved_model.pb``.
    """

    description: Mapping[str, Any]
    graphs: bytes

    @classmethod
    def of(cls, functions: Mapping[str, Any], variables: Mapping[str, Any], description: Mapping[str, Any]) -> Program:
        """A program of some functions.

        Args:
            functions: Name → concrete function.
            variables: Name → variable, all that they use.
            description: What else to say of it.
        """
        module = tf.Module()
        module.state = [plain(variable) for variable in variables.values()]
        for name, function in functions.items():
            setattr(module, name, function)
        with TemporaryDirectory() as directory, quietly():
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(module, directory, signatures={}, options=options)
            content = _plain_data(Path(directory, _GRAPHS).read_bytes(), functions)
        described = {
            "format": _FORMAT,
            **description,
            "variables": list(variables),
            "functions": sorted(functions),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        return cls(described, content)

    def write(self, directory: Path) -> None:
        """Write the files, each atomically and the description last."""
        directory.mkdir(parents=True, exist_ok=True)
        described = json.dumps(self.description, indent=1).encode()
        for name, content in ((_GRAPHS, self.graphs), (_DESCRIPTION, described)):
            path = directory / name
            if not path.is_file() or path.read_bytes() != content:
                temporary = directory / f".tmp-{name}"
                temporary.write_bytes(content)
                temporary.replace(path)

    @classmethod
    def read(cls, directory: Path) -> Program:
        """Read and verify the program in a directory.

        Raises:
            SavedModelError: If a file is missing, damaged or of another format; names it.
            UntrustedError: If a graph does more than to compute.
        """
        path = directory / _DESCRIPTION
        try:
            description = json.loads(path.read_bytes())
            found, digest = description["format"], description["sha256"]
            content = (directory / _GRAPHS).read_bytes()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SavedModelError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
        if found != _FORMAT:
            raise SavedModelError(f"{path}: expected a program of format {_FORMAT}, got {found}")
        try:
            check_state(str(path), description, _DESCRIBED)
            _check_parts(description)
        except StateError as error:
            raise SavedModelError(str(error)) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise SavedModelError(f"{directory / _GRAPHS} is damaged: its content is not what {_DESCRIPTION} recorded")
        return cls(description, content)

    def load(self, name: str) -> tuple[dict[str, Any], dict[str, tf.Variable]]:
        """The functions, and the variables, which have no values yet.

        Args:
            name: Where it comes from, for messages.

        Raises:
            SavedModelError: If it is no such program.
            UntrustedError: If a graph does more than to compute.
        """
        parsed = saved_model_pb2.SavedModel()
        try:
            parsed.ParseFromString(self.graphs)
        except Exception as error:  # DecodeError has no public home
            raise SavedModelError(f"{name}: {_GRAPHS} is no SavedModel: {error}") from error
        for graph in parsed.meta_graphs:
            if (found := _more_than_data(graph)) is not None:
                raise UntrustedError(f"{name}: its program has {found}, which no model needs to compute")
        with TemporaryDirectory() as directory, quietly():
            Path(directory, _GRAPHS).write_bytes(self.graphs)
            options = tf.saved_model.LoadOptions(experimental_skip_checkpoint=True)
            try:
                loaded: Any = tf.saved_model.load(directory, options=options)
                functions = {each: getattr(loaded, each) for each in self.description["functions"]}
                variables = dict(zip(self.description["variables"], loaded.state, strict=True))
                for each, graph in self.description["graphs"].items():
                    _check_function(each, functions[each], graph)
            except (AttributeError, KeyError, TypeError, ValueError, tf.errors.OpError) as error:
                raise SavedModelError(f"{name}: the program cannot be loaded: {error}") from error
        return functions, variables


def _check_parts(description: Mapping[str, Any]) -> None:
    """Refuse a description whose parts do not fit together, which no program of ours has.

    Raises:
        StateError: If it is one; says what.
    """
    graphs, sources = description["graphs"], description["sources"]
    names = {*description["functions"], *graphs}
    problems = {
        "graphs lacks 'eval'": "eval" not in graphs,
        f"functions: expected some of {', '.join(sorted(_FUNCTIONS))}": not names <= _FUNCTIONS,
        "graphs has one that is no function": not graphs.keys() <= set(description["functions"]),
        "graphs: 'train' or 'eval' takes others than sources": any(
            graphs[name]["sources"] != sources for name in ("train", "eval") if name in graphs
        ),
        "weighing has what is no source": not set(description["weighing"]) <= set(sources),
        "variables has one of no group": not all(name.startswith(_GROUPS) for name in description["variables"]),
        "variables lacks the counters of the learner": not {"learner:factor", "learner:epochs"}
        <= set(description["variables"]),
    }
    if found := [words for words, holds in problems.items() if holds]:
        raise StateError(f"{_DESCRIPTION} does not fit together: {found[0]}")


def _check_function(name: str, function: Any, graph: Mapping[str, Any]) -> None:
    taken, given = len(function.structured_input_signature[0]), len(function.outputs)
    # Behind the outputs of those that have a loss comes its mean.
    if taken != len(graph["sources"]) or given not in (len(graph["outputs"]), len(graph["outputs"]) + 1):
        raise ValueError(f"{name!r} takes {taken} sources and gives {given} outputs, unlike what {_DESCRIPTION} says")


def _more_than_data(graph: Any) -> str | None:
    """What a graph has that our own programs never have, and that may do something as soon as it is loaded."""
    if kinds := foreign(graph.graph_def):
        return f"the operation {kinds[0]}"
    if graph.asset_file_def or graph.collection_def or graph.HasField("saver_def"):
        return "files or functions that run when it is loaded"
    for node in graph.object_graph_def.nodes:
        kind = node.WhichOneof("kind")
        if (
            kind not in _KINDS
            or node.registered_name not in _REGISTERED
            or (kind == "user_object" and node.user_object.identifier not in _OBJECTS)
        ):
            return f"an object of the kind {node.registered_name or kind}"
    return None


def _plain_data(content: bytes, functions: Iterable[str]) -> bytes:
    """A SavedModel of some functions with nothing else, to the byte the same in every process that traces the same."""
    parsed = saved_model_pb2.SavedModel()
    parsed.ParseFromString(content)
    for graph in parsed.meta_graphs:
        _drop_saver(graph)
        objects = graph.object_graph_def.nodes
        named = {child.local_name: objects[child.node_id] for child in objects[0].children}
        _rename(graph, [named[name].bare_concrete_function.concrete_function_name for name in sorted(functions)])
    return bytes(parsed.SerializeToString(deterministic=True))


def _drop_saver(graph: Any) -> None:
    """Leave out what writes and reads variables, which nobody calls, and nodes outside functions."""
    functions = [f for f in graph.graph_def.library.function if not f.signature.name.startswith(_SAVER)]
    constants = {each.constant.operation for each in graph.object_graph_def.nodes if each.HasField("constant")}
    nodes = [node for node in graph.graph_def.node if node.op == "VarHandleOp" or node.name in constants]
    del graph.graph_def.library.function[:], graph.graph_def.node[:]
    graph.graph_def.library.function.extend(functions)
    graph.graph_def.node.extend(nodes)
    for part in ("saver_def", "signature_def", "collection_def"):
        graph.ClearField(part)


def _rename(graph: Any, roots: Iterable[str]) -> None:
    """Number functions in the order in which they are called, not in that in which a process has traced them."""
    objects, library = graph.object_graph_def, graph.graph_def.library
    functions = {function.signature.name: function for function in library.function}
    names = _numbered(functions, roots)
    for function in functions.values():
        function.signature.name = names[function.signature.name]
        for given in function.signature.input_arg:
            given.name = _UNUSED.sub("", given.name)
        for place in _mentions(function):
            if (text := _text(*place)) in names:
                _put(*place, names[text])
        for node in function.node_def:
            if _GRADIENT in node.attr:  # registered, if anywhere, in the process that has traced it
                _put(node.attr[_GRADIENT], "s", _COUNTED.sub("", _text(node.attr[_GRADIENT], "s")))
    library.ClearField("function")
    library.function.extend(sorted(functions.values(), key=lambda function: str(function.signature.name)))
    for node in objects.nodes:
        bare = node.bare_concrete_function
        bare_name = bare.concrete_function_name
        if bare_name in names:
            bare.concrete_function_name = names[bare_name]
    signatures = {names[name]: signature for name, signature in objects.concrete_functions.items() if name in names}
    objects.ClearField("concrete_functions")
    for name, signature in signatures.items():
        objects.concrete_functions[name].CopyFrom(signature)


def _numbered(functions: Mapping[str, Any], roots: Iterable[str]) -> dict[str, str]:
    """Name → new name."""
    names: dict[str, str] = {}
    waiting = [*roots, *sorted(functions)]
    while waiting:
        name = waiting.pop(0)
        if name in functions and name not in names:
            names[name] = f"{_COUNTED.sub('', name)}_{len(names)}"
            waiting[:0] = [_text(*place) for place in _mentions(functions[name])]
    return names


def _mentions(function: Any) -> Iterator[tuple[Any, str]]:
    """Where others, or the function's own parts, may be named: a message, and its field."""
    for node in function.node_def:
        yield node, "op"
    for attributes in (function.attr, *(node.attr for node in function.node_def)):
        for key in sorted(attributes):
            value = attributes[key]
            if value.HasField("s"):
                yield value, "s"
            for called in [value.func] if value.HasField("func") else value.list.func:
                yield called, "name"


def _text(message: Any, field: str) -> str:
    value = getattr(message, field)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _put(message: Any, field: str, text: str) -> None:
    setattr(message, field, text.encode() if isinstance(getattr(message, field), bytes) else text)


@contextmanager
def quietly() -> Iterator[None]:
    """Nobody asks for gradients of what already has its own, nor for signatures; what fails, is raised."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "tf2onnx")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
