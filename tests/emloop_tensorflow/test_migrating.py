"""A config that was written for TensorFlow 1 is rewritten to one that the check has nothing against."""

from __future__ import annotations

from emloop._config.check import check_config
from emloop._config.migrating import migrate

OLD = """\
dataset: {class: old_tf.Data}
model:
  class: old_tf.Net
  restore_fallback: cxflow_tensorflow.BaseModel
  inputs: [images, labels]
  outputs: [loss]
  optimizer: {class: tensorflow.python.training.adam.AdamOptimizer, learning_rate: 0.1, beta1: 0.8}
  clip_gradient: 0.5
  monitor: Conv2D
  n_gpus: 2
hooks:
  - cxflow_tensorflow.hooks.InitLR: {value: 0.2}
  - CatchSigint
  - emloop_tensorflow.WriteTensorBoard: {flush_secs: 3, on_missing_variable: ignore}
"""
NEW = """\
dataset: {class: old_tf.Data}
model:
  class: old_tf.Net
  restore_fallback: emloop_tensorflow.BaseModel
  inputs: [images, labels]
  outputs: [loss]
  optimizer: {class: Adam, learning_rate: 0.1, beta_1: 0.8}
  clip_gradient: 0.5
  monitor: Conv2D
  n_gpus: 2
hooks:
  - InitLR: {value: 0.2}
  - WriteTensorBoard: {flush_secs: 3, on_missing_variable: ignore}
"""
PROJECT = """
import emloop as el
import emloop_tensorflow as eltf


class Data(el.BaseDataset):
    def _configure_dataset(self):
        pass

    def train_stream(self):
        yield {"images": [], "labels": []}


class Net(eltf.BaseModel):
    def create_model(self):
        pass
"""


def test_an_old_config_is_rewritten_and_checked(tmp_path, monkeypatch):
    """Nothing is left to do by hand."""
    (tmp_path / "old_tf.py").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    text, left = migrate(OLD, "config.yaml")
    (tmp_path / "config.yaml").write_text(text)

    assert (text, left) == (NEW, [])
    assert [str(problem) for problem in check_config("config.yaml")[1]] == []


def test_what_is_left_to_people_says_what_to_do():
    """By the key, with what takes its place."""
    text = "model: {class: a.B, keep_profiles: 5, freeze: true, quantize: true, session_config: {}}\n"
    after, left = migrate(text, "config.yaml")

    assert after == text
    assert [(problem.path or problem.label, problem.hints[0].partition(",")[0]) for problem in left] == [
        ("model.keep_profiles", "`profile: {keep: 5}` keeps the newest five"),
        ("model.freeze", "saved models work without the source as they are"),
        (
            "model.quantize",
            (
                "leave it out: no training knows of rounded numbers; tools of LiteRT round what "
                "`emloop export RUN --to litert` has written"
            ),
        ),
        ("model.session_config", "there are no sessions: `device` says where"),
    ]
