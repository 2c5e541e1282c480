"""``emloop prune``: worthless runs go to the trash, and nothing else ever does."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emloop._run_dir.info import RunInfo, write_info
from emloop._run_dir.trash import is_ours
from emloop._state.lock import RunLock
from emloop.cli import prune_train_dirs
from emloop.cli._runs.prune import empty_trash
from emloop.cli.render import file_size
from emloop.errors import RunDirError, UsageError


@pytest.fixture
def prune(log, capsys):
    """Prune and return what was said."""

    def prune(epochs=1, subdirs=False, *, expect=0, **options):
        assert prune_train_dirs(log.root, epochs, subdirs, **options) == expect
        captured = capsys.readouterr()
        return captured.out + captured.err

    return prune


def left(log):
    """Names of what is left beside the trash."""
    return sorted(path.name for path in log.root.iterdir() if path.name != ".trash")


def trashed(log):
    """What is in the trash, by its path in a batch."""
    return sorted(
        path.relative_to(batch).as_posix()
        for batch in (log.root / ".trash").glob("*")
        for path in [*batch.glob("[!.]*"), *batch.glob("[!.]*/[!.]*/")]
        if path.is_dir()
    )


def test_trainings_with_too_few_epochs_go(log, prune):
    """By default those without any; evaluations stay."""
    log.run("failed", status="failed")
    log.run("one", epochs_done=1)
    log.run("three", epochs_done=3)
    log.run("scores", kind="evaluation")

    assert "failed  failed  0            1 hour ago" in prune()
    assert left(log) == ["one", "scores", "three"]
    prune(3)
    assert left(log) == ["scores", "three"]
    prune(evaluations=True)
    assert left(log) == ["three"]


def test_what_was_pruned_comes_back_by_being_moved_back(log, prune):
    """The trash holds the run as it was."""
    directory = log.train("mean_x")
    before = {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}

    said = prune(3)
    assert f"Of 1 run in {log.root}, this goes to the trash:" in said
    assert f"Moved 1 directory to {log.root}/.trash/" in said
    (place,) = (log.root / ".trash").glob("*/mean_x")
    place.rename(directory)
    assert before == {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_live_run_never_goes(log, prune):
    """Whatever its trace says; a killed one goes."""
    log.hold("live")
    log.hold("torn")
    (log.root / "torn" / "trace.yaml").write_text("")
    log.kill("killed")
    own = log.run("own")
    lock = RunLock(own)
    lock.acquire()

    said = prune(100, True, evaluations=True, keep_best=None)
    assert left(log) == ["live", "own", "torn"]
    assert "live stays: a process works on it\nown stays: a process works on it\n" in said
    lock.release()


def test_a_run_that_is_taken_up_while_its_owner_thinks_stays(log, prune):
    """Also one that has gone on in the meantime."""
    log.run("taken")
    changed = log.run("changed")
    gone = log.run("gone")

    def think(question):
        assert question == "Move 3 directories to the trash?"
        assert left(log) == ["changed", "gone", "taken"]
        (log.root / "taken").rename(log.root / "old")
        log.hold("taken")
        (changed / "trace.yaml").write_text("epochs_done: 4\n")
        shutil.rmtree(gone)
        return True

    said = prune(confirm=think, expect=1)
    assert left(log) == ["changed", "old", "taken"]
    assert "changed stays: it has changed meanwhile\n" in said
    assert f"taken stays: {log.root}/taken: another process works on it: process " in said
    assert f"gone stays: {log.root}/gone: cannot be locked: " in said
    assert "Moved 0 directories" in said
    assert not list((log.root / ".trash").glob("*"))


def test_nobody_who_says_no_loses_anything(log, prune):
    """Nor does a dry run, and neither makes a trash."""
    log.run("failed", status="failed")

    assert prune(confirm=lambda question: False).endswith("Nothing was moved.\n")
    assert "failed  failed" in prune(dry_run=True, confirm=pytest.fail)
    assert left(log) == ["failed"]
    assert not (log.root / ".trash").exists()


def test_runs_of_emloop_0_2_go_as_they_did(log, prune):
    """No trace, an empty one, none of its epochs done, fewer than asked for."""
    log.old_run("eight")
    log.old_run("one", "!!omap\n- train_begin: 2018-01-01 00:00:00\n- train_end:\n- epochs_done: 1\n- exit_status: 0\n")
    log.old_run("none", "epochs_done: 0\n")
    log.old_run("null", "epochs_done:\n")
    log.old_run("keyless", "train_begin:\n")
    log.old_run("empty", "")
    log.old_run("without", None)

    prune(0)
    assert left(log) == ["eight", "one"]
    prune(2)
    assert left(log) == ["eight"]


def test_a_run_that_broke_while_it_was_made_goes(log, prune):
    """Nothing but a lock, half a run.json, a file that was being written."""
    for name, files in {
        "locked": [".lock"],
        "torn": [".lock", "holder.json", "run.json", ".tmp-1-abc"],
        "described": [".lock", "config.yaml", "environment.txt", "code.patch", "attempts.jsonl"],
    }.items():
        for file in files:
            (log.root / name).mkdir(parents=True, exist_ok=True)
            (log.root / name / file).write_text("" if file == ".lock" else "{")

    prune()
    assert left(log) == []


OTHERS = {
    "project": {"config.yaml": "a: 1", "train.py": "", "data": None},
    "lonely-config": {"config.yaml": "a: 1"},
    "config-and-log-of-others": {"config.yaml": "a: 1", "train.log": "", "train.py": ""},
    "trace-of-others": {"config.yaml": "", "train.log": "", "trace.yaml": "spans: []", "x": ""},
    "broken-trace-of-others": {"config.yaml": "", "train.log": "", "trace.yaml": "[", "x": ""},
    "folder-of-that-name": {"config.yaml": "", "train.log": "", "trace.yaml": None, "x": ""},
    "run-of-others": {"run.json": '{"run": 5}', "config.yaml": "", "train.log": "", "trace.yaml": ""},
    "run-of-the-future": {"run.json": '{"format": 99}', ".lock": "", "config.yaml": ""},
    "torn-json-of-others": {"run.json": "{", "config.yaml": ""},
    "torn-json-and-more": {"run.json": "{", ".lock": "", "results.csv": ""},
    "lock-of-others": {".lock": "pid 5"},
    "lock-folder": {".lock": None},
    "empty": {},
    ".hidden": {"config.yaml": "", "train.log": "", "trace.yaml": ""},
    ".git": {"config": ""},
    "nested": {"log": None},
}


def make(directory, files):
    directory.mkdir(parents=True)
    for name, content in files.items():
        if content is None:
            (directory / name).mkdir()
        else:
            (directory / name).write_text(content)


def test_what_is_not_ours_stays(log, prune):
    """Other people's directories, plain files, links to runs, and runs further down."""
    for name, files in OTHERS.items():
        make(log.root / name, files)
    log.run("nested/log/failed")
    (log.root / "notes.txt").write_text("")
    elsewhere = log.run("../elsewhere")
    (log.root / "link").symlink_to(elsewhere)
    (log.root / "dangling").symlink_to("nowhere")
    before = sorted(log.root.parent.rglob("*"))

    assert prune(100, True, evaluations=True) == f"There is nothing to prune in {log.root}.\n"
    assert sorted(log.root.parent.rglob("*")) == before


CONTENTS = {
    "run.json": ["valid", "evaluation", "{", '{"run": 5}', "", None],
    "config.yaml": ["a: 1\n", None],
    "train.log": ["", None],
    "trace.yaml": ["", "epochs_done: 3\n", "epochs_done: 0\nstatus: done\n", "spans: 1\n", "[", None],
    ".lock": ["", "pid", None],
    "holder.json": ["{}"],
    ".tmp-1": ["x"],
    "metrics.jsonl": ['{"epoch_id": 2}\n', "{"],
    "checkpoints": [None],
    "model_best": [None],
    "thesis.tex": ["years of work"],
    "photos": [None],
}
directories = st.fixed_dictionaries({}, optional={name: st.sampled_from(given) for name, given in CONTENTS.items()})
trees = st.dictionaries(st.sampled_from(["a", "b", "c", ".d", "e f"]), directories, max_size=5)


def surely_ours(files):
    """The rule, as a page of documentation would put it."""
    texts = {name: content for name, content in files.items() if content is not None}
    if texts.get("run.json") in ("valid", "evaluation"):
        return True
    if texts.get("run.json") == '{"run": 5}':
        return False
    if {"config.yaml", "train.log"} <= set(texts) and texts.get("trace.yaml", "[") not in ("[", "spans: 1\n"):
        return True
    mere_descriptions = set(texts) == set(files) and not {"thesis.tex"} & set(files)
    return mere_descriptions and (
        texts[".lock"] == ""
        if ".lock" in texts
        else {"config.yaml", "train.log"} <= set(texts) and "run.json" not in texts
    )


def snapshot(root):
    """Every file with its content, and every directory, as it was before anything went to the trash."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        parts = name.split("/")
        if parts[0] == ".trash":
            name = "/".join(parts[2:])
        if name and parts[-1] not in (".lock", "holder.json", ".pruned.json"):
            found[name] = path.read_bytes() if path.is_file() else None
    return found


@pytest.mark.slow
@settings(max_examples=100)
@given(trees, st.integers(0, 5), st.booleans(), st.booleans())
def test_only_runs_of_ours_are_ever_touched_and_nothing_is_ever_lost(
    tmp_path_factory, tree, epochs, subdirs, evaluations
):
    """In any directory whatsoever: what moves is ours, and everything is still there, in place or in the trash."""
    root = tmp_path_factory.mktemp("log")
    for name, files in tree.items():
        kinds = {"valid": "training", "evaluation": "evaluation"}
        make(root / name, {file: text for file, text in files.items() if text not in kinds})
        if (text := files.get("run.json")) in kinds:
            write_info(root / name, RunInfo(kinds[text], seed=1))
        if "photos" in files:
            (root / name / "photos" / "wedding.jpg").write_text("once in a life")
    before = snapshot(root)

    assert prune_train_dirs(root, epochs, subdirs, evaluations=evaluations) in (0, 1)

    assert snapshot(root) == before
    moved = {
        path.parts[2] for path in (p.relative_to(root) for p in (root / ".trash").rglob("*")) if len(path.parts) > 2
    }
    for name in moved - {".pruned.json"}:
        assert surely_ours(tree[name])
        assert not name.startswith(".")
    for name, files in tree.items():
        if not surely_ours(files) and (root / name / "run.json").exists():
            assert not is_ours(root / name)
    assert empty_trash(root) == 0
    assert {name: content for name, content in before.items() if name.split("/")[0] not in moved}.items() <= snapshot(
        root
    ).items()


def test_of_the_other_trainings_the_subdirectories_go_on_demand(log, prune):
    """Of those that are finished, or of emloop 0.2: what can be resumed keeps all that it may need."""
    for name, status in {"done": "done", "stopped": "stopped", "failed": "failed"}.items():
        directory = log.run(name, status=status, epochs_done=2)
        make(directory / "checkpoints", {"x": "1"})
        make(directory / "visual", {"a.png": "2"})
    log.kill("lost", epochs=2)
    make(log.root / "lost" / "checkpoints", {})
    log.hold("live", epochs=2)
    make(log.root / "live" / "checkpoints", {})
    make(log.old_run("old") / "visual", {"a.png": ""})
    (log.root / "done" / "link").symlink_to(log.root)
    make(log.run("scores", kind="evaluation") / "visual", {})

    said = prune(1, True)
    assert trashed(log) == ["done", "done/checkpoints", "done/visual", "old", "old/visual"]
    assert sorted(path.name for path in (log.root / "done").iterdir()) == [
        ".lock",
        "config.json",
        "config.yaml",
        "link",
        "run.json",
        "status.json",
        "trace.yaml",
    ]
    assert sorted(path.name for path in (log.root / "stopped").iterdir() if path.is_dir()) == ["checkpoints", "visual"]
    for name in ("failed", "live", "lost", "stopped"):
        assert f"{name} stays: its sub-directories are needed if it is resumed\n" in said


def test_the_best_stay(log, prune):
    """Of the finished trainings; NaN is never good; runs without the metric, and unfinished ones, cannot be judged."""
    for name, (accuracy, loss) in {"a": (0.9, [3, 1]), "b": (0.8, [0.5, 2]), "c": (0.7, [2, 1.5])}.items():
        metrics = [
            {"epoch_id": i, "valid": {"accuracy": accuracy, "loss": {"mean": mean}}} for i, mean in enumerate(loss)
        ]
        log.run(name, epochs_done=2, metrics=metrics)
    log.run("nan", epochs_done=2, metrics=[{"epoch_id": 1, "valid": {"accuracy": float("nan"), "loss": float("nan")}}])
    log.run("plain", epochs_done=2)
    log.run("stopped", epochs_done=2, status="stopped", metrics=metrics)
    log.run("scores", kind="evaluation", metrics=metrics)

    def gone(keep_best):
        plan = prune(keep_best=keep_best, dry_run=True).splitlines()[2:]
        return {line.split()[0]: line[line.index("is not") :] for line in plan}

    assert gone("1:min:valid.loss") == {
        "a": "is not among the 1 best by min:valid.loss: 1",
        "c": "is not among the 1 best by min:valid.loss: 1.5",
    }
    assert list(gone("1:valid.accuracy")) == ["b", "c", "nan"]
    assert list(gone("3:max:valid.accuracy")) == []
    assert list(gone("9:valid.accuracy")) == []
    prune(keep_best="2:valid.accuracy")
    assert left(log) == ["a", "b", "plain", "scores", "stopped"]


@pytest.mark.parametrize(
    ("keep_best", "complaint"),
    [
        ("3", "--keep-best: expected N:METRIC such as 3:valid.accuracy or 3:min:valid.loss, got '3'"),
        ("0:valid.f1", "--keep-best: expected N:METRIC such as 3:valid.accuracy or 3:min:valid.loss, got '0:valid.f1'"),
        ("x:valid.f1", "--keep-best: expected N:METRIC such as 3:valid.accuracy or 3:min:valid.loss, got 'x:valid.f1'"),
        ("3:", "--keep-best: expected N:METRIC such as 3:valid.accuracy or 3:min:valid.loss, got '3:'"),
        (
            "3:valid.loss",
            "--keep-best: is a small valid.loss good? Write 3:min:valid.loss, or 3:last:valid.loss if not",
        ),
        ("3:valid.f2", "the run does not have 'valid.f2'; did you mean 'valid.f1'? There are: valid.f1"),
        ("3:best:valid.f1", "'best:valid.f1': expected min:, max: or last: before the name of a metric, got 'best:'"),
    ],
)
def test_an_unclear_ranking_prunes_nothing(log, keep_best, complaint):
    """The worst mistake would be to keep the wrong ones."""
    log.run("failed")
    log.run("a", epochs_done=1, metrics=[{"valid": {"f1": 1}}])

    with pytest.raises(UsageError) as error:
        prune_train_dirs(log.root, 1, False, keep_best=keep_best)

    assert str(error.value) == complaint
    assert left(log) == ["a", "failed"]


def test_a_torn_trace_does_not_make_a_training_worthless(log, prune):
    """Its metrics tell how far it came."""
    directory = log.run("long", metrics=[{"epoch_id": 7, "valid": {"loss": 1}}])
    (directory / "trace.yaml").write_text("")

    prune(8, dry_run=True)
    assert prune(7) == f"There is nothing to prune in {log.root}.\n"


def test_the_trash_is_emptied_on_demand(log, prune, capsys):
    """Only what was pruned is deleted: not what others keep in a directory of that name."""
    log.run("failed")
    make(log.run("done", epochs_done=1) / "visual", {"a.png": "x" * 2000})
    make(log.root / ".trash" / "mine", {"letter.txt": ""})
    make(log.root / ".trash" / "20260101-000000", {"letter.txt": "", ".pruned.json": "[1]"})
    prune(1, True)
    (batch,) = (path.parent for path in (log.root / ".trash").glob("*/failed"))
    make(batch / "added", {})

    assert empty_trash(log.root, dry_run=True) == 0
    assert capsys.readouterr().out == (
        f"To be deleted for good from {log.root}:\n"
        f".trash/{batch.name}/failed       {' '.join(file_size(_size(batch / 'failed')))}\n"
        f".trash/{batch.name}/done/visual  2.0 KB\n"
    )
    assert empty_trash(log.root, confirm=lambda question: False) == 0
    assert (batch / "failed").is_dir()
    assert empty_trash(log.root) == 0
    assert capsys.readouterr().out.endswith("Deleted 2 directories.\n")
    assert sorted(path.name for path in (log.root / ".trash").iterdir()) == ["20260101-000000", batch.name, "mine"]
    assert [path.name for path in batch.iterdir()] == ["added"]
    assert empty_trash(log.root) == 0
    assert capsys.readouterr().out == f"There is nothing in the trash of {log.root}.\n"
    assert left(log) == ["done"]


def test_an_emptied_trash_leaves_nothing_behind(log, prune):
    """Neither lists nor directories; nor does one from which all was moved back."""
    log.run("failed")
    prune()
    (place,) = (log.root / ".trash").glob("*/failed")
    place.rename(log.root / "failed")
    assert empty_trash(log.root) == 0
    assert not (log.root / ".trash").exists()
    prune()
    assert empty_trash(log.root) == 0
    assert list(log.root.iterdir()) == []


@pytest.mark.parametrize(
    "names", [["../../keep"], ["/etc"], ["a/../../../keep"], ["a/b/c"], [".."], [7], "keep", ["\0"]]
)
def test_a_list_from_elsewhere_cannot_name_anything_outside_of_the_trash(log, names):
    """The trash may have been copied from a stranger."""
    make(log.root / "keep", {"a": ""})
    make(log.root / ".trash" / "20260101-000000", {".pruned.json": json.dumps({"pruned": names}), "a": None})

    assert empty_trash(log.root) == 0
    assert (log.root / "keep" / "a").exists()


def test_links_in_the_trash_are_not_followed(log):
    """Neither the trash itself, nor a batch, nor what is in one."""
    make(log.root / "keep" / "a", {"b": ""})
    batch = log.root / ".trash" / "20260101-000000"
    make(batch, {".pruned.json": json.dumps({"pruned": ["keep", "keep/a"]})})
    (batch / "keep").symlink_to(log.root / "keep")
    (log.root / ".trash" / "linked").symlink_to(batch)

    assert empty_trash(log.root) == 0
    assert (log.root / "keep" / "a" / "b").exists()
    shutil.rmtree(log.root / ".trash")
    (log.root / ".trash").symlink_to(log.root / "keep")
    log.run("failed")
    assert empty_trash(log.root) == 0
    with pytest.raises(RunDirError, match="is a link; remove it, so that the trash can be here"):
        prune_train_dirs(log.root, 1, False)


def test_a_run_that_is_resumed_in_the_trash_is_not_deleted(log, prune, capsys):
    """Whoever works on it has changed his mind."""
    log.run("failed")
    prune()
    (place,) = (log.root / ".trash").glob("*/failed")
    lock = RunLock(place)
    lock.acquire()

    assert empty_trash(log.root) == 1
    assert capsys.readouterr().err == f"{place} stays: a process works on it\n"
    lock.release()


def test_what_cannot_be_moved_stays_and_is_named(log, prune, monkeypatch):
    """The others go all the same."""
    log.run("a")
    log.run("b")
    real = Path.rename

    def rename(self, target):
        if self.name == "a":
            raise OSError(18, "Invalid cross-device link", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    said = prune(expect=1)
    assert f"a stays: [Errno 18] Invalid cross-device link: '{log.root}/a'\n" in said
    assert left(log) == ["a"]
    assert not (log.root / "a" / "holder.json").exists()


def test_a_missing_directory_is_an_error(log, capsys, monkeypatch, tmp_path):
    """The default one is a friendlier one; a run is not a directory of runs."""
    monkeypatch.chdir(tmp_path)
    assert prune_train_dirs("nowhere", 1, False) == 1
    assert prune_train_dirs("./log", 1, False) == 1
    assert capsys.readouterr().err == (
        "nowhere: there is no such directory\n"
        "There are no runs yet: ./log does not exist. Give another directory, or train something.\n"
    )
    with pytest.raises(RunDirError, match="is a run itself; give the directory in which the runs are"):
        prune_train_dirs(log.run("failed"), 1, False)


def emloop(*arguments, cwd, **options):
    command = [sys.executable, "-m", "emloop", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **options)


def test_without_a_terminal_the_command_line_wants_a_yes(log, tmp_path):
    """It shows what it would do, and does nothing."""
    log.run("failed", status="failed")
    asked = emloop("prune", cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert (asked.returncode, left(log)) == (2, ["failed"])
    assert "failed  failed" in asked.stdout
    assert asked.stderr == "there is no terminal to ask at: say --yes to go on without a question, or --dry-run\n"
    assert emloop("prune", "--dry-run", cwd=tmp_path, stdin=subprocess.DEVNULL).returncode == 0
    assert emloop("prune", "log", "--yes", cwd=tmp_path, stdin=subprocess.DEVNULL).returncode == 0
    assert left(log) == []
    assert emloop("prune", "--empty-trash", cwd=tmp_path, stdin=subprocess.DEVNULL).returncode == 2
    assert emloop("prune", "--empty-trash", "--yes", cwd=tmp_path, stdin=subprocess.DEVNULL).returncode == 0
    assert not (log.root / ".trash").exists()


@pytest.mark.parametrize(
    ("answer", "expected"), [(b"y\n", []), (b"n\n", ["failed"]), (b"\n", ["failed"]), (b"\x04", ["failed"])]
)
def test_at_a_terminal_the_command_line_asks(log, tmp_path, answer, expected):
    """Only a yes is a yes."""
    log.run("failed", status="failed")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    done = emloop("prune", cwd=tmp_path, stdin=theirs)
    os.close(theirs)
    os.close(ours)

    assert (done.returncode, left(log)) == (0, expected)
    assert "Move 1 directory to the trash? [y/N]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--dryrun"], "unknown option '--dryrun'; did you mean '--dry-run'?"),
        (["log", "other"], "'other' is one word too many; see emloop prune --help"),
        (["--empty-trash", "-s"], "--empty-trash prunes nothing; prune first, then empty the trash"),
    ],
)
def test_a_mistyped_command_does_nothing(log, tmp_path, arguments, complaint):
    """Nothing is ignored."""
    log.run("failed")
    done = emloop("prune", "--yes", *arguments, cwd=tmp_path)

    assert (done.returncode, done.stderr, left(log)) == (2, complaint + "\n", ["failed"])


def _size(path):
    return sum(file.lstat().st_size for file in path.rglob("*"))
