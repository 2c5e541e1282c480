"""Files that TensorBoard reads: events in protocol buffers, each framed as a record.

A record is the length of its data, a checksum of that, the data and a checksum of the data. A time always takes eight
bytes, so two files of the same events have records of the same lengths. That is why a TensorBoard that has read beyond
the point to which a resume cuts a file back goes on in the right place, and shows no epoch twice.

Of TensorBoard only the protocol buffers are imported: its own writers import the rest of it, and start threads.
"""

from __future__ import annotations

import contextlib
import importlib
import struct
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from emloop._run_dir.append import AppendFile, open_append
from emloop.errors import RunDirError

from .._figures.pictures import Pixels, png
from .._statistics.histograms import Histogram

EVENT_FILE = "events.out.tfevents.emloop"
"""The same name in every attempt; TensorBoard claims files with ``tfevents`` in their name."""

EVENT_MODULE = "tensorboard.compat.proto.event_pb2"

_VERSION = "brain.Event:2"
_COLORSPACES = {1: 1, 3: 3, 4: 4}
"""Channels → TensorBoard's number for grey, RGB and RGBA."""

Shown: TypeAlias = float | Histogram | Pixels


def summary_value(tag: str, shown: Shown) -> Any:
    """What TensorBoard shows under a tag: a number (of which 32 bits are kept), a histogram or a picture."""
    value = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary.Value(tag=tag)
    if isinstance(shown, Histogram):
        value.histo.min, value.histo.max, value.histo.num = shown.smallest, shown.largest, shown.count
        value.histo.sum, value.histo.sum_squares = shown.total, shown.squares
        value.histo.bucket_limit.extend(shown.right_edges().tolist())
        value.histo.bucket.extend(shown.counts.tolist())
    elif isinstance(shown, np.ndarray):
        value.image.height, value.image.width = shown.shape[:2]
        value.image.colorspace = _COLORSPACES[shown.shape[2]]
        value.image.encoded_image_string = png(shown)
    else:
        value.simple_value = shown
    return value


class EventFile:
    """What TensorBoard shows as one run: a file in a folder, both made when there is something to write."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENT_FILE
        self._file: AppendFile | None = None

    def write(self, step: int, values: Iterable[tuple[str, Shown]]) -> None:
        """Add an event with the values of one step, by tag; it is visible at once, and whole.

        Raises:
            OSError: If it cannot be written; no part of it remains.
        """
        file = self._opened()
        event = partial(importlib.import_module(EVENT_MODULE).Event, wall_time=time.time())
        events = [] if file.position else [event(file_version=_VERSION)]
        events.append(event(step=step, summary={"value": [summary_value(*value) for value in values]}))
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
            # The file was cleared away so that it begins anew.
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
