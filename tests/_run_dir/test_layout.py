"""Where runs are put and found."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from emloop._run_dir.finding import find_run
from emloop._run_dir.info import RunInfo, read_info, write_info
from emloop._run_dir.layout import create_run_dir, current_config, is_run_dir, iter_runs, safe_name
from emloop._run_dir.summary import list_runs
from emloop.errors import ConfigError, RunDirError

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

BREAKAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "torn": lambda path: path.write_bytes(b'{"run_id": "8a'),
    "other-type": lambda path: path.write_bytes(b"[1, 2]"),
    "wrong-values": lambda path: path.write_bytes(b'{"run_id": 1, "kind": "x", "epochs_done": [], "status": {}}'),
    "directory": lambda path: path.mkdir(),
    "dangling-link": lambda path: path.symlink_to("nowhere"),
    "link-outside": lambda path: path.symlink_to("/etc/passwd"),
    "pipe": os.mkfifo,
    "bomb": lambda path: path.write_bytes(b"[" * 100_000),
    "huge-number": lambda path: path.write_bytes(b'{"format": ' + b"9" * 6000 + b"}"),
}


@pytest.fixture(autouse=True)
def no_format(monkeypatch):
    monkeypatch.delenv("EMLOOP_OUTPUT_DIR_FORMAT", raising=False)


def make_run(root: Path, name: str, *, day: int = 0, kind="training") -> Path:
    directory = root / name
    directory.mkdir(parents=True)
    write_info(directory, RunInfo(kind, seed=1, created=NEW_YEAR + timedelta(days=day)))
    (directory / "config.yaml").write_text("{}\n")
    return directory


def make_old_run(root: Path, name: str, begin: str) -> Path:
    directory = root / name
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text("{}\n")
    (directory / "train.log").write_text("")
    (directory / "trace.yaml").write_text(f"!!omap\n- train_begin: {begin}\n- train_end:\n")
    return directory


# --- making ---------------------------------------------------------------------------------------------------------


def test_a_run_directory_is_called_after_its_model_and_a_random_name(tmp_path):
    """The default name tells the model and can be said aloud; missing roots are made."""
    directory = create_run_dir(tmp_path / "a" / "log", name=None, model_name="Toy")
    assert directory.is_dir()
    assert directory.parent == tmp_path / "a" / "log"
    assert re.fullmatch(r"Toy_[a-z]+-[a-z]+", directory.name)


def test_a_relative_root_gives_a_relative_directory(tmp_path, monkeypatch):
    """What a user named relatively is shown relatively."""
    monkeypatch.chdir(tmp_path)
    assert create_run_dir("log", name="one", model_name="Toy") == Path("log/one")


def test_the_environment_sets_the_template(tmp_path, monkeypatch):
    """``EMLOOP_OUTPUT_DIR_FORMAT`` may combine the three fields, and folders."""
    monkeypatch.setenv("EMLOOP_OUTPUT_DIR_FORMAT", "{model_name}/{timestamp}_{random_name}")
    directory = create_run_dir(tmp_path, name=None, model_name="Toy")
    assert directory.parent == tmp_path / "Toy"
    assert re.fullmatch(r"\d{4}(-\d\d){5}_[a-z]+-[a-z]+", directory.name)


def test_taken_names_are_numbered(tmp_path, monkeypatch):
    """run, run_1, run_2: a number replaces the one before."""
    monkeypatch.setenv("EMLOOP_OUTPUT_DIR_FORMAT", "run")
    names = [create_run_dir(tmp_path, name=None, model_name="Toy").name for _ in range(4)]
    assert names == ["run", "run_1", "run_2", "run_3"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        pytest.param(
            "{modelname}",
            "EMLOOP_OUTPUT_DIR_FORMAT: unknown field {modelname} in '{modelname}'\n"
            "  did you mean 'model_name'?\n"
            "  it may use {model_name}, {random_name} and {timestamp}",
            id="unknown-field",
        ),
        pytest.param("{model_name.__class__}", "unknown field {model_name.__class__}", id="attribute"),
        pytest.param("{0}", "unknown field {0}", id="index"),
        pytest.param("{}", "unknown field {}", id="nothing"),
        pytest.param("{{model_name}}", "a brace without its partner in '{{model_name}}'", id="braces"),
        pytest.param("run_{model_name", "a brace without its partner", id="open"),
    ],
)
def test_a_wrong_template_is_explained(tmp_path, monkeypatch, template, message):
    """A template knows three fields and no expressions."""
    monkeypatch.setenv("EMLOOP_OUTPUT_DIR_FORMAT", template)
    with pytest.raises(ConfigError) as caught:
        create_run_dir(tmp_path, name=None, model_name="Toy")
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Toy", "Toy"),
        ("v1.2-beta", "v1.2-beta"),
        ("größe", "größe"),
        ("a/b\\c", "a_b_c"),
        ("../../etc", "_.._etc"),
        ("my model\n", "my_model_"),
        ("-rf", "rf"),
        ("", "Unnamed"),
        ("...", "Unnamed"),
        ("{random_name}", "_random_name_"),
    ],
)
def test_any_model_name_makes_a_file_name(tmp_path, model, name):
    """Whatever a model is called, its runs lie directly in the root."""
    assert safe_name(model) == name
    assert create_run_dir(tmp_path, name=None, model_name=model).parent == tmp_path


def test_long_model_names_are_cut(tmp_path):
    """No model name is too long for the file system."""
    assert create_run_dir(tmp_path, name=None, model_name="漢" * 500).is_dir()


def test_a_given_name_is_used_as_it_is(tmp_path):
    """``--output_dir`` may have several parts, and be absolute if it lies below the root."""
    assert create_run_dir(tmp_path, name="a/b", model_name="Toy") == tmp_path / "a" / "b"
    assert create_run_dir(tmp_path, name=str(tmp_path / "c"), model_name="Toy") == tmp_path / "c"


@pytest.mark.parametrize("name", ["../elsewhere", "a/../../elsewhere", "/tmp/elsewhere"])
def test_a_given_name_cannot_leave_the_root(tmp_path, name):
    """The message says which option puts runs elsewhere."""
    root = tmp_path / "log"
    with pytest.raises(RunDirError) as caught:
        create_run_dir(root, name=name, model_name="Toy")
    assert str(caught.value) == f"{name!r} leads out of {root}; to put runs elsewhere, use --output_root"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "a\nb", "a\0b"])
def test_what_is_no_name_is_refused(tmp_path, name):
    """The root itself and unprintable names are no run directories."""
    with pytest.raises(RunDirError, match="is no name for a run directory"):
        create_run_dir(tmp_path, name=name, model_name="Toy")


def test_an_existing_directory_is_taken_only_if_it_is_empty(tmp_path):
    """Nothing that is there already is ever written over."""
    (tmp_path / "empty").mkdir()
    assert create_run_dir(tmp_path, name="empty", model_name="Toy") == tmp_path / "empty"

    run = make_run(tmp_path, "run")
    with pytest.raises(RunDirError) as caught:
        create_run_dir(tmp_path, name="run", model_name="Toy")
    assert str(caught.value) == (
        f"{run} exists and is not empty; choose another name, or go on with it: emloop resume {run}"
    )

    (tmp_path / "file").touch()
    with pytest.raises(RunDirError, match="exists and is not a directory; choose another name"):
        create_run_dir(tmp_path, name="file", model_name="Toy")


def test_a_root_that_cannot_be_made_is_explained(tmp_path):
    """The message names the directory and the cause."""
    (tmp_path / "file").touch()
    with pytest.raises(RunDirError, match=f"cannot make this run directory: .*File exists: '{tmp_path}/file'"):
        create_run_dir(tmp_path / "file" / "log", name=None, model_name="Toy")
    with pytest.raises(RunDirError, match=r"cannot make this run directory: .*File name too long"):
        create_run_dir(tmp_path, name="x" * 300, model_name="Toy")


@pytest.mark.slow
def test_a_thousand_runs_started_at_once_get_different_directories(tmp_path, monkeypatch):
    """Neither processes nor threads are ever given the same directory, even under the same name."""
    monkeypatch.setenv("EMLOOP_OUTPUT_DIR_FORMAT", "run")
    program = (
        "import sys\nfrom emloop._run_dir.layout import create_run_dir\n"
        "for _ in range(50): print(create_run_dir(sys.argv[1], name=None, model_name='Toy').name)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    with ThreadPoolExecutor(4) as pool:
        names = [
            path.name for path in pool.map(lambda _: create_run_dir(tmp_path, name=None, model_name=""), range(50))
        ]
    for process in processes:
        names += process.communicate()[0].split()
        assert process.returncode == 0
    assert len(names) == 350
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())


# --- telling --------------------------------------------------------------------------------------------------------


def test_runs_are_told_from_other_directories(tmp_path):
    """Ours are those with a run.json, those of emloop 0.2, and those that died with nothing but a lock."""
    assert is_run_dir(make_run(tmp_path, "run"))
    assert is_run_dir(make_old_run(tmp_path, "old", "2020-01-01 00:00:00"))
    just_begun = tmp_path / "begun"
    just_begun.mkdir()
    (just_begun / ".lock").touch()
    (just_begun / "holder.json").touch()
    (just_begun / ".tmp-1-2").touch()
    assert is_run_dir(just_begun)


@pytest.mark.parametrize(
    "files", [[], ["config.yaml"], ["config.yaml", "main.py"], [".lock", "poetry.toml"], ["train.log", "trace.yaml"]]
)
def test_other_directories_are_left_alone(tmp_path, files):
    """A project with a config, an empty folder or somebody else's lock is not a run."""
    for name in files:
        (tmp_path / name).touch()
    assert not is_run_dir(tmp_path)


def test_hidden_directories_are_not_searched(tmp_path):
    """What lies in a trash is gone, for every reader."""
    make_run(tmp_path, ".trash/deleted")
    kept = make_run(tmp_path, "kept")
    assert list(iter_runs(tmp_path, recursive=True)) == [kept]


def test_a_recursive_search_survives_links_that_go_round(tmp_path):
    """Links are not followed into directories that are no runs."""
    run = make_run(tmp_path / "log", "group/run")
    (tmp_path / "log" / "group" / "round").symlink_to(tmp_path / "log")
    assert list(iter_runs(tmp_path / "log", recursive=True)) == [run]
    assert list(iter_runs(tmp_path / "log")) == []


# --- finding --------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_path_config_and_prefix(tmp_path, monkeypatch):
    """All the ways to name a run lead to it."""
    monkeypatch.chdir(tmp_path)
    run = make_run(Path("log"), "majority_keen-noether")
    make_run(Path("log"), "toy_warm-gauss")
    for spec in ("log/majority_keen-noether", "log/majority_keen-noether/config.yaml", "maj", "majority_keen-noether"):
        assert find_run(spec, "log") == run
    assert find_run(str(run.absolute()), "log") == run.absolute()


def test_an_old_run_is_found_like_a_new_one(tmp_path):
    """Runs of emloop 0.2 can be named, too."""
    run = make_old_run(tmp_path, "toy_old", "2020-01-01 00:00:00")
    assert find_run("toy", tmp_path) == run
    assert find_run("@", tmp_path) == run


def test_a_whole_name_wins_over_a_beginning(tmp_path):
    """``run`` means run although there is a run_1."""
    make_run(tmp_path, "run_1")
    assert find_run("run", tmp_path).name == "run_1"
    make_run(tmp_path, "run")
    assert find_run("run", tmp_path).name == "run"


def test_an_ambiguous_beginning_lists_the_candidates(tmp_path):
    """The message shows what to choose from."""
    make_run(tmp_path, "toy_b")
    make_run(tmp_path, "toy_a")
    with pytest.raises(RunDirError) as caught:
        find_run("toy", tmp_path)
    assert str(caught.value) == f"'toy' is the beginning of 2 runs in {tmp_path}: toy_a, toy_b"


def test_an_unknown_run_is_explained(tmp_path):
    """The message suggests the nearest name and lists the runs; long lists are cut."""
    for number in range(12):
        make_run(tmp_path, f"toy_{number:02}")
    with pytest.raises(RunDirError) as caught:
        find_run("tyo_03", tmp_path)
    assert str(caught.value) == (
        f"'tyo_03' is neither a run directory nor the beginning of a run's name in {tmp_path}; "
        "did you mean 'toy_03'?; runs there: "
        "toy_00, toy_01, toy_02, toy_03, toy_04, toy_05, toy_06, toy_07, toy_08, toy_09, and 2 more"
    )


@pytest.mark.parametrize("spec", ["", "x", "../x", "a\0b", "x" * 5000])
def test_nothing_is_found_in_an_empty_or_missing_root(tmp_path, spec):
    """Whatever is asked for, the answer is one clear error."""
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunDirError, match="there are no runs there"):
            find_run(spec, root)


def test_the_latest_is_the_training_created_last(tmp_path):
    """``@`` goes by what run.json says, or the trace of an old run; evaluations and file times do not matter."""
    latest = make_run(tmp_path, "b", day=5)
    make_run(tmp_path, "c", day=2)
    make_run(tmp_path, "d", day=9, kind="evaluation")
    make_old_run(tmp_path, "e", "2019-05-05 10:00:00")
    assert find_run("@", tmp_path) == latest

    newer = make_old_run(tmp_path, "f", "2026-02-01 10:00:00.5")
    assert find_run("@", tmp_path) == newer
    nested = make_run(tmp_path, "group/run", day=100)
    assert find_run("@", tmp_path) == nested


def test_the_latest_of_nothing_is_an_error(tmp_path):
    """``@`` needs a training."""
    make_run(tmp_path, "evaluated", kind="evaluation")
    with pytest.raises(RunDirError, match=r"there is no training in .*; give the path of a run"):
        find_run("@", tmp_path)
    with pytest.raises(RunDirError, match="missing: cannot look for runs there: No such file or directory"):
        find_run("@", tmp_path / "missing")


@pytest.mark.parametrize("broken", BREAKAGES)
def test_broken_runs_hide_no_sound_one(tmp_path, broken):
    """A run whose files are empty, torn, binary, links, pipes or directories disturbs neither search nor list."""
    sound = make_run(tmp_path, "sound")
    for name in ("run.json", "trace.yaml", "config.yaml", "attempts.jsonl", "train.log", ".lock", "holder.json"):
        directory = make_run(tmp_path, f"broken_{name}", day=-1)
        (directory / name).unlink(missing_ok=True)
        BREAKAGES[broken](directory / name)
    assert find_run("@", tmp_path) == sound
    assert find_run("sound", tmp_path) == sound
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert len(runs) == 8
    assert str(tmp_path / "broken_run.json" / "run.json") in runs["broken_run.json"].problem
    if broken != "wrong-values":
        assert "trace.yaml: " in runs["broken_trace.yaml"].problem


@pytest.mark.parametrize("config", ["../config.yaml", "/etc/passwd", "a/b.yaml", ".lock", "", None, 3])
def test_a_run_cannot_name_a_file_outside_itself(tmp_path, config):
    """A copied run directory cannot make its reader open another file."""
    directory = make_run(tmp_path, "run")
    description = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps({**description, "config": config}))
    with pytest.raises(RunDirError, match="does not describe a run"):
        read_info(directory)


def test_a_run_of_a_newer_emloop_is_refused(tmp_path):
    """The message says what can read it."""
    directory = make_run(tmp_path, "run")
    text = (directory / "run.json").read_text()
    (directory / "run.json").write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(RunDirError, match="its format is 2, this emloop knows 1; a newer emloop can read it"):
        read_info(directory)


def test_what_is_settled_about_a_run_comes_back_as_written(tmp_path):
    """run.json holds everything there is to know."""
    info = RunInfo(
        "evaluation",
        seed=2**63,
        command=("emloop", "eval", "tést"),
        parent={"run_id": "a", "commit": 3},
        config_source="c.yaml",
    )
    write_info(tmp_path, info)
    assert read_info(tmp_path) == info


def test_the_newest_configuration_counts(tmp_path):
    """Attempts are compared as numbers."""
    for name in ("config.yaml", "config.attempt-2.yaml", "config.attempt-10.yaml", "config.attempt-x.yaml"):
        (tmp_path / name).touch()
    assert current_config(tmp_path).name == "config.attempt-10.yaml"


def test_a_listing_is_sorted_by_begin_and_counts_every_run(tmp_path):
    """Earliest first, whatever the names; a run directory stands for itself."""
    for name, day in (("a", 3), ("b", 1), ("c", 2)):
        make_run(tmp_path, name, day=day)
    make_old_run(tmp_path, "d", "2026-01-02 12:00:00")
    assert [run.name for run in list_runs(tmp_path)] == ["b", "d", "c", "a"]
    assert [run.name for run in list_runs(tmp_path / "a")] == ["a"]
    assert [run.name for run in list_runs(tmp_path.parent, recursive=True) if run.path.parent == tmp_path]


def test_finding_and_listing_load_neither_numpy_nor_a_yaml_parser():
    """``emloop ls`` must be quick."""
    program = (
        "import sys\nimport emloop._run_dir.layout, emloop._run_dir.summary, emloop._run_dir.run\n"
        "import emloop.cli.ls\n"
        "print(sorted({'numpy', 'rich', 'safetensors', 'yaml'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"
