"""Target of the console script ``emloop``."""

import sys

from emloop.cli.app import main

__all__ = ["entry_point"]


def entry_point() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(main(sys.argv[1:]))
