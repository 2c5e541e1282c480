"""A backend that breaks a promise is told which one, what was seen, how to keep it, and where to read about it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import get_args

import pytest

from emloop.errors import ConfigError
from emloop.testing import BackendContract, Case
from emloop.testing.promise import Section

pytest_plugins = "pytester"

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "write-a-backend.md").read_text(encoding="utf-8")
BACKEND = re.search(r"```python title=emloop_numpy.py\n(.*?)```", PAGE, re.DOTALL)[1]
DATA = """
import numpy as np

class Data:
    def __init__(self, config_str):
        features = np.random.default_rng(1).normal(size=(10, 12, 8))
        self._batches = [{"x": x, "y": x.sum(axis=1)} for x in features]

    def train_stream(self):
        return self._batches
"""
MODEL = {"class": "Broken", "inputs": ["x", "y"], "outputs": ["predictions", "loss"], "learning_rate": 0.01}

IN_RUN = "def run(self, batch, train, stream=None):"
IN_SAVE = """\
def save(self, name_suffix):
    path = Path(super().save(name_suffix))"""


@pytest.fixture
def try_out(pytester, monkeypatch):
    """The output of the promises of a name, kept or not by a ``BaseModel`` of the page with a few methods changed."""

    def run(methods: str, name: str) -> str:
        monkeypatch.syspath_prepend(pytester.path)
        head = "import pickle\nfrom pathlib import Path\nimport numpy as np\nimport emloop_numpy\n\n\n"
        source = f"{head}class Broken(emloop_numpy.BaseModel):\n{textwrap.indent(methods, '    ')}\n"
        pytester.makepyfile(
            emloop_numpy=BACKEND,
            test_broken="from emloop.testing import BackendContract, Case\n\n\n"
            "class TestBroken(BackendContract):\n"
            f"    cases = [Case('broken', {MODEL!r}, {DATA!r}, source={source!r}, own_process=False)]\n",
        )
        result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", name)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        return "\n".join(line.removeprefix("E").strip() for line in result.outlines if line.startswith("E  "))

    return run


@pytest.mark.parametrize(("methods", "name", "promised", "seen", "fix"), [
    pytest.param(
        "def state_dict(self):\n    return {**super().state_dict(), 'velocity': 0 * self._weights}",
        "goes_on_from_a_state", "A state brings any model",
        "outputs of batch 1 after loading a state['predictions']: float64 [12]", "parameters, optimizer, schedule",
        id="a-state-without-the-optimizer",
    ),
    pytest.param(
        "state_dict = None",
        "goes_on_from_a_state", "A state brings any model",
        "Broken is not Stateful, see emloop.abilities.Stateful", "return from state_dict",
        id="no-state",
    ),
    pytest.param(
        "def set_variable(self, name, value):\n    self._other = value\n\n"
        "def get_variable(self, name):\n    return getattr(self, '_other', 0.01)",
        "a_variable_can_be_read", "A variable can be read and changed, and is part of the state",
        "learning_rate after loading: 0.01 instead of 0.0025", "return what was set from state_dict",
        id="a-variable-outside-of-the-state",
    ),
    pytest.param(
        "def run(self, batch, train, stream=None):\n"
        "    before = self._weights\n    outputs = super().run(batch, train)\n"
        "    if before is not None:\n        before[:] = self._weights\n        self._weights = before\n"
        "    return outputs",
        "does_not_change_later", "A state is a snapshot",
        "state, some batches after it was taken['weights']: float64 [9]", "return copies from state_dict",
        id="a-state-that-lives",
    ),
    pytest.param(
        f"{IN_SAVE}\n    np.save('weights.npy', self._weights)\n    return str(path)\n\n"
        "def load_state_dict(self, state):\n    super().load_state_dict(state)\n"
        "    self._weights = np.load('weights.npy')",
        "restored_from_its_run", "A saved model depends on nothing around it",
        "a copy whose original is gone: FileNotFoundError", "put nothing outside the saved model that it needs",
        id="a-save-to-the-working-directory",
    ),
    pytest.param(
        f"{IN_SAVE}\n    np.save(path.parent / 'weights.npy', self._weights)\n    return str(path)\n\n"
        "def __init__(self, dataset, log_dir, restore_from=None, **kwargs):\n"
        "    super().__init__(dataset, log_dir, restore_from, **kwargs)\n"
        "    saved = restore_from and emloop_numpy.find_saved(restore_from)\n"
        "    if saved and saved.kind == 'saved model':\n"
        "        self._weights = np.load(saved.path.parent / 'weights.npy')",
        "restored_from_its_run", "A saved model depends on nothing around it",
        "a copy whose original is gone: FileNotFoundError", "put nothing outside the saved model that it needs",
        id="a-save-beside-itself",
    ),
    pytest.param(
        f"{IN_SAVE}\n    (path / 'more.bin').write_bytes(pickle.dumps(self._weights))\n    return str(path)",
        "holds_a_pickle", "No file of a saved model, nor any member of an archive in it, is a pickle",
        "pickles: model_best/more.bin", "never pickles",
        id="a-pickle",
    ),
    pytest.param(
        "def save(self, name_suffix):\n    path = Path(self._log_dir, name_suffix)\n"
        "    np.savez(path, weights=self._weights)\n    return str(path)",
        "says_what_it_is", "A manifest has backend",
        "SavedModelError: ", "give write_saved_model backend, rung",
        id="a-format-of-its-own",
    ),
    pytest.param(
        f"{IN_RUN}\n    batch['x'] -= batch['x'].mean()\n    return super().run(batch, train)",
        "a_batch_stays", "A batch is not changed by the model",
        "the batch after run(train=False)['x']: float64 [12, 8]", "work on copies of the sources",
        id="a-batch-changed",
    ),
    pytest.param(
        f"{IN_RUN}\n    outputs = super().run(batch, train)\n    batch.update(outputs)\n    return outputs",
        "a_batch_stays", "A batch is not changed by the model",
        "the batch after run(train=False): has 'x', 'y', 'predictions', 'loss' instead of 'x', 'y'", "nothing into",
        id="a-batch-with-outputs",
    ),
    pytest.param(
        f"{IN_RUN}\n    return {{**super().run(batch, train), 'loss': np.zeros(5)}}",
        "every_output_has_a_value", "Every output has one value per example",
        "output 'loss' has shape (5,) for a batch of 12 examples", "return B values for every name",
        id="an-output-of-another-length",
    ),
    pytest.param(
        f"{IN_RUN}\n    return {{**super().run(batch, train), 'loss': 0.5}}",
        "every_output_has_a_value", "Every output has one value per example",
        "output 'loss' has shape () for a batch of 12 examples", "return B values for every name",
        id="an-output-that-is-a-mean",
    ),
    pytest.param(
        f"{IN_RUN}\n    return {{**super().run(batch, train), 'accuracy': batch['y']}}",
        "every_output_has_a_value", "Every output has one value per example",
        "run returns ['predictions', 'loss', 'accuracy'], but output_names is ['predictions', 'loss']", "nothing else",
        id="an-output-too-many",
    ),
    pytest.param(
        "def run(self, data, train, stream=None):\n    return super().run(data, train)",
        "every_output_has_a_value", "Every output has one value per example",
        "TypeError: Broken.run() got an unexpected keyword argument 'batch'", "return B values",
        id="arguments-by-other-names",
    ),
    pytest.param(
        f"{IN_RUN}\n    return super().run({{'x': batch['features']}}, train)",
        "names_are or an_evaluation_can_be_repeated", "The same batch gives the same outputs",
        "KeyError: 'features' (emloop_case_source_", "switch off dropout",
        id="an-error-of-its-own",
    ),
    pytest.param(
        f"{IN_RUN}\n    return super().run(batch, True)",
        "an_evaluation_changes_no_training", "An evaluation leaves the training as it would have been",
        "outputs of batch 0, after an evaluation['predictions']", "change no parameter",
        id="an-evaluation-that-trains",
    ),
    pytest.param(
        f"{IN_RUN}\n    outputs = super().run(batch, train)\n"
        "    return {name: values + np.random.default_rng().normal() for name, values in outputs.items()}",
        "equal_seeds", "Everything random comes from the run's seed",
        "outputs of batch 0 of the second training['predictions']", "emloop.seeding.current_seed()",
        id="a-seed-of-its-own",
    ),
    pytest.param(
        "restore_fallback = 'emloop_gone.BaseModel'",
        "fallback_can_be_imported", "The class that `restore_fallback` names can be imported",
        "emloop_gone.BaseModel leads nowhere: there is no module 'emloop_gone'", "a class of the backend",
        id="a-fallback-that-is-gone",
    ),
    pytest.param(
        "restore_fallback = None",
        "it_trains_further", "A saved model can be restored and used in a process that lacks its source",
        "neither the configuration nor the saved model names a restore_fallback", "name in restore_fallback",
        id="no-fallback",
    ),
])  # fmt: skip
def test_a_failure_names_the_promise_and_the_fix(try_out, methods, name, promised, seen, fix):
    """Nobody has to read the suite to learn what is asked for."""
    told = try_out(methods, name)

    order = rf"BrokenPromise: {re.escape(promised)}.*seen: .*{re.escape(seen)}.*fix: .*{re.escape(fix)}.*see: docs/"
    assert re.search(order, told, re.DOTALL), told


def test_every_failure_of_a_model_that_cannot_run_is_a_promise(try_out):
    """Nothing fails with a bare error, wherever it comes from."""
    told = try_out(f"{IN_RUN}\n    raise KeyError('weights')", "test")

    failures = told.count("emloop.testing.promise.BrokenPromise: ")
    assert failures > 20
    assert [failures] * 3 == [told.count(f"\n{word}: ") for word in ("seen", "fix", "see")]


@pytest.mark.parametrize(("changes", "expected"), [
    pytest.param(
        {"model": {key: MODEL[key] for key in ("class", "inputs")}, "loss": None},
        "Case case: the description of the model lacks 'outputs'\n  it has: class, inputs",
        id="no-outputs",
    ),
    pytest.param(
        {"loss": "error"}, "Case case: 'error' is no output\n  name another loss, or loss=None", id="no-such-loss"
    ),
    pytest.param(
        {"dataset": "class Dataset: ..."},
        "Case case: the text 'dataset' defines no class 'Data'\n  it is a module's text: class Data: …",
        id="no-dataset",
    ),
    pytest.param(
        {"source": "texts/models.py"},
        "Case case: the text 'source' defines no class 'Broken'\n  it is a module's text: class Broken: …",
        id="a-path-for-a-text",
    ),
])  # fmt: skip
def test_a_case_that_lacks_something_is_refused_at_once(changes, expected):
    """A mistake in the description is none of the backend."""
    with pytest.raises(ConfigError) as error:
        Case(**{"name": "case", "model": MODEL, "dataset": DATA, **changes})

    assert expected == str(error.value)


def test_every_failure_leads_to_a_heading_of_the_page():
    """The page has all sections that failures name."""
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)}

    assert set(get_args(Section)) <= headings


def test_every_test_of_the_suite_is_a_promise():
    """None is left that fails with a bare assertion."""
    tests = [getattr(BackendContract, name) for name in dir(BackendContract) if name.startswith("test_")]

    assert [test.__name__ for test in tests if not hasattr(test, "__wrapped__")] == []
