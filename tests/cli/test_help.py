"""Help: quick, complete, and with examples."""

from __future__ import annotations

import subprocess
import sys

import pytest

from emloop.cli.args import COMMANDS, get_emloop_arg_parser


@pytest.fixture(scope="module")
def commands():
    """Name of every command → its parser."""
    return next(action.choices for action in get_emloop_arg_parser()._actions if action.dest == "command")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_examples_of_it(commands, name):
    """At least one of them runs the command; the help says what every option does."""
    text, _, examples = commands[name].format_help().partition("\nexamples:\n")

    assert f"  emloop {name}" in examples
    assert text.startswith(f"usage: emloop {name} ")
    assert [action.option_strings for action in commands[name]._actions if not action.help] == []


def test_the_help_lists_every_command_without_importing_it():
    """Only what a command line names is imported."""
    code = (
        "import sys; from emloop.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(*(name for name in sys.modules if name.startswith('emloop.cli._')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert [name for name in COMMANDS if f"\n    {name} " not in done.stdout] == []
    assert done.stderr == "\n"


def test_the_help_of_all_commands_loads_nothing_to_compute_with():
    """NumPy, frameworks and what draws are left to the work itself."""
    code = (
        "import sys; from emloop.cli.args import get_emloop_arg_parser; get_emloop_arg_parser()\n"
        "print({'numpy', 'safetensors', 'sklearn', 'torch', 'rich', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
