"""The hooks of emloop 0.2 for TensorFlow keep their paths."""

from __future__ import annotations

import subprocess
import sys

import pytest

from emloop._config.check import check_config
from emloop._config.migrating import migrate

CONFIG = """\
dataset: {class: old_paths.Data}
model: {class: old_paths.Model}
hooks:
  - emloop_tensorflow.hooks.InitLR: {value: 0.1, variable_name: learning_rate}
  - emloop_tensorflow.hooks.DecayLR: {decay_value: 0.9, decay_type: multiply, n_epochs: 2}
  - emloop_tensorflow.hooks.DecayLROnPlateau: {variable: loss, long_term: 4, short_term: 2, stream: train}
  - emloop_tensorflow.hooks.LogLR
  - emloop_tensorflow.hooks.WriteTensorBoard: {flush_secs: 10, visualize_graph: false, on_missing_variable: warn}
"""

PROJECT = """
from emloop import AbstractModel, BaseDataset


class Data(BaseDataset):
    def _configure_dataset(self):
        pass

    def train_stream(self):
        yield {"x": [1.0]}


class Model(AbstractModel):
    input_names, output_names = ["x"], ["loss"]

    def run(self, batch, train=False, stream=None):
        return {}

    def save(self, name_suffix):
        return ""
"""


@pytest.mark.parametrize("text", [CONFIG, migrate(CONFIG, "config.yaml").text], ids=["as-it-was", "migrated"])
def test_a_config_with_the_old_paths_passes_the_check(text, tmp_path, monkeypatch):
    """As does what ``emloop migrate`` makes of it, which has the names of today."""
    (tmp_path / "old_paths.py").write_text(PROJECT)
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)

    assert [str(problem) for problem in check_config("config.yaml")[1]] == []
    assert ("emloop_tensorflow.hooks" in text) == (text == CONFIG)


def test_the_old_paths_are_the_hooks_of_today_and_need_no_tensorflow():
    """One class with several paths, for models of any backend."""
    code = (
        "import sys, emloop.hooks, emloop_tensorflow.hooks as old\n"
        "for name in old.__all__:\n"
        "    assert getattr(old, name) is getattr(emloop_tensorflow, name) is getattr(emloop.hooks, name)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", f"import emloop_tensorflow\n{code}"], check=True)
