"""Writing masks as images."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from emloop.errors import BatchError, ConfigError, HookError, MissingExtraError, MissingVariableError, VariableTypeError
from emloop.hooks.save_masks import SaveMasks

CROSS = np.array([[0, 1, 0], [1, 1, 1]])


def hook_for(root, **arguments):
    return SaveMasks(mask_variable="masks", path_variable="paths", output_root=str(root), **arguments)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_every_mask_is_written_under_its_path(tmp_path):
    """The path gets the suffix; folders are made; ones are white."""
    hook_for(tmp_path).after_batch(
        stream_name="train", batch_data={"masks": np.array([CROSS, 1 - CROSS]), "paths": ["a", "some/where/b.jpg"]}
    )

    np.testing.assert_array_equal(pixels(tmp_path / "a_mask.png"), 255 * CROSS)
    np.testing.assert_array_equal(pixels(tmp_path / "some/where/b.jpg_mask.png"), 255 * (1 - CROSS))
    assert len(list(tmp_path.rglob("*"))) == 4


@pytest.mark.parametrize(
    ("values", "factor", "written"),
    [
        ([[False, True]], 255.0, [[0, 255]]),
        ([[0.0, 0.5, 1.0]], 255.0, [[0, 128, 255]]),
        ([[-1.0, 2.0, float("nan")]], 255.0, [[0, 255, 0]]),
        ([[3, 4]], 1, [[3, 4]]),
        (np.array([[[7], [8]]], dtype=np.uint8), 2, [[14, 16]]),
        (np.array([[100, 200]], dtype=np.uint8), 2.0, [[200, 255]]),
        (np.array([[[1, 2, 3]]]), 10, [[[30, 20, 10]]]),
        ([0.0, 0.5, 1.0], 255.0, [[0], [128], [255]]),
        (np.array([[[1, 2, 3, 4]]]), 10, [[[30, 20, 10, 40]]]),
    ],
    ids=[
        "bool",
        "rounded",
        "limited",
        "indices",
        "one-channel",
        "no-overflow",
        "blue-green-red",
        "one-axis",
        "with-opacity",
    ],
)
def test_values_are_scaled_rounded_and_limited(tmp_path, values, factor, written):
    """A pixel is ``factor`` times its value, from 0 to 255; colours are in OpenCV's order."""
    hook_for(tmp_path, factor=factor).after_batch("train", {"masks": [values], "paths": ["x"]})

    np.testing.assert_array_equal(pixels(tmp_path / "x_mask.png"), written)


def test_masks_may_differ_in_size(tmp_path):
    """A list of masks has one picture of its own size for each."""
    hook_for(tmp_path, suffix=".BMP").after_batch(
        "train", {"masks": [np.ones((2, 3)), np.ones((4, 5))], "paths": ["a", "b"]}
    )

    assert [pixels(tmp_path / f"{name}.BMP").shape for name in "ab"] == [(2, 3), (4, 5)]


@pytest.mark.parametrize("path", ["x", b"x", np.str_("x")])
def test_paths_may_be_of_any_kind(tmp_path, path):
    """Text, bytes as some datasets have them, and path objects."""
    hook_for(tmp_path).after_batch("train", {"masks": [CROSS], "paths": [path]})
    hook_for(tmp_path / "more").after_batch("train", {"masks": [CROSS], "paths": [tmp_path / "more/x"]})

    assert (tmp_path / "x_mask.png").exists()
    assert (tmp_path / "more/x_mask.png").exists()


def test_relative_folders_start_in_the_run(tmp_path, monkeypatch):
    """Or in the working directory, when the hook is used without a run; a path needs no folder of its own."""
    monkeypatch.chdir(tmp_path)
    batch = {"masks": [CROSS], "paths": ["x"]}
    SaveMasks("masks", "paths").after_batch("train", batch)
    SaveMasks("masks", "paths", output_dir="run").after_batch("train", batch)
    SaveMasks("masks", "paths", output_root="masks", output_dir="run").after_batch("train", batch)

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == [
        "run/masks/x_mask.png",
        "run/x_mask.png",
        "x_mask.png",
    ]


@pytest.mark.parametrize("path", ["../x", "/tmp/x", "a/../../x", "", "link/x"])
def test_no_path_leads_out_of_the_folder(tmp_path, path):
    """Data cannot write where the configuration did not say; nothing is written."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(HookError, match=f"variable 'paths': '{path}' leads out of output_root, {root}"):
        hook_for(root).after_batch("train", {"masks": [CROSS], "paths": [path]})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    """What cannot be written is not passed over."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(OSError, match="file"):
        hook_for(tmp_path).after_batch("train", {"masks": [CROSS], "paths": ["file/x"]})


def test_only_the_streams_asked_for_are_written(tmp_path):
    """Other streams need not have masks."""
    hook = hook_for(tmp_path, streams=["test"])
    hook.after_batch("train", {})
    hook.after_batch("test", {"masks": [CROSS], "paths": ["x"]})

    assert (tmp_path / "x_mask.png").exists()


@pytest.mark.parametrize("missing", ["masks", "paths"])
def test_a_missing_variable_is_named(tmp_path, missing):
    """Masks and paths must be in every batch of the streams that are written."""
    batch = {name: values for name, values in {"masks": [CROSS], "paths": ["x"]}.items() if name != missing}

    with pytest.raises(MissingVariableError, match=f"stream 'train': no variable '{missing}' in the batch"):
        hook_for(tmp_path).after_batch("train", batch)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"paths": ["a", "b"]},
            BatchError,
            "stream 'train': the batch has not the same .*: 1 of 'masks', 2 of 'paths'",
        ),
        ({"paths": "x"}, VariableTypeError, "variable 'paths': expected a sequence with a value for every example"),
        ({"paths": [3]}, VariableTypeError, "variable 'paths': expected paths, got 3"),
        ({"masks": 3}, VariableTypeError, "variable 'masks': expected a sequence with a value for every example"),
        (
            {"masks": [1]},
            VariableTypeError,
            r"variable 'masks': expected numbers of shape \[H\], .*, got int64 values of shape \(\)",
        ),
        ({"masks": [np.ones((2, 2, 5))]}, VariableTypeError, r"variable 'masks': .* values of shape \(2, 2, 5\)"),
        ({"masks": [[["a"]]]}, VariableTypeError, "variable 'masks': expected numbers"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, changes, error, message):
    """The error names the variable and says what it holds."""
    with pytest.raises(error, match=message):
        hook_for(tmp_path).after_batch("train", {"masks": [CROSS], "paths": ["x"], **changes})


@pytest.mark.parametrize("suffix", ["_mask", "_mask.txt", ""])
def test_the_suffix_must_tell_the_format(suffix):
    """A name that no image can have is a mistake of the configuration."""
    with pytest.raises(ConfigError, match=f"suffix: expected one that ends like an image file.*, got '{suffix}'"):
        hook_for("", suffix=suffix)


def test_a_missing_package_is_told_at_construction(monkeypatch):
    """Nobody starts a training before learning what to install."""
    monkeypatch.setitem(sys.modules, "PIL.Image", None)

    with pytest.raises(MissingExtraError, match=r"SaveMasks needs .* pip install 'emloop\[plots\]'"):
        hook_for("")
