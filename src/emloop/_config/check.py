"""All that reading files can tell about a configuration, in one go, without importing what it names.

What cannot be told here is left alone: it is looked at once more when everything is built, before the first batch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emloop._source.cache import FileCache, cache_directory
from emloop._source.finder import ModuleFinder
from emloop._source.library import ClassSource, Library
from emloop._source.signatures import Ancestry, accepted_by_source
from emloop.errors import ConfigError, Problem

from .arguments import Placer, problems
from .class_names import find_source
from .compose import compose
from .entries import Entry, dataset_entry, hook_entry, main_loop_entry, model_entry, placer, policy
from .hook_order import Observer, observer, order_problems, steps_aside
from .kinds import DATASET, MODEL
from .sections import section_problems, validate_config
from .source import Config
from .stream_names import Epoch, epoch_of, stream_problems, streams_of, unknown_streams

__all__ = ["check_config", "checked_config", "new_library"]

_BUILT_IN = Path(__file__).with_name("builtin.json")
_MAIN_LOOP = "emloop.main_loop.loop", "MainLoop"


def checked_config(
    config_file: str | os.PathLike[str],
    additional_args: Sequence[str] = (),
    override_stream: str | None = None,
    *,
    restoring: bool = False,
    only_dataset: bool = False,
) -> Config:
    """Read a configuration that nothing seems to be wrong with.

    Args:
        config_file: Its file, or a directory with a ``config.yaml``.
        additional_args: Changes from the command line.
        override_stream: The evaluation that it is for; by default it is for a training.
        restoring: Whether a model class that cannot be found may be replaced.
        only_dataset: Whether nothing but the section ``dataset`` is needed.

    Raises:
        ConfigFileError: If the file cannot be read.
        ConfigError: With every mistake that was found.
    """
    if only_dataset:
        config, found = compose(config_file, additional_args)
        found += _Checker(new_library(), config, None, restoring=False, is_whole=not found).check_dataset()
    else:
        config, found = check_config(config_file, additional_args, override_stream, restoring=restoring)
    if found:
        raise ConfigError(found)
    if not only_dataset:
        validate_config(config)
    return config


def check_config(
    config_file: str | os.PathLike[str],
    additional_args: Sequence[str] = (),
    target: str | None = None,
    *,
    restoring: bool = False,
) -> tuple[Config, list[Problem]]:
    """A configuration, and all that is wrong with it, in the order of the text.

    A configuration for training is also looked at as each part of its section ``eval`` would change it.

    Raises:
        ConfigFileError: If the file cannot be read.
        ConfigError: If there is no configuration to go on with.
    """
    library = new_library()
    config, found = compose(config_file, additional_args, target)
    found = _with_checks(found, _Checker(library, config, target, restoring=restoring, is_whole=not found))
    if target is None:
        known = {_where(problem) for problem in found}
        for name in _evaluations(config):
            evaluation, wrong = compose(config_file, additional_args, name)
            # What the command line changes about the training need not fit the evaluation.
            in_text = [problem for problem in wrong if problem.place is not None and problem.place.line]
            checker = _Checker(library, evaluation, name, restoring=restoring, is_whole=not in_text)
            wrong = _with_checks(in_text, checker)
            # What is wrong in the training already need not be said again.
            new = [problem for problem in wrong if _where(problem) not in known]
            known.update(map(_where, new))
            found += [_in_evaluation(problem, name) for problem in new]
    return config, sorted(found, key=_position)


def new_library(more: Sequence[str] = ()) -> Library:
    """What reads modules along ``sys.path``, and then in ``more`` directories."""
    table = json.loads(_BUILT_IN.read_bytes())
    cache = FileCache(cache_directory(), "syntax")
    return Library(ModuleFinder([*sys.path, *more]), cache, table["modules"], frozenset(table["packages"]))


class _Checker:
    """Looks at one configuration, for a training or for one evaluation.

    Args:
        library: Where modules are read.
        config: The configuration.
        target: The evaluation that it is for, if it is for one.
        restoring: Whether a model class that cannot be found may be replaced.
        is_whole: Whether it could be read without mistakes, so that what is not there has not been written.
    """

    def __init__(
        self, library: Library, config: Config, target: str | None, *, restoring: bool, is_whole: bool
    ) -> None:
        self._is_whole = is_whole
        self._library = library
        self._config = config
        self._restoring = restoring
        self._is_strict = policy(config) == "error"
        self._epoch: Epoch = epoch_of(config, target)
        self._more_streams = "main_loop.extra_streams" if target is None else f"eval.{target}.stream_names"
        # Hooks that save, steer or stop step aside in an evaluation that names no hooks.
        self._leaves_out = target is not None and not _names_hooks(config, target)
        self._found: list[Problem] = []

    def check(self) -> list[Problem]:
        self._found += section_problems(self._config)
        dataset = self._section(dataset_entry)
        model = self._section(model_entry)
        if model is not None:
            self._outputs(model)
        observers = self._hooks()
        self._main_loop()
        there = None if dataset is None else streams_of(Ancestry(self._library, dataset))
        if dataset is not None and there is not None:
            self._found += stream_problems(self._config, self._epoch, dataset.name, there)
            for entry in (item.entry for item in observers if item.is_built_in):
                self._found += unknown_streams(entry, self._placer(entry), dataset.name, there)
        if self._epoch.streams is not None and not self._has_misread_streams(there):
            self._found += order_problems(observers, self._epoch.streams, self._placer, self._more_streams)
        return self._found

    def check_dataset(self) -> list[Problem]:
        """What is wrong with the section ``dataset``, whatever the others are like."""
        self._found += [problem for problem in section_problems(self._config) if problem.path.startswith("dataset")]
        self._section(dataset_entry)
        return self._found

    def _section(self, read: Any) -> ClassSource | None:
        try:
            entry: Entry = read(self._config)
        except ConfigError:
            return None  # its form has been complained about
        return self._class(entry)

    def _outputs(self, model: ClassSource) -> None:
        """Outputs that are named like inputs, where the class's outputs are those of the configuration."""
        entry, owner = model_entry(self._config), Ancestry(self._library, model).owner("output_names")
        inputs, outputs = entry.arguments.get("inputs"), entry.arguments.get("outputs")
        if owner is None or not owner.module.name.startswith("emloop"):
            return
        for index, name in enumerate(outputs if isinstance(outputs, list) and isinstance(inputs, list) else ()):
            if name in (inputs or ()):
                message = f"{name!r} is an input as well; an output needs a name of its own"
                place = self._placer(entry)(("outputs", index), True)
                self._found.append(Problem(message, f"model.outputs[{index}]", place))

    def _has_misread_streams(self, there: list[str] | None) -> bool:
        """Whether streams are named that are not there, so that hooks may well mean others."""
        return there is not None and not set(self._epoch.streams or ()) <= set(there)

    def _placer(self, entry: Entry) -> Placer:
        return placer(self._config, entry)

    def _hooks(self) -> list[Observer]:
        """Look over all hooks that the epoch has."""
        observers = []
        for entry in self._hook_entries():
            cls = self._class(entry)
            if not (self._leaves_out and steps_aside(self._library, cls)):
                observers.append(observer(self._library, entry, cls))
        return observers

    def _hook_entries(self) -> Iterable[Entry]:
        section = self._config.get("hooks")
        for index, item in enumerate(section if isinstance(section, list) else ()):
            try:
                entry = hook_entry(item, index)
            except ConfigError:
                continue
            if isinstance(entry.name, str):
                yield entry

    def _class(self, entry: Entry) -> ClassSource | None:
        """Look an entry's class up and its arguments over."""
        found = find_source(self._library, entry.name, entry.kind)
        if isinstance(found, Problem):
            if not (self._restoring and entry.kind is MODEL):
                place = placer(self._config, entry)((), False)
                self._found.append(found._replace(path=entry.label, place=place))
            return None
        if found is not None:
            self._arguments(entry, found, found.name)
        return found

    def _main_loop(self) -> None:
        if isinstance(self._config.get("main_loop") or {}, Mapping):
            module = self._library.module(_MAIN_LOOP[0])
            found = self._library.lookup(module, _MAIN_LOOP[1]) if module else None
            if isinstance(found, ClassSource):
                self._arguments(main_loop_entry(self._config), found, "main_loop")

    def _arguments(self, entry: Entry, cls: ClassSource, owner: str) -> None:
        accepted = accepted_by_source(Ancestry(self._library, cls), constructor=entry.kind is not DATASET)
        if accepted is None:
            return
        if not self._is_strict:
            accepted = accepted._replace(open=True)
        if not self._is_whole:
            accepted = accepted._replace(required=frozenset())
        # What must not be given at all has been complained about.
        given = {name: value for name, value in entry.arguments.items() if name not in entry.kind.injected}
        self._found += problems(
            owner,
            accepted,
            given,
            injected=entry.kind.injected,
            path=entry.label,
            place=self._placer(entry),
        )


def _evaluations(config: Config) -> list[str]:
    section = config.get("eval")
    if not isinstance(section, Mapping):
        return []
    return [name for name, content in section.items() if isinstance(name, str) and isinstance(content or {}, Mapping)]


def _names_hooks(config: Config, target: str) -> bool:
    section = config.get("eval")
    evaluation = section.get(target) if isinstance(section, Mapping) else None
    return isinstance(evaluation, Mapping) and "hooks" in evaluation


def _with_checks(found: list[Problem], checker: _Checker) -> list[Problem]:
    """What was wrong with the text, and all else that is not about the same part of it."""
    starts = {problem.place[:3] for problem in found if problem.place is not None}
    return found + [p for p in checker.check() if p.place is None or not p.place.line or p.place[:3] not in starts]


def _where(problem: Problem) -> object:
    return problem.place or problem.message


def _in_evaluation(problem: Problem, name: str) -> Problem:
    prefix = f"eval.{name}"
    if problem.path == "eval" or problem.path.startswith(prefix):
        return problem
    return problem._replace(path=f"{prefix}.{problem.path}" if problem.path else prefix)


def _position(problem: Problem) -> tuple[bool, str, int, int]:
    place = problem.place
    if place is None:
        return (False, "", 0, 0)
    if place.line:
        return (False, place.origin, place.line, place.column)
    number = place.origin.rpartition(" ")[2]
    return (True, "", int(number) if number.isdigit() else 0, 0)
