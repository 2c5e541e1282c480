"""The config that a command line means: a file, that of a run, or that of the run a saved model lies in."""

import os
from pathlib import Path
from typing import NamedTuple

from emloop._config import find_config
from emloop._config._composing.foreign import mark_foreign
from emloop._config.home import use_home
from emloop._run_dir.finding import find_restorable, find_run, is_selector
from emloop._run_dir.layout import current_config, is_run_dir
from emloop._state.manifest import MANIFEST
from emloop.errors import RunDirError, UsageError


class Named(NamedTuple):
    """A config file, and the run directory that it belongs to, if any."""

    file: str
    run: Path | None


def named_config(spec: str, output_root: str) -> Named:
    """Find a config.

    Args:
        spec: A config file, a directory with one, a saved model, a run directory, the beginning of a run's name, or
            ``@`` for the latest training. Of a run, the config of its latest attempt is meant.
        output_root: Where runs are looked for.

    Raises:
        ConfigFileError: If a path leads to no config.
        RunDirError: If there is no such run.
    """
    path = Path(spec)
    if not is_selector(spec) and path.exists():
        if (path / MANIFEST).is_file() and (config := find_restorable(path).config) is not None:
            return _at_home(str(config), config.parent if is_run_dir(config.parent) else None)
        if not is_run_dir(path):
            return _at_home(find_config(spec), path.parent if path.is_file() and is_run_dir(path.parent) else None)
    else:
        try:
            path = find_run(spec, output_root)
        except RunDirError:
            if not is_selector(spec) and (spec.endswith((".yaml", ".yml", ".json")) or os.sep in spec):
                find_config(spec)  # says what is there instead
            raise
    mark_foreign(current_config(path))
    return _at_home(str(current_config(path)), path)


def _at_home(file: str, run: Path | None) -> Named:
    use_home(file)
    return Named(file, run)


def config_of_model(spec: str, config_path: str | None, output_root: str) -> tuple[Path, str]:
    """Find a model and the config to use it with.

    Args:
        spec: What :func:`find_restorable` takes.
        config_path: The config, if it is named; otherwise, it is the one that belongs to the model.
        output_root: Where runs are looked for.

    Raises:
        ConfigFileError: If ``config_path`` leads to no config.
        RunDirError: If there is no such run.
        UsageError: If no config belongs to the model, and none is named.
    """
    model, config = find_restorable(spec, output_root)
    if config_path:
        return model, _at_home(find_config(config_path), None).file
    if config is None:
        raise UsageError(f"there is no config.yaml in {model}, beside it or in a run around it; name one with --config")
    mark_foreign(config)
    return model, _at_home(str(config), None).file
