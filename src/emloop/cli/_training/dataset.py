"""``emloop dataset``: show the data, or call a method of the dataset.

Examples:
    emloop dataset show config.yaml --html data.html
    emloop dataset stream_info config.yaml
    emloop dataset download config.yaml dataset.data_root=/data
"""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial

from emloop._config import find_config
from emloop._config.check import checked_config
from emloop._config.home import use_home
from emloop._support.suggest import did_you_mean
from emloop.constants import EXIT_DONE, EXIT_FAILED
from emloop.errors import EmloopError, UsageError

from ..args import CONFIG, add_common, add_overrides, overrides

logger = logging.getLogger(__name__)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("method", metavar="METHOD", help="`show`: draw the first examples and statistics; or a method")
    parser.add_argument("config_file", metavar="CONFIG", help=CONFIG)
    parser.add_argument("--html", metavar="FILE", help="draw it into a file instead")
    add_overrides(parser)
    add_common(parser)


def run(arguments: Namespace) -> int:
    """Run the command."""
    changes = overrides(arguments.words)
    return invoke_dataset_method(
        arguments.config_file, arguments.method, arguments.output_root, changes, arguments.html
    )


def invoke_dataset_method(
    config_path: str,
    method_name: str,
    output_root: str,  # noqa: ARG001 - no run directory is made, but callers of the reference pass one
    cl_arguments: Sequence[str],
    html: str | None = None,
) -> int:
    """Call a method of the dataset without arguments and print what it returns, if it returns something.

    A dataset without a method ``show`` is drawn.

    Args:
        config_path: Config file, or a directory with one; only the section ``dataset`` is needed.
        method_name: Name of the method.
        output_root: Has no effect.
        cl_arguments: Overrides.
        html: File to draw into.

    Returns:
        The exit code.
    """
    from emloop._build import build_dataset
    from emloop._state.random import seed_everything, use_seed

    config = checked_config(find_config(config_path), cl_arguments, only_dataset=True)
    use_home(config.origin)
    seed = (config.get("main_loop") or {}).get("seed") or 0
    seed_everything(seed)
    with use_seed(seed):
        dataset = build_dataset(config)
        method = getattr(dataset, method_name, None)
        if method_name == "show" and method is None:
            method = partial(_draw, dataset, html)
        elif html is not None:
            raise UsageError(f"--html goes with show, not with {method_name}")
        if not callable(method):
            there = [name for name in dir(dataset) if not name.startswith("_") and callable(getattr(dataset, name))]
            hint = "".join(f"; {text}" for text in did_you_mean(method_name, there))
            raise UsageError(
                f"{type(dataset).__name__} has no method {method_name!r}{hint}; it has: {', '.join(there)}"
            )
        try:
            result = method()
        except EmloopError:
            raise
        except Exception:
            logger.exception("%s.%s failed", type(dataset).__name__, method_name)
            return EXIT_FAILED
    if result is not None:
        print(result)
    return EXIT_DONE


def _draw(dataset: object, html: str | None) -> None:
    from .._configs.data_page import show_data

    show_data(dataset, html)
