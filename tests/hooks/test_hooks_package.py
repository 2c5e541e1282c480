"""What all built-in hooks have in common."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from emloop import hooks
from emloop._contracts import AbstractHook, declares_state

MODULES = {
    "AccumulateVariables": "accumulate_variables",
    "Benchmark": "benchmark",
    "Check": "check",
    "ClassificationMetrics": "classification_metrics",
    "ComputeStats": "compute_stats",
    "DecayLR": "learning_rate",
    "DecayLROnPlateau": "learning_rate",
    "EveryNEpoch": "every_n_epoch",
    "Flatten": "flatten",
    "InitLR": "learning_rate",
    "LogDir": "log_dir",
    "LogLR": "learning_rate",
    "LogProfile": "log_profile",
    "LogVariables": "log_variables",
    "LogitsToCsv": "logits_to_csv",
    "OnPlateau": "on_plateau",
    "PlotLines": "plot_lines",
    "PredictionsToCsv": "predictions_to_csv",
    "SaveBest": "save",
    "SaveConfusionMatrix": "save_cm",
    "SaveEvery": "save",
    "SaveFile": "save_file",
    "SaveLatest": "save",
    "SaveMasks": "save_masks",
    "SequenceToCsv": "sequence_to_csv",
    "ShowProgress": "show_progress",
    "StopAfter": "stop_after",
    "StopOnNaN": "stop_on_nan",
    "StopOnPlateau": "stop_on_plateau",
    "TrainingTrace": "training_trace",
    "WriteCSV": "write_csv",
    "WriteTensorBoard": "write_tensorboard",
}
TO_EXTEND = {"AccumulateVariables", "ComputeStats", "EveryNEpoch", "OnPlateau"}
STEERS = {"Check", "DecayLR", "DecayLROnPlateau", "InitLR", "OnPlateau", "SaveBest", "SaveEvery", "SaveLatest"}
STEERS |= {"StopAfter", "StopOnNaN", "StopOnPlateau"}

every_hook = pytest.mark.parametrize("name", sorted(MODULES))


def test_all_hooks_can_be_named_without_a_path():
    """A configuration may name each; beside them stand the base class, the exception and the trace's keys."""
    assert set(hooks.__all__) == {*MODULES, "AbstractHook", "TrainingTerminated", "TrainingTraceKeys"}


@every_hook
def test_every_hook_is_where_its_users_import_it_from(name):
    """Package and module offer one and the same class."""
    module = importlib.import_module(f"emloop.hooks.{MODULES[name]}")

    assert getattr(module, name) is getattr(hooks, name)
    assert issubclass(getattr(hooks, name), AbstractHook)
    assert getattr(hooks, name).__module__ == module.__name__


@every_hook
def test_every_hook_says_what_it_remembers(name):
    """A resumed run forgets nothing without anybody having said so."""
    cls = getattr(hooks, name)

    assert inspect.isabstract(cls) or declares_state(object.__new__(cls))


@every_hook
def test_only_classes_to_extend_take_any_argument(name):
    """A misspelt key of any other hook is an unexpected argument."""
    parameters = inspect.signature(getattr(hooks, name)).parameters.values()

    assert (name in TO_EXTEND) == any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


@every_hook
def test_hooks_that_save_steer_or_stop_say_so(name):
    """They step aside in an evaluation."""
    assert (name in STEERS) == getattr(hooks, name).steers_training


@every_hook
def test_every_hook_has_a_docstring_that_explains_its_arguments(name):
    """What a hook is given in a configuration stands in its description."""
    cls = getattr(hooks, name)
    injected = {"model", "dataset", "output_dir", "kwargs"}
    for parameter in inspect.signature(cls).parameters:
        assert parameter in injected or f"    {parameter}: " in inspect.getdoc(cls), parameter


def test_nothing_is_imported_before_it_is_used():
    """Naming the package loads neither NumPy nor any hook."""
    program = (
        "import sys, emloop.hooks; "
        "print([name for name in sys.modules if name.startswith(('numpy', 'emloop.hooks.', 'matplotlib', 'sklearn'))])"
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
