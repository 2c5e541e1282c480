"""``emloop new``: a project that works from its first minute."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from importlib.metadata import entry_points

import pytest
from jsonschema import Draft202012Validator

from emloop._yaml import documents as yaml
from emloop.cli._configs.new import new
from emloop.errors import ConfigError, RunDirError, UsageError

BACKENDS = {"jax": 0.35, "sklearn": 0.8, "tensorflow": 0.35, "torch": 0.35}
"""Backend → accuracy on unseen data that four epochs reach; guessing gives 0.5, or 0.2."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(processes):
    """Runs a module's command in a directory."""

    def run(*command, cwd):
        return processes.run(
            [sys.executable, "-m", *command],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="module", params=BACKENDS)
def project(request, tmp_path_factory):
    """A new project of every backend that has a template."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    directory = tmp_path_factory.mktemp("new") / request.param / "First Try!"
    directory.parent.mkdir()
    assert new(str(directory), request.param) == 0
    return directory


def test_a_project_has_all_that_is_needed(project):
    """Nothing in it is left to be filled in."""
    files = {path.relative_to(project).as_posix(): path.read_text() for path in project.rglob("*") if path.is_file()}

    assert set(files) == {
        ".gitignore",
        ".vscode/emloop.schema.json",
        ".vscode/settings.json",
        "README.md",
        "config.yaml",
        "pyproject.toml",
        "tests/test_training.py",
        "first_try/__init__.py",
        "first_try/dataset.py",
        "first_try/model.py",
    }
    assert [name for name, text in files.items() if "@name@" in text or "@package@" in text] == []
    assert files["README.md"].startswith("# First Try!\n")
    assert "  name: first_try\n" in files["config.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "project",
    [pytest.param(name, marks=[pytest.mark.torture] * (name != "sklearn")) for name in BACKENDS],
    indirect=True,
)
def test_its_own_tests_pass(project, run):
    """With the pytest that is there."""
    done = run("pytest", "-q", "-p", "no:cacheprovider", cwd=project)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_it_trains_evaluates_and_predicts(project, run, tmp_path):
    """With the commands of its README; what a few epochs have taught is far better than guessing."""
    copy = shutil.copytree(project, tmp_path / "copy")
    readme = (project / "README.md").read_text()
    for command, more in (
        ("emloop train config.yaml", ["main_loop.epochs_count=4"]),
        ("emloop eval test @", ["--output_dir", "tested"]),
        ("emloop eval predict @", ["--output_dir", "predicted"]),
    ):
        assert f"{command} " in readme
        done = run(*command.split(), *more, cwd=copy)
        assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((copy / "log" / "tested" / "metrics.jsonl").read_text())

    assert metrics["test"]["accuracy"]["mean"] > BACKENDS[project.parent.name]
    assert len((copy / "log" / "predicted" / "predictions.csv").read_text().splitlines()) > 100


def test_its_config_has_no_mistakes(project, run):
    """``emloop check`` finds none, and neither does an editor that knows the schema."""
    done = run("emloop", "check", "config.yaml", cwd=project)
    schema = json.loads((project / ".vscode" / "emloop.schema.json").read_text())
    validator = Draft202012Validator(schema)
    config = yaml.load_file(project / "config.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert [error.message for error in validator.iter_errors(config)] == []
    config["model"]["hiden"] = [1]
    config["dataset"]["batch_size"] = "many"
    assert sorted(error.json_path for error in validator.iter_errors(config)) == ["$.dataset.batch_size", "$.model"]


def test_its_schema_is_the_one_that_the_command_writes(project, run):
    """So it can be written anew after a change."""
    done = run("emloop", "schema", "config.yaml", cwd=project)

    assert json.loads(done.stdout) == json.loads((project / ".vscode" / "emloop.schema.json").read_text())


def test_its_code_is_as_tidy_as_ours(project, run):
    """Formatted, and without anything that a linter marks by default."""
    for command in (["check"], ["format", "--check", "--line-length", "120"]):
        done = run("ruff", *command, "--no-cache", "--isolated", ".", cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["12", "...", "Δ", "class"])
def test_a_name_that_is_none_for_a_package_is_refused(name, tmp_path):
    """Nothing is written then."""
    with pytest.raises(UsageError, match="is no name for a project"):
        new(name, "sklearn")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["json", "numpy", "NumPy", "mine"])
def test_a_name_that_leads_to_another_module_is_refused(name, tmp_path, monkeypatch):
    """The project's own would never be imported."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "mine.py").write_text("")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(UsageError, match=f"there is a module {name.lower()!r} already"):
        new(f"projects/{name}", "sklearn")

    assert not (tmp_path / "projects").exists()


def test_a_directory_that_holds_something_is_left_alone(tmp_path):
    """An empty one is taken."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name in ("full", "file"):
        with pytest.raises(RunDirError, match=f"{name} exists and is not empty"):
            new(name, "sklearn")

    assert new("empty", "sklearn") == 0


def test_an_unknown_backend_is_refused_with_those_there_are(tmp_path):
    """Every installed backend that has a template can be chosen."""
    with pytest.raises(ConfigError, match=r"--backend: expected one of .*'sklearn'.*, got 'sklern'; did you mean 'skl"):
        new("mine", "sklern")

    assert list(tmp_path.iterdir()) == []


def test_one_of_several_backends_must_be_named(tmp_path):
    """Whoever has not chosen is told the choice; nothing is written."""
    with pytest.raises(UsageError, match=r"name a backend: --backend (.* \| )?sklearn \| tensorflow \| torch"):
        new("mine", None)

    assert list(tmp_path.iterdir()) == []


def test_the_only_backend_need_not_be_named(monkeypatch):
    """Of several, one must be."""
    sklearn = [point for point in entry_points(group="emloop.backends") if point.name == "sklearn"]
    monkeypatch.setattr("emloop.cli._configs.new.entry_points", lambda group: sklearn)
    assert new("one", None) == 0

    other = type(sklearn[0])("other", sklearn[0].value, sklearn[0].group)
    monkeypatch.setattr("emloop.cli._configs.new.entry_points", lambda group: [*sklearn, other])
    with pytest.raises(UsageError, match=r"name a backend: --backend other \| sklearn"):
        new("two", None)

    monkeypatch.setattr("emloop.cli._configs.new.entry_points", lambda group: [])
    with pytest.raises(UsageError, match="no backend with a template is installed"):
        new("three", None)
