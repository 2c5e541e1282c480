"""All that reading files can tell about a configuration, in one go, without importing what it names.

What stays unclear here is checked once more when everything is built, before the first batch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from emloop._settings.fitting import argument_problems, inner_places
from emloop._settings.flows import Flows, flows_of
from emloop._settings.hints import Accepted
from emloop._settings.kinds import DATASET, MODEL
from emloop._settings.naming import SourceResolver, find_source
from emloop._settings.signatures import accepted_by_source
from emloop._source.ancestry import Ancestry
from emloop._source.cache import FileCache, cache_directory
from emloop._source.finder import ModuleFinder
from emloop._source.library import ClassSource, Library
from emloop._source.values import value_of
from emloop._support import moved
from emloop._support.files import read_small
from emloop._support.printable import printable
from emloop._support.problems import in_run, missing_package
from emloop._support.suggest import did_you_mean, nearest
from emloop._support.trust import is_untrusted
from emloop.errors import ConfigError, Problem

from ._composing.compose import compose
from ._composing.extends import EXTENDS
from ._composing.foreign import is_in_run
from ._composing.source import Config, find_config
from .entries import Entry, by_position, dataset_entry, hook_entry, main_loop_entry, model_entry, placed, policy
from .home import came_with_run, home_of, import_path
from .hook_order import Observer, Variables, collisions, order_problems
from .sections import SECTIONS, is_near_miss, section_problems, validate_config
from .stream_names import Epoch, epoch_of, stream_problems, streams_of, unknown_streams
from .untrusted import foreign_class, review

__all__ = ["MAIN_LOOP_CLASS", "check_config", "checked_config", "new_library"]

MAIN_LOOP_CLASS = "emloop.main_loop.loop.MainLoop"
_BUILT_IN = os.path.join(os.path.dirname(__file__), "builtin.json")


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
        UntrustedError: If it is a stranger's, and asks for what such a one must not.
    """
    if is_untrusted():
        review(compose(config_file, additional_args, override_stream)[0])
    if only_dataset:
        config, found = compose(config_file, additional_args)
        library = new_library(import_path(find_config(config_file)))
        found += _Checker(library, config, None, restoring=False, is_whole=not found).check_dataset()
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

    A configuration for training is also checked as each part of its section ``eval`` would change it. The one of a run
    whose model can be restored without its class need not have that class.

    Raises:
        ConfigFileError: If the file cannot be read.
        ConfigError: If there is no configuration to go on with.
    """
    library = new_library(import_path(find_config(config_file)))
    config, found = compose(config_file, additional_args, target)
    found = _with_checks(found, _Checker(library, config, target, restoring=restoring, is_whole=not found))
    if target is None:
        known = {_where(problem) for problem in found}
        for name in _evaluations(config):
            evaluation, wrong = compose(config_file, additional_args, name, of_training=True)
            checker = _Checker(library, evaluation, name, restoring=restoring, is_whole=not wrong)
            wrong = _with_checks(wrong, checker)
            # What is wrong in the training already need not be said again.
            new = [problem for problem in wrong if _where(problem) not in known]
            known.update(map(_where, new))
            found += [_in_evaluation(problem, name) for problem in new]
    return config, sorted(found, key=by_position)


def new_library(path: Sequence[str] | None = None) -> Library:
    """What reads modules along a path; by default ``sys.path``."""
    with open(_BUILT_IN, "rb") as file:
        table = json.load(file)
    cache = FileCache(cache_directory(), "syntax")
    return Library(ModuleFinder(path), cache, table["modules"], frozenset(table["packages"]))


class _Checker:
    """Checks one configuration, for a training or for one evaluation.

    Args:
        library: Where modules are read.
        config: The configuration.
        target: The evaluation that it is for, if it is for one.
        restoring: Whether a model class that cannot be found may be replaced.
        is_whole: Whether it could be read without mistakes, so that what is missing has not been written.
    """

    def __init__(
        self, library: Library, config: Config, target: str | None, *, restoring: bool, is_whole: bool
    ) -> None:
        self._is_whole = is_whole
        self._library = library
        self._resolver = SourceResolver(library)
        self._config = config
        self._restoring = restoring
        self._is_strict = policy(config) == "error"
        self._epoch: Epoch = epoch_of(config, target)
        self._more_streams = "main_loop.extra_streams" if target is None else f"eval.{target}.stream_names"
        # Hooks that save, steer or stop step aside in an evaluation that names no hooks.
        self._leaves_out = target is not None and not _names_hooks(config, target)
        self._accepted: dict[str, Accepted | None] = {}

    def check(self) -> list[Problem]:
        """Everything that is wrong, with places."""
        return [placed(self._config, problem) for problem in self._problems()]

    def check_dataset(self) -> list[Problem]:
        """What is wrong with the section ``dataset``, whatever the others are like."""
        found = [problem for problem in section_problems(self._config) if problem.label.startswith("dataset")]
        entry = self._entry(dataset_entry)
        found += [] if entry is None else self._entry_problems(entry)
        return [placed(self._config, problem) for problem in found]

    def _problems(self) -> Iterator[Problem]:
        yield from section_problems(self._config)
        entries = [self._entry(read) for read in (dataset_entry, model_entry)]
        hooks = list(self._hook_entries())
        for entry in (*entries, *hooks):
            if entry is not None:
                yield from self._entry_problems(entry)
        if isinstance(self._config.get("main_loop") or {}, Mapping):
            yield from self._entry_problems(main_loop_entry(self._config))
        yield from self._stray_keys()
        dataset, model = (None if entry is None else self._class(entry) for entry in entries)
        sources = None if dataset is None else self._sources(dataset)
        variables = self._variables(model, sources)
        yield from self._data_problems(dataset, sources if variables else None)
        if variables is not None:
            yield from _named_alike(variables, self._config)
            for problem in _weights_without_variables(variables, self._config):
                if problem.on_key or not self._mentions(dataset, problem):
                    yield problem
        data = entries[0]
        known = None if dataset is None or data is None else (Ancestry(self._library, dataset), data.arguments)
        there = None if known is None else streams_of(*known)
        hooks = [hook for hook in hooks if not (self._leaves_out and self._steps_aside(hook))]
        if dataset is not None and there is not None:
            yield from stream_problems(self._config, self._epoch, dataset.name, there)
            for hook in hooks:
                if (cls := self._class(hook)) is not None and cls.full_name.startswith("emloop."):
                    yield from unknown_streams(hook, dataset.name, there)
        yield from self._flow_problems(hooks, dataset, variables, there)

    def _flow_problems(
        self,
        hooks: Sequence[Entry],
        dataset: ClassSource | None,
        variables: Variables | None,
        there: Sequence[str] | None,
    ) -> Iterator[Problem]:
        """What hooks read and will not find, and what two of them write."""
        classes = [(hook, self._class(hook)) for hook in hooks]
        observers = [
            Observer(hook, Flows() if cls is None else flows_of(self._library, cls, hook.arguments))
            for hook, cls in classes
        ]
        yield from collisions(observers, variables)
        is_misread = there is not None and not set(self._epoch.streams or ()) <= set(there)
        # Where streams are misspelt, hooks may well mean others.
        if self._epoch.streams is not None and not is_misread:
            for problem in order_problems(observers, self._epoch.streams, variables, self._more_streams):
                if problem.kind != "unknown-variable" or not self._mentions(dataset, problem):
                    yield problem

    def _entry(self, read: Any) -> Entry | None:
        try:
            entry: Entry = read(self._config)
        except ConfigError:
            return None  # its form has been complained about
        return entry

    def _hook_entries(self) -> Iterator[Entry]:
        section = self._config.get("hooks")
        for index, item in enumerate(section if isinstance(section, list) else ()):
            try:
                entry = hook_entry(item, index)
            except ConfigError:
                continue
            if isinstance(entry.name, str):
                yield entry

    def _steps_aside(self, entry: Entry) -> bool:
        cls = self._class(entry)
        value = None if cls is None else Ancestry(self._library, cls).value("steers_training")
        return value is not None and value.expression == ["value", True]

    def _class(self, entry: Entry) -> ClassSource | None:
        found = find_source(self._library, entry.name, entry.kind)
        return found if isinstance(found, ClassSource) else None

    def _entry_problems(self, entry: Entry) -> Iterator[Problem]:
        """What is wrong with an entry's class and its arguments."""
        is_main_loop = entry.keys == ("main_loop",)
        if entry.kind is MODEL and self._restoring and foreign_class(entry.name):
            return  # its saved program stands in for it
        found = find_source(self._library, MAIN_LOOP_CLASS if is_main_loop else entry.name, entry.kind)
        if isinstance(found, Problem):
            if not self._has_stand_in(entry):
                yield entry.misnamed(self._with_hidden_file(found, entry.name))
            return
        if not isinstance(found, ClassSource):
            return
        if found.module.name.partition(".")[0] != "emloop" and (place := came_with_run(found.module.name)):
            yield entry.misnamed(in_run(found.module.name, place))
            return
        ancestry = Ancestry(self._library, found)
        yield from _outdated_methods(ancestry, found, entry)
        accepted = accepted_by_source(ancestry, constructor=entry.kind is not DATASET, without=entry.kind.injected)
        self._accepted[entry.label] = accepted
        if accepted is not None:
            if is_main_loop:
                accepted = accepted._replace(name="main_loop")
            if not self._is_strict:
                accepted = accepted._replace(open=True)
            if not self._is_whole:
                accepted = accepted._replace(required=frozenset())
            found_in_arguments = argument_problems(accepted, entry.given, self._resolver, entry.keys)
            yield from filter(partial(self._counts, entry), found_in_arguments)

    def _counts(self, entry: Entry, problem: Problem) -> bool:
        """Whether a problem of its arguments is one: what a model is made of may be gone, as well as its class."""
        return problem.kind != "unknown-class" or not self._has_stand_in(entry)

    def _has_stand_in(self, entry: Entry) -> bool:
        """Whether what cannot be imported is of a model that is restored, for which a fallback may stand in."""
        return entry.kind is MODEL and (self._restoring or _restores(self._config))

    def _with_hidden_file(self, problem: Problem, name: str) -> Problem:
        """The problem, and where else code is, or was: a file of the user's that is hidden, a home that has moved."""
        first, home = name.partition(".")[0], home_of(self._config.origin)
        hints, location = list(problem.hints), self._library.finder.find(first)
        taken = None if location is None else location.file
        owns = (os.path.join(place, file) for place in home.places for file in (f"{first}.py", f"{first}/__init__.py"))
        own = next(filter(os.path.isfile, owns), None)
        if own is not None and own != taken:
            standard = "a module of the standard library"
            source = standard if first in sys.stdlib_module_names else f"read from {taken}"
            hints.append(f"{first} is {source}, which hides {os.path.relpath(own)}: rename the file")
        elif own is None and location is None and not os.path.isdir(home.directory):
            hints.append(f"the code was in {home.directory}, which is gone; where it is now: --home DIR")
        return problem._replace(hints=tuple(hints))

    def _stray_keys(self) -> Iterator[Problem]:
        """Keys that stand outside of all sections, where nothing reads them."""
        for key in self._config:
            is_own = str(key).startswith("x-") or key in self._config.referenced
            if key in SECTIONS or key == EXTENDS or is_own or not self._is_strict or is_near_miss(self._config, key):
                continue
            hints = tuple(
                f"it belongs to the section {name}: {name}.{place}"
                for name in ("main_loop", "model", "dataset")
                for place in self._places(name, str(key))
            )
            hints = moved.hints("section", str(key)) or hints
            hints = hints or (*did_you_mean(str(key), SECTIONS), f"the sections are: {', '.join(SECTIONS)}")
            own = "a key of your own begins with 'x-', or has an anchor or a ${} that uses it"
            problem = Problem(
                f"unknown section {key!r}", str(key), None, (*hints, own), "unknown-section", (key,), True, SECTIONS
            )
            if is_in_run(self._config.origin):
                import logging  # noqa: PLC0415 - costs a check more than it needs

                logger = logging.getLogger(__name__)
                logger.warning("%s: %s; it is ignored", printable(self._config.origin), problem.message)
            else:
                yield problem

    def _places(self, section: str, key: str) -> list[str]:
        """Where in a section a key that stands outside of it means something."""
        accepted = self._accepted.get(section)
        if accepted is None:
            return []
        own = key if key in accepted.hints else nearest(key, accepted.hints)
        return [own] if own else list(inner_places(key, accepted.hints))

    def _variables(self, model: ClassSource | None, sources: frozenset[str] | None) -> Variables | None:
        """The variables of batches, where the outputs are those of the configuration, or literals of the class."""
        if model is None:
            return None
        ancestry = Ancestry(self._library, model)
        owner = ancestry.owner("output_names")
        if owner is not None and owner.module.name.startswith("emloop"):
            arguments = model_entry(self._config).arguments
            inputs, outputs = arguments.get("inputs"), arguments.get("outputs")
        else:
            inputs, outputs = (self._literal(ancestry, name) for name in ("input_names", "output_names"))
        if not (_is_name_list(inputs) and _is_name_list(outputs)):
            return None
        section = self._config.get("main_loop")
        is_complete = isinstance(section, Mapping) and section.get("on_unused_sources") == "error"
        others = frozenset(inputs or ()) | (sources or frozenset())
        return Variables(tuple(outputs or ()), others, is_complete or sources is not None)

    def _data_problems(self, dataset: ClassSource | None, sources: frozenset[str] | None) -> Iterator[Problem]:
        """The first package that the dataset needs and that is not installed; inputs of the model that it lacks."""
        if dataset is not None:
            entry, needed = (
                dataset_entry(self._config),
                self._literal(Ancestry(self._library, dataset), "packages") or (),
            )
            missing = ((module, extra) for module, extra in needed if find_spec(module) is None)
            yield from (entry.misnamed(missing_package(dataset.name, *pair)) for pair in islice(missing, 1))
        if sources is not None:
            yield from _inputs_without_sources(sources, self._config)

    def _sources(self, dataset: ClassSource) -> frozenset[str] | None:
        """The sources of a dataset, where its class says which argument names them, and that is given."""
        ancestry, arguments = Ancestry(self._library, dataset), dataset_entry(self._config).arguments
        named = arguments.get(self._literal(ancestry, "sources_from") or "")
        if not (isinstance(named, Mapping) or _is_name_list(named)) or arguments.get("transforms"):
            return None  # a transform may add others
        return frozenset(named or ()).union(self._literal(ancestry, "sources_beside") or ())

    def _literal(self, ancestry: Ancestry, name: str) -> Any:
        value = ancestry.value(name)
        found = None if value is None else value_of(self._library, value.module, value.expression)
        return None if found is None else found[0]

    def _mentions(self, dataset: ClassSource | None, problem: Problem) -> bool:
        """Whether the dataset's own source has a variable's name in quotes, so that it may well be a source."""
        if dataset is None:
            return True
        value: Any = self._config
        for key in problem.keys:
            value = value[key] if isinstance(value, list) or key in value else key
        for cls in Ancestry(self._library, dataset).order:
            location = self._library.finder.find(cls.module.name)
            if location is not None and location.file is not None and not cls.module.name.startswith("emloop"):
                with open(location.file, encoding="utf-8", errors="replace") as file:
                    text = file.read()
                if any(f"{quote}{name}{quote}" in text for quote in "\"'" for name in (value, *problem.keys[4:])):
                    return True
        return False


def _outdated_methods(ancestry: Ancestry, cls: ClassSource, entry: Entry) -> Iterator[Problem]:
    """Methods that a base once called, under names that it calls no more."""
    own = cls.summary.get("methods", {})
    for name in own:
        new = moved.replaced("python", name)
        if new and new not in own and ancestry.has(new):
            message = f"{cls.name}.{name} is never called"
            yield entry.misnamed(Problem(message, hints=moved.hints("python", name), kind="moved"))


def _inputs_without_sources(sources: Collection[str], config: Config) -> Iterator[Problem]:
    inputs = config["model"].get("inputs")
    for index, name in enumerate(inputs if isinstance(inputs, list) else ()):
        if name not in sources:
            hints = (*did_you_mean(name, sources), f"the dataset's sources: {', '.join(sorted(sources))}")
            message = f"no source of the dataset is called {name!r}"
            yield Problem(message, hints=hints, kind="unknown-variable", keys=("model", "inputs", index))


def _named_alike(variables: Variables, config: Config) -> Iterator[Problem]:
    outputs = config["model"].get("outputs")
    for index, name in enumerate(outputs if isinstance(outputs, list) else ()):
        if name in variables.others:
            message = f"{name!r} is an input as well; an output needs a name of its own"
            yield Problem(message, kind="collision", keys=("model", "outputs", index))


def _weights_without_variables(variables: Variables, config: Config) -> Iterator[Problem]:
    """Names in ``model.weights`` that look like those of outputs or sources, but are none."""
    weights = config["model"].get("weights")
    known = [*variables.outputs, "loss", *sorted(variables.others)]
    for name, weight in weights.items() if isinstance(weights, Mapping) else ():
        for word, on_key in ((name, True), (weight, False)):
            hints = did_you_mean(str(word), known)
            if word not in known and hints:
                message = f"no output of the model and no source is called {word!r}"
                yield Problem(
                    message, hints=hints, kind="unknown-variable", keys=("model", "weights", name), on_key=on_key
                )


def _is_name_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _restores(config: Config) -> bool:
    """Whether a configuration lies in a run, or beside a saved model, that can be restored without the class."""
    directory = os.path.dirname(config.origin) or "."
    names = ("", *(name for name in os.listdir(directory) if name.startswith("model_")))
    manifests = [file for name in names if os.path.isfile(file := os.path.join(directory, name, "manifest.json"))]
    if config["model"].get("restore_fallback"):
        return bool(manifests) or is_in_run(config.origin)
    return any(map(_names_fallback, manifests))


def _names_fallback(manifest: str) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(read_small(Path(manifest)))
        return isinstance(content, Mapping) and bool(content.get("restore_fallback"))
    return False


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
    return problem.place or (problem.kind, problem.keys)


def _in_evaluation(problem: Problem, name: str) -> Problem:
    prefix, label = f"eval.{name}", problem.label
    if label == "eval" or label.startswith(prefix):
        return problem
    return problem._replace(path=f"{prefix}.{label}" if label else prefix)
