"""``emloop export``: what is written for another runtime does what the model does, or is not kept."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import emloop as el
from emloop.api import create_model
from emloop.cli._exporting.export import export
from emloop.cli._runs.ls import list_train_dirs
from emloop.errors import ConfigError, RunDirError, SavedModelError, SaveError, UsageError
from emloop.models import Ensemble, Sequence
from emloop.saved_models import find_saved

ROOT = Path(__file__).parents[2]

MODULE = '''
from pathlib import Path

import numpy as np

import emloop as el
from emloop.saved_models import find_saved, saved_model_path, write_saved_model


MATRIX = {"dtype": "float64", "shape": [None, None]}


class Numbers(el.BaseDataset):
    def _configure_dataset(self, lengths=(3,), absent=None, **kwargs):
        if absent is not None:
            Path(absent).read_bytes()
        self._lengths = lengths

    def train_stream(self):
        return [{"x": np.arange(5.0 * n).reshape(5, n) - 7, "names": ["a"] * 5} for n in self._lengths]


class Scale(el.AbstractModel):
    """Gives x times a factor, and whether that is more than 1; can be exported in more ways than is good."""

    input_names = ("x",)
    output_names = ("scaled", "large")
    restore_fallback = "toy_export.Scale"
    exports_to = ("text", "rounded", "wrong", "damaged", "short", "interrupted")

    def __init__(self, dataset, log_dir, restore_from=None, factor=2.0, outputs=None):
        self._log_dir, self.factor = log_dir, factor
        if restore_from is not None:
            self.factor = find_saved(restore_from).tree()["factor"]

    def run(self, batch, train, stream=None):
        scaled = np.asarray(batch["x"], float) * self.factor
        return {"scaled": scaled, "large": scaled.sum(1) > 1}

    def state_dict(self):
        return {"factor": self.factor}

    def load_state_dict(self, state):
        self.factor = state["factor"]

    def save(self, name_suffix):
        return write_saved_model(
            saved_model_path(self._log_dir, name_suffix),
            backend="toy",
            restore_fallback=self.restore_fallback,
            inputs={"x": {"dtype": "float64", "shape": [None, 3]}},
            outputs={"scaled": None, "large": None},
            tree=self.state_dict(),
            rung="all",
        )

    def export(self, to, directory, batches):
        factor = self.factor * {"rounded": 1 + 1e-12, "wrong": 1.001}.get(to, 1)
        write_saved_model(
            directory,
            backend="text",
            restore_fallback="toy_export.Short" if to == "short" else "toy_export.Runner",
            inputs={"x": MATRIX},
            outputs={"scaled": MATRIX, "large": {"dtype": "bool", "shape": [None]}},
            tree={},
            rung="inference",
            exported={"factor.txt": repr(factor).encode()},
        )
        if to == "damaged":
            Path(directory, "factor.txt").write_text("9.0")
        if to == "interrupted":
            raise KeyboardInterrupt
        return [self.run(batch, train=False) for batch in batches]


class Runner(el.AbstractModel):
    """Runs what was exported."""

    input_names, output_names = ("x",), ("scaled", "large")

    def __init__(self, dataset, log_dir, restore_from=None, *, inputs=("x",), outputs=("scaled", "large")):
        self._factor = float(find_saved(restore_from).exported("factor.txt"))
        self.output_names = outputs

    def run(self, batch, train, stream=None):
        scaled = np.asarray(batch["x"], float) * self._factor
        computed = {"scaled": scaled, "large": scaled.sum(1) > 1}
        return {name: computed[name] for name in self.output_names}

    def save(self, name_suffix):
        raise NotImplementedError


class Short(Runner):
    def run(self, batch, train, stream=None):
        return {"scaled": super().run(batch, train)["scaled"]}


class Plain(Runner):
    def __init__(self, dataset, log_dir, restore_from=None):
        pass
'''


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A training of a few numbers, with a model that was saved; the working directory is where it was started."""
    (tmp_path / "toy_export.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_export", raising=False)
    monkeypatch.chdir(tmp_path)
    config = {
        "dataset": {"class": "toy_export.Numbers", "lengths": [3, 3, 4]},
        "model": {"class": "toy_export.Scale", "name": "toy", "factor": 3.0},
        "hooks": [{"ComputeStats": {"variables": ["large"]}}, "SaveLatest"],
        "main_loop": {"epochs_count": 1, "seed": 1, "on_unused_sources": "ignore"},
    }
    training = el.create_emloop_training(config, "log", None, "run")
    training.main_loop.run_training()
    return Path("log", "run")


def files_of(directory):
    """Every file below, with what is in it."""
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_report_says_what_was_written_and_how_well_it_agrees(run, capsys):
    """Where, how large, what it takes and gives, and what it was compared on."""
    assert export("run", "text", None, [], "log") == 0

    assert capsys.readouterr().out == (
        "Exported log/run/model_latest to log/run/text_latest/factor.txt (3 B)\n"
        "takes  x       float64 [any, any]\n"
        "gives  scaled  float64 [any, any]  equal\n"
        "gives  large   bool [any]          equal\n"
        "Compared with the model for batches of 5, 2, 1 and 5 examples of the stream 'train'.\n"
    )


def test_rounding_is_told_and_accepted(run, capsys):
    """Two runtimes never agree to the last bit."""
    export("run", "rounded", None, [], "log")

    assert "gives  scaled  float64 [any, any]  off by at most 3.6e-11\n" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["run", "@", "log/run", "log/run/model_latest", "log/run/checkpoints/00000001"])
def test_a_model_is_named_as_for_an_evaluation(run, model):
    """By its run, as a saved model, or as a checkpoint; what is written lies beside the saved models of the run."""
    export(model, "text", None, [], "log")

    place = "text_00000001" if "checkpoints" in model else "text_latest"
    assert find_saved(run / place).exported("factor.txt") == b"3.0"


def test_what_was_exported_stands_where_the_model_stood(run):
    """The config's own class is left aside, together with the arguments that only it takes."""
    export("run", "text", None, [], "log")
    config = {"model": {"class": "toy_export.Scale", "factor": 3.0, "outputs": ["large"]}}
    exported = create_model(config, restore_from=str(run / "text_latest"))

    assert type(exported).__name__ == "Runner"
    assert exported.output_names == ["large"]


def test_what_was_exported_can_be_a_member(run):
    """Of an ensemble or a sequence, inside of its run or copied elsewhere; it is no second model of the run."""
    export("run", "text", None, [], "log")
    shutil.copytree(run / "text_latest", "shipped")
    batch = {"x": np.ones((2, 3))}

    several = Ensemble(["x"], ["scaled"], "mean", model_paths=["log/run", "log/run/text_latest", "shipped"])
    np.testing.assert_array_equal(several.run(batch)["scaled"], 3 * batch["x"])
    np.testing.assert_array_equal(Sequence(["log/run/text_latest"]).run(batch)["scaled"], 3 * batch["x"])
    all_of_the_run = Ensemble(["x"], ["scaled"], "mean", models_root="log/run", eager_loading=True)
    assert [type(model).__name__ for model in all_of_the_run._models] == ["Scale"]


def test_the_run_stays_what_it_was(run, capsys):
    """No file of it changes; it is restored from its own models and listed as before, wherever the export lies."""
    before = files_of(run)
    export("run", "text", None, [], "log")
    shutil.copytree(run / "text_latest", run / "model_zz")
    capsys.readouterr()

    assert {path: content for path, content in files_of(run).items() if path in before} == before
    assert find_saved(run).path.name == "model_latest"
    list_train_dirs("log", False, True, False, False)
    assert capsys.readouterr().out.split() == ["run"]
    shutil.rmtree(run / "model_latest")
    assert find_saved(run).kind == "checkpoint"


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        pytest.param("wrong", r"the output 'scaled' is off by 0\.036, where it is at most 36$", id="wrong"),
        pytest.param("damaged", r"text_x.factor\.txt: damaged: its content does not match its hash", id="damaged"),
        pytest.param("short", r"the output 'large' is missing; there is scaled$", id="output-missing"),
    ],
)
def test_what_does_something_else_is_not_kept(run, to, reason):
    """The error says what is different; what was exported before stays, and nothing is left behind."""
    export("run", "text", None, [], "log", "log/run/text_x")
    before = files_of(run)

    with pytest.raises(SaveError, match=f", and is not kept: .*{reason}"):
        export("run", to, None, [], "log", "log/run/text_x")
    assert files_of(run) == before
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".tmp")) == []


def test_an_interrupted_export_leaves_nothing_behind(run):
    """As if it had not begun."""
    before = sorted(run.rglob("*"))

    with pytest.raises(KeyboardInterrupt):
        export("run", "interrupted", None, [], "log", "log/run/deeper/still")
    assert sorted(run.rglob("*")) == before


def test_it_is_written_where_it_is_wanted(run):
    """Into a new directory, an empty one, or over what was exported there before."""
    Path("empty").mkdir()
    for place in ("new/deeper", "empty", "empty"):
        export("run", "text", None, [], "log", place)
        assert find_saved(place).exported("factor.txt") == b"3.0"


def test_where_nothing_can_be_written_one_line_says_so(run):
    """Not a traceback."""
    with pytest.raises(SaveError, match=r"toy_export\.py/shipped cannot be written: .*File exists"):
        export("run", "text", None, [], "log", "toy_export.py/shipped")


@pytest.mark.parametrize("place", ["log/run", "log/run/model_latest", "toy_export.py", "log"])
def test_nothing_else_is_written_over(run, place):
    """Neither a run nor a saved model nor anything of somebody else's."""
    before = files_of(run)

    with pytest.raises(
        UsageError, match=rf"{place} exists and is no exported model; choose another place with --output"
    ):
        export("run", "text", None, [], "log", place)
    assert files_of(run) == before


def test_batches_of_other_shapes_are_tried_too(run, capsys):
    """One is looked for among the first batches of the training stream."""
    export("run", "text", None, ["dataset.lengths=[3, 3, 3]"], "log")
    assert "for batches of 5, 2 and 1 examples of the stream 'train'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        pytest.param("dataset.class=toy_gone.Numbers", "there is no module 'toy_gone'", id="source-gone"),
        pytest.param("dataset.absent=images.npz", "No such file or directory: 'images.npz'", id="files-gone"),
        pytest.param("dataset.lengths=[]", "the stream is empty", id="no-batch"),
    ],
)
def test_without_a_dataset_numbers_are_made_up(run, capsys, caplog, override, reason):
    """That is said, with the reason; the comparison is made all the same."""
    with caplog.at_level("WARNING"):
        export("run", "text", None, [override], "log")

    assert "It is tried with numbers at random, since there is no batch of the dataset: " in caplog.text
    assert reason in caplog.text
    assert "for batches of 4, 2 and 1 examples made up." in capsys.readouterr().out
    with pytest.raises(SaveError, match="the output 'scaled' is off by"):
        export("run", "wrong", None, [override], "log")


def test_numbers_cannot_be_made_up_where_nobody_says_of_what_kind(run):
    """A checkpoint does not."""
    with pytest.raises(UsageError, match="checkpoints/00000001 does not say what its inputs look like"):
        export("log/run/checkpoints/00000001", "text", None, ["dataset.lengths=[]"], "log")


@pytest.mark.parametrize(
    ("model", "to", "overrides", "error", "message"),
    [
        pytest.param("run", "txt", [], ConfigError, "--to: expected one of 'text', 'rounded'", id="format"),
        pytest.param("run", "txt", [], ConfigError, "got 'txt'; did you mean 'text'?", id="format-suggested"),
        pytest.param(
            "run",
            "text",
            ["model.class=toy_export.Plain", "~model.factor"],
            UsageError,
            "--to text: a toy_export.Plain cannot be exported; it offers no format",
            id="no-format",
        ),
        pytest.param("run", "text", ["model.facto=1"], ConfigError, "did you mean 'factor'?", id="override"),
        pytest.param(
            "run", "text", ["main_loop.train_stream_name=night"], ConfigError, "no stream 'night'", id="no-stream"
        ),
        pytest.param("rum", "text", [], RunDirError, "did you mean 'run'?", id="no-run"),
        pytest.param("toy_export.py", "text", [], UsageError, "name one with --config", id="no-config"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(run, model, to, overrides, error, message):
    """The error says what there is instead."""
    before = files_of(run)

    with pytest.raises(error) as refused:
        export(model, to, None, overrides, "log")
    assert message in str(refused.value)
    assert files_of(run) == before


def test_a_run_without_a_model_says_so(run):
    """There is nothing to export."""
    for path in ("model_latest", "checkpoints"):
        shutil.rmtree(run / path)

    with pytest.raises(SavedModelError, match="no saved model and no checkpoint"):
        export("run", "text", None, [], "log")


def test_a_saved_model_elsewhere_needs_a_config(run):
    """One that is named, since there is none beside it."""
    shutil.copytree(run / "model_latest", "copied")
    export("copied", "text", "log/run/config.yaml", [], "log")

    assert find_saved("text_copied").exported("factor.txt") == b"3.0"


@pytest.mark.torture
def test_digits_from_the_training_to_the_predictions_of_the_exported_network(tmp_path, emloop_in):
    """Trained, exported, and run where the source is gone: the predictions are those of the network itself."""
    for needed in ("torch", "onnx", "onnxruntime", "onnxscript", "sklearn"):
        pytest.importorskip(needed)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    emloop = emloop_in(tmp_path)

    def predictions(name):
        with (tmp_path / "log" / name / "predictions.csv").open() as file:
            return list(csv.DictReader(file))

    quick = ("main_loop.epochs_count=1", "model.channels=8", "~hooks.SaveConfusionMatrix", "~hooks.ShowProgress")
    emloop("train", "examples/digits/config_torch.yaml", "--output_dir", "digits", *quick)
    (tmp_path / "examples" / "digits" / "digits_torch_model.py").unlink()
    said = emloop("export", "digits", "--to", "onnx")
    emloop("eval", "predict", "digits", "--output_dir", "by_torch")
    emloop("eval", "predict", "log/digits/onnx_best", "--output_dir", "by_onnx")
    tested = emloop("eval", "test", "log/digits/onnx_best", "--output_dir", "tested")

    assert (
        "ComputeStats is left out, since it reads 'loss', 'accuracy', which the exported model does not give" in tested
    )
    assert next((tmp_path / "log" / "tested").glob("confusion_matrix*.png"))
    assert "ConvNet is restored as emloop_torch.BaseModel" in said
    assert "takes  images         float32 [any, 8, 8]\n" in said
    assert "gives  predictions    int64 [any]          equal\n" in said
    assert "Skipping" not in said
    assert len(predictions("by_onnx")) == 270
    assert predictions("by_onnx") == predictions("by_torch")
