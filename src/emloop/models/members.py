"""Models that are made of trained models: finding these and loading them when they are first needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emloop import saved_models
from emloop._build import build_model
from emloop._config import load_config
from emloop._contracts import AbstractModel, bind_run
from emloop._run_dir.layout import current_config, is_run_dir
from emloop._state.manifest import MANIFEST
from emloop._streams import StreamWrapper
from emloop.errors import ConfigError, SavedModelError
from emloop.types import Batch

__all__ = ["Members"]


class Members:
    """Trained models, loaded when they are first asked for.

    Args:
        owner: What they are the members of, for messages.
        model_paths: Runs, saved models or configs of runs; repeating one gives it more weight. ``None``: all runs and
            saved models right below ``models_root``, sorted by name.
        models_root: Put in front of each path.
        dataset: Given to every member.
        overrides: Keys to replace in the members' section ``model``.

    Raises:
        ConfigError: If there are no paths.
    """

    def __init__(
        self,
        owner: str,
        model_paths: Sequence[str] | None,
        models_root: str | None,
        dataset: object,
        overrides: Mapping[str, Any],
    ) -> None:
        if model_paths is None and models_root is None:
            raise ConfigError(f"{owner} needs model_paths, models_root, or both")
        self.paths = _below(Path(str(models_root))) if model_paths is None else _joined(models_root, model_paths)
        if not self.paths:
            raise ConfigError(f"{owner} has no members: there is neither a run nor a saved model in {models_root}")
        self.loaded: list[AbstractModel] | None = None
        self._runs: list[Callable[..., Batch]] = []
        self._dataset = dataset
        self._overrides = overrides

    def load(self) -> list[AbstractModel]:
        """The models, in the order of the paths.

        Raises:
            SavedModelError: If a path holds no model.
        """
        if self.loaded is None:
            self.loaded = [self._load_one(path) for path in self.paths]
            self._runs = [bind_run(model) for model in self.loaded]
        return self.loaded

    def run_one(self, index: int, batch: Batch, stream: StreamWrapper | None) -> Batch:
        """The outputs of one member for a batch."""
        self.load()
        return self._runs[index](batch=batch, train=False, stream=stream)

    def _load_one(self, path: Path) -> AbstractModel:
        if path.is_file() and path.suffix in (".yaml", ".yml"):
            path = path.parent
        config = copy.deepcopy(dict(_config_of(path)))
        config["model"] = {**config["model"], **self._overrides}
        return build_model(config, None, self._dataset, str(path))


def _config_of(path: Path) -> Mapping[str, Any]:
    """The configuration of a run, or of the run that a saved model lies in; else what the saved model itself tells."""
    for directory in (path, path.parent):
        if is_run_dir(directory):
            return load_config(str(current_config(directory)))
    saved = saved_models.find_saved(path)
    fallback = saved.manifest.get("restore_fallback")
    if fallback is None:
        raise SavedModelError(f"{path}: has no config beside it, and names no class that could restore it")
    names = {key: saved.manifest[key] for key in ("inputs", "outputs") if key in saved.manifest}
    return {"model": {"class": fallback, **{key: list(value) for key, value in names.items()}}}


def _joined(root: str | None, paths: Sequence[str]) -> list[Path]:
    return [Path(root or "", path) for path in paths]


def _below(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ConfigError(f"models_root: {root} is not a directory")
    return [
        path for path in sorted(root.iterdir()) if path.is_dir() and (is_run_dir(path) or (path / MANIFEST).is_file())
    ]
