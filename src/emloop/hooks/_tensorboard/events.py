"""Files that TensorBoard reads: events in protocol buffers, each framed as a record.

A record is the length of its data, a checksum of that, the data and a checksum of the data. Whatever the time, it takes
eight bytes; so two files of the same events have records of the same lengths. That is why a TensorBoard which has read
beyond the point to which a resume cuts a file back goes on in the right place, and shows no epoch twice.

Of TensorBoard only the protocol buffers are imported: its own writers import all the rest of it, and start threads.
"""

from __future__ import annotations

import contextlib
import importlib
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from emloop._run_dir.append import AppendFile, open_append
from emloop.errors import MissingExtraError, RunDirError

from .._figures.pictures import Pixels, png
from .._statistics.histograms import Histogram

__all__ = ["EVENT_FILE", "EventFile", "histogram_value", "picture_value", "require_tensorboard", "scalar_value"]

EVENT_FILE = "events.out.tfevents.emloop"
"""The same name in every attempt; TensorBoard takes a file for its own that has ``tfevents`` in its name."""

_PROTOCOLS = "tensorboard.compat.proto"
_VERSION = "brain.Event:2"
_COLORSPACES = {1: 1, 3: 3, 4: 4}
"""Channels → TensorBoard's number for grey, RGB and RGBA."""


def require_tensorboard(who: str) -> None:
    """Check that events can be written.

    Args:
        who: The hook that wants to write.

    Raises:
        MissingExtraError: If TensorBoard is not installed.
    """
    try:
        importlib.import_module(f"{_PROTOCOLS}.event_pb2")
    except ImportError as error:
        raise MissingExtraError(who, "tensorboard") from error


def scalar_value(tag: str, number: float) -> Any:
    """A number, of which 32 bits are kept."""
    return _summary().Value(tag=tag, simple_value=number)


def histogram_value(tag: str, histogram: Histogram) -> Any:
    """A histogram."""
    value = _summary().Value(tag=tag)
    value.histo.min = histogram.smallest
    value.histo.max = histogram.largest
    value.histo.num = histogram.count
    value.histo.sum = histogram.total
    value.histo.sum_squares = histogram.squares
    value.histo.bucket_limit.extend(histogram.right_edges().tolist())
    value.histo.bucket.extend(histogram.counts.tolist())
    return value


def picture_value(tag: str, pixels: Pixels) -> Any:
    """A picture ``[H, W, C]``."""
    height, width, channels = pixels.shape
    value = _summary().Value(tag=tag)
    value.image.height, value.image.width, value.image.colorspace = height, width, _COLORSPACES[channels]
    value.image.encoded_image_string = png(pixels)
    return value


def _summary() -> Any:
    return importlib.import_module(f"{_PROTOCOLS}.summary_pb2").Summary


class EventFile:
    """What TensorBoard shows as one run: a file, made when there is something to write.

    Args:
        folder: Its folder; made with it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENT_FILE
        self._file: AppendFile | None = None

    def write(self, step: int, values: Iterable[Any]) -> None:
        """Add an event with values of one step; whoever watches the file sees it at once, and whole.

        Raises:
            OSError: If it cannot be written; no part of it remains.
        """
        file = self._opened()
        now = time.time()
        event = importlib.import_module(f"{_PROTOCOLS}.event_pb2").Event
        events = [] if file.position else [event(wall_time=now, file_version=_VERSION)]
        events.append(event(wall_time=now, step=step, summary=_summary()(value=values)))
        file.write(b"".join(_record(event.SerializeToString()) for event in events))

    def close(self) -> None:
        """Close the file; the next event opens it again.

        Raises:
            OSError: If what was written cannot be kept.
        """
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> AppendFile:
        if self._file is not None and not self._file.is_in_place():
            # Who clears away what a tracker shows wants it to begin anew.
            with contextlib.suppress(RunDirError):
                self.close()
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_append(self._path, mirror=True)
        return self._file


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return b"".join([length, struct.pack("<I", _checksum(length)), data, struct.pack("<I", _checksum(data))])


def _checksum(data: bytes) -> int:
    """CRC-32C, rotated and shifted as in all records of this kind."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_remainder(byte) for byte in range(256)]
