"""The parser of the command line.

Overrides are what is left when options and fixed arguments are taken; :func:`split_rest` tells them from misspelt
options and from the optional ``RESTORE_FROM``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from emloop import __version__
from emloop._support.suggest import did_you_mean
from emloop.constants import EL_DEFAULT_LOG_DIR
from emloop.errors import UsageError

from .args_configs import add_config, add_diff, add_new, add_schema
from .args_runs import add_grid_search, add_ls, add_prune

__all__ = ["get_emloop_arg_parser", "is_override", "refuse_options", "refuse_words", "split_rest"]


def get_emloop_arg_parser(add_common_arguments: bool = False) -> argparse.ArgumentParser:
    """The parser of ``emloop``.

    Args:
        add_common_arguments: Kept for callers of the reference; the common options are always there.
    """
    del add_common_arguments
    parser = argparse.ArgumentParser(
        "emloop",
        description="Train, resume and evaluate machine-learning models from one YAML file.",
        epilog="`emloop COMMAND --help` has examples.",
    )
    parser.add_argument("--version", action="version", version=f"emloop {__version__}")
    _add_common(parser, default_root=EL_DEFAULT_LOG_DIR)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_train(commands)
    _add_resume(commands)
    _add_eval(commands)
    _add_export(commands)
    _add_dataset(commands)
    _add_check(commands)
    for add in (add_config, add_diff, add_schema, add_new):
        add(partial(_command, commands))
    for add in (add_ls, add_prune, add_grid_search):
        add(partial(_command, commands))
    return parser


def split_rest(rest: Sequence[str], parser: argparse.ArgumentParser, *, positionals: int = 0) -> list[str]:
    """The overrides among what the parser did not know, preceded by at most ``positionals`` other arguments.

    Raises:
        UsageError: For a misspelt option, or an argument that is no override.
    """
    rest = refuse_options(rest, parser)
    others = [word for word in rest if not is_override(word)]
    if len(others) > positionals:
        raise UsageError(
            f"{others[positionals]!r} is no override; write KEY=VALUE, e.g. main_loop.epochs_count=10, "
            "hooks+=NAME to add a hook or ~KEY to remove a key"
        )
    return others + [word for word in rest if is_override(word)]


def refuse_options(rest: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """The words that the parser did not know, if none looks like an option.

    Raises:
        UsageError: For a misspelt option.
    """
    for word in rest:
        if word.startswith("-"):
            hint = "".join(f"; {text}" for text in did_you_mean(word.partition("=")[0], _options(parser)))
            raise UsageError(f"unknown option {word!r}{hint}")
    return list(rest)


def refuse_words(rest: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Let nothing stand that the parser did not know.

    Raises:
        UsageError: For a misspelt option, or a word too many.
    """
    for word in refuse_options(rest, parser):
        raise UsageError(f"{word!r} is one word too many; see {parser.prog} --help")


def is_override(word: str) -> bool:
    """Whether a word of the command line changes the configuration; it is never taken for a path then."""
    return "=" in word or word.startswith("~")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return list(parser._option_string_actions)  # argparse offers no other way to ask


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(parser=command)
    return command


def _add_common(parser: argparse.ArgumentParser, default_root: str = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "-o",
        "--output_root",
        metavar="DIR",
        default=default_root,
        help=f"directory of the run directories (default: {EL_DEFAULT_LOG_DIR})",
    )
    verbose_default = False if default_root != argparse.SUPPRESS else argparse.SUPPRESS
    parser.add_argument("-v", "--verbose", action="store_true", default=verbose_default, help="log debug messages, too")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument("--output_dir", metavar="NAME", help="name of the run directory, instead of a generated one")
    parser.add_argument("--rm", dest="delete_dir", action="store_true", help="delete the run directory in the end")


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "train",
        "train the model that a config describes",
        """
emloop train config.yaml
emloop train config.yaml model.hidden=64 hooks.StopAfter.epochs=20
emloop train config.yaml --dry-run 2
emloop train config.yaml --output_dir night --auto-resume""",
    )
    command.add_argument("config_file", metavar="CONFIG", help="config file, or a directory with a config.yaml")
    _add_run_options(command)
    command.add_argument(
        "--auto-resume", action="store_true", help="go on with the run in --output_dir, if there is one already"
    )
    command.add_argument(
        "--dry-run", type=_positive, metavar="N", help="run N batches of every stream and write nothing"
    )


def _add_resume(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "resume",
        "go on with a run, exactly where its last commit left it",
        """
emloop resume @
emloop resume log/majority_keen-noether
emloop resume @ main_loop.epochs_count=20
emloop resume @ --fork model.learning_rate=0.01
emloop resume config.yaml log/majority_keen-noether     (a new run, only the model is restored)""",
    )
    command.add_argument(
        "config_path", metavar="RUN", help="run directory, beginning of its name, or @ for the latest training"
    )
    _add_run_options(command)
    command.add_argument("--fork", action="store_true", help="go on in a new directory and leave the run as it is")


def _add_eval(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "eval",
        "evaluate a model on a stream",
        """
emloop eval test @
emloop eval predict log/majority_keen-noether
emloop eval test log/majority_keen-noether/model_best --config other.yaml""",
    )
    command.add_argument("eval_target", metavar="TARGET", help="name of a stream, or of a part of the section `eval`")
    command.add_argument(
        "model_path", metavar="MODEL", help="run, beginning of its name, @ for the latest training, or a saved model"
    )
    command.add_argument("-c", "--config", metavar="CONFIG", help="config to use instead of the run's own")
    _add_run_options(command)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "export",
        "write a trained model for another runtime, and check it there",
        """
emloop export @ --to onnx
emloop export log/majority_keen-noether/model_latest --to onnx --output shipped
emloop eval predict log/majority_keen-noether/onnx_best     (run what was exported)""",
    )
    command.add_argument(
        "model_path", metavar="MODEL", help="run, beginning of its name, @ for the latest training, or a saved model"
    )
    command.add_argument("--to", metavar="FORMAT", required=True, help="format; models of PyTorch have onnx")
    command.add_argument(
        "--output", metavar="DIR", help="where to write it (default: beside the saved model, e.g. onnx_best)"
    )
    command.add_argument("-c", "--config", metavar="CONFIG", help="config to use instead of the run's own")
    _add_common(command)


def _add_dataset(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "dataset",
        "call a method of the dataset",
        """
emloop dataset stream_info config.yaml
emloop dataset download config.yaml dataset.data_root=/data""",
    )
    command.add_argument("method", metavar="METHOD", help="name of the method")
    command.add_argument("config_file", metavar="CONFIG", help="config file, or a directory with a config.yaml")
    _add_common(command)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands,
        "check",
        "say all that is wrong with a config, without running any of it",
        """
emloop check config.yaml
emloop check config.yaml model.hidden=64 hooks.StopAfter.epochs=20
emloop check config.yaml --json""",
    )
    command.add_argument("config_file", metavar="CONFIG", help="config file, or a directory with a config.yaml")
    command.add_argument("--json", action="store_true", help="as JSON: a list with one object for each mistake")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
