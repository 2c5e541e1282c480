"""Whatever is taken out of a commit, the resume refuses it or ends otherwise: all that is kept is needed, and used."""

from __future__ import annotations

import contextlib
import shutil

import pytest

from emloop._state.commit import newest_commit, write_commit
from emloop.cli.app import main

from .conftest import CONFIG, MODULE, SAVING, saved_result
from .test_hostile_commits import changed, places

HOOKS = """\
hooks:
  - ComputeStats: {variables: {loss: [mean, std, median], accuracy: [mean]}}
  - WriteCSV
  - SaveBest
  - OnPlateau: {long_term: 2, short_term: 1}
  - StopAfter: {iterations: 14}
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was killed inside an epoch, and one that was not: directory and result."""
    path = tmp_path_factory.mktemp("ablation")
    (path / "ablation.py").write_text(MODULE + SAVING)
    config = CONFIG.replace("toy.Stateful", "toy.Saving").replace("toy.", "ablation.").replace("1ep", "1")
    start, end = config.index("hooks:"), config.index("main_loop:")
    (path / "config.yaml").write_text(config[:start] + HOOKS.replace("OnPlateau", "StopOnPlateau") + config[end:])
    with contextlib.chdir(path):
        assert main(["train", "config.yaml", "-o", ".", "--output_dir", "run", "main_loop.commit.keep=1000"]) == 0
        untouched = saved_result(path / "run")
        for commit in (path / "run" / "checkpoints").iterdir():
            if int(commit.name) > 12:
                shutil.rmtree(commit)
        (path / "run").rename(path / "whole")
        yield path, untouched


def complaint(path, untouched, place):
    """Whether a commit without something gives what the whole one gives."""
    shutil.rmtree(path / "run", ignore_errors=True)
    shutil.copytree(path / "whole", path / "run")
    commit, _ = newest_commit(path / "run" / "checkpoints", set_aside=False)
    states = commit.states() if place is None else changed(commit.states(), place, ...)
    shutil.rmtree(commit.path)
    write_commit(path / "run" / "checkpoints", commit.seq, states, commit.info)
    code = main(["resume", "run", "-o", "."])
    return code == 0 and saved_result(path / "run") == untouched


@pytest.mark.slow
def test_every_part_of_a_commit_is_needed(stopped):
    """Each component but those of hooks, and each key in it, down to four levels."""
    path, untouched = stopped
    commit, _ = newest_commit(path / "whole" / "checkpoints", set_aside=False)
    # A hook of which a commit knows nothing was added to the config since, and begins anew.
    parts = [place for place in places(commit.states(), 4) if len(place) > 1 or not place[0].startswith("hooks/")]

    assert complaint(path, untouched, None), "the whole commit is enough"
    unneeded = ["/".join(place) for place in parts if complaint(path, untouched, place)]
    assert not unneeded, "\n".join(unneeded)
    assert len(parts) > 40
