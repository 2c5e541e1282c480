"""Every error that emloop raises on purpose.

Each is also the built-in exception that a Python programmer would expect, so ``except ValueError``
and ``except EmloopError`` both work::

    EmloopError
    ├── ConfigError                    ValueError           exit code 2
    │   ├── ConfigFileError            OSError              a config that cannot be read
    │   ├── UnknownClassError          ModuleNotFoundError  a class or hook name that leads nowhere
    │   └── MissingStreamError         AttributeError       a stream that the dataset does not have
    ├── UsageError                     ValueError           exit code 2: a command that makes no sense
    ├── BatchError                     ValueError           a batch or an output that breaks its contract
    ├── MissingVariableError           KeyError             a variable that nothing provides
    ├── VariableTypeError              TypeError            a variable that is not of the kind needed
    ├── ProducerError                  ChildProcessError    a stream failed while being read ahead
    ├── HookError                      ValueError           a hook that cannot do its work
    ├── StateError                     ValueError           a state tree that does not fit its owner
    ├── CheckpointError                OSError              a commit could not be written or read
    ├── SaveError                      OSError              a model that could not be saved
    ├── CannotResumeError              RuntimeError         exit code 3
    ├── RunDirError                    OSError              a run directory that cannot be used
    │   └── RunLockedError             BlockingIOError      another process is working on the run
    ├── SavedModelError                ValueError           a saved model that is damaged or not there
    ├── DownloadError                  OSError              a file that could not be downloaded, or is another
    ├── ArchiveError                   ValueError           an archive that is damaged, or that no one should unpack
    ├── RankError                      ConnectionError      another process of the training failed, or is gone
    ├── UntrustedError                 PermissionError      exit code 4: data that would run foreign code
    └── MissingExtraError              ImportError          an optional dependency that is not installed

A message says where, what was found, what is accepted, and the way out. A configuration's mistakes
come together, as :class:`Problem` s in one :class:`ConfigError`.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple, Self

__all__ = [
    "ArchiveError",
    "BatchError",
    "CannotResumeError",
    "CheckpointError",
    "ConfigError",
    "ConfigFileError",
    "DownloadError",
    "EmloopError",
    "HookError",
    "MissingExtraError",
    "MissingStreamError",
    "MissingVariableError",
    "Place",
    "Problem",
    "ProducerError",
    "RankError",
    "RunDirError",
    "RunLockedError",
    "SaveError",
    "SavedModelError",
    "StateError",
    "UnknownClassError",
    "UntrustedError",
    "UsageError",
    "VariableTypeError",
]


_WINDOW = 160
"""Characters of a line that an error shows."""


class EmloopError(Exception):
    """Base of all errors that emloop raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        # ``KeyError`` would show the repr of the message, ``OSError`` its errno.
        return str(self.args[0]) if self.args else ""


class Place(NamedTuple):
    """Where in the user's text something stands.

    Args:
        origin: What to call the text: a file's path, or ``argument 3`` for a command-line override.
        line: One-based line, 0 when the text has only one.
        column: One-based column in the excerpt, 0 when unknown.
        excerpt: The line itself, without its line end.
        width: How many characters of the excerpt, from ``column`` on, are meant.
    """

    origin: str
    line: int = 0
    column: int = 0
    excerpt: str = ""
    width: int = 1

    def __str__(self) -> str:
        if self.line:
            return f"{self.origin}:{self.line}:{self.column}"
        return f"{self.origin}: {self.excerpt}" if self.excerpt else self.origin

    def caret(self) -> list[str]:
        """The excerpt with the meant characters underlined, as lines; empty without a column. A long one is cut."""
        if not self.column:
            return []
        number, start = str(self.line or ""), max(self.column - 1, 0)
        cut = max(0, start - _WINDOW // 2) if len(self.excerpt) > _WINDOW else 0
        mark = " " * (start - cut) + "^" * max(min(self.width, _WINDOW // 2), 1)
        return [f"    {number} | {self.excerpt[cut : cut + _WINDOW]}", f"    {' ' * len(number)} | {mark}"]


class Problem(NamedTuple):
    """One mistake in a configuration, as data.

    Args:
        message: What is wrong and what was found, in one line.
        path: What to call the part of the configuration, e.g. ``hooks[0].StopAfter``; made from ``keys`` if empty.
        place: Where it stands in the text, if known.
        hints: What is accepted and how to fix it, a line each.
        kind: What sort of mistake it is, e.g. ``unknown-argument``.
        keys: Keys and indices that lead to it, from the top of the configuration or, in a constructor's error, from its
            arguments.
        on_key: Whether the key at the end of ``keys`` is wrong, not the value behind it.
        accepted: Words that would have been accepted.
    """

    message: str
    path: str = ""
    place: Place | None = None
    hints: tuple[str, ...] = ()
    kind: str = ""
    keys: tuple[Any, ...] = ()
    on_key: bool = False
    accepted: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The part of the configuration, for people: the owner of an unknown key or class, else the argument itself."""
        of_owner = self.kind in ("unknown-argument", "unknown-key") or self.keys[-1:] == ("class",)
        return self.path or dotted(self.keys[:-1] if of_owner else self.keys)

    def under(self, *keys: Any) -> "Problem":
        """The same problem, seen from further up."""
        return self._replace(path="", keys=(*keys, *self.keys))

    def __str__(self) -> str:
        excerpt = self.place.caret() if self.place else []
        # An argument that is shown below need not be shown here as well.
        where = self.place.origin if self.place and excerpt and not self.place.line else str(self.place or "")
        head = ": ".join(part for part in (where, self.label, self.message) if part)
        return "\n".join([head, *excerpt, *(f"  {hint}" for hint in self.hints)])


def dotted(path: Iterable[Any]) -> str:
    """Where something stands in data, as people write it: ``hooks[0].StopAfter``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


class ConfigError(EmloopError, ValueError):
    """The configuration is wrong; ``problems`` lists every mistake that was found."""

    exit_code = 2

    def __init__(self, problems: Problem | str | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def about(cls, argument: str | tuple[Any, ...], message: str, *hints: str) -> Self:
        """What is wrong with one argument, so that a configuration can show where it stands.

        Args:
            argument: Its name, or the keys that lead to a part of it.
            message: What is wrong, without the name.
            hints: What is accepted and how to fix it.
        """
        keys = argument if isinstance(argument, tuple) else (argument,)
        return cls(Problem(message, hints=hints, kind="argument", keys=keys))


class ConfigFileError(ConfigError, OSError):
    """A configuration file that is not there or cannot be read."""


class UnknownClassError(ConfigError, ModuleNotFoundError):
    """A class or hook name in the configuration that leads nowhere."""


class MissingStreamError(ConfigError, AttributeError):
    """A stream that the dataset does not have."""


class UsageError(EmloopError, ValueError):
    """A command line, or a call, that makes no sense."""

    exit_code = 2


class BatchError(EmloopError, ValueError):
    """A batch, a stream or a model's output that breaks its contract."""


class MissingVariableError(EmloopError, KeyError):
    """A stream or variable that a hook needs and nothing provides."""


class VariableTypeError(EmloopError, TypeError):
    """A variable that is not of the kind a hook needs."""


class ProducerError(EmloopError, ChildProcessError):
    """A stream failed while it was read ahead; the original error is the ``__cause__``."""


class HookError(EmloopError, ValueError):
    """A hook that cannot do its work."""


class StateError(EmloopError, ValueError):
    """A state tree that cannot be written, or does not fit the object that should take it."""


class CheckpointError(EmloopError, OSError):
    """A commit that could not be written, or that cannot be read."""


class SaveError(EmloopError, OSError):
    """A model could not be saved; the original error is the ``__cause__``."""


class CannotResumeError(EmloopError, RuntimeError):
    """A run cannot go on exactly where it stopped."""

    exit_code = 3


class RunDirError(EmloopError, OSError):
    """A run directory that cannot be created or used."""


class RunLockedError(RunDirError, BlockingIOError):
    """Another process is working on the run."""


class SavedModelError(EmloopError, ValueError):
    """A saved model that is damaged, incomplete or not there."""


class DownloadError(EmloopError, OSError):
    """A file that could not be downloaded, or that is not the one that was expected."""


class ArchiveError(EmloopError, ValueError):
    """An archive that is damaged, or that holds what must not be unpacked."""


class RankError(EmloopError, ConnectionError):
    """Another process that trains the same model has failed, is gone, or does not answer."""


class UntrustedError(EmloopError, PermissionError):
    """Data that would have run code its reader did not agree to."""

    exit_code = 4


class MissingExtraError(EmloopError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs a package that is not installed: pip install 'emloop[{extra}]'")
