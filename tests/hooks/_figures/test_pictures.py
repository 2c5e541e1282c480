"""Arrays as pictures: what they look like, and that nothing of them is lost on the way into a file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emloop.errors import VariableTypeError
from emloop.hooks._figures.pictures import FirstPictures, as_pixels, png

Image = pytest.importorskip("PIL.Image")

sides = st.integers(1, 5)
shapes = st.one_of(st.tuples(sides, sides), st.tuples(sides, sides, st.sampled_from([1, 3, 4])))
floats = hnp.arrays(np.float64, shapes)


def decoded(pixels):
    return np.asarray(Image.open(io.BytesIO(png(pixels)))).reshape(pixels.shape)


@given(hnp.arrays(np.uint8, shapes))
def test_bytes_come_back_byte_for_byte(array):
    """From the file as from the pixels: grey, RGB and RGBA."""
    pixels = as_pixels(array)

    assert pixels.tobytes() == array.tobytes() == decoded(pixels).tobytes()
    assert pixels.shape == (*array.shape[:2], array.shape[2] if array.ndim == 3 else 1)


@given(floats)
def test_other_numbers_are_stretched_from_black_to_white(array):
    """The smallest finite number is 0 and the largest 255, where they differ; order is kept, NaN is black."""
    pixels = as_pixels(array).reshape(array.shape)
    finite = np.isfinite(array)

    assert pixels.dtype == np.uint8
    assert not pixels[np.isnan(array)].any()
    if finite.any() and array[finite].max() / 2 - array[finite].min() / 2 > 0:
        assert pixels[finite].min() == 0
        assert pixels[finite].max() == 255
    order = np.argsort(array[finite])
    assert (np.diff(pixels[finite][order].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param([[0.0, 0.5, 1.0]], [0, 128, 255], id="floats"),
        pytest.param([[-1, 0, 1]], [0, 128, 255], id="integers"),
        pytest.param([[True, False, True]], [255, 0, 255], id="booleans"),
        pytest.param([[7.0, 7.0, 7.0]], [0, 0, 0], id="one-value-is-black"),
        pytest.param([[0.0, np.inf, 1.0]], [0, 255, 255], id="infinity-is-white"),
        pytest.param([[0.0, -np.inf, 1.0]], [0, 0, 255], id="minus-infinity-is-black"),
    ],
)
def test_numbers_become_these_bytes(array, expected):
    """Letter by letter."""
    assert expected == as_pixels(np.array(array)).reshape(-1).tolist()


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((4,), ""), ((2, 2, 2), ""), ((3, 8, 8), "; channels come last"), ((0, 3), ""), ((1, 2, 2, 3), "")],
)
def test_what_is_no_picture_is_described(shape, hint):
    """With its shape, and with the most common reason."""
    with pytest.raises(VariableTypeError) as caught:
        as_pixels(np.zeros(shape, np.float32))

    assert str(caught.value) == (
        "expected a picture of shape [H, W] or [H, W, C] with 1, 3 or 4 channels, "
        f"got float32 values of shape {shape}{hint}"
    )


# The first of an epoch


def first(most, *batches):
    pictures = FirstPictures(most)
    for batch in batches:
        pictures.add(batch)
    return pictures


def shades(pictures):
    return [int(pixels[0, 0, 0]) for pixels in pictures.all()]


def grey(*values):
    return np.array(values, np.uint8).reshape(-1, 1, 1)


@given(st.lists(st.lists(st.integers(0, 255), max_size=4), max_size=4), st.integers(1, 6))
def test_the_first_pictures_are_kept_whatever_the_batches(batches, most):
    """Across batches, and not one more."""
    expected = [shade for batch in batches for shade in batch][:most]

    assert expected == shades(first(most, *(grey(*batch) for batch in batches)))
    assert expected == shades(first(most, *([grey(shade)[0] for shade in batch] for batch in batches)))


def test_what_is_kept_is_a_copy():
    """A dataset may reuse its memory."""
    batch = grey(1, 2)
    pictures = first(2, batch)
    batch[:] = 9

    assert shades(pictures) == [1, 2]


def test_pictures_on_a_device_wait_there(device_array):
    """Until somebody looks; the order of the batches is kept."""
    pictures = first(3, device_array(grey(1, 2)), grey(3, 4), device_array(grey(5)))
    assert device_array.fetches == 0

    assert shades(pictures) == [1, 2, 3]
    assert device_array.fetches == 1


def test_the_first_pictures_survive_a_resume():
    """A run cut within an epoch shows those that it had, and the rest from the batches to come."""
    resumed = FirstPictures(3)
    resumed.load(first(3, grey(1, 2)).state())
    resumed.add(grey(3, 4))

    assert shades(resumed) == [1, 2, 3]


def test_a_single_value_holds_no_pictures():
    """As for every hook that needs examples."""
    with pytest.raises(VariableTypeError, match="expected a sequence with a value for every example, got a single int"):
        first(1, 3)
