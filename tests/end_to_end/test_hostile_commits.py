"""Commits whose hashes are right and whose content is anybody's: no command ends in a traceback."""

from __future__ import annotations

import contextlib
import itertools
import shutil

import pytest

from emloop._state.commit import newest_commit, write_commit
from emloop.cli.app import main

from .conftest import CONFIG, MODULE, SAVING

VALUES = (..., None, True, -1, 3, 1e300, "x", [], [[1]], {}, {"a": 1}, ["train", "x"], "/../" * 1000)
"""What may stand in the place of something; ``...``: nothing."""

COMMANDS = (
    ("resume", "run", "-o", "."),
    ("train", "config.yaml", "-o", ".", "--output_dir", "run", "--auto-resume"),
    ("resume", "run", "-o", ".", "--fork", "--output_dir", "fork"),
    ("resume", "run/checkpoints/{newest}", "-o", ".", "--fork", "--output_dir", "fork"),
    ("doctor", "run"),
    ("ls", "."),
    ("eval", "valid", "run", "-o", ".", "--output_dir", "evaluation"),
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that stopped inside an evaluation."""
    path = tmp_path_factory.mktemp("hostile")
    (path / "hostile.py").write_text(MODULE + SAVING)
    config = CONFIG.replace("toy.Stateful", "toy.Saving").replace("toy.", "hostile.").replace("1ep", "1")
    (path / "config.yaml").write_text(config.replace("epochs_count: 3", "epochs_count: 1"))
    with contextlib.chdir(path):
        assert main(["train", "config.yaml", "-o", ".", "--output_dir", "run"]) == 0
        # The last commit but one, without the end of the epoch, is one inside.
        commits = sorted((path / "run" / "checkpoints").iterdir())
        shutil.rmtree(commits[-1])
        shutil.rmtree(path / "run" / "model_best")
        (path / "run").rename(path / "whole")
        yield path


def changed(tree, place, new):
    """The same tree with something else in a place, or without it."""
    first, *rest = place
    below = changed(tree[first], rest, new) if rest else new
    return {key: item for key, item in {**tree, first: below}.items() if item is not ...}


def harmless(path, capsys, command, place, new):
    """Put something into a commit, with valid hashes, and run a command; no traceback, and no exception escapes."""
    for name in ("run", "fork", "evaluation"):
        shutil.rmtree(path / name, ignore_errors=True)
    shutil.copytree(path / "whole", path / "run")
    commit, _ = newest_commit(path / "run" / "checkpoints", set_aside=False)
    content = changed({"info": commit.info, "states": commit.states()}, place, new)
    shutil.rmtree(commit.path)
    write_commit(path / "run" / "checkpoints", commit.seq, content["states"], content["info"])
    capsys.readouterr()

    code = main([word.format(newest=commit.path.name) for word in command])

    said = "".join(capsys.readouterr())
    assert code in (0, 1, 2, 3, 75), said
    assert "Traceback" not in said
    assert max(map(len, said.splitlines()), default=0) < 1100


def places(tree, depth):
    """Places in a tree, down to a depth."""
    for key, item in tree.items() if isinstance(tree, dict) and depth else ():
        yield (key,)
        yield from ((key, *place) for place in places(item, depth - 1))


def inputs(path):
    """All commands with all changes, but of what only a model or a hook understands."""
    commit, _ = newest_commit(path / "whole" / "checkpoints", set_aside=False)
    found = [
        place
        for place in places({"info": commit.info, "states": commit.states()}, 4)
        if place[1:2] != ("model",)
        and (len(place) == 2 or (len(place) > 2 and place[1] in ("data", "loop", "random", "streams/train")))
    ]
    return list(itertools.product(COMMANDS, found, VALUES))


EVERY = 97
"""Of so many inputs, one is tried every day; a prime, so that all commands, places and values have their turn."""


@pytest.mark.slow
def test_no_commit_gives_a_traceback(stopped, capsys):
    """A sample of places, values and commands."""
    found = inputs(stopped)
    assert len(found) > 1500
    for parts in found[::EVERY]:
        harmless(stopped, capsys, *parts)


@pytest.mark.parametrize("new", [[[1]], [{"name": 5, "bytes": 1}], [{"name": "training.csv"}]])
def test_a_fork_copies_only_what_a_commit_describes(stopped, capsys, new):
    """Whatever stands where the run's files are listed."""
    for command in COMMANDS:
        if "--fork" in command:
            harmless(stopped, capsys, command, ("info", "appended"), new)


def test_a_refusal_quotes_no_more_than_a_person_reads(stopped, capsys):
    """A name of four thousand characters."""
    streams = ("states", "loop", "stage", "streams")
    for command in COMMANDS:
        harmless(stopped, capsys, command, streams, ["train", "/../" * 1000])


@pytest.mark.torture
def test_nothing_in_any_commit_gives_a_traceback(stopped, capsys):
    """All that can be put in place of anything."""
    for parts in inputs(stopped):
        harmless(stopped, capsys, *parts)
