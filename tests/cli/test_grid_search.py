"""``emloop gridsearch``: one command for every combination, with the values that were meant."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emloop._config._composing.overrides import parse_arg
from emloop._run_dir.summary import list_runs
from emloop.cli._training.gridsearch import _build_grid_search_commands, grid_search
from emloop.errors import UsageError

PYTHON = shlex.quote(sys.executable)
MEMBER = """
import json, sys
with open("seen.jsonl", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(int(sys.argv[-1].partition("=")[2]) if sys.argv[-1].startswith("code=") else 0)
"""


@pytest.fixture
def member(tmp_path, monkeypatch):
    """A command that notes its arguments and ends with the code it is given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "member.py").write_text(MEMBER)
    return f"{PYTHON} member.py"


def seen(directory):
    """The arguments of every member that was started."""
    return [json.loads(line) for line in (directory / "seen.jsonl").read_text().splitlines()]


def dry(capsys, *params):
    """The arguments of all members, as a shell would split them."""
    assert grid_search("run", params, dry_run=True) == 0
    return [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("params", "commands"),
    [
        ([], [["emloop", "train", "cfg.yaml", "-v"]]),
        (["a=[1]"], [["emloop", "train", "cfg.yaml", "-v", 'a="1"']]),
        (
            ["a=[1, 2]", 'b=["x"]'],
            [
                ["emloop", "train", "cfg.yaml", "-v", 'a="1"', 'b="x"'],
                ["emloop", "train", "cfg.yaml", "-v", 'a="2"', 'b="x"'],
            ],
        ),
        (
            ["a:int=[1, 2]", "b=[None, 'y']"],
            [
                ["emloop", "train", "cfg.yaml", "-v", 'a:int="1"', 'b="None"'],
                ["emloop", "train", "cfg.yaml", "-v", 'a:int="1"', 'b="y"'],
                ["emloop", "train", "cfg.yaml", "-v", 'a:int="2"', 'b="None"'],
                ["emloop", "train", "cfg.yaml", "-v", 'a:int="2"', 'b="y"'],
            ],
        ),
        (["a=[]", "b=[1]"], []),
    ],
)
def test_the_commands_of_emloop_0_2_are_as_they_were(params, commands):
    """Programs that import the function find its notation unchanged: quotes, and types that mean nothing."""
    assert list(_build_grid_search_commands("emloop train cfg.yaml -v", params)) == commands


def test_the_old_notation_still_parses():
    """A script that passes values in double quotes passes texts, as ever."""
    assert parse_arg('a="1"') == ("a", "1")
    assert parse_arg('b="x"') == ("b", "x")


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("[1, 0.5, 1e-3, True, None]", ["1", "0.5", "0.001", "true", "null"]),
        ("['x', 'yes', '1', 'a b', '']", ["x", '"yes"', '"1"', '"a b"', '""']),
        ("[[1, 'x'], (2, 3), {'a': 1}]", ["[1, x]", "[2, 3]", "{a: 1}"]),
        ("[relu, tanh]", ["relu", "tanh"]),
        ("[true, null, 1e-3, nets.Net]", ["true", "null", "0.001", "nets.Net"]),
        ("[{units: 3}, [a, b]]", ["{units: 3}", "[a, b]"]),
    ],
)
def test_values_keep_their_types(capsys, written, values):
    """Whether the list is Python, as ever, or YAML."""
    assert dry(capsys, f"model.x={written}") == [[f"model.x={value}"] for value in values]


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(values=st.lists(literals, max_size=4))
def test_what_the_member_reads_is_what_was_written(values):
    """Every value of a Python list arrives as itself."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert grid_search("run", [f"x={values!r}"], dry_run=True) == 0
    arguments = [shlex.split(line)[-1] for line in said.getvalue().splitlines()]

    assert [repr(parse_arg(argument)) for argument in arguments] == [repr(("x", value)) for value in values]


def test_types_and_operators_in_names(capsys):
    """``:int`` says nothing; ``hooks+`` appends, as an override does."""
    assert dry(capsys, "model.lr:float=[1]", "hooks+=[SaveBest]", "a:b=[2]") == [
        ["model.lr=1", "hooks+=SaveBest", "a:b=2"],
    ]


@pytest.mark.parametrize(
    ("script", "params", "complaint"),
    [
        ("run", ["a"], "'a' is no parameter; write its name and its values: model.lr=[0.1, 0.01]"),
        ("run", ["=[1]"], "'=[1]' is no parameter; write its name and its values: model.lr=[0.1, 0.01]"),
        ("run", ["a=1"], "'a=1': expected a list of values, such as a=[1, 2]"),
        ("run", ["a="], "'a=': expected a list of values, such as a=[1, 2]"),
        ("run", ["a=(1, 2)"], "'a=(1, 2)': expected a list of values, such as a=[1, 2]"),
        ("run", ["a=[1"], "'a=[1': its values can be read neither as Python nor as YAML: a=[1:"),
        ("run", ["a=[{1, 2}]"], "a: {1, 2} of type 'set' cannot be written as YAML"),
        ("run", ["a=[1]", "b=[1]", "a=[2]"], "'a' is given twice; write all its values into one list"),
        ("run 'x", [], '"run \'x" is no command: No closing quotation'),
        (" ", [], "there is no command; give one such as 'emloop train config.yaml'"),
    ],
)
def test_a_mistake_is_explained_before_anything_runs(script, params, complaint):
    """What was found, and what to write."""
    with pytest.raises(UsageError) as error:
        grid_search(script, params)

    assert str(error.value).startswith(complaint)


def test_a_config_is_trained(capsys):
    """It is no command; what is behind it stays."""
    assert grid_search("my/config.yaml --output_root 'x y'", ["a=[1, 2]"], dry_run=True) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"emloop train my/config.yaml --output_root 'x y' a={value}" for value in (1, 2)
    ]


def test_members_run_one_after_the_other_and_failures_are_told(member, tmp_path, capsys, caplog):
    """All run, whatever the others do; in the end a table says how each ended, and the exit code that one failed."""
    caplog.set_level("INFO")
    script = f"{member} 'two words'"

    assert grid_search(script, ["b=[x]", "code=[0, 3, 75, 0]"]) == 1
    assert seen(tmp_path) == [["two words", "b=x", f"code={code}"] for code in (0, 3, 75, 0)]
    table = [line.split(None, 4) for line in capsys.readouterr().out.splitlines()]
    assert [row[:3] for row in table[1:]] == [
        ["1", "0", "done"],
        ["2", "3", "failed"],
        ["3", "75", "stopped"],
        ["4", "0", "done"],
    ]
    command = f"{sys.executable} member.py 'two words' b=x code=3"
    assert f"Member 2 of 4: {command}" in caplog.messages
    assert "Member 2 of 4: failed after 0 seconds" in caplog.messages


def test_without_failures_all_is_well(member, tmp_path, capsys):
    """And without parameters the command runs once."""
    assert grid_search(member, []) == 0
    assert seen(tmp_path) == [[]]
    assert grid_search(member, ["x=[]"]) == 0


def test_a_command_that_is_not_there_fails(tmp_path, capsys, caplog, monkeypatch):
    """As in a shell."""
    monkeypatch.chdir(tmp_path)
    assert grid_search("./no-such-command", ["a=[1, 2]"]) == 1
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]] == ["127", "127"]
    assert [line for line in caplog.messages if line.startswith("./no-such-command cannot be started: ")]


def test_a_killed_member_is_a_failure(tmp_path, capsys):
    """The table names the signal."""
    assert grid_search(f"{PYTHON} -c 'import os; os.kill(os.getpid(), 9)'", []) == 1
    assert "-9         killed by SIGKILL" in capsys.readouterr().out


BLOCKING = """
import os, signal, sys
if "--deaf" not in sys.argv:
    signal.signal(signal.SIGINT, lambda *_: os._exit(75))
print("started", sys.argv[-1], flush=True)
open("gate").read()
"""


@pytest.fixture
def search(tmp_path):
    """A search whose first member waits at a gate; interrupts go to the search alone."""
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "member.py").write_text(BLOCKING)
    command = [sys.executable, "-m", "emloop", "gridsearch", f"{PYTHON} member.py", "n=[1, 2, 3]"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started n=1\n"
    yield process
    process.kill()
    process.communicate()


def until(stream, text):
    for line in stream:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came")


def test_an_interrupt_lets_the_member_end_and_starts_no_other(search, tmp_path):
    """Exit code 75: what was not started can be."""
    search.send_signal(signal.SIGINT)
    until(search.stderr, "SIGINT: the member in progress is the last one; a second signal is passed on to it")
    (tmp_path / "gate").write_text("go on")
    out, _ = search.communicate(timeout=60)

    assert search.returncode == 75
    assert [line.split()[1:4] for line in out.splitlines()[1:]] == [
        ["0", "done", "0"],
        ["not", "started", sys.executable],
        ["not", "started", sys.executable],
    ]


def test_a_second_interrupt_reaches_the_member(search):
    """It may be the only one that does, where they are not at a terminal together."""
    search.send_signal(signal.SIGTERM)
    until(search.stderr, "SIGTERM: the member in progress is the last one")
    search.send_signal(signal.SIGINT)
    out, _ = search.communicate(timeout=60)

    assert search.returncode == 75
    assert out.splitlines()[1].split()[1:3] == ["75", "stopped"]


def test_the_function_goes_by_the_name_of_its_module():
    """Whichever is imported first, the package's name is the function, and the module can be imported from."""
    code = (
        "{}\nimport emloop.cli, types\n"
        "assert isinstance(emloop.cli.grid_search, types.FunctionType)\n"
        "from emloop.cli.grid_search import _build_grid_search_commands\n"
        "from emloop.cli import grid_search\n"
        "assert isinstance(grid_search, types.FunctionType) and grid_search is emloop.cli.grid_search\n"
    )
    for first in ("", "import emloop.cli.grid_search", "from emloop.cli.grid_search import grid_search"):
        subprocess.run([sys.executable, "-c", code.format(first)], check=True)


CONFIG = """\
dataset: {class: cli_toy.Numbers}
model: {class: cli_toy.Mean, name: mean, rate: 1}
hooks: [{ComputeStats: {variables: [loss]}}]
main_loop: {epochs_count: 1}
"""


@pytest.mark.slow
def test_trainings_get_numbers_and_can_be_compared(log, tmp_path):
    """The values stand in the configurations with their types, and the listing shows what differs.

    Members run by the emloop that searches, although no ``emloop`` is on the path of executables.
    """
    (tmp_path / "config.yaml").write_text(CONFIG)
    words = ["gridsearch", "config.yaml", "model.rate=[0.1, 0.5]", "main_loop.seed=[1]"]
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "emloop", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    runs = list_runs(log.root)
    ranked = sorted(runs, key=lambda run: run.metric("train.loss", "min"))
    head, *rows = done.stdout.partition("\n\n")[2].splitlines()
    assert head.split() == ["run", "model.rate", "main_loop.seed", "min:train.loss"]
    assert [row.split() for row in rows] == [
        [run.name, str(run.config["model.rate"]), "1", f"{run.metric('train.loss', 'min'):.6g}"] for run in ranked
    ]
    assert [(run.config["model.rate"], run.config["main_loop.seed"], run.status) for run in runs] == [
        (0.1, 1, "done"),
        (0.5, 1, "done"),
    ]


MAKING = """
import sys
from pathlib import Path
from emloop._run_dir.run import Run
from emloop._run_dir.trace import Watched
name = sys.argv[1].removeprefix("name=")
values = {"good": [1, 0], "without": [], "best": [0.5, 3], "diverged": [float("nan")]}[name]
run = Path("log", name)
run.mkdir(parents=True)
made = Run.create(run, kind="training", config_text="{}", source=None, seed=1, command=[])
made.update_trace(monitored=(Watched("valid.score", "max"),))
for value in values:
    made.log_metrics({"epoch_id": 0, "valid": {"score": value}})
made.end("done", "", exit_status=0)
"""


def test_the_search_ends_with_its_runs_the_best_first(tmp_path, monkeypatch, capsys):
    """Judged by what their hook watches, at its best; runs without a number come last."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "member.py").write_text(MAKING)
    assert grid_search(f"{PYTHON} member.py", ["name=[diverged, good, without, failed, best]"]) == 1
    assert capsys.readouterr().out.partition("\n\n")[2] == (
        "run       name      max:valid.score\n"
        "best      best      3\n"
        "good      good      1\n"
        "diverged  diverged\n"
        "without   without\n"
    )


def test_the_command_line_takes_parameters_anywhere(tmp_path):
    """Before and after the options; a misspelt one is refused."""
    command = [sys.executable, "-m", "emloop", "gridsearch", "run it", "a=[1, 2]", "--dry-run", "b=[x y]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "run it a=1 'b=\"x y\"'\nrun it a=2 'b=\"x y\"'\n")
    done = subprocess.run([*command, "--jobs", "2"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "unknown option '--jobs'\n")
