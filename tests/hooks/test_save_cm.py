"""Pictures of confusion matrices."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from emloop.errors import BatchError, ConfigError, MissingExtraError, MissingVariableError, VariableTypeError
from emloop.hooks._figures.figures import write_figure
from emloop.hooks._figures.heat_map import draw_confusion_matrix
from emloop.hooks.save_cm import SaveConfusionMatrix

BATCH = {"labels": [0, 1, 2, 2], "predictions": np.array([0, 1, 1, 2]), "mask": [True, True, True, False]}


def run_epoch(hook, *batches, epoch_id=1):
    """What the hook leaves in the data of an epoch with these batches."""
    for batch in batches or [BATCH]:
        hook.after_batch(stream_name="valid", batch_data=batch)
    epoch_data = {"valid": {}}
    hook.after_epoch(epoch_id=epoch_id, epoch_data=epoch_data)
    return epoch_data["valid"]


@pytest.fixture
def drawn(monkeypatch):
    """What was given to be drawn: matrix and names of the classes."""
    calls = []

    def draw(matrix, names, **options):
        calls.append((matrix.tolist(), names))
        return draw_confusion_matrix(matrix, names, **options)

    monkeypatch.setattr("emloop.hooks.save_cm.draw_confusion_matrix", draw)
    return calls


def hook_for(dataset=None, output_dir="", **arguments):
    return SaveConfusionMatrix(output_dir=output_dir, dataset=dataset, **{"figure_action": "store", **arguments})


def test_every_stream_gets_a_file(tmp_path):
    """Its name tells epoch and stream; it has 640 × 480 pixels."""
    hook = SaveConfusionMatrix(output_dir=tmp_path, dataset=None)
    hook.after_batch("train", BATCH)
    run_epoch(hook, epoch_id=7)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion_matrix_epoch_7_train.png",
        "confusion_matrix_epoch_7_valid.png",
    ]
    with Image.open(tmp_path / "confusion_matrix_epoch_7_valid.png") as image:
        assert image.size == (640, 480)


@pytest.mark.parametrize(
    ("figsize", "shape"), [(None, (480, 640, 3)), ([3, 2.5], (250, 300, 3)), ((8, 8), (800, 800, 3))]
)
def test_a_picture_can_be_left_for_later_hooks(figsize, shape, tmp_path):
    """``store`` leaves height × width × 3 bytes of a hundred pixels per inch, and writes no file."""
    heatmap = run_epoch(hook_for(figure_action="store", figsize=figsize, output_dir=tmp_path))["confusion_heatmap"]

    assert heatmap.shape == shape
    assert heatmap.dtype == np.uint8
    assert len(np.unique(heatmap)) > 10
    assert not list(tmp_path.iterdir())


def test_stored_and_saved_pictures_are_the_same(tmp_path):
    """What later hooks see is what the file shows."""
    stored = run_epoch(hook_for())["confusion_heatmap"]
    run_epoch(hook_for(output_dir=tmp_path, figure_action="save"))

    with Image.open(tmp_path / "confusion_matrix_epoch_1_valid.png") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), stored)


def test_all_of_an_epoch_is_counted_and_nothing_else(drawn):
    """Rows are the expected classes; the next epoch starts from zero."""
    hook = hook_for()
    run_epoch(hook, BATCH, {"labels": [2], "predictions": [0]})
    run_epoch(hook, {"labels": [1], "predictions": [0]})

    assert drawn == [([[1, 0, 0], [0, 1, 0], [1, 1, 1]], ["0", "1", "2"]), ([[0, 0], [1, 0]], ["0", "1"])]


def test_masked_examples_are_left_out(drawn):
    """A false mask hides label and prediction."""
    run_epoch(hook_for(mask_name="mask"))

    assert drawn == [([[1, 0, 0], [0, 1, 0], [0, 1, 0]], ["0", "1", "2"])]


def test_examples_may_have_many_labels(drawn):
    """Labels of pixels, or of words, count each; booleans are the classes 0 and 1."""
    run_epoch(
        hook_for(mask_name="mask"),
        {
            "labels": np.array([[0, 1], [1, 1]]),
            "predictions": np.array([[False, True], [False, True]]),
            "mask": np.array([[1, 1], [1, 0]]),
        },
    )

    assert drawn == [([[1, 0], [1, 1]], ["0", "1"])]


@pytest.mark.parametrize(
    ("dataset", "arguments", "names"),
    [
        pytest.param(None, {}, ["0", "1", "2"], id="as-many-as-there-are"),
        pytest.param(SimpleNamespace(num_classes=lambda: 4), {}, ["0", "1", "2", "3"], id="number-by-method"),
        pytest.param(SimpleNamespace(num_classes=4), {}, ["0", "1", "2", "3"], id="number-by-attribute"),
        pytest.param(SimpleNamespace(classes_names=lambda: ["a", "b", "c"]), {}, ["a", "b", "c"], id="names-by-method"),
        pytest.param(SimpleNamespace(classes_names=["a", "b", "c"]), {}, ["a", "b", "c"], id="names-by-attribute"),
        pytest.param(
            SimpleNamespace(classes_names=["a", "b", "c"], num_classes=9), {}, ["a", "b", "c"], id="names-before-number"
        ),
        pytest.param(
            SimpleNamespace(labels=["a", "b", "c"], classes_names=["no"]),
            {"classes_names_method_name": "labels"},
            ["a", "b", "c"],
            id="other-name-of-the-names",
        ),
        pytest.param(
            SimpleNamespace(count=5), {"num_classes_method_name": "count"}, list("01234"), id="other-name-of-the-number"
        ),
        pytest.param(
            SimpleNamespace(classes_names=["no"]),
            {"classes_names": ["x", "y", "z", 3]},
            ["x", "y", "z", "3"],
            id="explicit",
        ),
    ],
)
def test_classes_come_from_who_knows_them_best(drawn, dataset, arguments, names):
    """The argument, else the dataset's names, else its number, be they methods or attributes, else the data."""
    run_epoch(hook_for(dataset, **arguments))

    assert [names] == [drawn_names for _, drawn_names in drawn]


@pytest.mark.parametrize(
    ("dataset", "arguments", "source"),
    [
        (None, {"classes_names": ["a", "b"]}, "the argument classes_names knows 2 classes"),
        (SimpleNamespace(classes_names=["a"]), {}, "the dataset's classes_names knows 1 classes"),
        (SimpleNamespace(num_classes=2), {}, "the dataset's num_classes knows 2 classes"),
    ],
)
def test_too_few_classes_are_refused(dataset, arguments, source):
    """An index without a class is a mistake of the data or of the list of classes."""
    with pytest.raises(
        BatchError, match=f"stream 'valid': 'labels' or 'predictions' has the class index 2, but {source}"
    ):
        run_epoch(hook_for(dataset, **arguments))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"labels": [0.0, 1.0, 2.0, 2.0]},
            VariableTypeError,
            "variable 'labels': expected indices of classes, got float64",
        ),
        ({"labels": ["a", "b", "c", "d"]}, VariableTypeError, "variable 'labels': expected numbers"),
        ({"predictions": [0, -1, 1, 2]}, BatchError, "variable 'predictions': -1 is no index of a class"),
        ({"predictions": [[0], [1], [1], [2]]}, BatchError, r"must have the same shape, but have \(4,\) and \(4, 1\)"),
        ({"mask": [True]}, BatchError, r"the mask 'mask' has shape \(1,\) in this epoch, which does not fit \(4,\)"),
    ],
)
def test_what_is_no_classification_is_refused(changes, error, message):
    """The error names stream and variable, and says what it found."""
    with pytest.raises(error, match=f"stream 'valid': .*{message}"):
        run_epoch(hook_for(mask_name="mask"), {**BATCH, **changes})


@pytest.mark.parametrize("missing", ["labels", "predictions", "mask"])
def test_a_missing_variable_is_named(missing):
    """Labels, predictions and the mask must be in every batch of the streams that are drawn."""
    batch = {name: values for name, values in BATCH.items() if name != missing}

    with pytest.raises(MissingVariableError, match=f"stream 'train': no variable '{missing}' in the batch"):
        hook_for(mask_name="mask").after_batch("train", batch)


def test_only_the_streams_asked_for_are_drawn(drawn):
    """Other streams need not have labels."""
    hook = hook_for(streams=["valid"])
    hook.after_batch("train", {})
    run_epoch(hook)

    assert len(drawn) == 1


def test_everything_masked_draws_what_is_known(drawn):
    """Known classes have a matrix of zeros; without them there is nothing to draw."""
    masked = {**BATCH, "mask": [False] * 4}

    assert "confusion_heatmap" in run_epoch(hook_for(mask_name="mask", classes_names=["a", "b"]), masked)
    assert drawn == [([[0, 0], [0, 0]], ["a", "b"])]
    assert run_epoch(hook_for(mask_name="mask"), masked) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"figure_action": "show"}, "figure_action: expected one of 'save', 'store', got 'show'"),
        (
            {"cmap": "Bluess"},
            "cmap: expected a colour map of Matplotlib, e.g. 'Blues', got 'Bluess'; did you mean 'Blues'",
        ),
        ({"figsize": [3]}, r"figsize: expected width and height in inches, e.g. \[6.4, 4.8\], got \[3\]"),
        ({"figsize": [3, -1]}, "figsize: expected a number, 0.1 or more, got -1"),
    ],
)
def test_mistakes_of_the_configuration_are_told_at_once(arguments, message):
    """Not after an epoch of training."""
    with pytest.raises(ConfigError, match=message):
        hook_for(**arguments)


def test_a_missing_package_is_told_at_construction(monkeypatch):
    """Nobody trains for an epoch before learning what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(MissingExtraError, match=r"SaveConfusionMatrix needs .* pip install 'emloop\[plots\]'"):
        hook_for()


def test_colours_show_shares_or_counts():
    """A rare class that is always recognised is dark by share and pale by count."""
    batch = {"labels": [0] * 50 + [1], "predictions": [0] * 50 + [1]}
    shares, counts = (
        run_epoch(hook_for(normalize=normalize), batch)["confusion_heatmap"].astype(int).sum()
        for normalize in (True, False)
    )

    assert shares < counts


def test_a_run_cut_within_an_epoch_draws_the_same(drawn, hand_over):
    """The state has the unfinished epoch's labels and predictions."""
    hook = hook_for(mask_name="mask")
    hook.after_batch("valid", BATCH)
    resumed = hand_over(hook, hook_for(mask_name="mask"))
    for one in (hook, resumed):
        run_epoch(one, BATCH)

    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("count", [1, 2, 10, 40, 150])
def test_any_number_of_classes_can_be_drawn(count):
    """Names may be long or full of signs; text that would not fit is left out, not drawn over its neighbours."""
    figure = draw_confusion_matrix(
        np.arange(count * count, dtype=np.int32).reshape(count, count) * 1000,
        [f"$class_{index}^ {'x' * index}" for index in range(count)],
        normalize=True,
        cmap="viridis",
        size=(6.4, 4.8),
    )
    figure.draw_without_rendering()
    cell = figure.axes[0].get_window_extent().width / count

    assert (len(figure.axes[0].texts) == count * count) == (count <= 10)
    assert all(text.get_window_extent().width <= cell for text in figure.axes[0].texts)


def test_cells_say_share_and_count():
    """Two decimals of the share of the row, and the count; an empty row has no share."""
    figure = draw_confusion_matrix(
        np.array([[1, 2], [0, 0]], dtype=np.int32), ["a", "b"], normalize=False, cmap="Blues", size=(6.4, 4.8)
    )

    assert [text.get_text() for text in figure.axes[0].texts] == ["0.33 / 1", "0.67 / 2", "0.00 / 0", "0.00 / 0"]
    assert figure.axes[0].get_ylabel() == "Expected"
    assert figure.axes[0].get_title() == "Predicted"


def test_a_picture_is_drawn_once(tmp_path):
    """Once more to find its layout would double what a hook costs after every epoch."""
    figure = draw_confusion_matrix(
        np.eye(3, dtype=np.int32), ["a", "b", "c"], normalize=True, cmap="Blues", size=(4, 3)
    )
    draws = []
    figure.canvas.mpl_connect("draw_event", draws.append)
    write_figure(figure, tmp_path / "matrix.png")

    assert len(draws) == 1
    with Image.open(tmp_path / "matrix.png") as image:
        assert image.size == (400, 300)


def test_figures_leave_nothing_behind():
    """A figure that was written is gone: no list of Matplotlib's holds it, epoch after epoch."""
    figure = draw_confusion_matrix(np.eye(2, dtype=np.int32), ["a", "b"], normalize=True, cmap="Blues", size=(6.4, 4.8))
    gone = weakref.ref(figure)
    del figure
    gc.collect()

    assert gone() is None


def test_no_window_and_no_backend_is_touched():
    """Drawing neither imports pyplot nor chooses a backend, whatever the program around does with Matplotlib."""
    program = (
        "import sys\n"
        "from emloop.hooks import SaveConfusionMatrix\n"
        "assert 'matplotlib' not in sys.modules\n"
        "hook = SaveConfusionMatrix('', None, figure_action='store')\n"
        "hook.after_batch('train', {'labels': [0], 'predictions': [0]})\n"
        "hook.after_epoch(0, {'train': {}})\n"
        "assert 'matplotlib.figure' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
