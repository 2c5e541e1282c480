"""Imports point down, never up and never sideways."""

from __future__ import annotations

LAYERS = (
    {"errors"},
    {"types", "constants", "declare"},
    {"_support"},
    {"_yaml", "_source"},
    {"_state"},
    {"_config", "_streams", "_run_dir", "saved_models"},
    {"_contracts"},
    {"_registry"},
    {"_build", "main_loop"},
    {"datasets", "models", "hooks"},
    {"api"},
    {"cli", "utils", "testing", "arguments", "seeding", "suggest"},
    {"entry_point"},
    {"__main__"},
)
"""The rooms of emloop, lowest first. A room may import from lower layers only, not from its neighbours."""

TORCH_LAYERS = ("emloop_torch._classes", "emloop_torch._tensors", "emloop_torch._programs", "emloop_torch._training")
"""The rooms of the PyTorch backend below its front, lowest first."""

HEIGHT = {f"emloop.{room}": height for height, rooms in enumerate(LAYERS) for room in rooms}

FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "flax", "onnx", "onnxruntime"}
OPTIONAL = {
    "sklearn",
    "skops",
    "matplotlib",
    "PIL",
    "cv2",
    "rich",
    "psutil",
    "pynvml",
    "pooch",
    "optuna",
    "plotly",
    "tensorboard",
}
PICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def packages_of(module, *, eager_only=False):
    return {(entry.line, entry.target.split(".")[0]) for entry in module.imports if entry.eager or not eager_only}


HIDDEN = """
import os
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from ..b import for_types
def late():
    import emloop.c as c
    from . import sibling
class Body:
    from emloop._d import in_a_class
__getattr__, __dir__ = lazy_names(__name__, {"x": ".lazy", **{n: f".{n}" for n in ("far",)}, "y": "emloop._e"})
"""


def test_an_import_is_seen_wherever_it_hides(parse):
    """For type checkers, in functions, in classes and among lazily resolved names."""
    seen = {(entry.target, entry.relative, entry.eager) for entry in parse("emloop.a.module", HIDDEN).imports}

    assert seen == {
        ("os", False, True),
        ("typing.TYPE_CHECKING", False, True),
        ("emloop.b.for_types", True, False),
        ("emloop.c", False, False),
        ("emloop.a.sibling", True, False),
        ("emloop._d.in_a_class", False, True),
        ("emloop.a.lazy", True, False),
        ("emloop._e", False, False),
    }


def test_a_room_imports_from_lower_rooms_only(module):
    """What lies below never learns of what is built upon it, not even for its type annotations."""
    if not module.name.startswith("emloop."):
        return
    assert module.room in HEIGHT, f"{module.room} stands on no layer; see LAYERS"
    # ``__version__`` belongs to the package itself, which is there before any of its rooms.
    upward = [
        f"{module.where(entry.line)} imports {entry.target}"
        for entry in module.imports
        if entry.target.split(".")[0] == "emloop"
        and entry.target != "emloop.__version__"
        and not entry.target.startswith(module.room + ".")
        and HEIGHT.get(".".join(entry.target.split(".")[:2]), len(LAYERS)) >= HEIGHT[module.room]
    ]

    assert upward == []


def test_a_relative_import_stays_in_its_room_and_an_absolute_one_leaves_it(module):
    """Crossings of walls show at a glance."""
    if module.name == "emloop":
        return
    wrong = [
        f"{module.where(entry.line)} imports {entry.target}"
        for entry in module.imports
        if entry.relative != (entry.room == module.room)
    ]

    assert wrong == []


def test_a_room_of_the_pytorch_backend_imports_from_lower_ones_only(module):
    """Tensors know nothing of programs, programs nothing of optimizers, and none of them of the model."""
    if module.room not in TORCH_LAYERS:
        return
    below = TORCH_LAYERS[: TORCH_LAYERS.index(module.room)]
    upward = [
        f"{module.where(entry.line)} imports {entry.target}"
        for entry in module.imports
        if entry.target.startswith("emloop_torch.")
        and not entry.target.startswith(tuple(f"{room}." for room in (module.room, *below)))
    ]

    assert upward == []


def test_a_backend_uses_public_names_only(module):
    """Third parties can write what our own backends are."""
    package = module.name.split(".")[0]
    if package == "emloop":
        return
    private = [
        f"{module.where(entry.line)} imports {entry.target}"
        for entry in module.imports
        if entry.target.split(".")[0] != package
        and (
            (entry.target.startswith("emloop_"))
            or (entry.target.startswith("emloop.") and any(part.startswith("_") for part in entry.target.split(".")))
        )
    ]

    assert private == []


def test_the_core_knows_no_framework_and_no_backend(module):
    """Backends are found by their entry points alone."""
    if not module.name.startswith("emloop."):
        return
    known = [
        f"{module.where(line)} imports {package}"
        for line, package in sorted(packages_of(module))
        if package in FRAMEWORKS or package.startswith("emloop_")
    ]

    assert known == []


def test_optional_packages_are_imported_where_they_are_used(module):
    """A module of the core can be imported without any extra, and without the cost of drawing."""
    if not module.name.startswith("emloop."):
        return
    eager = [
        f"{module.where(line)} imports {package}"
        for line, package in sorted(packages_of(module, eager_only=True))
        if package in OPTIONAL
    ]

    assert eager == []


def test_nothing_is_pickled(module):
    """No module of ours can write or read a pickle."""
    picklers = [f"{module.where(line)} imports {name}" for line, name in packages_of(module) if name in PICKLERS]

    assert picklers == []
