"""Imports point down, never up and never sideways."""

from __future__ import annotations

import ast
import re

LAYERS = (
    {"errors"},
    {"types", "constants", "declare"},
    {"_support"},
    {"_yaml", "_source", "_state"},
    {"_settings"},
    {"_config", "_streams", "_run_dir", "saved_models"},
    {"_contracts"},
    {"_registry"},
    {"_reporter", "_ranks"},
    {"_build", "main_loop"},
    {"datasets", "models", "hooks"},
    {"api", "predictor"},
    {"_verifying"},
    {
        "cli",
        "utils",
        "testing",
        "abilities",
        "arguments",
        "interrupting",
        "parameters",
        "profiling",
        "ranks",
        "seeding",
        "suggest",
    },
    {"entry_point"},
    {"__main__"},
)
"""The rooms of emloop, lowest first. A room may import from lower layers only, not from its neighbours."""

TORCH_LAYERS = tuple(
    f"emloop_torch.{room}"
    for room in ("_classes", "_tensors", "_programs", "_proofs", "_training", "_running", "_ranks")
)
"""The rooms of the PyTorch backend below its front, lowest first."""

HEIGHT = {f"emloop.{room}": height for height, rooms in enumerate(LAYERS) for room in rooms}

FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "flax", "optax", "onnx", "onnxruntime"}
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
    "requests",
    "optuna",
    "plotly",
    "tensorboard",
}
NAMED_BELOW = {
    "emloop._support.moved": "the table of names that have moved says what they are now",
    "emloop._config": "the table of what hooks read and write, and the families of classes, until they are declared",
    "emloop._run_dir.headline": "by what a run is judged is read from its config, and nothing imported",
    "emloop._streams.reader": "IndexStream is the way out that its message names",
}
"""Modules and rooms that name classes of upper rooms in texts, and why."""

PICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def importing(modules, is_wrong):
    """Where and what is imported against a rule."""
    return [
        f"{module.where(entry.line)} imports {entry.target}"
        for module in modules
        for entry in module.imports
        if is_wrong(module, entry)
    ]


def package_of(name):
    return name.partition(".")[0]


def in_core(module):
    return module.name.startswith("emloop.")


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


def test_every_room_of_the_core_stands_on_a_layer(modules):
    """See ``LAYERS``."""
    assert {module.room for module in modules if in_core(module)} - set(HEIGHT) == set()


def test_a_room_imports_from_lower_rooms_only(modules):
    """What lies below never learns of what is built upon it, not even for its type annotations."""

    def is_upward(module, entry):
        # ``__version__`` belongs to the package itself, which is there before any of its rooms.
        return (
            in_core(module)
            and package_of(entry.target) == "emloop"
            and entry.target != "emloop.__version__"
            and not entry.target.startswith(module.room + ".")
            and HEIGHT.get(entry.room, len(LAYERS)) >= HEIGHT[module.room]
        )

    assert importing(modules, is_upward) == []


def test_no_class_is_named_below_its_room(modules):
    """Not even in a text: what lies below would have to be changed with what is built upon it."""
    heights = {}
    for module in modules:
        for node in module.tree.body if in_core(module) else ():
            # Only a name of several words is no word of a sentence.
            if isinstance(node, ast.ClassDef) and re.search("[a-z][A-Z]", node.name):
                heights[node.name] = min(HEIGHT[module.room], heights.get(node.name, len(LAYERS)))
    named = [
        f"{module.where(text.lineno)} names {word}"
        for module in modules
        if in_core(module) and not {module.name, module.room} & set(NAMED_BELOW)
        for text in module.texts
        for word in re.findall(r"\w+", text.value)
        if heights.get(word, 0) > HEIGHT[module.room]
    ]

    assert named == []


def test_a_relative_import_stays_in_its_room_and_an_absolute_one_leaves_it(modules):
    """Crossings of walls show at a glance."""

    def is_misspelt(module, entry):
        return module.name != "emloop" and entry.relative != (entry.room == module.room)

    assert importing(modules, is_misspelt) == []


def test_a_room_of_the_pytorch_backend_imports_from_lower_ones_only(modules):
    """Tensors know nothing of programs, programs nothing of optimizers, and none of them of the model."""

    def is_upward(module, entry):
        if module.room not in TORCH_LAYERS or package_of(entry.target) != "emloop_torch":
            return False
        allowed = TORCH_LAYERS[: TORCH_LAYERS.index(module.room) + 1]
        return not entry.target.startswith(tuple(f"{room}." for room in allowed))

    assert importing(modules, is_upward) == []


def test_a_backend_uses_public_names_only(modules):
    """Third parties can write what our own backends are."""

    def is_private(module, entry):
        own, package = package_of(module.name), package_of(entry.target)
        if own in ("emloop", package):
            return False
        return package.startswith("emloop_") or (
            package == "emloop" and any(part.startswith("_") for part in entry.target.split("."))
        )

    assert importing(modules, is_private) == []


def test_the_core_knows_no_framework_and_no_backend(modules):
    """Backends are found by their entry points alone."""

    def is_known(module, entry):
        package = package_of(entry.target)
        return in_core(module) and (package in FRAMEWORKS or package.startswith("emloop_"))

    assert importing(modules, is_known) == []


def test_optional_packages_are_imported_where_they_are_used(modules):
    """A module of the core can be imported without any extra, and without the cost of drawing."""

    def is_eager(module, entry):
        return in_core(module) and entry.eager and package_of(entry.target) in OPTIONAL

    assert importing(modules, is_eager) == []


def test_nothing_is_pickled(modules):
    """No module of ours can write or read a pickle."""
    assert importing(modules, lambda module, entry: package_of(entry.target) in PICKLERS) == []
