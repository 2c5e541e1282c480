"""Names that have moved: told by whatever meets them, and rewritten on demand without touching anything else."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

import emloop as el
from emloop._config.migrating import migrate
from emloop._support.moved import MOVED, explain, hints, replaced
from emloop._yaml import load

OLD = """\
# A config of 2018.
dataset:
  class: 'cxflow.datasets.Old'  # data
model:
  class: &model cxflow_tensorflow.BaseModel   # base
  session_config: {}
  optimizer:
    class: tensorflow.python.training.adam.AdamOptimizer
    learning_rate: 0.1
hooks:
  # first
  - cxflow.hooks.ComputeStats: {variables: [loss]}   # keep
  - CatchSigint   # gone
  - cxflow_tensorflow.hooks.WriteTensorBoard:
      flush_secs: 10
  - CatchSigint:
      seconds: 1

  # last
  - "cxflow.hooks.StopAfter": {epochs: 1}

# predicting
predict:
  # with less
  hooks: [CatchSigint, cxflow.hooks.LogDir]
  model:
    text: |
      a
        b

# the end
main_loop: {epochs_count: 2, base: *model}
"""

NEW = """\
# A config of 2018.
dataset:
  class: 'emloop.datasets.Old'  # data
model:
  class: &model emloop_tensorflow.BaseModel   # base
  session_config: {}
  optimizer:
    class: Adam
    learning_rate: 0.1
hooks:
  # first
  - emloop.hooks.ComputeStats: {variables: [loss]}   # keep
  # gone
  - WriteTensorBoard:
      flush_secs: 10

  # last
  - "emloop.hooks.StopAfter": {epochs: 1}

# predicting
eval:
  predict:
    # with less
    hooks: [emloop.hooks.LogDir]
    model:
      text: |
        a
          b

# the end
main_loop: {epochs_count: 2, base: *model}
"""


def test_a_config_is_rewritten_in_place(tmp_path, emloop_in):
    """Names change; comments, quotes, anchors, order and the rest of every line stay; then there is nothing left."""
    (tmp_path / "config.yaml").write_text(OLD)
    (tmp_path / "config.yaml").chmod(0o640)
    emloop = emloop_in(tmp_path)
    shown = emloop("migrate", "config.yaml", "--dry-run")
    assert (tmp_path / "config.yaml").read_text() == OLD

    assert emloop("migrate", "config.yaml") == shown
    assert (tmp_path / "config.yaml").read_text() == NEW
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == 0o640
    assert "--- config.yaml as it was\n+++ config.yaml\n" in shown
    assert "-  - CatchSigint   # gone\n" in shown
    assert (
        "by hand: config.yaml:6:3: model.session_config: is no argument any more\n"
        "    6 |   session_config: {}\n      |   ^^^^^^^^^^^^^^\n  there are no sessions: `device` says where, "
    ) in shown
    assert "config.yaml: nothing to rewrite\n" in emloop("migrate", ".")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("hooks: [CatchSigint]\n", "hooks: []\n", id="only-hook"),
        pytest.param("hooks: [a.B, CatchSigint]\n", "hooks: [a.B]\n", id="last-of-a-flow"),
        pytest.param("hooks: [CatchSigint: {a: 1}, a.B]\n", "hooks: [a.B]\n", id="first-of-a-flow"),
        pytest.param("hooks:\n- CatchSigint\n", "hooks:\n", id="only-hook-of-a-block"),
        pytest.param("hooks:\n- CatchSigint\n- a.B", "hooks:\n- a.B", id="no-newline-at-the-end"),
        pytest.param("hooks:\r\n- CatchSigint\r\n- a.B\r\n", "hooks:\r\n- a.B\r\n", id="windows"),
        pytest.param(
            "hooks:\n- CatchSigint:\n    a: |\n      b\n\n# c\n- a.B\n", "hooks:\n\n# c\n- a.B\n", id="text-in-a-block"
        ),
        pytest.param("hooks:\n  - CatchSigint  # c\n  - a.B\n", "hooks:\n  # c\n  - a.B\n", id="comment-on-its-line"),
        pytest.param("hooks:\n- CatchSigint: {a: 1}\n# {c}\n- a.B\n", "hooks:\n# {c}\n- a.B\n", id="comment"),
        pytest.param("predict:\n", "eval:\n  predict:\n", id="empty-section"),
        pytest.param("predict: {hooks: []} # x", "eval:\n  predict: {hooks: []} # x\n", id="flow-section"),
        pytest.param(
            "predict:\n  hooks: []\neval:\n    test:\n        hooks: [] # t\n# end\n",
            "eval:\n    test:\n        hooks: [] # t\n    predict:\n      hooks: []\n# end\n",
            id="beside-other-evaluations",
        ),
        pytest.param(
            "eval:\n  test:\n    hooks: []\n\npredict:\n  hooks: []\nmodel: {class: a.B}\n",
            "eval:\n  test:\n    hooks: []\n  predict:\n    hooks: []\n\nmodel: {class: a.B}\n",
            id="behind-the-evaluations",
        ),
        pytest.param(
            "eval:\n  test:\n    hooks: [cxflow.hooks.LogDir]\n    model:\n      nets: [{class: cxflow.C}]\n",
            "eval:\n  test:\n    hooks: [emloop.hooks.LogDir]\n    model:\n      nets: [{class: emloop.C}]\n",
            id="inside",
        ),
        pytest.param("model: {class: cxflow.C, text: cxflow.C}", "model: {class: emloop.C, text: cxflow.C}", id="text"),
        pytest.param("model: {restore_fallback: cxflow.C}", "model: {restore_fallback: emloop.C}", id="fallback"),
        pytest.param(
            "model: {optimizer: {beta1: 0.9, class: AdamOptimizer}, o: {beta1: 1}}",
            "model: {optimizer: {beta_1: 0.9, class: Adam}, o: {beta1: 1}}",
            id="arguments-of-an-optimizer",
        ),
        pytest.param(
            "model:\n  optimizer: {class: tf.train.MomentumOptimizer, 'use_nesterov': 1, momentum: 0.9}",
            "model:\n  optimizer: {class: SGD, 'nesterov': 1, momentum: 0.9}",
            id="momentum",
        ),
        pytest.param(
            "model: {optimizer: {class: a.B, decay: 1}}", "model: {optimizer: {class: a.B, decay: 1}}", id="own"
        ),
        pytest.param("hooks: [&h cxflow.hooks.A, *h]", "hooks: [&h emloop.hooks.A, *h]", id="alias"),
    ],
)
def test_the_result_means_the_same(old, new):
    """Whatever way the config is written in."""
    assert migrate(old, "config.yaml") == (new, [])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("eval: {test: {}}\npredict: {hooks: []}\n", id="flow"),
        pytest.param("eval:\n  predict:\n    hooks: []\npredict: {hooks: []}\n", id="taken"),
        pytest.param("{model: {class: a.B}, predict: {hooks: []}}", id="all-in-braces"),
        pytest.param("eval:\n  a: {}\nx: &x {}\npredict: {model: *x}\n", id="before-its-anchor"),
        pytest.param("eval: &e\n  a: {}\npredict: *e\n", id="an-alias"),
    ],
)
def test_what_cannot_be_moved_by_lines_is_left_to_people(text):
    """The text stays as it is, with the place to look at."""
    after, (left,) = migrate(text, "config.yaml")

    assert after == text
    assert (left.message, left.path or left.label) == ("move it to eval.predict", "predict")
    assert left.place is not None


def test_a_hook_that_others_refer_to_is_left_to_people():
    """Without it, there would be nothing to refer to."""
    text = "hooks: [&h CatchSigint, *h]\n"
    after, (left,) = migrate(text, "config.yaml")

    assert (after, left.message) == (text, "its names can only be changed by hand")


@given(st.text(alphabet="ab:{}[]-#&*!|>'\" \n,c", max_size=60))
def test_no_text_is_broken(text):
    """A text is refused, or comes out as what it was: nothing in it has moved."""
    try:
        before = load(text)
    except el.errors.ConfigError:
        return
    assert load(migrate(text, "x").text) == before


def test_the_config_of_a_run_is_not_rewritten(tmp_path, emloop_in):
    """It says what was; nothing else is rewritten then, either."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trace.yaml").touch()
    for name in ("run/config.yaml", "own.yaml"):
        (tmp_path / name).write_text("model: {class: cxflow.A}\n")
    emloop = emloop_in(tmp_path)

    said = emloop("migrate", "own.yaml", "run", expect=2)
    assert said == "run/config.yaml belongs to a run, which stays as it was; migrate a copy, and use it by --config\n"
    assert (tmp_path / "own.yaml").read_text() == "model: {class: cxflow.A}\n"
    assert "+model: {class: emloop.A}" in emloop("migrate", "run", "--dry-run")


def test_a_link_is_followed_and_a_mark_at_the_beginning_stays(tmp_path, emloop_in):
    """The file that is meant is rewritten, in the bytes that it had."""
    (tmp_path / "own.yaml").write_bytes("\ufeffmodel: {class: cxflow.Ä}\r\n".encode())
    (tmp_path / "config.yaml").symlink_to("own.yaml")
    emloop_in(tmp_path)("migrate", "config.yaml")

    assert (tmp_path / "config.yaml").is_symlink()
    assert (tmp_path / "own.yaml").read_bytes() == "\ufeffmodel: {class: emloop.Ä}\r\n".encode()


# -- told by others ---------------------------------------------------------------------------------------------------

PROJECT = """
import numpy as np

import emloop as el


class Data(el.BaseDataset):
    def _configure_dataset(self, **kwargs):
        pass

    def train_stream(self):
        yield {"x": np.zeros(2)}


class Model(el.AbstractModel):
    input_names, output_names = ["x"], ["y"]

    def __init__(self, dataset, log_dir, restore_from=None, *, device="cpu"):
        pass

    def run(self, batch, train):
        return {"y": self._dataset}

    def save(self, name_suffix):
        return ""
"""


@pytest.fixture
def check(tmp_path, emloop_in):
    """``emloop check`` of a config with some other lines."""
    (tmp_path / "project.py").write_text(PROJECT)
    (tmp_path / "old.py").write_text("import cxflow\n\n\nclass Model(cxflow.AbstractModel):\n    pass\n")
    good = {"dataset": "{class: project.Data}", "model": "{class: project.Model}", "hooks": "[]"}

    def check(**sections):
        text = "".join(f"{name}: {content}\n" for name, content in {**good, **sections}.items())
        (tmp_path / "config.yaml").write_text(text)
        return emloop_in(tmp_path)("check", "config.yaml", expect=2)

    return check


REWRITTEN = "  `emloop migrate CONFIG` writes it so\n"


@pytest.mark.parametrize(
    ("section", "content", "told"),
    [
        ("model", "{class: cxflow.Net}", f"now emloop.Net: cxflow is called emloop since 2018\n{REWRITTEN}"),
        ("hooks", "[CatchSigint]", f"leave it out: the main loop itself ends at a signal\n{REWRITTEN}"),
        (
            "hooks",
            "[emloop_tensorflow.hooks.init_lr.InitLR: {value: 1}]",
            f"now InitLR: hooks for every backend are emloop's own\n{REWRITTEN}",
        ),
        (
            "hooks",
            "[cxflow_tensorflow.WriteTensorBoard]",
            f"now WriteTensorBoard: cxflow is called emloop since 2018\n{REWRITTEN}",
        ),
        (
            "predict",
            "{hooks: []}",
            f"now eval.predict: an evaluation is a part of the section `eval`, whatever its name\n{REWRITTEN}",
        ),
        ("model", "{class: project.Model, n_gpus: 1}", "`device: cuda:1` chooses a GPU;"),
        ("model", "{class: project.Model, freeze: true}", "leave it out: saved models work without the source"),
        ("model", "{class: old.Model}", "importing old failed: No module named 'cxflow'\n"),
        ("model", "{class: old.Model}", "  cxflow is called emloop since 2018: `import emloop as el`\n"),
    ],
)
def test_the_check_says_what_has_become_of_a_name(check, section, content, told):
    """Of classes, hooks, sections, arguments, and modules that a project imports."""
    assert told in check(**{section: content})


def test_a_hook_called_like_a_key_of_models_is_no_matter(check):
    """The table tells the two apart."""
    assert "saved models" not in check(hooks="[LogDir: {freeze: 1}]")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predict", "log/run"), "the section `eval: predict: …`: emloop eval predict log/run"),
        (("split", "config.yaml"), "unknown command 'split'; `emloop dataset split CONFIG` calls the dataset's method"),
        (
            ("-o", "x", "trian", "config.yaml"),
            "unknown command 'trian'; did you mean 'train'?; the commands are: train",
        ),
        (("xyzzy",), "unknown command 'xyzzy'; the commands are: train, resume,"),
    ],
)
def test_an_unknown_command_is_told_what_it_is_now(tmp_path, emloop_in, words, told):
    """And what commands there are; as with any wrong command line, the exit code is 2."""
    assert told in emloop_in(tmp_path)(*words, expect=2)


def test_an_error_of_old_code_says_what_to_write(check, tmp_path, emloop_in):
    """Beside the traceback, which is the user's own."""
    check(model="{class: cxflow.Net}")
    (tmp_path / "config.yaml").write_text("dataset: {class: project.Data}\nmodel: {class: project.Model}\nhooks: []\n")
    said = emloop_in(tmp_path)("train", "config.yaml", expect=1)

    assert "AttributeError: 'Model' object has no attribute '_dataset'" in said
    assert "_dataset: now dataset: `self.dataset` is the dataset" in said


def test_constants_and_modules_of_old_code_are_told():
    """Whatever error names them; others get no note."""
    for error, note in (
        (ImportError("cannot import name 'CXF_LOG_FILE' from 'emloop.constants'"), "CXF_LOG_FILE: now EL_LOG_FILE: "),
        (ModuleNotFoundError("No module named 'cxflow.hooks'"), "cxflow.hooks: cxflow is called emloop since 2018"),
        (
            ModuleNotFoundError("No module named 'emloop_tensorflow.metrics'"),
            "emloop_tensorflow.metrics: left out: `keras.metrics`, or the hooks `ClassificationMetrics` and",
        ),
        (
            ModuleNotFoundError("No module named 'emloop_tensorflow.models'"),
            "emloop_tensorflow.models: left out, with its networks written as text",
        ),
    ):
        explain(error)
        explain(error)
        assert [text[: len(note)] for text in error.__notes__] == [note]
    for error in (ValueError("_dataset"), AttributeError("no attribute 'dataset'")):
        explain(error)
        assert not hasattr(error, "__notes__")


@pytest.mark.slow
def test_a_method_that_is_called_no_more_is_found(check, tmp_path):
    """It would never be called, and the reason would come late."""
    pytest.importorskip("torch")
    (tmp_path / "nets.py").write_text(
        textwrap.dedent("""
        import emloop_torch


        class Net(emloop_torch.BaseModel):
            def _create_model(self, hidden):
                return None
        """)
    )
    said = check(model="{class: nets.Net, inputs: [x], outputs: [loss], hidden: 3}")

    assert "model: Net._create_model is never called\n" in said
    assert "  now create_model: it returns the module or the estimator, or makes layers of Keras; its arguments" in said


@pytest.mark.parametrize("row", MOVED, ids=lambda row: row.old)
def test_what_is_written_today_has_not_moved(row):
    """No row leads to another old name, and a name of today is left alone."""
    assert row.advice[-1] not in ".;"
    if row.kind == "class" and row.new:
        assert replaced("class", row.new.replace("\\1", "Adam")) is None
    assert not hints("class", "emloop_tensorflow.BaseModel")
    assert not hints("class", "sklearn.neural_network._stochastic_optimizers.AdamOptimizer")


def test_a_config_that_is_not_utf8_stays_as_it_is(tmp_path, emloop_in):
    """One line with its place, and no other config is rewritten either."""
    (tmp_path / "latin.yaml").write_bytes(b"hooks:\n- CatchSigint  # \xe9\n")
    (tmp_path / "other.yaml").write_text("hooks: [CatchSigint]\n")

    said = emloop_in(tmp_path)("migrate", "other.yaml", "latin.yaml", expect=2)

    assert said.startswith("latin.yaml:2:18: is not UTF-8")
    assert "Traceback" not in said
    assert (tmp_path / "other.yaml").read_text() == "hooks: [CatchSigint]\n"
