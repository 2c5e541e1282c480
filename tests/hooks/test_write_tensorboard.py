"""What TensorBoard shows of a training, read back with TensorBoard's own reader."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._run_dir.append import AppendFiles
from emloop.errors import ConfigError, MissingExtraError, MissingVariableError, StateError, VariableTypeError
from emloop.hooks import WriteTensorBoard

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
Image = pytest.importorskip("PIL.Image")

EPOCH_DATA = OrderedDict(
    train=OrderedDict(loss={"mean": 0.5, "std": 1}, accuracy=np.float32(0.25)),
    valid=OrderedDict(loss={"nanmean": np.float64(2.0), "max": 3}, accuracy=3),
)
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def read(directory, stream="train"):
    """All that TensorBoard knows of one of its runs."""
    shown = event_accumulator.EventAccumulator(
        str(directory / "tensorboard" / stream), size_guidance={"scalars": 0, "images": 0, "histograms": 0}
    )
    return shown.Reload()


def curves(directory, stream="train"):
    """Tag → steps and values."""
    shown = read(directory, stream)
    return {tag: [(event.step, event.value) for event in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}


def pictures(directory, stream="train"):
    """Tag → step and pixels of its pictures."""
    shown = read(directory, stream)
    return {
        tag: [
            (event.step, np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))) for event in shown.Images(tag)
        ]
        for tag in shown.Tags()["images"]
    }


def written(hook, *epochs):
    for epoch_id, epoch_data in enumerate(epochs):
        hook.after_epoch(epoch_id, epoch_data)
    hook.after_training(success=True)


# Curves


def test_streams_are_runs_with_the_same_tags(tmp_path):
    """So that train and valid lie in one chart; a mean goes by the variable's name, the rest stands beside it."""
    written(WriteTensorBoard(tmp_path), EPOCH_DATA, EPOCH_DATA)

    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["train", "valid"]
    assert curves(tmp_path) == {
        "loss": [(0, 0.5), (1, 0.5)],
        "loss/std": [(0, 1.0), (1, 1.0)],
        "accuracy": [(0, 0.25), (1, 0.25)],
    }
    assert curves(tmp_path, "valid") == {
        "loss": [(0, 2.0), (1, 2.0)],
        "loss/max": [(0, 3.0), (1, 3.0)],
        "accuracy": [(0, 3.0), (1, 3.0)],
    }


def test_a_mean_goes_before_a_nanmean(tmp_path):
    """Which then stands beside it."""
    written(WriteTensorBoard(tmp_path), {"train": {"loss": {"nanmean": 1.0, "mean": 2.0}}})

    assert curves(tmp_path) == {"loss": [(0, 2.0)], "loss/nanmean": [(0, 1.0)]}


def test_variables_and_streams_can_be_chosen(tmp_path):
    """Others are not written; a stream without anything to show gets no file."""
    written(WriteTensorBoard(tmp_path, variables=["accuracy"], streams=["valid", "other"]), EPOCH_DATA)
    written(WriteTensorBoard(tmp_path), {"train": {}})

    assert curves(tmp_path, "valid") == {"accuracy": [(0, 3.0)]}
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["valid"]


@given(
    st.one_of(
        st.floats(),
        st.integers(),
        st.booleans(),
        st.fractions(),
        st.floats(width=32).map(np.float32),
        st.integers(0, 255).map(np.uint8),
        st.booleans().map(np.bool_),
        st.floats().map(np.array),
        st.just(10**400),
        st.just(-Fraction(10**400, 3)),
    )
)
def test_any_number_is_a_point_of_a_curve(tmp_path_factory, number):
    """Of Python's and of NumPy's kinds, not a number and infinite ones as well, in 32 bits."""
    directory = tmp_path_factory.mktemp("run")
    written(WriteTensorBoard(directory), {"train": {"loss": number}})
    ((_, value),) = curves(directory)["loss"]
    with np.errstate(over="ignore"):
        expected = np.float32(np.sign(number) * np.inf if abs(number) > 1e39 else float(number))

    np.testing.assert_equal(value, float(expected))


@pytest.mark.parametrize("name", ["..", "a/b", "/", "ž", "a b", ".", "x" * 200])
def test_any_stream_gets_a_folder_of_its_own(tmp_path, name):
    """Inside of the run, whatever it is called."""
    written(WriteTensorBoard(tmp_path), {name: {"loss": 1.0}, "train": {"loss": 2.0}})
    (found,) = [path for path in (tmp_path / "tensorboard").glob("*/*") if path.parent.name != "train"]

    assert found.parent.parent == tmp_path / "tensorboard"
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


# What the model knows


class Optimizer:
    rate = 0.5

    def get_variable(self, name):
        if name != "learning_rate":
            raise MissingVariableError(f"no {name}")
        self.rate /= 2
        return self.rate


def test_the_learning_rate_has_a_curve(tmp_path, loop):
    """Beside those of the stream that trains, from the first epoch that trains on."""
    hook = WriteTensorBoard(tmp_path, Optimizer(), model_variables=["learning_rate"])
    loop.train_stream_name = "valid"
    hook.register_mainloop(loop)
    written(hook, EPOCH_DATA, EPOCH_DATA, EPOCH_DATA)

    assert curves(tmp_path, "valid")["learning_rate"] == [(1, 0.25), (2, 0.125)]
    assert "learning_rate" not in curves(tmp_path)


def test_a_model_without_numbers_is_told_before_the_training(tmp_path):
    """And a number that it does not have after the first epoch, unless nobody minds."""
    with pytest.raises(ConfigError, match="model_variables: object has no get_variable that could be asked"):
        WriteTensorBoard(tmp_path, object(), model_variables=["learning_rate"])
    with pytest.raises(MissingVariableError, match="no momentum"):
        WriteTensorBoard(tmp_path, Optimizer(), model_variables=["momentum"]).after_epoch(1, EPOCH_DATA)
    tolerant = WriteTensorBoard(tmp_path, Optimizer(), model_variables=["momentum"], on_missing_variable="ignore")
    written(tolerant, EPOCH_DATA)

    assert "loss" in curves(tmp_path)


# Histograms


def test_a_histogram_has_all_values_of_the_epoch(tmp_path):
    """Of every stream by itself; the next epoch begins anew."""
    hook = WriteTensorBoard(tmp_path, histogram_variables=["p"])
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 8, 10))
    for epoch in range(2):
        for batch in values:
            hook.after_batch("train", {"p": batch, "other": "x"})
        hook.after_batch("valid", {"p": [1.0, float("nan")]})
        hook.after_epoch(epoch, {"train": {}, "valid": {}})
    hook.after_training(success=True)

    first, second = read(tmp_path).Histograms("p/histogram")
    assert (first.step, second.step) == (0, 1)
    assert first.histogram_value == second.histogram_value
    assert sum(first.histogram_value.bucket) == first.histogram_value.num == values.size
    assert first.histogram_value.min == values.min()
    assert first.histogram_value.max == values.max()
    assert first.histogram_value.sum == pytest.approx(values.sum())
    (valid, _) = read(tmp_path, "valid").Histograms("p/histogram")
    assert valid.histogram_value.bucket == [1.0]


def test_without_histograms_and_pictures_a_batch_is_not_touched(tmp_path):
    """Nor does a stream have to be one that is shown."""
    untouchable = None
    WriteTensorBoard(tmp_path).after_batch("train", untouchable)
    WriteTensorBoard(tmp_path, streams=["valid"], histogram_variables=["p"]).after_batch("train", untouchable)


# Pictures


def test_a_picture_that_a_hook_has_left_is_shown(tmp_path):
    """Byte for byte, and not taken for a curve; of several the first few."""
    many = np.stack([PIXELS, PIXELS + 1, PIXELS + 2])
    written(
        WriteTensorBoard(tmp_path, image_variables=["one", "many"], max_images=2),
        {"train": {"one": PIXELS[:, :, 0], "many": many, "loss": 1.0}},
    )
    shown = pictures(tmp_path)

    assert list(shown) == ["one", "many/0", "many/1"]
    for tag, expected in (("one", PIXELS[:, :, 0]), ("many/0", PIXELS), ("many/1", PIXELS + 1)):
        ((step, pixels),) = shown[tag]
        assert step == 0
        np.testing.assert_array_equal(pixels, expected)
    assert list(curves(tmp_path)) == ["loss"]


def test_the_first_examples_of_every_epoch_are_shown(tmp_path):
    """Where no hook has left a picture of that name."""
    hook = WriteTensorBoard(tmp_path, image_variables=["x"], max_images=3)
    for epoch in range(2):
        for batch in range(3):
            hook.after_batch("train", {"x": np.stack([PIXELS + 10 * epoch + batch] * 2)})
        hook.after_epoch(epoch, {"train": {}})
    hook.after_training(success=True)

    shown = {tag: [(step, pixels[0, 0, 0]) for step, pixels in of_tag] for tag, of_tag in pictures(tmp_path).items()}
    assert shown == {"x/0": [(0, 0), (1, 10)], "x/1": [(0, 0), (1, 10)], "x/2": [(0, 1), (1, 11)]}


# What is not there, or is not what it should be


@pytest.fixture
def wrong(tmp_path):
    """Something wrong → the events in which it shows, for a hook with the given policies."""

    def wrong(kind, **policies):
        arguments = {
            "missing": {"variables": ["los"]},
            "missing-histogram": {"histogram_variables": ["q"]},
            "missing-picture": {"image_variables": ["q"]},
            "text": {"variables": ["name"]},
            "text-histogram": {"histogram_variables": ["name"]},
            "no-picture": {"image_variables": ["loss"]},
            "no-picture-in-batch": {"image_variables": ["p"]},
        }[kind]
        hook = WriteTensorBoard(tmp_path, **{"variables": ["loss"], **arguments}, **policies)
        for epoch in range(2):
            for _ in range(2):
                hook.after_batch("train", {"p": [1.0, 2.0], "name": ["a", "b"]})
            hook.after_epoch(epoch, {"train": {"loss": {"mean": 1.0}, "name": "a"}})
        hook.after_training(success=True)

    return wrong


MISSING = {
    "missing": "stream 'train': variable 'los' is not in the epoch's data, which has 'loss', 'name'; "
    "the hook that writes it must stand earlier in the list; did you mean 'loss'?",
    "missing-histogram": "stream 'train': no variable 'q' in the batch, which has 'p', 'name'",
    "missing-picture": "stream 'train': variable 'q' is not in the epoch's data, which has 'loss', 'name'; "
    "the hook that writes it must stand earlier in the list; nor is it in a batch",
}
UNKNOWN = {
    "text": "stream 'train': variable 'name': expected a number, got str",
    "text-histogram": "stream 'train': variable 'name': expected numbers, "
    "got <U1 values such as array(['a'], dtype='<U1')",
    "no-picture": "stream 'train': variable 'loss': expected a sequence with a value for every example, "
    "got a single dict: {'mean': 1.0}",
    "no-picture-in-batch": "stream 'train': variable 'p': expected a sequence with a value for every example, "
    "got a single float: 1.0",
}


@pytest.mark.parametrize("kind", [*MISSING, *UNKNOWN])
def test_what_is_wrong_is_an_error_a_warning_or_nothing(wrong, kind, tmp_path, caplog):
    """As the user likes; a warning is given once, and the rest is shown."""
    missing = kind in MISSING
    policy = "on_missing_variable" if missing else "on_unknown_type"
    message = MISSING[kind] if missing else UNKNOWN[kind]
    with pytest.raises(MissingVariableError if missing else VariableTypeError) as caught:
        wrong(kind, **{policy: "error"})
    assert message == str(caught.value)
    shutil.rmtree(tmp_path / "tensorboard", ignore_errors=True)

    wrong(kind, **{policy: "warn"})
    assert [f"WriteTensorBoard: {message}"] == caplog.messages
    caplog.clear()
    wrong(kind, **{policy: "ignore"})
    assert [] == caplog.messages
    if kind not in ("missing", "text"):  # these ask for no other curve
        assert [step for step, _ in curves(tmp_path)["loss"]] == [0, 1, 0, 1]


def test_by_default_a_missing_variable_is_an_error_and_an_unknown_type_a_warning(wrong, caplog):
    """A misspelt name is found in the first epoch; a text among the numbers stops nothing."""
    wrong("text")
    assert caplog.messages == [f"WriteTensorBoard: {UNKNOWN['text']}"]
    with pytest.raises(MissingVariableError):
        wrong("missing")


HINT = "  leave it out; a viewer such as Netron shows the program of a saved model"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variables": "loss"}, "variables: expected a list of names, got 'loss'; write [loss]"),
        ({"streams": "valid"}, "streams: expected a list of names, got 'valid'; write [valid]"),
        ({"histogram_variables": "p"}, "histogram_variables: expected a list of names, got 'p'; write [p]"),
        ({"image_variables": 3}, "image_variables: expected a list of names, got 3"),
        ({"max_images": 0}, "max_images: expected a whole number, 1 or more, got 0"),
        ({"on_unknown_type": "default"}, "on_unknown_type: expected one of 'error', 'warn', 'ignore', got 'default'"),
        (
            {"on_missing_variable": "eror"},
            "on_missing_variable: expected one of 'error', 'warn', 'ignore', got 'eror'; did you mean 'error'?",
        ),
        (
            {"visualize_graph": True},
            "visualize_graph: there is no graph that all backends have, so none is drawn\n" + HINT,
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_told_before_the_training(tmp_path, arguments, message):
    """With what is accepted."""
    with pytest.raises(ConfigError) as caught:
        WriteTensorBoard(tmp_path, **arguments)

    assert message == str(caught.value)


def test_configs_of_old_are_taken(tmp_path):
    """With the arguments of 0.2's that have lost their meaning."""
    written(WriteTensorBoard(output_dir=str(tmp_path), flush_secs=10, visualize_graph=False), EPOCH_DATA)

    assert "loss" in curves(tmp_path)


@pytest.mark.parametrize("module", ["tensorboard.compat.proto.event_pb2", "PIL.Image"])
def test_a_missing_package_is_one_line(tmp_path, monkeypatch, module):
    """Before the first batch."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"^WriteTensorBoard needs .*: pip install 'emloop\[tensorboard\]'$"):
        WriteTensorBoard(tmp_path, image_variables=["x"])


# A mirror stops nothing


def full_disk(patch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "write", full)


def test_a_full_disk_is_told_once_and_costs_only_what_did_not_fit(tmp_path, monkeypatch, caplog):
    """Two epochs of two streams are lost; what came before and after is there."""
    hook = WriteTensorBoard(tmp_path)
    hook.after_epoch(0, EPOCH_DATA)
    with monkeypatch.context() as patch:
        full_disk(patch)
        hook.after_epoch(1, EPOCH_DATA)
        hook.after_epoch(2, EPOCH_DATA)
    hook.after_epoch(3, EPOCH_DATA)
    hook.after_training(success=True)

    path = tmp_path / "tensorboard" / "train" / "events.out.tfevents.emloop"
    (message,) = caplog.messages
    assert message == (
        f"TensorBoard lacks epoch 1 of stream 'train': RunDirError: {path}: cannot be written: "
        "[Errno 28] No space left on device; the training goes on, and what else may be missing is not told"
    )
    assert [step for step, _ in curves(tmp_path)["loss"]] == [0, 3]
    assert [step for step, _ in curves(tmp_path, "valid")["loss"]] == [0, 3]


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        pytest.param(lambda path: path.write_text("in the way"), "FileExistsError|NotADirectoryError", id="a-file"),
        pytest.param(lambda path: path.symlink_to("/nowhere/at/all"), "FileExistsError|FileNotFound", id="a-link"),
    ],
)
def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path, obstacle, reason, caplog):
    """It is told once."""
    obstacle(tmp_path / "tensorboard")
    written(WriteTensorBoard(tmp_path), EPOCH_DATA, EPOCH_DATA)

    (message,) = caplog.messages
    assert any(name in message for name in reason.split("|"))


def test_what_the_library_cannot_write_stops_nothing(tmp_path, caplog):
    """Half a character is no text to it."""
    written(WriteTensorBoard(tmp_path), {"train": {"\ud800": 1.0}, "valid": {"loss": 1.0}})

    (message,) = caplog.messages
    assert message.startswith("TensorBoard lacks epoch 0 of stream 'train': UnicodeEncodeError: ")
    assert curves(tmp_path, "valid") == {"loss": [(0, 1.0)]}


def test_a_run_whose_folder_was_cleared_away_goes_on_and_commits(tmp_path, caplog):
    """While it runs, with a commit before the next epoch."""
    run = AppendFiles(tmp_path)
    hook = WriteTensorBoard(tmp_path)
    hook.after_epoch(0, EPOCH_DATA)
    run.committed()
    shutil.rmtree(tmp_path / "tensorboard")
    with caplog.at_level(logging.ERROR):
        run.committed()
    hook.after_epoch(1, EPOCH_DATA)
    hook.after_training(success=True)
    records = run.committed()
    run.close()

    assert [step for step, _ in curves(tmp_path)["loss"]] == [1]
    assert {record["name"].split("/")[1] for record in records} == {"train", "valid"}


# Cut within an epoch


def batches(count):
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield {"p": rng.normal(size=(4, 3)), "x": rng.integers(0, 255, (4, 2, 2), np.uint8)}


@pytest.mark.parametrize("cut", [0, 1, 30, 70])
def test_a_run_cut_within_an_epoch_shows_the_same(tmp_path, hand_over, cut):
    """The histogram to the last bit of its sums, and the same pictures."""
    files = []
    for name, cut_at in (("whole", None), ("cut", cut)):
        hook = WriteTensorBoard(tmp_path / name, histogram_variables=["p"], image_variables=["x"], max_images=6)
        for number, batch in enumerate(batches(70)):
            if number == cut_at:
                hook = hand_over(
                    hook,
                    WriteTensorBoard(tmp_path / name, histogram_variables=["p"], image_variables=["x"], max_images=6),
                )
            hook.after_batch("train", batch)
        written(hook, {"train": {}})
        files.append(read(tmp_path / name))
    whole, resumed = files

    assert [e.histogram_value for e in whole.Histograms("p/histogram")] == [
        e.histogram_value for e in resumed.Histograms("p/histogram")
    ]
    for tag in (f"x/{index}" for index in range(6)):
        (one,), (other,) = whole.Images(tag), resumed.Images(tag)
        assert one.encoded_image_string == other.encoded_image_string


def test_a_variable_left_out_before_a_resume_stays_left_out(tmp_path, hand_over):
    """Of which only a part could be shown otherwise; the next epoch has it again."""
    arguments = {"histogram_variables": ["p"], "on_missing_variable": "ignore"}
    hook = WriteTensorBoard(tmp_path, **arguments)
    hook.after_batch("train", {})
    hook = hand_over(hook, WriteTensorBoard(tmp_path, **arguments))
    for epoch in range(2):
        hook.after_batch("train", {"p": [1.0]})
        hook.after_epoch(epoch, {"train": {}})
    hook.after_training(success=True)

    assert [event.step for event in read(tmp_path).Histograms("p/histogram")] == [1]


def test_a_config_may_change_what_is_gathered(tmp_path, hand_over):
    """What is new begins with the next epoch, what is gone is forgotten."""
    hook = WriteTensorBoard(tmp_path, histogram_variables=["p", "q"])
    hook.after_batch("train", {"p": [1.0], "q": [1.0]})
    hook = hand_over(hook, WriteTensorBoard(tmp_path, histogram_variables=["q", "r"]))
    for epoch in range(2):
        hook.after_batch("train", {"q": [1.0], "r": [1.0]})
        hook.after_epoch(epoch, {"train": {}})
    hook.after_training(success=True)

    shown = read(tmp_path)
    assert [event.step for event in shown.Histograms("q/histogram")] == [0, 1]
    assert [event.step for event in shown.Histograms("r/histogram")] == [1]
    assert "p/histogram" not in shown.Tags()["histograms"]


def test_a_state_of_something_else_is_refused(tmp_path):
    """By name."""
    with pytest.raises(StateError, match="WriteTensorBoard: the state does not fit"):
        WriteTensorBoard(tmp_path).load_state_dict({"rows": 3})


def test_nothing_of_the_device_is_looked_at_before_the_epoch_is_over(tmp_path, device_array):
    """And then with everything else."""
    hook = WriteTensorBoard(tmp_path, histogram_variables=["p"], image_variables=["x"], max_images=2)
    for _ in range(5):
        hook.after_batch("train", {"p": device_array([1.0, 2.0]), "x": device_array(np.zeros((2, 2, 2)))})
    assert device_array.fetches == 0
    written(hook, {"train": {}})

    assert device_array.fetches == 6


# What it costs to have it


PROGRAM = """
import sys, emloop.hooks
assert not any(name.startswith("tensorboard") for name in sys.modules)
hook = emloop.hooks.WriteTensorBoard(sys.argv[1], histogram_variables=["p"])
hook.after_batch("train", {"p": [1.0]})
hook.after_epoch(0, {"train": {"loss": 1.0}})
hook.after_training(True)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "torch", "tensorboard", "grpc", "PIL"}))
"""


def test_no_framework_is_imported_to_write_events(tmp_path):
    """Not even where one is installed; and of TensorBoard only what is needed."""
    for name in ("tensorflow", "torch"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / "run")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.strip() == "['tensorboard']"
    assert [path.parent.name for path in (tmp_path / "run").rglob("events*")] == ["train"]
