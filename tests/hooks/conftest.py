"""Small real things that the tests of many hooks need."""

from __future__ import annotations

import numpy as np
import pytest

from emloop._state.tree import dump_tree, load_tree


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds

    def pass_by(self, seconds):
        self.seconds += seconds


class Loop:
    """A main loop as far as hooks ask it."""

    training_epochs_done = 0
    fixed_epoch_size = None
    extra_streams = ("valid",)
    train_stream_name = "train"
    weights: dict = {}  # noqa: RUF012

    def __init__(self):
        self.is_training = True


class Model:
    """A model that remembers under which suffixes it was saved, and fails when told to."""

    def __init__(self):
        self.saved = []
        self.fails = False

    def save(self, name_suffix):
        if self.fails:
            raise OSError("disk full")
        self.saved.append(name_suffix)
        return f"/run/model_{name_suffix}"


class DeviceArray:
    """An array on some accelerator: NumPy gets a copy of it, and one is counted whenever it does."""

    fetches = 0

    def __init__(self, values):
        self._values = np.array(values)

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        raise AssertionError("an array on a device was visited element by element")

    def __dlpack_device__(self):
        return (2, 0)

    def __array__(self, dtype=None, copy=None):
        type(self).fetches += 1
        return np.array(self._values, dtype=dtype)


class JoinedArray(DeviceArray):
    """The same of a library that can join arrays (the array API)."""

    device = "far away"
    shape = property(lambda self: self._values.shape)
    dtype = property(lambda self: self._values.dtype)

    def __array_namespace__(self):
        return self

    def stack(self, arrays):
        return type(self)(np.stack([array._values for array in arrays]))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def device_array():
    """The class of arrays on an accelerator, its count of fetches at 0."""
    return type("DeviceArray", (DeviceArray,), {"fetches": 0})


@pytest.fixture
def joined_array():
    """The class of arrays on an accelerator that can be joined there, its count of fetches at 0."""
    return type("JoinedArray", (JoinedArray,), {"fetches": 0})


class ArrivingArray(DeviceArray):
    """An array in NumPy's memory, still being written until somebody says that it is there."""

    is_there = False
    __dlpack_device__ = None

    def is_ready(self):
        return self.is_there


@pytest.fixture
def arriving_array():
    """The class of arrays on their way to the host, its count of fetches at 0."""
    return type("ArrivingArray", (ArrivingArray,), {"fetches": 0})


@pytest.fixture(scope="session")
def hand_over():
    """Let a new hook go on where another stopped, through the bytes that a commit writes."""

    def hand_over(old, new):
        skeleton, arrays = dump_tree(old.state_dict())
        new.load_state_dict(load_tree(skeleton, arrays))
        return new

    return hand_over
