"""``emloop migrate``: rewrite configs of emloop 0.2 or cxflow by the names of today, keeping their comments.

Examples:
    emloop migrate config.yaml --dry-run     (only shows what would change)
    emloop migrate config.yaml
    emloop migrate configs/*.yaml
"""

from argparse import ArgumentParser, Namespace
from codecs import BOM_UTF8
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path

from emloop._config import find_config
from emloop._run_dir.layout import is_run_dir
from emloop.constants import EXIT_DONE
from emloop.errors import UsageError

from .. import render
from ..args import CONFIG


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("config_files", metavar="CONFIG", nargs="+", help=CONFIG)
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")


def run(arguments: Namespace) -> int:
    """Run the command."""
    return migrate(arguments.config_files, dry_run=arguments.dry_run)


def migrate(config_paths: Sequence[str], *, dry_run: bool = False) -> int:
    """Rewrite configs, show the difference, and say what is left to do by hand.

    Args:
        config_paths: Config files, or directories with one.
        dry_run: Whether to write nothing.

    Returns:
        The exit code.

    Raises:
        ConfigError: If one cannot be read; none is rewritten then.
        UsageError: If one belongs to a run, which stays as it was.
    """
    from emloop._config.migrating import migrate as rewritten
    from emloop._support.files import atomic_write
    from emloop._yaml.documents import decoded, read_file

    files = [Path(find_config(path)) for path in config_paths]
    for file in files:
        if is_run_dir(file.parent) and not dry_run:
            raise UsageError(f"{file} belongs to a run, which stays as it was; migrate a copy, and use it by --config")
    contents = [(read_file(file), str(file)) for file in files]
    # A byte order mark, which is no part of the document, stays.
    texts = ["\ufeff" * content.startswith(BOM_UTF8) + decoded(content, name) for content, name in contents]
    for file, old, (new, left) in [(f, text, rewritten(text, str(f))) for f, text in zip(files, texts, strict=True)]:
        changes = unified_diff(old.splitlines(), new.splitlines(), f"{file} as it was", f"{file}", lineterm="")
        for line in changes:
            render.say(line)
        if old == new:
            render.say(f"{file}: nothing to rewrite")
        elif not dry_run:
            mode = file.stat().st_mode
            atomic_write(file.resolve(), new)
            file.chmod(mode)
        for problem in left:
            render.complain(f"by hand: {problem}")
    return EXIT_DONE
