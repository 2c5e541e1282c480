"""Keeping copies of files with the run."""

from __future__ import annotations

import pytest

from emloop.errors import ConfigError, StateError
from emloop.hooks.save_file import SaveFile


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def source(tmp_path):
    """Makes a file in a folder of its own."""

    def create(name, content=b"content"):
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return create


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_copied_before_the_training(run_dir, source):
    """Byte for byte, under their base names."""
    hook = SaveFile(
        files=[str(source("a.py", b"x = 1\r\n")), source("deep/b.bin", bytes(range(256)))], output_dir=run_dir
    )

    assert names_in(run_dir) == []

    hook.before_training()

    assert (run_dir / "a.py").read_bytes() == b"x = 1\r\n"
    assert (run_dir / "b.bin").read_bytes() == bytes(range(256))
    assert names_in(run_dir) == ["a.py", "b.bin"]


def test_relative_paths_start_in_the_working_directory(run_dir, source, monkeypatch):
    """As everywhere on the command line."""
    monkeypatch.chdir(source("a.py").parent)
    SaveFile(["a.py"], str(run_dir)).before_training()

    assert names_in(run_dir) == ["a.py"]


def test_nothing_is_copied_unless_everything_can_be(run_dir, source, tmp_path):
    """All files that are missing are named at once, in one error."""
    good = source("a.py")
    hook = SaveFile([str(good), str(tmp_path / "missing.py"), str(good.parent)], run_dir)

    with pytest.raises(ConfigError) as caught:
        hook.before_training()
    assert str(caught.value).splitlines() == [
        f"SaveFile.files: {tmp_path}/missing.py does not exist",
        f"SaveFile.files: {good.parent} is no file",
    ]
    assert names_in(run_dir) == []


def test_a_resumed_run_keeps_its_copies(run_dir, source, hand_over):
    """The copies show what the run began with, even if the files have changed or gone since."""
    changed, gone = source("changed.py", b"old"), source("gone.py", b"gone")
    hook = SaveFile([str(changed), str(gone)], run_dir)
    hook.before_training()
    changed.write_bytes(b"new")
    gone.unlink()
    resumed = hand_over(hook, SaveFile([str(changed), str(gone), str(source("added.py"))], run_dir))
    resumed.before_training()

    assert (run_dir / "changed.py").read_bytes() == b"old"
    assert names_in(run_dir) == ["added.py", "changed.py", "gone.py"]


def test_a_run_begun_again_replaces_its_copies(run_dir, source):
    """Without a state, what lies there is of an attempt that does not count."""
    (run_dir / "a.py").write_bytes(b"old")
    SaveFile([str(source("a.py", b"new"))], run_dir).before_training()

    assert (run_dir / "a.py").read_bytes() == b"new"


def test_two_files_cannot_have_one_copy(run_dir, source):
    """The second would silently replace the first; on some systems that does not even take equal letters."""
    first, second = source("one/model.py"), source("two/Model.py")

    with pytest.raises(ConfigError, match=f"files: {first} and {second} would have one copy, Model.py; rename one"):
        SaveFile([str(first), str(second)], run_dir)


@pytest.mark.parametrize("name", ["config.yaml", "train.log", "trace.yaml", "run.json", "checkpoints"])
def test_the_runs_own_files_are_safe(run_dir, name):
    """A copy must not replace what the run needs."""
    with pytest.raises(ConfigError, match=f"files: elsewhere/{name} would replace the run's own {name}"):
        SaveFile([f"elsewhere/{name}"], run_dir)


@pytest.mark.parametrize(("files", "message"), [("a.py", "write \\[a.py\\]"), ([3], "got 3 in it"), (None, "got None")])
def test_files_must_be_listed(run_dir, files, message):
    """A single name would otherwise be the list of its letters."""
    with pytest.raises(ConfigError, match=f"files: expected a list of names, .*{message}"):
        SaveFile(files, run_dir)


def test_unfit_state_is_refused(run_dir):
    """State of another class is not taken for one's own."""
    with pytest.raises(StateError, match="SaveFile: the state does not fit; expected 'saved', got 'copied'"):
        SaveFile([], run_dir).load_state_dict({"copied": []})
