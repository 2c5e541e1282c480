"""From the words of a command line to a command and an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from emloop.constants import EL_LOG_DATE_FORMAT, EL_LOG_FORMAT, EXIT_USAGE
from emloop.errors import EmloopError, UsageError

from .args import get_emloop_arg_parser, is_override, refuse_options, refuse_words, split_rest

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run a command.

    Args:
        argv: The words after ``emloop``.

    Returns:
        The exit code: 0 done, 1 failed, 2 configuration or usage, 3 cannot resume exactly, 4 untrusted input, 75
        stopped and resumable.
    """
    parser = get_emloop_arg_parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    _log_to_stderr(logging.DEBUG if arguments.verbose else logging.INFO)
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        # Last, so that a file there cannot take the place of a module of the standard library.
        sys.path.append(working_directory)
    try:
        return _COMMANDS[arguments.command](arguments, rest)
    except EmloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _train(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    overrides = split_rest(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.train_fn")
    if arguments.dry_run is not None:
        code: int = module.dry_run(arguments.config_file, overrides, arguments.dry_run)
    else:
        code = module.train(
            arguments.config_file,
            overrides,
            arguments.output_root,
            arguments.delete_dir,
            arguments.output_dir,
            auto_resume=arguments.auto_resume,
        )
    return code


def _resume(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    words = split_rest(rest, arguments.parser, positionals=1)
    restore_from = words.pop(0) if words and not is_override(words[0]) else ""
    module = importlib.import_module("emloop.cli.resume_fn")
    code: int = module.resume(
        arguments.config_path,
        restore_from,
        words,
        arguments.output_root,
        arguments.delete_dir,
        arguments.output_dir,
        fork=arguments.fork,
    )
    return code


def _eval(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    overrides = split_rest(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.eval_fn")
    code: int = module.evaluate(
        arguments.model_path,
        arguments.eval_target,
        arguments.config,
        overrides,
        arguments.output_root,
        arguments.delete_dir,
        arguments.output_dir,
    )
    return code


def _export(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    overrides = split_rest(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.export")
    code: int = module.export(
        arguments.model_path,
        arguments.to,
        arguments.config,
        overrides,
        arguments.output_root,
        arguments.output,
    )
    return code


def _dataset(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    overrides = split_rest(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.dataset")
    code: int = module.invoke_dataset_method(arguments.config_file, arguments.method, arguments.output_root, overrides)
    return code


def _check(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    overrides = split_rest(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.check")
    code: int = module.check(arguments.config_file, overrides, as_json=arguments.json)
    return code


def _config(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    words = split_rest(rest, arguments.parser, positionals=1)
    section = words.pop(0) if words and not is_override(words[0]) else None
    module = importlib.import_module("emloop.cli.config_show")
    code: int = module.show(
        arguments.config_file,
        section,
        words,
        arguments.output_root,
        resolved=arguments.resolved,
        defaults=arguments.defaults,
        as_json=arguments.json,
    )
    return code


def _diff(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    refuse_words(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.diff")
    code: int = module.diff(arguments.first, arguments.second, arguments.output_root, as_json=arguments.json)
    return code


def _ls(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    module = importlib.import_module("emloop.cli.ls")
    directory, filters = module.split_words([*arguments.words, *refuse_options(rest, arguments.parser)])
    code: int = module.list_train_dirs(
        directory or arguments.output_root,
        arguments.recursive,
        arguments.all,
        arguments.long,
        arguments.verbose,
        as_json=arguments.json,
        filters=filters,
        sort=arguments.sort,
        reverse=arguments.reverse,
        columns=arguments.columns,
    )
    return code


def _schema(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    refuse_words(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.schema")
    code: int = module.schema(arguments.config_file, arguments.output_root)
    return code


def _new(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    refuse_words(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.new")
    code: int = module.new(arguments.directory, arguments.backend)
    return code


def _prune(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    refuse_words(rest, arguments.parser)
    module = importlib.import_module("emloop.cli.prune")
    directory = arguments.dir or arguments.output_root
    confirm = None if arguments.yes else module.ask
    if arguments.empty_trash:
        if arguments.subdirs or arguments.evaluations or arguments.keep_best is not None:
            raise UsageError("--empty-trash prunes nothing; prune first, then empty the trash")
        code: int = module.empty_trash(directory, dry_run=arguments.dry_run, confirm=confirm)
    else:
        code = module.prune_train_dirs(
            directory,
            arguments.epochs,
            arguments.subdirs,
            keep_best=arguments.keep_best,
            evaluations=arguments.evaluations,
            dry_run=arguments.dry_run,
            confirm=confirm,
        )
    return code


def _gridsearch(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    params = [*arguments.params, *refuse_options(rest, arguments.parser)]
    module = importlib.import_module("emloop.cli.grid_search")
    code: int = module.grid_search(arguments.script, params, arguments.dry_run)
    return code


_COMMANDS: dict[str, Callable[[argparse.Namespace, Sequence[str]], int]] = {
    "train": _train,
    "resume": _resume,
    "eval": _eval,
    "export": _export,
    "dataset": _dataset,
    "check": _check,
    "config": _config,
    "diff": _diff,
    "schema": _schema,
    "new": _new,
    "ls": _ls,
    "prune": _prune,
    "gridsearch": _gridsearch,
}


class _Lines(logging.StreamHandler[TextIO]):
    """Writes log lines to a terminal that may show a progress line: that line is erased first."""

    def emit(self, record: logging.LogRecord) -> None:
        progress = sys.modules.get("emloop.hooks.show_progress")
        if progress is not None and self.stream.isatty():
            progress.erase_line(self.stream)
        super().emit(record)


def _log_to_stderr(level: int) -> None:
    handler = _Lines(sys.stderr)
    handler.setFormatter(logging.Formatter(EL_LOG_FORMAT, EL_LOG_DATE_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
