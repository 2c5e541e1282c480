"""Where in the user's own code something happens, and how a reason for a lower rung names it."""

from __future__ import annotations

import dis
import importlib
import linecache
import traceback
import types
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException

from emloop.errors import UntrustedError

from .surroundings import is_library
from .verifying import Difference

__all__ = ["line_naming", "line_of_code", "line_of_frame", "told"]

_LENGTH = 300
_SHOWN = 60
_LIBRARY_PATHS = tuple(str(Path(file).parent) for file in (torch.__file__, __file__.replace("_proofs", "")))
_SAID = (
    ("Constraints violated", "the number of examples is fixed by what Python does with it, as by a loop over examples"),
    ("Runtime assertion failed", "a size that only data tell is another than any that the graph was made for"),
    ("fake tensor in the exported program", "gradients that forward takes by itself, which only a traced graph holds"),
    ("_functorch.predispatch", "torch.vmap, which only a traced graph holds"),
)
"""What is said in place of messages for PyTorch's developers."""
_CURES = (
    ("numpy() on", "tensor operations in place of NumPy's"),
    ("Constraints violated", "sizes by x.shape[0], and operations on the whole batch,"),
    ("read-only", "a buffer, by register_buffer, in place of a large array that forward writes to"),
    ("itself, which a graph takes", "its module's attribute in place of it"),
    ("assigned during export", "a buffer, by register_buffer, in place of an attribute"),
    ("attributes must be registered as buffers", "a buffer, by register_buffer, in place of an attribute"),
)


def line_of_code(code: types.CodeType, line: int | None = None) -> str:
    """File and line, as a reader looks for it: ``net.py:12``."""
    path = Path(code.co_filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
    return f"{shown}:{line or code.co_firstlineno}"


def line_of_frame(frame: types.FrameType | None) -> str | None:
    """The innermost line of the user's code that a frame was called from, with its text."""
    while frame is not None and is_library(frame.f_globals.get("__name__")):
        frame = frame.f_back
    return None if frame is None else _shown(frame.f_code, frame.f_lineno)


def line_naming(functions: Iterable[types.FunctionType], names: Sequence[str]) -> str | None:
    """The first line of some functions that names all of these."""
    for function in functions:
        if set(names) <= set(function.__code__.co_names):
            line = function.__code__.co_firstlineno
            for instruction in dis.get_instructions(function):
                line = instruction.starts_line or line
                if instruction.argval == names[-1]:
                    return _shown(function.__code__, int(line))
    return None


def told(rung: str, error: Exception) -> str:
    """Why a rung was not reached: where, what was found, and the cure, in one line."""
    # It imports SymPy, which no training waits for.
    shapes = importlib.import_module("torch.fx.experimental.symbolic_shapes")
    if isinstance(error, Difference):
        return f"{rung}: {error}"
    where = _where(error)
    # What PyTorch adds is for its developers.
    said = " ".join(str(error).strip().partition("\n\n")[0].split()) or type(error).__name__
    cure = next((cure for sign, cure in _CURES if sign in str(error)), None)
    plain = next((plain for sign, plain in _SAID if sign in str(error)), None)
    if plain is not None:
        said = plain
    elif isinstance(error, (shapes.GuardOnDataDependentSymNode, DataDependentOutputException)):
        said, cure = "a branch on values, of which a graph holds one side", "torch.where in place of it"
        if where is not None and any(call in where for call in (".item(", ".tolist(", "float(", "int(", ".numpy(")):
            said, cure = "a value that Python reads", "tensor operations in place of Python's"
    elif isinstance(error, UntrustedError):
        said = str(error)
    else:
        said = f"{type(error).__name__}: {said}"
    said = said if len(said) <= _LENGTH else f"{said[: _LENGTH - 1]}…"
    place = f"{where}: " if where else ""
    return f"{rung}: {place}{said}" + (f"; {cure} would do" if cure else "")


def _where(error: BaseException | None) -> str | None:
    """The innermost line of the user's code that an error came from."""
    while error is not None:
        for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
            if not is_library(frame.f_globals.get("__name__")):
                return _shown(frame.f_code, line)
        error = error.__cause__ or error.__context__
    return None


def _shown(code: types.CodeType, line: int) -> str:
    text = linecache.getline(code.co_filename, line).strip().rstrip(":")
    text = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return f"{line_of_code(code, line)}: {text}" if text else line_of_code(code, line)
