"""What was read from a file is kept until the file changes, and never worth more than the file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from emloop._source.cache import FileCache, cache_directory

OLD_NS = 1_600_000_000_123_456_789


class Counted:
    """Computes the length of a file's content, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, content: bytes) -> list[int]:
        self.times += 1
        return [len(content)]


@pytest.fixture
def source(tmp_path):
    """Writes the file that is read, long ago."""

    def write(text: str, when: int = OLD_NS) -> Path:
        path = tmp_path / "module.py"
        path.write_text(text)
        os.utime(path, ns=(when, when))
        return path

    return write


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "cache"


def test_a_file_is_read_once(source, directory):
    """Also by another process, for which another object stands here."""
    path, compute = source("abc"), Counted()

    assert [[3], [3], [3]] == [FileCache(directory, "length").get(path, compute) for _ in range(3)]
    assert 1 == compute.times


@pytest.mark.parametrize(
    ("text", "when"), [("abcd", OLD_NS), ("xyz", OLD_NS + 1)], ids=["another-size", "another-time"]
)
def test_a_file_that_has_changed_is_read_again(source, directory, text, when):
    """Whichever part of its stamp tells."""
    cache, compute = FileCache(directory, "length"), Counted()
    cache.get(source("abc"), compute)

    assert [len(text)] == cache.get(source(text, when), compute)
    assert 2 == compute.times


def test_another_file_in_its_place_is_read_again(source, directory, tmp_path):
    """With the same size and time: its inode is another one."""
    cache, compute = FileCache(directory, "length"), Counted()
    path = source("abc")
    cache.get(path, compute)
    other = tmp_path / "other"
    other.write_text("xyz")
    os.utime(other, ns=(OLD_NS, OLD_NS))
    other.replace(path)

    cache.get(path, compute)

    assert 2 == compute.times


def test_a_file_that_is_still_being_written_is_not_kept(tmp_path, directory):
    """A second change within the same tick of the clock would go unnoticed."""
    path, compute = tmp_path / "module.py", Counted()
    path.write_text("abc")
    cache = FileCache(directory, "length")

    assert [[3], [3]] == [cache.get(path, compute) for _ in range(2)]
    assert 2 == compute.times


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"00000000\n{}", None], ids=["empty", "text", "checksum", "cut"])
def test_a_damaged_entry_is_as_good_as_none(source, directory, damage):
    """And is replaced by a good one."""
    path, compute = source("abc"), Counted()
    cache = FileCache(directory, "length")
    cache.get(path, compute)
    (entry,) = directory.rglob("*.json")
    entry.write_bytes(entry.read_bytes()[:-3] if damage is None else damage)

    assert [[3], [3]] == [cache.get(path, compute) for _ in range(2)]
    assert 2 == compute.times


@pytest.mark.parametrize("obstacle", ["a-file", "nowhere"])
def test_what_cannot_be_kept_is_computed_every_time(source, tmp_path, obstacle):
    """No home, or something else in the place of the directory, is no error."""
    (tmp_path / "a-file").touch()
    compute = Counted()
    cache = FileCache(None if obstacle == "nowhere" else tmp_path / "a-file", "length")

    assert [[3], [3]] == [cache.get(source("abc"), compute) for _ in range(2)]
    assert 2 == compute.times


def test_many_at_the_same_time_do_not_disturb_each_other(source, directory):
    """Everybody gets the right value, and no temporary file stays."""
    path = source("abc")
    found: list[object] = []

    def look() -> None:
        found.extend(FileCache(directory, "length").get(path, len) for _ in range(20))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [3] * 160 == found
    assert 1 == len([entry for entry in directory.rglob("*") if entry.is_file()])


def test_it_does_not_grow_for_ever(directory, tmp_path, monkeypatch):
    """The older half goes when there are too many."""
    monkeypatch.setattr("emloop._source.cache._MOST", 10)
    cache = FileCache(directory, "length")
    for number in range(30):
        path = tmp_path / f"module{number}.py"
        path.write_text("abc")
        os.utime(path, ns=(OLD_NS, OLD_NS))
        cache.get(path, len)

    assert len(list(directory.rglob("*.json"))) <= 11


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/caches", "HOME": "/home/me"}, "/caches/emloop"),
        ({"HOME": "/home/me"}, "/home/me/.cache/emloop"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/emloop"),
    ],
)
def test_it_lies_where_caches_lie(monkeypatch, environment, expected):
    """As the XDG base directory specification has it; a relative path counts as none."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert expected == cache_directory()


def test_an_edited_class_is_checked_as_it_is_now(tmp_path):
    """Two processes, and an edit between them."""
    (tmp_path / "config.yaml").write_text("dataset: {class: mine.Data, size: 3}\nmodel: {class: mine.Net}\n")
    module = tmp_path / "mine.py"

    def check(argument: str) -> int:
        module.write_text(
            "import emloop as el\n"
            f"class Data(el.BaseDataset):\n    def _configure_dataset(self, {argument}): ...\n"
            "    def train_stream(self): ...\n"
            "class Net:\n    def run(self): ...\n    def save(self): ...\n"
        )
        os.utime(module, ns=(OLD_NS, OLD_NS))
        command = [sys.executable, "-m", "emloop", "check", "config.yaml"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    assert [0, 2, 0] == [check("size"), check("sizes"), check("size=1")]
