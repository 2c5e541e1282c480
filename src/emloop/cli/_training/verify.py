"""``emloop verify``: prove that a training resumes exactly, whenever it is stopped or killed.

Two short untouched runs are compared; then everything is built anew from each of their commits, for one batch; then
processes are killed at random instants and resumed to the end. The certificate is kept in the run (``verified.json``),
or beside the config (``<config>.verified.json``).

Examples:
    emloop verify config.yaml
    emloop verify config.yaml --kills 20 --batches 50
    emloop verify config.yaml model.device=cuda --minutes 10
    emloop verify config.yaml --nproc 2
    emloop verify @ --json
"""

from __future__ import annotations

import signal
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from types import FrameType

from emloop._config.check import checked_config
from emloop._run_dir.info import read_info
from emloop.constants import EL_RUN_FILE, EXIT_CANNOT_RESUME, EXIT_DONE, EXIT_FAILED, EXIT_STOPPED

from .. import render
from .._configs.named import named_config
from ..args import CONFIG_OR_RUN, add_common, add_json, add_nproc, add_overrides, overrides

_IN_RUN = "verified.json"
_CODES = {"proven": EXIT_DONE, "failed": EXIT_CANNOT_RESUME, "nothing": EXIT_FAILED}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.set_defaults(logs=False)
    parser.add_argument("config", metavar="CONFIG", help=CONFIG_OR_RUN)
    add_overrides(parser)
    add_common(parser)
    parser.add_argument(
        "--batches", type=_count(1), default=20, metavar="N", help="training batches of each run (default: 20)"
    )
    parser.add_argument(
        "--kills", type=_count(0), default=3, metavar="N", help="how often to kill, and resume (default: 3)"
    )
    parser.add_argument(
        "--seed", type=_count(0), default=0, metavar="N", help="decides when to kill, and in which order to resume"
    )
    parser.add_argument("--minutes", type=_minutes, metavar="M", help="end after about M minutes, and say what is left")
    add_nproc(parser, "verify a training of N processes on this machine; of these, a random one is killed")
    add_json(parser, "the certificate")


def run(arguments: Namespace) -> int:
    """Run the command."""
    from emloop._ranks.joining import require_alone
    from emloop._verifying import Verification

    require_alone("verify")
    changes = overrides(arguments.words)
    file, run_dir = named_config(arguments.config, arguments.output_root)
    config = checked_config(file, changes, restoring=run_dir is not None)
    own_seed = None
    if run_dir is not None and (run_dir / EL_RUN_FILE).is_file():
        own_seed = read_info(run_dir).seed
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        certificate = Verification(
            config,
            [file, *changes],
            batches=arguments.batches,
            kills=arguments.kills,
            seed=arguments.seed,
            own_seed=own_seed,
            minutes=arguments.minutes,
            say=render.complain,
            processes=arguments.nproc or 1,
        ).run()
    except KeyboardInterrupt:
        render.complain("Interrupted: nothing was verified, and nothing is left behind")
        return EXIT_STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    path = Path(file).with_suffix(f".{_IN_RUN}") if run_dir is None else run_dir / _IN_RUN
    try:
        certificate.write(path)
        render.complain(f"Certificate: {path}")
    except OSError as error:
        render.complain(f"The certificate could not be written: {error}")
    if arguments.json:
        render.say_json(certificate.data())
    else:
        render.say(certificate.text())
    return _CODES[certificate.verdict]


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise KeyboardInterrupt


def _count(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
        return int(text)

    return count


def _minutes(text: str) -> float:
    with suppress(ValueError):
        if 0 < (minutes := float(text)) < inf:
            return minutes
    raise ArgumentTypeError(f"expected a number of minutes above 0, got {text!r}")
