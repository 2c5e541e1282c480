"""Drawing variables of single examples as lines."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from emloop.errors import BatchError, ConfigError, MissingExtraError, MissingVariableError, VariableTypeError
from emloop.hooks.plot_lines import PlotLines

BATCH = {"ids": ["a", "b"], "x": np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]), "y": [[0, 1, 0], [1, 0, 1]]}


def hook_for(output_dir="", *variables, **arguments):
    return PlotLines(output_dir=output_dir, variables=list(variables) or ["x"], **arguments)


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def lines_of(figure):
    return [line.get_ydata().tolist() for line in figure.axes[0].lines]


def test_every_example_has_a_file(tmp_path):
    """Its path tells epoch, stream, id, batch and variables."""
    hook = hook_for(tmp_path, "x", "y")
    hook.after_batch(stream_name="train", batch_data=BATCH)
    hook.after_batch("train", {**BATCH, "ids": ["c", "d"]})
    hook.after_batch("valid", BATCH)

    assert files_in(tmp_path / "visual/epoch__") == [
        "train/a_batch_1_plot-x-vs-y.png",
        "train/b_batch_1_plot-x-vs-y.png",
        "train/c_batch_2_plot-x-vs-y.png",
        "train/d_batch_2_plot-x-vs-y.png",
        "valid/a_batch_1_plot-x-vs-y.png",
        "valid/b_batch_1_plot-x-vs-y.png",
    ]
    with Image.open(tmp_path / "visual/epoch__/train/a_batch_1_plot-x-vs-y.png") as image:
        assert image.size == (640, 480)
    assert hook.figure_suffix == "x-vs-y"


def test_called_directly_a_hook_counts_epochs_itself(tmp_path):
    """Until the first epoch's end it cannot know; then it counts on, and batches start from 1."""
    hook = hook_for(tmp_path)

    assert not hook._batch_done

    for epoch in (0, 1):
        hook.after_batch("train", {**BATCH, "ids": [f"epoch {epoch}", "b"]})
        hook.after_epoch(epoch)

        assert not hook._batch_done
        assert hook._current_epoch_id == epoch + 1

    assert [name for name in files_in(tmp_path / "visual") if "epoch " in name] == [
        "epoch_1/train/epoch 1_batch_1_plot-x.png",
        "epoch__/train/epoch 0_batch_1_plot-x.png",
    ]


@pytest.mark.parametrize("zeroth", [True, False], ids=["with-zeroth-epoch", "without"])
def test_in_a_run_figures_stand_under_their_epoch(tmp_path, loop, zeroth):
    """The folder is the epoch's number, as in the log, from the very first epoch on."""
    hook = hook_for(tmp_path, streams=["valid"])
    hook.register_mainloop(loop)
    for epoch in (0, 1, 2) if zeroth else (1, 2):
        for stream in ("train", "valid"):
            loop.is_training = stream == "train" and epoch > 0
            hook.after_batch(stream, {**BATCH, "ids": [f"in {epoch}", "b"]})
        loop.is_training = False
        loop.training_epochs_done = epoch
        hook.after_epoch(epoch_id=epoch, epoch_data={})

    assert [name for name in files_in(tmp_path / "visual") if "/in " in name.replace("valid", "")] == [
        f"epoch_{epoch}/valid/in {epoch}_batch_1_plot-x.png" for epoch in ((0, 1, 2) if zeroth else (1, 2))
    ]


def test_a_run_cut_within_an_epoch_goes_on_with_its_numbers(tmp_path, loop, hand_over):
    """The state has the epoch and the batches that were seen, so no file is written twice or in a wrong place."""
    hook = hook_for(tmp_path, example_count=1, batch_count=3)
    hook.register_mainloop(loop)
    hook.after_batch("train", BATCH)
    hook.after_batch("train", BATCH)
    resumed = hand_over(hook, hook_for(tmp_path, example_count=1, batch_count=3))
    loop.is_training = False
    resumed.register_mainloop(loop)
    resumed.after_batch("valid", BATCH)
    resumed.after_batch("train", BATCH)
    resumed.after_batch("train", BATCH)

    assert files_in(tmp_path / "visual") == [
        "epoch_1/train/a_batch_1_plot-x.png",
        "epoch_1/train/a_batch_2_plot-x.png",
        "epoch_1/train/a_batch_3_plot-x.png",
        "epoch_1/valid/a_batch_1_plot-x.png",
    ]


def test_the_number_of_figures_can_be_limited(tmp_path):
    """``example_count`` of a batch, ``batch_count`` of a stream and epoch; all batches are counted."""
    hook = hook_for(tmp_path, example_count=1, batch_count=2)
    for _ in range(3):
        hook.after_batch("train", BATCH)
    hook.after_batch("valid", BATCH)

    assert files_in(tmp_path / "visual/epoch__") == [
        "train/a_batch_1_plot-x.png",
        "train/a_batch_2_plot-x.png",
        "valid/a_batch_1_plot-x.png",
    ]


def test_only_the_streams_asked_for_are_drawn(tmp_path):
    """Batches of other streams are not even looked at."""
    hook = hook_for(tmp_path, streams=["valid"])
    hook.after_batch("train", {})
    hook.after_batch("valid", BATCH)

    assert {name.split("/")[-2] for name in files_in(tmp_path)} == {"valid"}


@pytest.mark.parametrize(
    ("example_id", "name"),
    [
        (7, "7_batch_1_plot-x.png"),
        (np.int64(8), "8_batch_1_plot-x.png"),
        ("a/b", "a___b_batch_1_plot-x.png"),
        ("../../up", "..___..___up_batch_1_plot-x.png"),
        ("/etc/passwd", "___etc___passwd_batch_1_plot-x.png"),
    ],
)
def test_ids_may_be_numbers_and_paths(tmp_path, example_id, name):
    """A path as an id stays within the folder of its stream."""
    hook_for(tmp_path / "run").after_batch("train", {"ids": [example_id], "x": [[1, 2]]})

    assert files_in(tmp_path) == [f"run/visual/epoch__/train/{name}"]


@pytest.mark.parametrize("out_format", ["png", "svg", "pdf", "jpg"])
def test_files_are_of_the_format_asked_for(tmp_path, out_format):
    """Pictures or drawings, in another folder if that is wished."""
    hook_for(tmp_path, out_format=out_format, root_dir="lines", example_count=1).after_batch("train", BATCH)
    (path,) = tmp_path.rglob("*.*")
    beginning = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "jpg": b"\xff\xd8\xff"}[out_format]

    assert path == tmp_path / f"lines/epoch__/train/a_batch_1_plot-x.{out_format}"
    assert path.read_bytes().startswith(beginning)


@pytest.mark.parametrize("kind", [list, np.array], ids=["lists", "arrays"])
def test_masked_positions_are_left_out(kind):
    """With a mask, padding is not drawn; lists do as well as arrays."""
    hook = hook_for("", "x", "y", pad_mask_variable="mask")
    batch = {**BATCH, "x": kind([[1, 2, 3], [3, 2, 1]]), "mask": kind([[1, 1, 0], [0, 1, 1]])}

    assert lines_of(hook.plot_figure(0, batch)) == [[1, 2], [0, 1]]
    assert lines_of(hook.plot_figure(1, batch)) == [[2, 1], [0, 1]]


@pytest.mark.parametrize(("mask", "line"), [(True, [5]), (np.array(True), [5]), (False, [])])
def test_single_values_may_have_a_single_mask(tmp_path, mask, line):
    """A number per example is a point, with a mask of its own."""
    hook = hook_for(tmp_path, pad_mask_variable="mask")
    batch = {"ids": ["a"], "x": [5], "mask": [mask]}
    hook.after_batch("train", batch)

    assert lines_of(hook.plot_figure(0, batch)) == [line]
    assert len(files_in(tmp_path)) == 1


def test_every_line_is_labelled():
    """The legend has the variables' names, or their columns', as they are written; limits hold for all lines."""
    hook = PlotLines("", ["x$a$", "xy"], ymin=-1, ymax=4)
    figure = hook.plot_figure(0, {"x$a$": [[1, 2]], "xy": [np.ones((5, 2))]})
    (axes,) = figure.axes

    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["x$a$", "xy[0]", "xy[1]"]
    assert axes.get_ylim() == (-1, 4)
    figure.draw_without_rendering()


@pytest.mark.parametrize("missing", ["ids", "x", "mask"])
def test_a_missing_variable_is_named(missing):
    """Id, mask and variables must be in every batch of the streams that are drawn."""
    batch = {name: values for name, values in {**BATCH, "mask": [1, 1]}.items() if name != missing}

    with pytest.raises(MissingVariableError, match=f"stream 'train': no variable '{missing}' in the batch"):
        hook_for("", pad_mask_variable="mask").after_batch("train", batch)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"ids": ["a"]}, BatchError, "not the same number of examples of each: 1 of 'ids', 2 of 'x'"),
        (
            {"x": 3},
            VariableTypeError,
            "variable 'x': expected a sequence with a value for every example, got a single int",
        ),
        ({"x": [["a"], ["b"]]}, VariableTypeError, r"variable 'x': expected a number or .*, got \['a'\] as example 0"),
        ({"x": np.zeros((2, 2, 2, 2))}, VariableTypeError, "variable 'x': expected a number or a sequence of numbers"),
        (
            {"mask": [[1, 1], [1, 1]]},
            BatchError,
            r"example 0 has 3 positions in 'x', but its mask 'mask' has the shape \(2,\)",
        ),
    ],
)
def test_what_makes_no_line_is_refused(tmp_path, changes, error, message):
    """The error names the variable and says what it holds."""
    hook = hook_for(tmp_path, pad_mask_variable="mask")

    with pytest.raises(error, match=message):
        hook.after_batch("train", {**BATCH, "mask": [1, 1], **changes})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variables": []}, "variables: expected at least one name"),
        ({"variables": "x"}, "variables: expected a list of names, got 'x'"),
        ({"out_format": "pgn"}, r"out_format: expected one of .*, got 'pgn'; did you mean 'png'\?"),
        ({"example_count": -1}, "example_count: expected a whole number, 0 or more, got -1"),
        ({"batch_count": 1.5}, "batch_count: expected a whole number, 0 or more, got 1.5"),
    ],
)
def test_mistakes_of_the_configuration_are_told_at_once(arguments, message):
    """Not with the first batch."""
    with pytest.raises(ConfigError, match=message):
        PlotLines(**{"output_dir": "", "variables": ["x"], **arguments})


def test_a_missing_package_is_told_at_construction(monkeypatch):
    """Nobody starts a training before learning what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(MissingExtraError, match=r"PlotLines needs .* pip install 'emloop\[plots\]'"):
        hook_for()
