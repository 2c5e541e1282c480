"""Files of events are what TensorBoard writes and reads, and stay readable whatever happens to them."""

from __future__ import annotations

import errno
import io
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._run_dir.append import AppendFiles
from emloop.errors import RunDirError
from emloop.hooks._statistics.histograms import Histogram
from emloop.hooks._tensorboard.events import EVENT_FILE, EventFile, summary_value

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader, LegacyEventFileLoader
from tensorboard.summary.writer.record_writer import RecordWriter


@pytest.fixture
def file(tmp_path):
    """A file of events outside of any run."""
    made = EventFile(tmp_path / "a" / "b")
    yield made
    made.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a" / "b" / EVENT_FILE


def events(path):
    return list(LegacyEventFileLoader(str(path)).Load())


def steps(loaded):
    return [event.step for event in loaded if event.summary.value]


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.floats(width=32)), max_size=5))
def test_numbers_come_back_under_their_tags(tmp_path_factory, pairs):
    """Any text, any number of 32 bits; those with more are rounded."""
    folder = tmp_path_factory.mktemp("run")
    EventFile(folder).write(3, pairs)
    version, event = events(folder / EVENT_FILE)

    assert version.file_version == "brain.Event:2"
    assert event.step == 3
    assert [value.tag for value in event.summary.value] == [tag for tag, _ in pairs]
    np.testing.assert_array_equal([value.simple_value for value in event.summary.value], [n for _, n in pairs])


@pytest.mark.parametrize(
    ("number", "kept"), [(0.1, np.float32(0.1)), (1e300, np.inf), (-1e300, -np.inf), (1e-300, 0.0), (-0.0, -0.0)]
)
def test_a_number_is_kept_in_32_bits(number, kept):
    """As TensorBoard does; what is too large for that is infinite."""
    assert struct.pack("<f", kept) == struct.pack("<f", summary_value("x", number).simple_value)


def test_records_are_those_of_tensorboard_s_own_writer(file, path):
    """Byte by byte, checksums included."""
    for step in range(3):
        file.write(step, [("loss", step / 3), ("accuracy", float("nan"))])
    expected = io.BytesIO()
    writer = RecordWriter(expected)
    for event in events(path):
        writer.write(event.SerializeToString())

    assert expected.getvalue() == path.read_bytes()


def test_what_is_written_is_there_at_once_and_in_one_piece(file, path, monkeypatch):
    """A TensorBoard that is watching sees every event when it is over, and never half of one."""
    watching, seen, write = None, [], os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: seen.append(len(data)) or write(descriptor, data))
    for step in range(3):
        file.write(step, [("loss", 1.0)])
        watching = watching or EventFileLoader(str(path))
        assert steps(watching.Load()) == [step]

    assert len(seen) == 3


def test_times_change_no_length(tmp_path, monkeypatch):
    """So two runs with the same values have records in the same places."""
    contents = []
    for number, now in enumerate((0.001, 1.7e9, 4e9 + 1 / 3)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        file = EventFile(tmp_path / str(number))
        file.write(7, [("loss", 0.0)])
        file.close()
        contents.append((tmp_path / str(number) / EVENT_FILE).read_bytes())

    assert len(set(map(len, contents))) == 1
    assert len(set(contents)) == 3


def test_a_histogram_and_a_picture_come_back(file, path):
    """As what TensorBoard shows among histograms and pictures, which it converts while it reads."""
    values = np.array([0.0, 0.1, 0.1, 1.0])
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    file.write(1, [("h", Histogram.of(values)), ("p", pixels)])
    histogram, picture = events(path)[1].summary.value
    converted = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]

    assert (histogram.histo.min, histogram.histo.max, histogram.histo.num) == (0.0, 1.0, 4.0)
    assert (histogram.histo.sum, histogram.histo.sum_squares) == (values.sum(), np.square(values).sum())
    assert sum(histogram.histo.bucket) == 4
    assert len(histogram.histo.bucket) == len(histogram.histo.bucket_limit)
    assert (picture.image.height, picture.image.width, picture.image.colorspace) == (2, 4, 3)
    assert ["histograms", "images"] == [value.metadata.plugin_data.plugin_name for value in converted]


# A resume, and what else may happen to a file


def test_who_watches_while_a_run_is_resumed_sees_every_step_once(tmp_path):
    """Even those that were written after the last commit, seen, cut off and written again."""
    directory = tmp_path / "run"
    directory.mkdir()
    run = AppendFiles(directory)
    file = EventFile(directory)
    for step in range(3):
        file.write(step, [("loss", step)])
    records = run.committed()
    file.write(3, [("loss", 3)])
    file.write(4, [("loss", 4)])
    watching = EventFileLoader(str(directory / EVENT_FILE))
    seen = steps(watching.Load())

    run.close()
    run = AppendFiles(directory)
    run.restore(records)
    seen += steps(watching.Load())
    file = EventFile(directory)
    for step in range(3, 7):
        file.write(step, [("loss", step)])
        seen += steps(watching.Load())
    run.close()

    assert seen == [0, 1, 2, 3, 4, 5, 6]
    assert steps(events(directory / EVENT_FILE)) == [0, 1, 2, 3, 4, 5, 6]
    assert not (directory / "discarded").exists()


def test_a_full_disk_costs_an_event_and_damages_none(file, path, monkeypatch):
    """The part that did fit is taken back; with room again, events go on."""
    file.write(0, [("loss", 0.0)])
    before, write, calls = path.read_bytes(), os.write, []

    def filling_up(descriptor, data):
        calls.append(data)
        if len(calls) == 1:
            return write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", filling_up)
        with pytest.raises(RunDirError, match="No space left"):
            file.write(1, [("loss", 1.0)])
    assert path.read_bytes() == before
    file.write(2, [("loss", 2.0)])

    assert len(calls) == 2
    assert steps(events(path)) == [0, 2]


def test_a_file_that_was_cleared_away_begins_anew(file, path):
    """With its folder, and with the line that says what it is."""
    file.write(0, [("loss", 0.0)])
    path.unlink()
    path.parent.rmdir()
    file.write(1, [("loss", 1.0)])
    version, event = events(path)

    assert version.file_version
    assert event.step == 1


def test_a_closed_file_is_opened_again(file, path):
    """It goes on where it was."""
    for step in range(2):
        file.write(step, [("loss", 0.0)])
        file.close()

    assert steps(events(path)) == [0, 1]
    assert [event.file_version for event in events(path)] == ["brain.Event:2", "", ""]
