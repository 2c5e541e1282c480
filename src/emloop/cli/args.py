"""The parser of the command line, and the pieces that commands declare their arguments with.

A command is a module whose docstring ends with ``Examples:``, and that has two functions: ``add_arguments(parser)``
declares what it takes, ``run(arguments)`` does the work and returns the exit code. A command that takes any number of
words calls them ``words``; one with words that argparse would misread spells them out in ``prepared(words)``. Help must
stay quick, so what only the work needs (NumPy, a framework) is imported inside functions.
"""

from argparse import SUPPRESS, Action, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from emloop import __version__
from emloop._support.printable import columns
from emloop.constants import EL_DEFAULT_LOG_DIR

__all__ = ["get_emloop_arg_parser"]

CONFIG = "config file, or a directory with a config.yaml"
_NAMED = "beginning of its name, @ (the latest training), @-1 (the one before) or best:METRIC"
RUN = f"run directory, {_NAMED}"
CONFIG_OR_RUN = f"config file, or run: its directory, {_NAMED}"
SAVED_MODEL = f"saved model, or run: its directory, {_NAMED}"

COMMANDS = {
    "train": ("_training.train", "train the model that a config describes"),
    "resume": ("_training.resume", "go on with a run, exactly where its last commit left it"),
    "verify": ("_training.verify", "prove that a training resumes exactly, whenever it is stopped or killed"),
    "profile": ("_training.profile", "say where the time of a training goes, and what to change first"),
    "find-lr": ("_training.find_lr", "find the learning rate to begin with"),
    "eval": ("_training.eval", "evaluate a model on a stream"),
    "predict": ("_predicting.predict", "predict from a file, with a trained model"),
    "export": ("_exporting.export", "write a trained model for another runtime, and check it there"),
    "upgrade": ("_exporting.upgrade", "make the programs of saved models anew, with the versions installed"),
    "dataset": ("_training.dataset", "call a method of the dataset"),
    "check": ("_configs.check", "report every mistake in a config, without running any of it"),
    "config": ("_configs.config", "show a config as it will be used, and where every value comes from"),
    "diff": ("_configs.diff", "compare two configs or two runs"),
    "schema": ("_configs.schema", "write a JSON Schema of configs, for completion and checks in an editor"),
    "new": ("_configs.new", "start a project with a working config, dataset, model and test"),
    "migrate": ("_configs.migrate", "rewrite configs of emloop 0.2 or cxflow by the names of today"),
    "ls": ("_runs.ls", "list runs"),
    "show": ("_runs.show", "show everything about a run: facts, config, metrics, a curve, saved models"),
    "doctor": ("_runs.doctor", "find what is wrong with runs or the installation, and mend it where that is safe"),
    "prune": ("_runs.prune", "move worthless trainings to the trash"),
    "gridsearch": ("_training.gridsearch", "run a command for every combination of some parameters"),
    "ensemble": ("_exporting.ensemble", "make one model of several trainings, such as the folds of one config"),
    "completion": ("_shell.completion", "print a script with which a shell completes commands, options and runs"),
}
"""Command → its module, and what it does; the order is that of ``emloop --help``."""


def get_emloop_arg_parser(
    add_common_arguments: bool = False,  # noqa: ARG001 - kept for callers of the reference
    *,
    words: Iterable[str] = COMMANDS,
) -> ArgumentParser:
    """Build the parser of ``emloop``.

    Args:
        add_common_arguments: Has no effect; the common options are always there.
        words: Only commands among these words get their arguments, and only their modules are imported.
    """
    parser = _Main(
        "emloop",
        description="Train, resume and evaluate machine-learning models from one YAML file.",
        epilog="`emloop COMMAND --help` has examples.",
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"emloop {__version__}")
    add_common(parser, output_root=EL_DEFAULT_LOG_DIR, verbose=False, home=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Command)
    words = set(words)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name in words:
            command.complete(import_module(f"emloop.cli.{module}"), summary)
    return parser


class _Main(ArgumentParser):
    def _check_value(self, action: Action, value: object) -> None:
        """Say what to type instead of a command that there is not; argparse would list all that there are."""
        if action.dest != "command" or value in COMMANDS:
            super()._check_value(action, value)
            return
        from emloop._support import moved
        from emloop._support.suggest import did_you_mean
        from emloop.errors import UsageError

        known = moved.hints("command", str(value)) or did_you_mean(str(value), COMMANDS)
        told = "; ".join((f"unknown command {value!r}", *known, f"the commands are: {', '.join(COMMANDS)}"))
        raise UsageError(told)


class _Command(ArgumentParser):
    """Parser of a command; until it is complete, it only stands for the name and takes almost no time to make."""

    def __init__(self, **settings: str) -> None:
        self._settings = settings

    def complete(self, home: ModuleType, summary: str) -> None:
        super().__init__(
            self._settings["prog"],
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog="examples:" + (home.__doc__ or "").partition("Examples:")[2].rstrip().replace("\n    ", "\n  "),
            formatter_class=_Help,
        )
        self.set_defaults(parser=self, run=home.run)
        self._prepared: Callable[[Sequence[str]], list[str]] = getattr(home, "prepared", list)
        home.add_arguments(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever, after the command has spelt out its words."""
        return super().parse_known_args(self._prepared(args), namespace)


class _Help(RawDescriptionHelpFormatter):
    """Finds the width of the terminal quickly."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)


def add_home(parser: ArgumentParser, default: str | None = SUPPRESS) -> None:
    """Declare ``--home``."""
    help_text = "directory of the project, where it has moved; otherwise, that from which the run was started"
    parser.add_argument("--home", metavar="DIR", default=default, help=help_text)


def add_common(
    parser: ArgumentParser,
    *,
    output_root: str = SUPPRESS,
    verbose: bool | str = SUPPRESS,
    home: str | None = SUPPRESS,
    short: bool = True,
) -> None:
    """Declare ``--output_root``, ``-v`` and ``--home``; the defaults are those given before the command, unless named.

    ``-o`` is ``--output_root``, but not where ``short`` is not set.
    """
    help_text = f"directory of the run directories (default: {EL_DEFAULT_LOG_DIR})"
    parser.add_argument(*["-o"] * short, "--output_root", metavar="DIR", default=output_root, help=help_text)
    shown = "show debug messages, too, and all that goes to train.log"
    parser.add_argument("-v", "--verbose", action="store_true", default=verbose, help=shown)
    parser.add_argument("-q", "--quiet", action="store_true", default=verbose, help="show only warnings and errors")
    add_home(parser, home)


def add_run_options(parser: ArgumentParser) -> None:
    """Declare the options of commands that make a run directory."""
    add_common(parser)
    parser.add_argument("--output_dir", metavar="NAME", help="name of the run directory; must not exist, or be empty")
    parser.add_argument("--rm", dest="delete_dir", action="store_true", help="delete the new run directory in the end")
    text = "start N processes on this machine, which train one model together; torchrun and srun start them, too"
    add_nproc(parser, text)


def add_nproc(parser: ArgumentParser, text: str) -> None:
    """Declare ``--nproc``, the number of processes."""
    parser.add_argument("--nproc", type=at_least_one, metavar="N", help=text)


def at_least_one(text: str) -> int:
    """Read a positive number of the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def add_accept_data(parser: ArgumentParser) -> None:
    """Declare ``--accept-data``."""
    help_text = "go on with other data than those of the run, and record it"
    parser.add_argument("--accept-data", action="store_true", help=help_text)


def add_untrusted(parser: ArgumentParser) -> None:
    """Declare ``--untrusted``."""
    help_text = "take the run for a stranger's: use no class but those of installed backends, and no file outside of it"
    parser.add_argument("--untrusted", action="store_true", help=help_text)


def add_trust_source(parser: ArgumentParser) -> None:
    """Declare ``--trust-source``."""
    help_text = "let the source in the saved model's capsule run, where the model's own is not there"
    parser.add_argument("--trust-source", action="store_true", help=help_text)


def add_json(parser: ArgumentParser, what: str) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"as JSON: {what}")


def add_config(parser: ArgumentParser) -> None:
    """Declare ``--config``."""
    parser.add_argument("-c", "--config", metavar="CONFIG", help="config to use instead of the run's own")


def add_overrides(parser: ArgumentParser) -> None:
    """Declare that the command takes overrides; :func:`overrides` reads them."""
    help_text = "change of the config: KEY=VALUE, hooks+=NAME or ~KEY"
    parser.add_argument("words", metavar="OVERRIDE", nargs="*", help=help_text)


def overrides(words: Iterable[str], *, after: int = 0) -> list[str]:
    """Sort words into others, first, and overrides.

    Args:
        words: The words.
        after: How many may be something other than an override.

    Raises:
        UsageError: If more words than allowed are no override.
    """
    from emloop.errors import UsageError

    others = [word for word in words if not is_override(word)]
    if len(others) > after:
        raise UsageError(
            f"{others[after]!r} is no override; write KEY=VALUE, e.g. main_loop.epochs_count=10, "
            "hooks+=NAME to add a hook or ~KEY to remove a key"
        )
    return others + [word for word in words if is_override(word)]


def is_override(word: str) -> bool:
    """Tell whether a word changes the configuration; then it is never taken for a path."""
    return "=" in word or word.startswith("~")
