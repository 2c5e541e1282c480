"""Starting processes on this machine by PyTorch's own agent."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, run

from emloop.constants import EXIT_STOPPED

__all__ = ["launch"]


def launch(count: int, command: Sequence[str]) -> int:
    """Start so many processes, and wait for their end.

    Args:
        count: How many.
        command: What follows the interpreter: ``-m``, a module and its arguments.

    Returns:
        The exit code of rank 0, or of the first that has failed.
    """
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what has failed is told by the processes
    arguments = get_args_parser().parse_args(["--standalone", "--nproc-per-node", str(count), *command])
    try:
        run(arguments)
    except ChildFailedError as failed:
        codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        return int(codes.get(0, next(iter(codes.values()))))
    except SignalException:
        return EXIT_STOPPED
    return 0
