"""What all built-in hooks have in common."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

from emloop import hooks
from emloop._contracts import AbstractHook, declares_state
from emloop.declare import File, SavedModel, Scalar, Statistics, Variable

HOOKS = {name: cls for name in hooks.__all__ if issubclass(cls := getattr(hooks, name), AbstractHook)}
del HOOKS["AbstractHook"]

every_hook = pytest.mark.parametrize("name", HOOKS)


@every_hook
def test_every_hook_is_where_its_users_import_it_from(name):
    """Package and module offer one and the same class."""
    module = sys.modules[HOOKS[name].__module__]

    assert getattr(module, name) is HOOKS[name]
    assert re.fullmatch(r"emloop\.hooks\.[a-z]\w+", module.__name__)


@every_hook
def test_every_hook_declares_what_it_reads_and_writes(name):
    """So the check of a configuration knows; a class that only calls its subclasses cannot tell."""
    cls = HOOKS[name]
    if name == "EveryNEpoch":
        return
    arguments = {name for base in cls.__mro__ for name in inspect.signature(base).parameters}

    assert all(isinstance(item, (File, SavedModel, Scalar, Statistics, Variable)) for item in (*cls.reads, *cls.writes))
    for item in (*cls.reads, *cls.writes):
        assert set(re.findall(r"\{(\w+)(?::\w+)?\}", " ".join(map(str, item)))) <= arguments
        assert item.when is None or item.when[0] in arguments


@every_hook
def test_every_hook_says_what_it_remembers(name):
    """A resumed run forgets nothing without anybody having said so."""
    cls = HOOKS[name]

    assert inspect.isabstract(cls) or declares_state(object.__new__(cls))


@every_hook
def test_only_classes_to_extend_take_any_argument(name):
    """A misspelt key of any other hook is an unexpected argument."""
    parameters = inspect.signature(HOOKS[name]).parameters.values()
    to_extend = "extended" in inspect.getdoc(HOOKS[name])

    assert to_extend == any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


@every_hook
def test_hooks_that_save_steer_or_stop_say_so(name):
    """They step aside in an evaluation."""
    cls = HOOKS[name]
    if not inspect.isabstract(cls):
        steers = re.search(r"raise TrainingTerminated|save_model\(|\.set\(", inspect.getsource(cls)) is not None
        assert steers == cls.steers_training


@every_hook
def test_every_hook_has_a_docstring_that_explains_its_arguments(name):
    """What a hook is given in a configuration stands in its description."""
    cls = HOOKS[name]
    injected = {"model", "dataset", "output_dir", "kwargs"}
    for parameter in inspect.signature(cls).parameters:
        assert parameter in injected or f"    {parameter}: " in inspect.getdoc(cls), parameter


def test_nothing_is_imported_before_it_is_used():
    """Naming the package loads neither NumPy nor any hook, only the table of names."""
    program = (
        "import sys, emloop.hooks; "
        "print([name for name in sys.modules if name.startswith(('numpy', 'matplotlib', 'sklearn'))"
        "       or name.startswith('emloop.hooks.') and name != 'emloop.hooks._modules'])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_missing_name_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match=r"module 'emloop\.hooks' has no attribute 'Nothing'"):
        _ = hooks.Nothing


def test_the_contract_is_importable_from_its_old_place():
    """``emloop.hooks.abstract_hook`` offers the base class and the exception."""
    from emloop.hooks.abstract_hook import AbstractHook as Base  # noqa: PLC0415
    from emloop.hooks.abstract_hook import TrainingTerminated  # noqa: PLC0415

    assert Base is AbstractHook
    assert TrainingTerminated is hooks.TrainingTerminated
