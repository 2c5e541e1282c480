"""What a configuration calls the inputs and outputs of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emloop.errors import ConfigError, Problem
from emloop.suggest import did_you_mean

__all__ = ["Names", "names_of"]


class Names:
    """The names of a file, and what the configuration calls them.

    Args:
        inputs: What the file takes.
        outputs: What it gives.
        rename: Name in the configuration → name in the file; all others are the same.

    Raises:
        ConfigError: If a name is not in the file, or gets two.
    """

    def __init__(self, inputs: Iterable[str], outputs: Iterable[str], rename: Any = None) -> None:
        called = _renamed({} if rename is None else rename, [*inputs, *outputs])
        self._inputs = {called.get(name, name): name for name in inputs}
        self._outputs = {called.get(name, name): name for name in outputs}

    def inputs(self, names: Any) -> dict[str, str]:
        """The names of all inputs, which the argument ``inputs`` lists, with those in the file.

        Raises:
            ConfigError: If the file takes others.
        """
        found = _chosen("inputs", "takes", names, self._inputs)
        missing = [name for name in self._inputs if name not in found]
        if missing:
            raise ConfigError(f"inputs: the file needs {', '.join(map(repr, missing))} as well")
        return found

    def outputs(self, names: Any) -> dict[str, str]:
        """The names of the outputs that the argument ``outputs`` lists, with those in the file; all for ``None``.

        Raises:
            ConfigError: If the file does not give one.
        """
        return _chosen("outputs", "gives", names, self._outputs)


def names_of(argument: str, names: Any) -> list[str]:
    """The names that an argument lists.

    Raises:
        ConfigError: If it is not a list of different names; a single one would count as the list of its letters.
    """
    if isinstance(names, str):
        raise ConfigError(f"{argument}: expected a list of names, got {names!r}; write [{names}]")
    listed = list(names) if isinstance(names, Iterable) else [names]
    if not listed or not all(isinstance(name, str) for name in listed) or len(set(listed)) < len(listed):
        raise ConfigError(f"{argument}: expected a list of different names, got {names!r}")
    return listed


def _renamed(rename: Any, known: list[str]) -> dict[str, str]:
    """Name in the file → name in the configuration."""
    if not isinstance(rename, Mapping) or not all(isinstance(name, str) for pair in rename.items() for name in pair):
        raise ConfigError(f"rename: expected a mapping such as {{images: input.1}}, got {rename!r}")
    called = {inner: name for name, inner in rename.items()}
    if len(called) < len(rename):
        raise ConfigError(f"rename: expected one name for each input and output, got {dict(rename)}")
    for name in called:
        if name not in known:
            hints = (*did_you_mean(name, known), f"the file has: {', '.join(known)}")
            raise ConfigError(Problem(f"rename: there is no {name!r} in the file", hints=hints))
    return called


def _chosen(argument: str, verb: str, names: Any, there: Mapping[str, str]) -> dict[str, str]:
    listed = list(there) if names is None else names_of(argument, names)
    problems = [
        Problem(
            f"{argument}: the file {verb} no {name!r}",
            hints=(*did_you_mean(name, there), f"it {verb}: {', '.join(there)}"),
        )
        for name in listed
        if name not in there
    ]
    if problems:
        raise ConfigError(problems)
    return {name: there[name] for name in listed}
