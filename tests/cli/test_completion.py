"""``emloop completion``: what a shell offers at a tab, tried in the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emloop.cli._shell.completion import completions
from emloop.cli.args import COMMANDS

ASKING = """
source <(emloop completion bash)
COMP_LINE="$1" COMP_POINT=${#1}
IFS=' ' read -ra COMP_WORDS <<< "$1"
[[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { echo "compopt $1 $2"; }
$(complete -p emloop | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def place(log, tmp_path, monkeypatch):
    """A directory with configs, runs, and a command ``emloop``."""
    monkeypatch.chdir(tmp_path)
    for name in ("config.yaml", "other.yml", "notes.txt", ".hidden.yaml"):
        Path(name).write_text("{}\n")
    Path("configs").mkdir()
    Path("configs", "deep.yaml").write_text("{}\n")
    for name in ("majority_a", "majority_b", "group/c"):
        log.run(name, metrics=[{"epoch_id": 1, "valid": {"loss": 1, "acc": 2}}])
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "emloop").write_text(f'#!/bin/sh\nexec {sys.executable} -m emloop "$@"\n')
    (bin_ / "emloop").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "last", "expected"),
    [
        pytest.param([], "", list(COMMANDS), id="commands"),
        pytest.param([], "re", ["resume"], id="the-beginning-of-a-command"),
        pytest.param(["-v"], "sh", ["show"], id="after-an-option"),
        pytest.param(["-o", "elsewhere"], "sh", ["show"], id="after-the-value-of-an-option"),
        pytest.param(["nonsense"], "", [], id="unknown-command"),
        pytest.param(["train"], "", ["bin/", "config.yaml", "configs/", "log/", "other.yml"], id="configs"),
        pytest.param(["train"], "c", ["config.yaml", "configs/"], id="the-beginning-of-a-config"),
        pytest.param(["train"], "configs/", ["configs/deep.yaml"], id="a-config-in-a-folder"),
        pytest.param(["train"], ".h", [".hidden.yaml"], id="hidden-if-asked-for"),
        pytest.param(["train", "config.yaml"], "--dr", ["--dry-run"], id="options"),
        pytest.param(["resume"], "", ["group/c", "majority_a", "majority_b"], id="runs"),
        pytest.param(["resume"], "maj", ["majority_a", "majority_b"], id="the-beginning-of-a-run"),
        pytest.param(["show"], "@", ["@-1"], id="selectors"),
        pytest.param(["show"], "b", ["best:"], id="the-beginning-of-a-selector"),
        pytest.param(["show"], "best:v", ["best:valid.loss", "best:valid.acc"], id="metrics"),
        pytest.param(["eval", "valid"], "g", ["group/c"], id="the-second-argument"),
        pytest.param(["eval"], "g", [], id="the-first-argument"),
        pytest.param(["diff", "config.yaml"], "g", ["group/c"], id="a-config-or-run"),
        pytest.param(["ls"], "g", ["group/c"], id="any-number-of-words"),
        pytest.param(["ls", "--sort"], "", [], id="the-value-of-an-option"),
        pytest.param(["-o", "log/group", "resume"], "", ["c"], id="another-root"),
        pytest.param(["resume", "--output_root=log/group"], "", ["c"], id="another-root-after-the-command"),
        pytest.param(["resume", "-o"], "", [], id="a-directory"),
        pytest.param(["completion"], "", ["bash", "zsh", "fish"], id="choices"),
        pytest.param(["completion"], "--l", [], id="what-is-hidden"),
        pytest.param(["config", "show"], "m", ["majority_a", "majority_b"], id="after-a-choice"),
    ],
)
def test_what_may_follow(place, words, last, expected):
    """Commands, options, config files and runs, wherever each is accepted."""
    assert completions(words, last) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("emloop tra", ["train"]),
        ("emloop resume maj", ["majority_a", "majority_b"]),
        ("emloop resume ", ["group/c", "majority_a", "majority_b"]),
        ("emloop train con", ["config.yaml", "configs/"]),
        ("emloop train configs", ["compopt -o nospace", "configs/"]),
        ("emloop show best:valid.l", ["valid.loss"]),
        ("emloop show @", ["-1"]),
        ("emloop ls --colu", ["--columns"]),
        ("emloop nonsense ", [""]),
        ("emloop resume 'maj", ["majority_a", "majority_b"]),
        ("emloop gridsearch 'emloop train $(touch /tmp/never) `touch never`", [""]),
    ],
)
def test_bash_completes(place, line, expected):
    """Where it breaks words at colons, what follows the last one; a directory, without a space behind it."""
    command = ["bash", "--norc", "-c", ASKING, "bash", line]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")
    assert not (place / "never").exists()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        pytest.param("emloop resu\t", "emloop resume ", id="completed"),
        pytest.param("emloop resume majority_\t\t", "majority_a  majority_b", id="listed"),
        pytest.param("emloop show best:valid.l\t", "emloop show best:valid.loss ", id="behind-a-colon"),
        pytest.param("emloop train configs\t\t", "emloop train configs/deep.yaml ", id="into-a-directory"),
    ],
)
def test_bash_itself_asks_at_a_tab(place, typed, shown):
    """Real keys at a real prompt."""
    (place / "rc").write_text("source <(emloop completion bash)\nPS1='ready> '\nbind 'set bell-style none'\n")
    ours, theirs = pty.openpty()
    command = ["bash", "--rcfile", "rc", "-i"]
    environment = {**os.environ, "TERM": "dumb"}
    bash = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        assert "ready> " in until(ours, "ready> ")
        os.write(ours, typed.encode())
        assert shown in until(ours, shown)
    finally:
        bash.kill()
        bash.wait()
        os.close(ours)


def until(terminal, text, seconds=60):
    """What a terminal shows up to some text, or until it has been silent for too long."""
    shown = ""
    while text not in shown and select.select([terminal], [], [], seconds)[0]:
        shown += os.read(terminal, 1 << 12).decode()
    return shown


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_the_script(place, shell):
    """Without a complaint."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = subprocess.run(["emloop", "completion", shell], capture_output=True, text=True, check=True).stdout
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_a_shell_would_read_is_quoted(place, log):
    """In bash; the others quote themselves. What cannot be shown is left out."""
    log.run("odd one$(x)")
    log.run("worse\x1b[2J\n")
    ask = ["emloop", "completion", "bash", "--line=emloop resume odd"]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "'odd one$(x)'\n"
    assert completions(["resume"], "worse") == []


def test_a_tab_loads_nothing_to_compute_with(place):
    """Somebody waits for it."""
    code = (
        "import sys; from emloop.cli.app import main\n"
        "for line in sys.argv[1:]: main(['completion', 'bash', f'--line={line}'])\n"
        "print({'numpy', 'yaml', 'torch', 'rich', 'sklearn'} & set(sys.modules), file=sys.stderr)"
    )
    lines = [f"emloop {name} -" for name in COMMANDS] + ["emloop show best:", "emloop resume "]
    done = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"


def test_no_runs_and_no_directory_offer_nothing(tmp_path, monkeypatch):
    """And fail nowhere."""
    monkeypatch.chdir(tmp_path)
    assert completions(["resume"], "x") == []
    assert completions(["train"], "nowhere/x") == []
    assert completions(["-o", "nowhere", "show"], "best:") == []
