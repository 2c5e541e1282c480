"""``emloop schema``: write a JSON Schema of configs, for completion and checks in an editor.

Examples:
    emloop schema > .vscode/emloop.schema.json
    emloop schema config.yaml > .vscode/emloop.schema.json     (covers the classes that the config names, too)
"""

from argparse import ArgumentParser, Namespace
from typing import Any

from emloop._config import load_config
from emloop._config.schema import config_schema
from emloop.constants import EXIT_DONE

from .. import render
from ..args import CONFIG_OR_RUN
from .named import named_config


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("config_file", metavar="CONFIG", nargs="?", help=CONFIG_OR_RUN)


def run(arguments: Namespace) -> int:
    """Run the command."""
    return schema(arguments.config_file, arguments.output_root)


def schema(config_path: str | None, output_root: str) -> int:
    """Write a schema to standard output.

    Args:
        config_path: A config, or a run, whose classes the schema covers; ``None`` for built-in classes alone.
        output_root: Where runs are looked for.

    Returns:
        The exit code.

    Raises:
        ConfigError: If the config cannot be read.
    """
    config: dict[str, Any] = {} if config_path is None else load_config(named_config(config_path, output_root).file)
    render.say_json(config_schema(config))
    return EXIT_DONE
