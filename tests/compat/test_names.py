"""Every public name of emloop 0.2.2 is where it was, and the page of names says what has become of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "names.md"

REFERENCE = {
    "emloop": """
        MainLoop create_output_dir create_dataset create_model create_hooks create_emloop_training load_yaml
        AbstractDataset BaseDataset DownloadableDataset AbstractHook AbstractModel Batch Stream EpochData TimeProfile
        train delete_output_dir EmloopTraining __version__
        api cli constants datasets hooks models types utils main_loop entry_point""",
    "emloop.api": """
        create_output_dir create_dataset create_model create_hooks create_emloop_training delete_output_dir
        EmloopTraining""",
    "emloop.main_loop": "MainLoop",
    "emloop.types": "Batch Stream EpochData TimeProfile TrainingTerminated",
    "emloop.constants": """
        EL_LOG_FORMAT EL_LOG_DATE_FORMAT EL_FULL_DATE_FORMAT EL_HOOKS_MODULE EL_CONFIG_FILE EL_LOG_FILE EL_TRACE_FILE
        EL_DEFAULT_LOG_DIR EL_PREDICT_STREAM EL_DEFAULT_TRAIN_STREAM EL_NA_STR EL_BUFFER_SLEEP""",
    "emloop.datasets": """
        AbstractDataset BaseDataset DownloadableDataset StreamWrapper
        abstract_dataset base_dataset downloadable_dataset stream_wrapper""",
    "emloop.models": "AbstractModel Ensemble Sequence abstract_model ensemble sequence",
    "emloop.models.ensemble": "Ensemble major_vote",
    "emloop.hooks": """
        AbstractHook TrainingTerminated AccumulateVariables Benchmark Check ClassificationMetrics ComputeStats
        EveryNEpoch Flatten LogDir LogProfile LogVariables LogitsToCsv OnPlateau PlotLines SaveEvery SaveBest
        SaveLatest SaveConfusionMatrix SaveFile SequenceToCsv ShowProgress StopAfter StopOnNaN StopOnPlateau
        TrainingTrace TrainingTraceKeys WriteCSV SaveMasks
        abstract_hook accumulate_variables benchmark check classification_metrics compute_stats every_n_epoch flatten
        log_dir log_profile log_variables logits_to_csv on_plateau plot_lines save save_cm save_file save_masks
        sequence_to_csv show_progress stop_after stop_on_nan stop_on_plateau training_trace write_csv""",
    "emloop.utils": """
        parse_arg load_config load_yaml yaml_to_file yaml_to_str maybe_download_and_extract DisabledLogger
        DisabledPrint CaughtInterrupts ReleasedSemaphore Timer parse_fully_qualified_name create_object
        list_submodules find_class_module get_class_module get_attribute get_random_name confusion_matrix
        _EMPTY_DICT""",
    "emloop.utils.config": "parse_arg load_config",
    "emloop.utils.yaml": "load_yaml yaml_to_file yaml_to_str reload",
    "emloop.utils.download": "sanitize_url maybe_download_and_extract",
    "emloop.utils.misc": "DisabledPrint DisabledLogger CaughtInterrupts ReleasedSemaphore",
    "emloop.utils.profile": "Timer",
    "emloop.utils.reflection": """
        parse_fully_qualified_name create_object list_submodules find_class_module get_class_module get_attribute""",
    "emloop.utils.names": "get_random_name",
    "emloop.utils.confusion_matrix": "confusion_matrix",
    "emloop.cli": """
        train resume evaluate grid_search invoke_dataset_method list_train_dirs prune_train_dirs find_config
        validate_config fallback get_emloop_arg_parser _build_grid_search_commands
        train_fn resume_fn eval_fn dataset ls prune args util""",
    "emloop.cli.grid_search": "grid_search _build_grid_search_commands",
    "emloop.cli.util": "find_config validate_config fallback print_delete_warning",
    "emloop.entry_point": "entry_point",
    "emloop.tests": "",
}
"""Module → what it offered."""

GONE = {"emloop.tests"}
TO_BE_IMPORTED = {"emloop": {"entry_point"}}
"""Modules that are no attributes of their package before somebody imports them."""

MODULES_OF_HOOKS = {
    "AbstractHook": "abstract_hook",
    "TrainingTerminated": "abstract_hook",
    "AccumulateVariables": "accumulate_variables",
    "Benchmark": "benchmark",
    "Check": "check",
    "ClassificationMetrics": "classification_metrics",
    "ComputeStats": "compute_stats",
    "EveryNEpoch": "every_n_epoch",
    "Flatten": "flatten",
    "LogDir": "log_dir",
    "LogProfile": "log_profile",
    "LogVariables": "log_variables",
    "LogitsToCsv": "logits_to_csv",
    "OnPlateau": "on_plateau",
    "PlotLines": "plot_lines",
    "SaveEvery": "save",
    "SaveBest": "save",
    "SaveLatest": "save",
    "SaveConfusionMatrix": "save_cm",
    "SaveFile": "save_file",
    "SaveMasks": "save_masks",
    "SequenceToCsv": "sequence_to_csv",
    "ShowProgress": "show_progress",
    "StopAfter": "stop_after",
    "StopOnNaN": "stop_on_nan",
    "StopOnPlateau": "stop_on_plateau",
    "TrainingTrace": "training_trace",
    "TrainingTraceKeys": "training_trace",
    "WriteCSV": "write_csv",
}

IMPORT_EACH = """
import importlib, json, sys

def forget():
    for loaded in [key for key in sys.modules if key.partition(".")[0] == "emloop"]:
        del sys.modules[loaded]

failed = []
for module, names in json.loads(sys.argv[1]).items():
    forget()
    # What was imported already could stand in for a name that nobody provides, if that is a module's.
    for name in sorted(names or [None], key=lambda name: name != str(name).lower()):
        if name == str(name).lower():
            forget()
        try:
            home = importlib.import_module(module)
            if name is not None:
                getattr(home, name)
        except Exception as error:
            failed.append(f"{module}.{name}: {error!r}")
print(json.dumps(failed))
"""


def import_each(names):
    """What cannot be imported; a module's name by a fresh import of the package that should have it."""
    command = [sys.executable, "-c", IMPORT_EACH, json.dumps(names)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def table():
    """Module → name → state and difference, as the page has them."""
    modules: dict[str, dict[str, tuple[str, str]]] = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\|$", section, flags=re.MULTILINE)
        modules[title] = {name: (state, note) for name, state, note in rows}
    return modules


def test_the_page_has_every_name_of_the_reference_and_no_other():
    """Nobody who looks for a name looks in vain."""
    assert {module: set(rows) for module, rows in table().items()} == {
        module: set(names.split()) for module, names in REFERENCE.items()
    }


def test_every_name_is_where_the_page_says():
    """Each can be had from its module, whatever else was or was not imported before."""
    kept = {
        module: [name for name in rows if name not in TO_BE_IMPORTED.get(module, ())]
        for module, rows in table().items()
        if module not in GONE
    }

    assert import_each(kept) == []


def test_a_module_that_is_gone_is_gone():
    """The page does not call gone what is there."""
    assert len(import_each({module: [] for module in GONE})) == len(GONE)


def test_every_state_is_one_of_three_and_every_difference_is_told():
    """``same`` may have a remark, the others must."""
    rows = [(name, *row) for names in table().values() for name, row in names.items()]

    assert [name for name, state, _ in rows if state not in ("same", "better", "departure")] == []
    assert [name for name, state, note in rows if state != "same" and not note] == []


def test_a_hook_is_in_the_module_of_its_name():
    """``from emloop.hooks.stop_after import StopAfter`` gives what ``emloop.hooks`` gives."""
    names = {f"emloop.hooks.{module}": [] for module in MODULES_OF_HOOKS.values()}
    for name, module in MODULES_OF_HOOKS.items():
        names[f"emloop.hooks.{module}"].append(name)

    assert import_each(names) == []


def test_functions_that_are_called_like_modules_are_both():
    """As attributes they are functions, and the modules can be imported from; in either order."""
    for package, name, inside in (
        ("emloop.utils", "confusion_matrix", "confusion_matrix"),
        ("emloop.cli", "grid_search", "_build_grid_search_commands"),
    ):
        for first, second in (
            (f"from {package}.{name} import {inside}", f"import {package}"),
            (f"import {package}; {package}.{name}", f"from {package}.{name} import {inside}"),
            (f"import {package}.{name}", f"from {package} import {name}"),
        ):
            code = f"{first}; {second}; import {package}, types; print(type({package}.{name}).__name__)"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert done.stdout == "function\n", code


def test_core_classes_know_where_they_are_from():
    """The reference overwrote ``__module__``, so that its classes could be neither found nor pickled."""
    import emloop  # noqa: PLC0415 - what is tested
    from emloop import datasets  # noqa: PLC0415

    for cls in (
        emloop.AbstractDataset,
        emloop.BaseDataset,
        emloop.DownloadableDataset,
        emloop.AbstractHook,
        emloop.AbstractModel,
        datasets.StreamWrapper,
    ):
        assert getattr(sys.modules[cls.__module__], cls.__qualname__) is cls
