"""The base of models made of trained models: finds these and loads them when they are first needed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from emloop import saved_models
from emloop._build import build_model, config_of
from emloop._contracts import AbstractModel, bind_run, weights_of
from emloop._registry import find_class
from emloop._run_dir.finding import find_restorable
from emloop._run_dir.layout import is_run_dir
from emloop._settings.kinds import MEMBER, MODEL
from emloop._settings.live import accepted_by
from emloop._state.manifest import MANIFEST
from emloop._streams import StreamWrapper
from emloop._support.trust import is_vouched
from emloop.constants import EL_CONFIG_FILE
from emloop.errors import ConfigError, SavedModelError, UntrustedError, UsageError
from emloop.types import Batch

__all__ = ["MadeOfMembers", "trust_source", "trusting_members"]

_MARKS = (EL_CONFIG_FILE, MANIFEST)
_TRUSTING: ContextVar[bool] = ContextVar("emloop_trusting_members", default=False)


@contextmanager
def trusting_members(trusting: bool) -> Iterator[None]:
    """Say whether the source capsules of members may be imported, for models built meanwhile."""
    token = _TRUSTING.set(trusting)
    try:
        yield
    finally:
        _TRUSTING.reset(token)


def trust_source(config: Mapping[str, Any], restore_from: str | Path) -> None:
    """Let the source capsule of what is restored be imported; a model made of members has none of its own.

    Raises:
        SavedModelError, UntrustedError: As :func:`emloop.saved_models.trust_source_of`.
    """
    with suppress(Exception):  # a class that only the capsule has
        if issubclass(find_class(str(config["model"]["class"]), MODEL), MadeOfMembers):
            return
    saved_models.trust_source_of(restore_from)


class MadeOfMembers(AbstractModel):
    """A model made of trained models; for evaluation only.

    Args:
        model_paths: Runs, saved models, or configs in the directories to restore from; repeating one gives it more
            weight. ``None``: all runs and saved models directly below ``models_root``, sorted by name.
        models_root: Prefix of each path.
        dataset: Passed to every member.
        overrides: Keys of the section ``model`` to set for every member that takes them.
        eager_loading: Whether to load the members now.
        beside: A directory in which relative paths begin if they lead somewhere from there, else where one stands.

    Raises:
        ConfigError: If there are no paths; or no models below ``models_root``, which may be filled until the members
            are needed.
        SavedModelError: If a path holds no model; without ``eager_loading`` once the members are needed.
    """

    def __init__(
        self,
        model_paths: Sequence[str] | None,
        models_root: str | None,
        dataset: object,
        overrides: Mapping[str, Any],
        *,
        eager_loading: bool,
        beside: str | None = None,
    ) -> None:
        owner = type(self).__name__
        if isinstance(model_paths, str):
            raise ConfigError.about(
                "model_paths", f"expected a list of paths, got {model_paths!r}; write [{model_paths}]"
            )
        if model_paths is None and models_root is None:
            raise ConfigError(f"{owner} needs model_paths, models_root, or both")
        if model_paths is not None and not model_paths:
            raise ConfigError(f"{owner} has no members: model_paths is empty")
        self._model_paths, self._models_root = model_paths, Path(models_root or "")
        self._beside = Path(beside or "")
        self._paths: list[Path] = []
        self._models: list[AbstractModel] | None = None
        self._runs: list[Callable[..., Batch]] = []
        self._dataset = dataset
        self._overrides = overrides
        self._trusting = _TRUSTING.get()
        if eager_loading:
            self._load()

    def run(self, batch: Batch, train: bool = False, stream: StreamWrapper | None = None) -> Batch:
        """Run the members on the batch and combine their outputs.

        Raises:
            UsageError: If ``train`` is set.
            BatchError: If the outputs of the members do not fit together.
        """
        if train:
            raise UsageError(f"{type(self).__name__} cannot be trained; train its members")
        self._load()
        return self._combine(batch, stream)

    def save(self, name_suffix: str = "") -> NoReturn:
        """
        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"{type(self).__name__} is not saved; its members are")

    @cached_property
    def weights(self) -> Mapping[str, str]:  # type: ignore[override]  # known once the members are loaded
        """What the members say of their outputs; of different words, those of the last one count."""
        found = {name: weight for model in self._load() for name, weight in weights_of(model).items()}
        return {name: weight for name, weight in found.items() if name in self.output_names}

    @abstractmethod
    def _combine(self, batch: Batch, stream: StreamWrapper | None) -> Batch:
        """Compute the outputs."""

    def _load(self) -> list[AbstractModel]:
        """The members, in the order of the paths."""
        if self._models is None:
            root, given = self._models_root, self._model_paths
            self._paths = _below(self._found(root)) if given is None else [self._found(root / path) for path in given]
            models = [self._load_one(path) for path in self._paths]
            self._runs = [bind_run(model) for model in models]
            self._models = models
        return self._models

    def _found(self, path: Path) -> Path:
        there = self._beside / path
        return there if there.exists() else path

    def _run_member(self, index: int, batch: Batch, stream: StreamWrapper | None) -> Batch:
        return self._runs[index](batch=batch, train=False, stream=stream)

    def _load_one(self, path: Path) -> AbstractModel:
        if not all(map(is_vouched, map(str, self._model_paths or [str(self._models_root)]))):
            raise UntrustedError(f"{path}: an untrusted run must not name further models as its members")
        origin = find_restorable(path)
        config = config_of(origin)
        section = config.get("model")
        if not isinstance(section, Mapping):
            raise SavedModelError(f"{path}: its config has no section 'model'")
        taken = {key: value for key, value in self._overrides.items() if key in section or _takes(section, key)}
        config = {**config, "model": {**section, **taken}}
        if self._trusting:
            trust_source(config, origin.path)
        with saved_models.predicting(), trusting_members(self._trusting):
            return build_model(config, None, self._dataset, str(origin.path), kind=MEMBER)


def _takes(section: Mapping[str, Any], argument: str) -> bool:
    """Whether the class of a section takes an argument; assumed for a class that cannot be imported."""
    try:
        accepted = accepted_by(find_class(str(section.get("class")), MEMBER))
    except Exception:  # noqa: BLE001 - building it says what is wrong, or replaces the class
        return True
    return argument in accepted.hints or accepted.open


def _below(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ConfigError.about("models_root", f"{root} is not a directory")
    paths = [path for path in sorted(root.iterdir()) if any((path / name).is_file() for name in _MARKS)]
    if is_run_dir(root):
        # An export of a run is no other model than those that the run saved.
        paths = [path for path in paths if not saved_models.class_of_export(path)]
    if not paths:
        raise ConfigError.about("models_root", f"there is neither a run nor a saved model in {root}")
    return paths
