"""``emloop predict``: predict from a file, with a trained model.

Examples:
    emloop predict @ points.csv -o predictions.csv
    emloop predict log/digits_keen-noether images.npz -o predictions.npz
    emloop predict shipped arrays/ -o predictions.csv --force     (arrays/images.npy, …)
    emloop predict @ points.csv model.device=cpu | head     (to the screen, as CSV)
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from emloop.constants import EXIT_DONE
from emloop.errors import UsageError

from .. import render
from ..args import SAVED_MODEL, add_common, add_overrides, add_trust_source, add_untrusted, is_override, overrides

_DATA = "a file .npz, .csv or .parquet, or a folder: with one NAME.npy for every input, or with such files"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("model_path", metavar="MODEL", help=SAVED_MODEL)
    parser.add_argument("data", metavar="DATA", nargs="?", help=_DATA)
    add_overrides(parser)
    help_text = "where to write, .npz, .csv or .parquet (default: CSV to the screen)"
    parser.add_argument("-o", "--output", metavar="FILE", help=help_text)
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("--batch-size", metavar="N", type=int, help="examples that the model is given at once")
    add_common(parser, short=False)
    add_trust_source(parser)
    add_untrusted(parser)


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: If no data are named, the file to write is there, or a file is of another kind.
        EmloopError: If the model cannot be loaded, or the data do not fit it.
    """
    words = overrides(filter(None, [arguments.data, *arguments.words]), after=1)
    model = arguments.model_path
    if not words or is_override(words[0]):
        raise UsageError(
            f"there are no data to predict from; name a file: emloop predict {model} DATA -o FILE. The streams of its "
            f"dataset are predicted by the section `eval: predict: …`: emloop eval predict {model}"
        )
    data, output = Path(words[0]), None if arguments.output is None else Path(arguments.output)
    from emloop._support.progress import progress
    from emloop.predictor import load

    from .files import read, require_format, require_readable, write

    require_readable(data)
    if output is not None:
        require_format(output)
        if os.path.lexists(output) and not arguments.force:
            raise UsageError(f"{output} is there already; --force writes over it")
    predictor = load(
        model,
        overrides=words[1:],
        output_root=arguments.output_root,
        trust_source=arguments.trust_source,
        untrusted=arguments.untrusted,
    )
    parts, done = [], 0
    with progress(data.name, unit="examples") as report:
        for arrays, total in read(data, predictor.inputs):
            before = done
            for outputs in predictor.in_batches(arrays, batch_size=arguments.batch_size):
                parts.append(outputs)
                done += len(next(iter(outputs.values())))
                report(done, None if total is None else before + total)
    write(parts, output, sys.stdout)
    if output is not None:
        render.say(f"Wrote {done} predictions by {predictor.path} to {output}: {', '.join(parts[0])}")
    return EXIT_DONE
