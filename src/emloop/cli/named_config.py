"""The configuration that somebody names on the command line: a file, or that of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from emloop._config import find_config
from emloop._run_dir.layout import LATEST, current_config, find_run, is_run_dir
from emloop.errors import RunDirError

__all__ = ["Named", "named_config"]


class Named(NamedTuple):
    """What was named.

    Args:
        file: The config file.
        run: The run directory; ``None`` for a file that belongs to no run.
    """

    file: str
    run: Path | None


def named_config(spec: str, output_root: str) -> Named:
    """Find a configuration.

    Args:
        spec: A config file, a directory with one, a run directory, the beginning of a run's name, or ``@`` for the
            latest training. Of a run, the configuration of its latest attempt is meant.
        output_root: Where runs are looked for.

    Raises:
        ConfigFileError: If a path leads to no configuration.
        RunDirError: If there is no such run.
    """
    path = Path(spec)
    if spec == LATEST or not path.exists():
        return _of_run(spec, output_root)
    if path.is_dir() and is_run_dir(path):
        return Named(str(current_config(path)), path)
    return Named(find_config(spec), path.parent if path.is_file() and is_run_dir(path.parent) else None)


def _of_run(spec: str, output_root: str) -> Named:
    try:
        run = find_run(spec, output_root)
    except RunDirError:
        if spec.endswith((".yaml", ".yml", ".json")) or os.sep in spec:
            find_config(spec)  # says what is there instead
        raise
    return Named(str(current_config(run)), run)
