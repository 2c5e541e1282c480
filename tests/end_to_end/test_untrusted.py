"""``--untrusted``: a stranger's run is evaluated; nothing of it becomes code, a process, a socket or another file."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import emloop as el
from emloop._build import build_model
from emloop._registry import find_class
from emloop._settings.kinds import DATASET, HOOK, MODEL
from emloop.errors import UntrustedError

from .conftest import MODULE

pytest.importorskip("sklearn")

SECRET = "the secret: 7f3c9a"

CONFIG = """\
dataset:
  class: points.Data
model:
  name: bayes
  class: emloop_sklearn.BaseModel
  estimator: {class: sklearn.naive_bayes.GaussianNB}
  classes: 2
  inputs: [x, y]
  outputs: [loss, accuracy]
hooks:
  - ComputeStats: {variables: [loss, accuracy]}
  - SaveBest
main_loop:
  seed: 7
  extra_streams: [valid]
  epochs_count: 2
  commit: {every: 1ep}
"""

WATCHED = """
import sys

def watch(event, arguments):
    started = event in {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn"}
    connected = event.startswith("socket.") and event not in {"socket.__new__", "socket.gethostname"}
    # Python's own module `platform` asks for the machine's name so.
    started = started and arguments[0] != "uname"
    if started or connected or event == "pickle.find_class":
        print("CAUGHT", event, arguments[:1], file=sys.stderr)
    if event == "open" and isinstance(arguments[0], str) and "elsewhere" in arguments[0]:
        print("CAUGHT", event, arguments[:1], file=sys.stderr)
    if event == "import" and "evil" in arguments[0]:
        print("CAUGHT", event, arguments[:1], file=sys.stderr)

from emloop.cli.app import main

sys.addaudithook(watch)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, processes):
    """A project with a run of a model that needs no source of its own."""
    path = tmp_path_factory.mktemp("untrusted")
    (path / "points.py").write_text(MODULE.replace(".astype(float)}", ".astype(int)}"))
    (path / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "emloop", "train", "config.yaml", "--output_dir", "run", "-o", "."]
    done = processes.run(command, cwd=path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def place(trained, tmp_path):
    """A copy of the project, beside what is nobody's business."""
    shutil.copytree(trained, tmp_path / "project")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "elsewhere" / "evil.py").write_text("class Data:\n    def valid_stream(self): ...\n")
    return tmp_path / "project"


@pytest.fixture
def emloop(processes, place):
    """Runs a command line under an audit hook; returns exit code, output, and what was caught."""

    def run(*words, env=None):
        done = processes.run(
            [sys.executable, "-c", WATCHED, "-o", ".", *words],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
        )
        said = done.stdout + done.stderr
        return done.returncode, said, [line for line in said.splitlines() if line.startswith("CAUGHT")]

    return run


OWN_DATA = "dataset.class=points.Data"


def edit(run: Path, old: str, new: str) -> None:
    """What a stranger may have written."""
    config = (run / "config.yaml").read_text()
    assert old in config
    (run / "config.yaml").write_text(config.replace(old, new))
    (run / "config.json").unlink(missing_ok=True)


def test_the_users_own_data_and_a_model_that_is_data_are_evaluated(emloop):
    """What the user names is his word; the model needs no more than what is installed."""
    code, said, caught = emloop("eval", "valid", "run", "--untrusted", OWN_DATA)

    assert code == 0, said
    assert caught == []


def test_a_config_of_the_users_own_is_his_word(place, emloop):
    """Its classes are imported from beside it."""
    (place / "mine").mkdir()
    shutil.copy(place / "points.py", place / "mine" / "mypoints.py")
    (place / "mine" / "config.yaml").write_text(CONFIG.replace("points.Data", "mypoints.Data"))

    code, said, caught = emloop("eval", "valid", "run", "--untrusted", "--config", "mine/config.yaml")

    assert code == 0, said
    assert caught == []


def test_the_strangers_classes_are_not_imported(place, emloop):
    """Refused with exit code 4, and with the words that would allow it; nothing is made."""
    before = sorted(place.rglob("*"))
    for command in (["eval", "valid", "run"], ["resume", "run"]):
        code, said, caught = emloop(*command, "--untrusted")

        assert code == 4
        assert "config.yaml:2:10: dataset: points.Data is no class of emloop or an installed backend" in said
        assert "if it is meant: dataset.class=points.Data" in said
        assert caught == []
    assert sorted(place.rglob("*")) == before


HOSTILE = {
    "hook": ("- SaveBest", "- evil.Hook: {a: 1}"),
    "bare-hook": ("- SaveBest", "- evil.Hook"),
    "alias": ("- SaveBest", "- emloop._run_dir.provenance.subprocess.Popen"),
    "absolute-path": ("- SaveBest", "- WriteCSV: {output_file: /tmp/elsewhere/x.csv}"),
    "relative-path": ("- SaveBest", "- WriteCSV: {output_file: ../../x.csv}"),
    "home": ("- SaveBest", "- SaveFile: {files: ['~/.ssh/id_rsa']}"),
    "file": ("- SaveBest", "- SaveFile: {files: [config.yaml]}"),
    "argument": ("class: points.Data", "class: points.Data\n  data_root: ../elsewhere"),
    "address": ("class: points.Data", "class: points.Data\n  data_root: http://127.0.0.1:9/x"),
    "estimator": ("sklearn.naive_bayes.GaussianNB", "evil.Estimator"),
    "estimator-alias": ("sklearn.naive_bayes.GaussianNB", "sklearn.utils.os.system"),
    "component": ("sklearn.naive_bayes.GaussianNB", "subprocess.Popen"),
    "environment": ("name: bayes", "name: '${env:MY_SECRET,x}'"),
    "extends": ("dataset:", "extends: ../../elsewhere/secret\ndataset:"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("command", ["eval", "resume"])
def test_what_a_hostile_config_asks_for_is_refused(place, emloop, what, command):
    """Nothing is started, connected, imported or opened; nothing outside is shown, and nothing is written there."""
    edit(place / "run", *HOSTILE[what])
    words = ["eval", "valid", "run"] if command == "eval" else ["resume", "run", "main_loop.epochs_count=3"]
    before = {path: path.read_bytes() for path in place.parent.rglob("*") if path.is_file()}

    code, said, caught = emloop(*words, "--untrusted", OWN_DATA, env={"MY_SECRET": SECRET})

    assert caught == []
    assert SECRET not in said
    assert "Traceback" not in said
    # A model that is restored needs no estimator from the configuration.
    assert code in ((0, 2, 4) if "estimator" in what or what == "component" else (2, 4)), said
    after = {path: path.read_bytes() for path in place.parent.rglob("*") if path.is_file()}
    changed = {path for path in after if after[path] != before.get(path)}
    inside = ("run", "bayes")
    assert all(path.relative_to(place).parts[0].startswith(inside) for path in changed), changed


def test_the_home_that_a_stranger_names_is_not_looked_into(place, emloop):
    """Nor is his own directory, nor what stands beside his model."""
    run = json.loads((place / "run" / "run.json").read_text())
    run["home"] = {"directory": str(place.parent / "elsewhere"), "config": "."}
    (place / "run" / "run.json").write_text(json.dumps(run))
    edit(place / "run", "points.Data", "evil.Data")

    code, _, caught = emloop("eval", "valid", "run", "--untrusted")

    assert (code, caught) == (4, [])


def test_a_shipped_model_is_a_strangers_as_well(place, emloop):
    """A directory with a configuration and a model need not look like a run."""
    shipped = place / "shipped"
    shipped.mkdir()
    shutil.copytree(place / "run" / "model_best", shipped / "model_best")
    (shipped / "config.yaml").write_text(CONFIG)
    (shipped / "points.py").write_text("raise SystemExit('evil')")

    code, said, caught = emloop("eval", "valid", "shipped/model_best", "--untrusted")
    assert code == 4
    assert caught == []

    code, said, caught = emloop("eval", "valid", "shipped/model_best", "--untrusted", OWN_DATA)
    assert code == 0, said
    assert caught == []


def test_a_fallback_that_a_stranger_names_is_no_way_in(place, emloop):
    """Neither in the configuration nor in the manifest."""
    edit(place / "run", "emloop_sklearn.BaseModel", "strangers.Model")
    edit(place / "run", "restore_fallback: strangers.Model", "restore_fallback: subprocess.Popen")

    code, said, caught = emloop("eval", "valid", "run", "--untrusted", OWN_DATA)

    assert code == 4, said
    assert "subprocess.Popen is no class of emloop or an installed backend" in said
    assert caught == []


def test_the_class_of_a_model_may_be_missing(place, emloop):
    """Its fallback is one of ours, and so it is evaluated without its source."""
    edit(place / "run", "class: emloop_sklearn.BaseModel", "class: points.Noisy")

    code, said, caught = emloop("eval", "valid", "run", "--untrusted", OWN_DATA)

    assert code == 0, said
    assert "points.Noisy is restored as emloop_sklearn" in said
    assert caught == []


def test_a_listing_reads_data_anyway(emloop):
    """The option is there for who types it everywhere."""
    code, said, caught = emloop("ls", ".", "--untrusted")

    assert (code, caught) == (0, [])
    assert "run" in said


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("subprocess.Popen", DATASET),
        ("emloop._run_dir.provenance.subprocess.Popen", DATASET),
        ("emloop.__main__.entry_point", HOOK),
        ("unittest.mock.Mock", MODEL),
        ("emloop_evil.Model", MODEL),
    ],
)
def test_no_class_but_ours_is_found(name, kind):
    """Also by a name that begins with ours."""
    with el.untrusted(), pytest.raises(UntrustedError):
        find_class(name, kind)


def test_from_python(trained):
    """The same by a context manager; what was trusted before is trusted after."""
    config = {"model": {"class": "points.Noisy", "inputs": ["x", "y"], "outputs": ["loss"]}}
    with el.untrusted(), pytest.raises(UntrustedError):
        build_model(config, None, None)
    with el.untrusted():
        model = build_model(config, None, None, str(trained / "run"))
    assert type(model).__module__.startswith("emloop_sklearn")
