"""Names of a file's inputs and outputs, and their names in the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emloop.arguments import distinct_names
from emloop.errors import ConfigError, Problem
from emloop.suggest import did_you_mean

__all__ = ["Names", "some_names"]


class Names:
    """Names of inputs and outputs, in the file and in the configuration.

    Args:
        inputs: Inputs of the file.
        outputs: Outputs of the file.
        rename: Name in the configuration → name in the file, where they differ.

    Raises:
        ConfigError: If the file lacks a name, or two names mean one.
    """

    def __init__(self, inputs: Iterable[str], outputs: Iterable[str], rename: Any = None) -> None:
        called = _renamed({} if rename is None else rename, [*inputs, *outputs])
        self._inputs = {called.get(name, name): name for name in inputs}
        self._outputs = {called.get(name, name): name for name in outputs}

    def chosen(self, inputs: Any, outputs: Any) -> tuple[dict[str, str], dict[str, str]]:
        """Name in the configuration → name in the file, of the inputs and of the outputs to use.

        Args:
            inputs: All inputs, in any order; ``None``: in that of the file.
            outputs: Some of the outputs; ``None``: all.

        Raises:
            ConfigError: With every unknown or missing name.
        """
        taken, problems = _chosen("inputs", "takes", inputs, self._inputs)
        given, more = _chosen("outputs", "gives", outputs, self._outputs)
        missing = [name for name in self._inputs if name not in taken]
        if missing:
            problems.append(Problem(f"the file needs {', '.join(map(repr, missing))} as well", keys=("inputs",)))
        if problems or more:
            raise ConfigError(problems + more)
        return taken, given


def some_names(argument: str, names: Any) -> list[str]:
    """The names that an argument lists.

    Raises:
        ConfigError: If it is not a list of different names, or is empty.
    """
    listed = list(distinct_names(argument, names))
    if not listed:
        raise ConfigError.about(argument, "expected a list of different names, got []")
    return listed


def _renamed(rename: Any, known: list[str]) -> dict[str, str]:
    """Name in the file → name in the configuration."""
    if not isinstance(rename, Mapping) or not all(isinstance(name, str) for pair in rename.items() for name in pair):
        raise ConfigError.about("rename", f"expected a mapping such as {{images: input.1}}, got {rename!r}")
    called = {inner: name for name, inner in rename.items()}
    if len(called) < len(rename):
        raise ConfigError.about("rename", f"expected one name for each input and output, got {dict(rename)}")
    for name in called:
        if name not in known:
            hints = (*did_you_mean(name, known), f"the file has: {', '.join(known)}")
            raise ConfigError(Problem(f"there is no {name!r} in the file", keys=("rename",), hints=hints))
    return called


def _chosen(argument: str, verb: str, names: Any, there: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    listed = list(there) if names is None else some_names(argument, names)
    problems = [
        Problem(
            f"{argument}: the file {verb} no {name!r}",
            hints=(*did_you_mean(name, there), f"it {verb}: {', '.join(there)}"),
        )
        for name in listed
        if name not in there
    ]
    return {name: there[name] for name in listed if name in there}, problems
