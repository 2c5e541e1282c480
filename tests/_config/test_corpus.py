"""Broken configurations, each with the exact report that is expected.

The first line of a file is the command that checks it. ``python tests/_config/test_corpus.py`` writes the reports anew,
to be read before they are kept.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from emloop.cli.app import main

CORPUS = Path(__file__).parents[1] / "config_corpus"
CASES = sorted(CORPUS.glob("*.yaml"))


def command_of(case):
    first = case.read_text(encoding="utf-8").splitlines()[0]
    return shlex.split(first.removeprefix("# emloop "))


@pytest.fixture
def check(monkeypatch, capsys):
    """Runs the command of a case; returns the exit code and what was said on both outputs."""
    monkeypatch.chdir(CORPUS)
    monkeypatch.setattr(sys, "path", [str(CORPUS / "modules"), *sys.path])
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def run(case):
        code = main(command_of(case))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield run
    root.handlers[:], root.level = before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_broken_config_is_reported_exactly_so(case, check):
    """Everything that is wrong, with place, excerpt, what was found, what is accepted and the nearest name."""
    code, out, err = check(case)

    assert case.with_suffix(".txt").read_text(encoding="utf-8") == err
    assert (2, "") == (code, out)


def test_the_corpus_is_large_and_most_of_it_has_several_faults():
    """Half of the configurations, at least, have more than one mistake, and all of them are shown."""
    counts = [int(case.with_suffix(".txt").read_text().splitlines()[-1].split()[0]) for case in CASES]

    assert len(counts) >= 120
    assert sum(count > 1 for count in counts) >= len(counts) / 2


def test_nothing_that_a_config_names_is_imported(tmp_path):
    """Neither the module of the user's classes nor the framework that it imports, which would fail here."""
    code = (
        "import sys; sys.path.insert(0, 'modules'); from emloop.cli.app import main; "
        "code = main(['check', 'everything-at-once.yaml']); "
        # From Python 3.13 on, importlib.metadata, which is asked for plugins, brings inspect along.
        "heavy = ['inspect'] if sys.version_info < (3, 13) else []; "
        "unwanted = {'pets', 'kennel', 'torch', 'numpy', 'rich', *heavy}; "
        "print(code, sorted(unwanted & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CORPUS,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "2 []\n" == done.stdout


def write_reports() -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join(["modules", *filter(None, [os.environ.get("PYTHONPATH")])])
    for case in CASES:
        done = subprocess.run(
            [sys.executable, "-m", "emloop", *command_of(case)], cwd=CORPUS, capture_output=True, text=True, check=False
        )
        case.with_suffix(".txt").write_text(done.stderr, encoding="utf-8")


if __name__ == "__main__":
    write_reports()
