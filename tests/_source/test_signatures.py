"""What classes accept, read from their source, is what Python itself says of them, or nothing is said."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from pathlib import Path

import pytest

from emloop import hooks
from emloop._config.check import new_library as library_with_table
from emloop._settings.fitting import describe
from emloop._settings.hints import Accepted
from emloop._settings.live import accepted_by
from emloop._settings.signatures import Ancestry, accepted_by_source, parameters_of
from emloop._source.cache import FileCache
from emloop._source.finder import ModuleFinder
from emloop._source.library import MISSING, UNKNOWN, ClassSource, Library, Module

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "sklearn": [
        f"sklearn.{name}"
        for name in (
            "calibration", "cluster", "compose", "covariance", "cross_decomposition", "decomposition",
            "discriminant_analysis", "dummy", "ensemble", "feature_extraction.text", "feature_selection",
            "gaussian_process", "impute", "isotonic", "kernel_approximation", "kernel_ridge", "linear_model",
            "manifold", "mixture", "model_selection", "multiclass", "multioutput", "naive_bayes", "neighbors",
            "neural_network", "pipeline", "preprocessing", "random_projection", "semi_supervised", "svm", "tree",
        )
    ],
    "torch": ["torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data"],
    "torchmetrics": [
        "torchmetrics",
        *(f"torchmetrics.{name}" for name in ("classification", "regression", "retrieval", "text", "wrappers")),
    ],
    "keras": ["keras.layers", "keras.optimizers", "keras.losses", "keras.metrics"],
}  # fmt: skip
NO_HOOKS = ("TrainingTerminated", "TrainingTraceKeys")
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def new_library(*path: str) -> Library:
    return Library(ModuleFinder(path or None), FileCache(None, "test"), {}, frozenset())


def public_classes(package: str) -> list[tuple[str, str, type]]:
    found = []
    for name in PACKAGES[package]:
        module = importlib.import_module(name)
        for attribute in sorted(vars(module)):
            cls = vars(module)[attribute]
            if isinstance(cls, type) and not attribute.startswith("_") and cls.__module__.startswith(f"{package}."):
                found.append((name, attribute, cls))
    return found


def disagreement(library: Library, module: str, name: str, cls: type) -> str | None:
    """What is read wrongly; empty if nothing; ``None`` if nothing is said."""
    source = library.lookup(library.module(module), name)
    read = parameters_of(Ancestry(library, source)) if isinstance(source, ClassSource) else None
    if read is None:
        return None
    parameters, is_open = read
    live = {p.name: p for p in inspect.signature(cls).parameters.values() if p.kind in NAMED}
    variable = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())
    if variable and is_open:
        # Arguments of base classes may be known beyond those that the class itself names.
        parameters = {n: p for n, p in parameters.items() if n in live}
    if list(live) != list(parameters) and not (variable and set(live) <= set(parameters)):
        return f"{module}.{name}: {list(live)} != {list(parameters)}"
    for argument, parameter in live.items():
        default = parameters[argument].default
        if (default is None) != (parameter.default is parameter.empty):
            return f"{module}.{name}: {argument} is read as {default}, and is {parameter.default!r}"
        is_constant = isinstance(default, list) and default[0] == "value"
        if is_constant and not (default[1] == parameter.default and type(default[1]) is type(parameter.default)):
            return f"{module}.{name}: {argument} is read as {default[1]!r}, and is {parameter.default!r}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_the_source_says_what_the_live_classes_say(package, record_property):
    """Name for name and default for default; at most one class in ten is left alone."""
    pytest.importorskip(package)
    library = new_library()

    classes = public_classes(package)
    verdicts = [disagreement(library, *found) for found in classes]

    silent = [
        f"{module}.{name}" for (module, name, _), verdict in zip(classes, verdicts, strict=True) if verdict is None
    ]
    record_property("agreed", f"{verdicts.count('')} of {len(verdicts)}")
    print(f"{package}: {verdicts.count('')} of {len(verdicts)} agree; nothing is said of {silent}")
    assert [verdict for verdict in verdicts if verdict] == []
    assert len(verdicts) >= 100
    assert len(silent) <= len(verdicts) / 10


def test_built_in_hooks_accept_what_they_accept():
    """The table says of every hook what the live class says: names, what is required, and what values must be."""
    library = library_with_table()
    ready = [name for name in hooks.__all__ if name not in NO_HOOKS and not inspect.isabstract(getattr(hooks, name))]
    assert len(ready) >= 25
    for name in ready:
        cls = getattr(hooks, name)
        source = library.lookup(library.module("emloop.hooks"), name)
        read = accepted_by_source(Ancestry(library, source))
        assert described(accepted_by(cls)) == described(read), name


def described(accepted: Accepted) -> tuple[object, ...]:
    hints = {name: describe(hint) for name, hint in accepted.hints.items() if hint.kind != "any"}
    return list(accepted.hints), hints, accepted.required, accepted.open


@pytest.fixture
def library(tmp_path):
    """Writes modules and reads them."""

    def make(modules: dict[str, str]) -> Library:
        for name, text in modules.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return new_library(str(tmp_path))

    return make


def arguments(library: Library, path: str) -> tuple[list[str], bool] | None:
    module, _, name = path.rpartition(".")
    source = library.lookup(library.module(module), name)
    assert isinstance(source, ClassSource), source
    read = parameters_of(Ancestry(library, source))
    return None if read is None else (list(read[0]), read[1])


HANDED_ON = (["x", "y"], False)
TAKEN = (["o", "x", "y"], False)
UNCLEAR = ([], True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("def __init__(self, a, *, b=1): ...", (["a", "b"], False), id="names"),
        pytest.param("def __init__(self, a, /, b): ...", (["b"], False), id="positional-only"),
        pytest.param("INIT super().__init__(**kwargs)", HANDED_ON, id="super"),
        pytest.param("INIT super().__init__(1, **kwargs)", (["y"], False), id="by-position"),
        pytest.param("INIT super().__init__(y=1, **kwargs)", (["x"], False), id="by-name"),
        pytest.param("def __init__(self, *args, **kw): super().__init__(*args, **kw)", HANDED_ON, id="star-args"),
        pytest.param("INIT Base.__init__(self, **kwargs)", HANDED_ON, id="base-by-name"),
        pytest.param("INIT self.go(**kwargs)\n    def go(self, z): ...", (["z"], False), id="own-method"),
        pytest.param("INIT self.prepare(**kwargs)\n    def prepare(self, z): ...", (["z"], False), id="overridden"),
        pytest.param("INIT super().__init__(**kwargs) if kwargs.pop('o', 0) else 0", TAKEN, id="taken"),
        pytest.param("INIT self.config = kwargs", UNCLEAR, id="kept"),
        pytest.param("INIT ...", UNCLEAR, id="swallowed"),
        pytest.param("INIT other(**kwargs)", UNCLEAR, id="function"),
        pytest.param("INIT super().__init__(**{**kwargs, 'x': 1})", UNCLEAR, id="rebuilt"),
        pytest.param("pass", HANDED_ON, id="inherited"),
        pytest.param("__init__ = make()", None, id="assigned"),
        pytest.param("def __new__(cls, q): ...", (["q"], False), id="new"),
        pytest.param("def __new__(cls, q, **kw): return Base(**kw)", (["q", "x", "y"], False), id="new-other"),
        pytest.param("def __new__(cls, q): ...\n    def __init__(self, q): ...", None, id="new-and-init"),
        pytest.param("INIT self.inner = Base(1, **kwargs)", (["y"], False), id="made-of"),
        pytest.param("INIT kwargs.update({'x': 1}); super().__init__(**kwargs)", (["y"], False), id="added"),
        pytest.param("INIT kwargs.update(more); super().__init__(**kwargs)", (["x", "y"], True), id="added-unclear"),
        pytest.param("INIT\n        if kwargs:\n            raise TypeError(list(kwargs))", ([], False), id="refused"),
        pytest.param("@wrapped(1)\n    INIT super().__init__(**kwargs)", HANDED_ON, id="wrapped"),
        pytest.param("@swapped\n    INIT super().__init__(**kwargs)", None, id="swapped"),
        pytest.param("if True:\n        def __init__(self, q): ...", None, id="conditional"),
        pytest.param("@decorated\n    def __init__(self, q): ...", None, id="decorated"),
    ],
)  # fmt: skip
def test_what_is_passed_on_is_followed(library, body, expected):
    """From the concrete class, through its method resolution order."""
    made = library(
        {
            "one": f"""
import functools

def wrapped(times):
    def decorate(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            return function(*args, **kwargs)
        return call
    return decorate

def swapped(function):
    def call(self, other): ...
    return call

class Base:
    def __init__(self, x, y=2):
        self.prepare(x)

    def prepare(self, theirs): ...


class Mine(Base):
    {body.replace("INIT", "def __init__(self, **kwargs):")}
"""
        }
    )

    assert expected == arguments(made, "one.Mine")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param("noted.append(cls)\n        return cls", (["x"], False), id="noted"),
        pytest.param("return super().__call__(cls)", (["x"], False), id="by-its-base"),
        pytest.param("return remake(cls)", None, id="remade"),
    ],
)
def test_a_class_that_a_decorator_only_notes_is_as_it_is_written(library, call, expected):
    """As the public names of a library are noted; which of two definitions counts makes no difference."""
    one = f"""
class noting(Base):
    def __init__(self, path): ...

    def __call__(self, cls):
        {call}
"""
    more = textwrap.indent(one, "    ")
    made = library(
        {
            "noting": f"if __debug__:\n{more}\nelse:\n{more}",
            "one": "from noting import noting\n\n@noting('a')\nclass Mine:\n    def __init__(self, x): ...\n",
        }
    )

    assert expected == arguments(made, "one.Mine")


def test_the_next_class_in_the_order_is_not_the_first_base(library):
    """``super()`` in a diamond leads to the sibling."""
    made = library(
        {
            "one": """
        class Top:
            def __init__(self, top=1): ...
        class Left(Top):
            def __init__(self, left=1, **kwargs):
                super().__init__(**kwargs)
        class Right(Top):
            def __init__(self, right=1, **kwargs):
                super().__init__(**kwargs)
        class Both(Left, Right):
            pass
        """
        }
    )

    assert (["left", "right", "top"], False) == arguments(made, "one.Both")
    assert (["left", "top"], False) == arguments(made, "one.Left")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("from there import Thing", "there.Thing", id="from"),
        pytest.param("from there import Other as Thing", "there.Other", id="renamed"),
        pytest.param("import there\nThing = there.Thing", "there.Thing", id="assigned"),
        pytest.param("from there import *", "there.Thing", id="star"),
        pytest.param("import package.inner\nThing = package.inner.Deep", "package.inner.Deep", id="submodule"),
        pytest.param("from package import Deep as Thing", "package.inner.Deep", id="re-exported"),
        pytest.param("class Thing: pass\nfrom there import Thing", "there.Thing", id="rebound"),
        pytest.param("try:\n    from there import Thing\nexcept ImportError:\n    Thing = None", None, id="tried"),
        pytest.param("def __getattr__(name): ...", None, id="made-up"),
        pytest.param(
            "if TYPE_CHECKING:\n    from there import Thing\ndef __getattr__(name): ...", "there.Thing", id="lazy"
        ),
        pytest.param("globals().update(x)", None, id="globals"),
        pytest.param("from gone import Thing", None, id="from-a-module-that-is-not-there"),
        pytest.param("from there import *\nfrom nowhere import *", None, id="star-from-a-module-that-is-not-there"),
        pytest.param("from circle import Thing", None, id="in-a-circle"),
        pytest.param("from there import NotThere as Thing", MISSING, id="missing"),
        pytest.param("Things = 3", MISSING, id="other-name"),
    ],
)
def test_names_are_followed_to_where_they_are_defined(library, text, expected):
    """Or it is known that there is none, or nothing is said (``None``)."""
    made = library(
        {
            "here": text,
            "there": "class Thing: pass\nclass Other: pass",
            "circle": "from here import Thing",
            "package/__init__": "from .inner import Deep",
            "package/inner": "class Deep: pass",
        }
    )

    found = made.lookup(made.module("here"), "Thing")

    assert expected == (found.full_name if isinstance(found, ClassSource) else None if found is UNKNOWN else found)


def test_a_package_is_found_without_being_imported(library, tmp_path):
    """Also one without an ``__init__.py``, whose parts lie in several places."""
    made = library({"space/a": "A = 1", "plain/__init__": "raise SystemExit", "plain/sub": "B = 2"})

    assert isinstance(made.module("space.a"), Module)
    assert isinstance(made.module("plain.sub"), Module)
    assert made.module("space.b") is None
    assert made.module("plain.sub.deeper") is None
    assert made.lookup(made.module("space"), "b") is MISSING


def test_a_file_that_is_no_python_says_nothing(library):
    """What it defines cannot be told; importing it will say why."""
    made = library({"broken": "class Half("})

    assert made.lookup(made.module("broken"), "Half") is UNKNOWN
