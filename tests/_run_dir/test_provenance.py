"""What a run was made of, on record beside it."""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from emloop import __version__
from emloop._run_dir import provenance
from emloop._run_dir.provenance import code_patch, environment, installed_distributions


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Run git in a new repository, undisturbed by the configuration of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")

    def run(*arguments):
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path / "repo", capture_output=True, check=True)
        return done.stdout.decode().strip()

    (tmp_path / "repo").mkdir()
    run("init", "--initial-branch", "topic")
    return run


@pytest.fixture
def repo(git, tmp_path):
    repo = tmp_path / "repo"
    (repo / "model.py").write_text("width = 1\n")
    git("add", "model.py")
    git("commit", "-m", "First")
    return repo


def test_commit_branch_and_changes_of_tracked_files_are_recorded(git, repo):
    """``git apply`` brings the recorded commit to the state of the run."""
    (repo / "model.py").write_text("width = 2\n")
    (repo / "added.py").write_text("staged = True\n")
    git("add", "added.py")
    (repo / "secret.txt").write_text("untracked")
    patch = code_patch(repo)
    assert patch.decode().splitlines()[:2] == [f"# commit {git('rev-parse', 'HEAD')}", "# branch topic"]
    assert b"untracked" not in patch

    git("stash")
    (repo / "code.patch").write_bytes(patch)
    git("apply", "code.patch")
    assert (repo / "model.py").read_text() == "width = 2\n"
    assert (repo / "added.py").read_text() == "staged = True\n"


def test_the_whole_repository_counts(git, repo):
    """A run started in a sub-directory records changes everywhere, even if the user's git says otherwise."""
    (repo / "sub").mkdir()
    (repo / "model.py").write_text("width = 2\n")
    git("config", "diff.relative", "true")
    git("config", "diff.noprefix", "true")
    git("config", "color.ui", "always")
    assert b"--- a/model.py\n+++ b/model.py\n" in code_patch(repo / "sub")


def test_a_clean_repository_has_a_commit_and_no_changes(git, repo):
    """Two lines are enough to find the code again."""
    assert code_patch(repo).decode() == f"# commit {git('rev-parse', 'HEAD')}\n# branch topic\n"


def test_long_changes_are_cut_between_lines(repo):
    """A data file that git happens to track does not fill the disk, and the patch says that it is cut."""
    (repo / "model.py").write_text("value = 12345678\n" * 300_000)
    patch = code_patch(repo)
    assert len(patch) < provenance.MAX_PATCH_BYTES + 1000
    assert patch.endswith(b"\n+value = 12345678\n# cut here: the changes are longer than 1000000 bytes\n")

    (repo / "model.py").write_text("x" * 5_000_000)
    assert code_patch(repo).endswith(b"# cut here: the changes are longer than 1000000 bytes\n")


def test_there_is_no_patch_without_a_commit(git, tmp_path):
    """No repository, or one without a commit: nothing to record, no error."""
    assert code_patch(tmp_path) is None
    assert code_patch(tmp_path / "repo") is None
    assert code_patch(tmp_path / "missing") is None


def test_there_is_no_patch_without_git(repo, monkeypatch):
    """Machines without git train as well."""
    monkeypatch.setenv("PATH", "")
    assert code_patch(repo) is None


def test_a_git_that_hangs_does_not_stop_a_run(repo, tmp_path, monkeypatch):
    """After a few seconds the run starts without an answer."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.2)
    begin = time.monotonic()
    assert code_patch(repo) is None
    assert time.monotonic() - begin < 10


def test_a_diff_that_fails_is_told(repo, tmp_path, monkeypatch):
    """Commit and branch are kept, and the patch does not look like "no changes"."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\ncase "$*" in *" diff "*) exit 1;; *) echo answer;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    assert code_patch(repo) == b"# commit answer\n# branch answer\n# git could not say what has changed\n"


def test_all_installed_distributions_are_listed():
    """environment.txt can be given to pip."""
    lines = installed_distributions().splitlines()
    assert f"numpy=={version('numpy')}" in lines
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0].lower())
    assert all(line.count("==") == 1 for line in lines)
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)


def test_the_environment_names_what_may_change_numbers(monkeypatch):
    """Versions of what the run computes with, CPUs and thread counts; not those of tools."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = environment()
    json.dumps(found)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["versions"]["emloop"] == __version__
    assert found["versions"]["numpy"] == version("numpy")
    assert "ruff" not in found["versions"]
    assert found["threads"]["OMP_NUM_THREADS"] == "3"
    assert found["cpus"] >= 1


@pytest.mark.slow
def test_backends_are_recorded_with_what_they_compute_with():
    """An installed backend's library is recorded although nothing imports it."""
    pytest.importorskip("sklearn")
    assert environment()["versions"]["scikit-learn"] == version("scikit-learn")


def test_nothing_is_imported_to_tell_its_version():
    """Recording takes no framework's start-up time."""
    program = (
        "import sys\nfrom emloop._run_dir.provenance import environment, installed_distributions\n"
        "environment(); installed_distributions()\n"
        "print(sorted({'numpy', 'sklearn', 'safetensors', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_secrets_in_the_environment_are_not_recorded(monkeypatch):
    """Of the environment's variables only thread counts are kept."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert "hunter2" not in json.dumps(environment()) + installed_distributions()
