"""Words in which a class declares what its arguments accept, and what a hook reads and writes.

The check of a configuration reads such declarations from source and imports nothing, so all that stands in them must be
a literal: texts, numbers, tuples of them, names of classes. The same declarations serve the JSON Schema, the reference
pages, building, and the review of a resume.

.. code-block:: python

    class Optimizers(Family):
        home = "torch.optim"
        base = "torch.optim.Optimizer"
        given = ("params",)
        names = {"learning_rate": "lr"}


    Device = Annotated[str, Limits(pattern="auto|cpu|cuda(:[0-9]+)?", words="'auto', 'cpu' or 'cuda:1'")]


    class SaveBest(AbstractHook):
        reads = (Scalar("{variable}", stream="{stream}", aggregation="{aggregation}"),)
        writes = (SavedModel("{model_name}"),)

A text in braces is a *template*: ``{variable}`` stands for the value of that argument, or its default. A list stands
for each of its items, a mapping for each of its keys, ``{variables:values}`` for each of its values,
``{metrics:inputs}`` for each value below the key ``inputs`` of each of them, and ``null`` for nothing in particular:
every stream, or no variable at all.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

__all__ = [
    "Amount",
    "Component",
    "Count",
    "Every",
    "Family",
    "File",
    "Limits",
    "Names",
    "Positive",
    "SavedModel",
    "Scalar",
    "Statistics",
    "Streams",
    "Variable",
]

When: TypeAlias = tuple[str, Any] | None
"""A declaration that holds only if an argument has this very value; ``None``: always."""


class Limits(NamedTuple):
    """What a value must be beyond its type, as metadata of ``Annotated``.

    Args:
        pattern: Regular expression that a whole text must match; a number is compared as it is written.
        minimum: Smallest number.
        above: Number that must be exceeded.
        maximum: Largest number.
        unique: Whether the items of a list must differ.
        words: What is accepted, for messages: ``a number of batches``. By default the type's own words.
    """

    pattern: str = ""
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    unique: bool = False
    words: str = ""


Positive: TypeAlias = Annotated[int, Limits(minimum=1)]
"""A number of things, at least one."""

Count: TypeAlias = Annotated[int, Limits(minimum=0)]
"""A number of things, maybe none."""

Amount: TypeAlias = Annotated[float, Limits(minimum=0)]
"""How much of something: any number from 0 on."""

Names: TypeAlias = Annotated[Sequence[str], Limits(unique=True, words="a list of different names")]
"""A list of different names."""

Every: TypeAlias = Annotated[
    int | str,
    Limits(
        pattern=r"0*[1-9][0-9]*(ba|sa|ep)?|([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)(s|min|h)",
        words="an interval such as 100 or 100ba (batches), 1000sa (samples), 2ep (epochs), 30s, 10min or 2h",
    ),
]
"""An interval; see :mod:`emloop._support.intervals`."""


class Family:
    """Classes that may stand in one place of a configuration; to be extended, never made.

    Annotated attributes of a family are keys that stand beside the arguments of the class, with their defaults (those
    without must be given); or, of those in ``names``, what an argument accepts.
    """

    word: ClassVar[str] = ""
    """What to call such a class in a message; by default the family's own name in lower case."""

    home: ClassVar[str] = ""
    """Module whose classes go by their short names; empty: only full names."""

    base: ClassVar[str] = ""
    """Full name of the class that all of them extend; empty: any class."""

    methods: ClassVar[Sequence[str]] = ()
    """Methods that every such class has."""

    needs_class: ClassVar[bool] = True
    """Whether a mapping must name a class."""

    given: ClassVar[Sequence[str]] = ()
    """Arguments that are not the configuration's to give."""

    names: ClassVar[Mapping[str, str]] = {}
    """What a configuration calls an argument → what the class calls it."""

    refused: ClassVar[Mapping[str, str]] = {}
    """Classes by short name, and arguments, that cannot be used → why, and what to do instead.

    A class's reason is read after its name: ``evaluates the model several times``.
    """

    variants: ClassVar[Mapping[str, type]] = {}
    """Keys that hold lists of mappings with arguments of the class → the data class of the keys beside these."""

    old_names: ClassVar[bool] = False
    """Whether the names that classes and arguments had for emloop 0.2 are understood, such as ``AdamOptimizer``."""

    shared: ClassVar[Sequence[str] | None] = None
    """Arguments that all classes of the library that ``home`` is in take by their ``**kwargs``, which hold no others;
    ``None``: who knows."""

    nested: ClassVar[bool] = False
    """Whether arguments of a class may be components of the same family."""

    functions: ClassVar[bool] = False
    """Whether a function, or a class method, may stand for a class: one that makes such an object or, where the family
    has no ``base``, one that is called later, with further arguments.

    Arguments of a ``nested`` family may be objects of any class then, such as the configuration of a network.
    """

    called: ClassVar[Mapping[str, str]] = {}
    """Key beside the arguments, a mapping whose own keys are arguments, too → the method of the class that takes them.
    A function takes them itself."""


F = TypeVar("F", bound=Family)


class Component(Generic[F]):
    """A class with arguments: ``Adam``, or ``{class: Adam, learning_rate: 0.1}``; an annotation, never made."""


class Variable(NamedTuple):
    """A variable of every batch: a source, an output of the model, or what a hook adds to them.

    Args:
        name: Template of its name.
        stream: Template of the stream; empty: every stream.
        when: Argument and value without which nothing of this holds.
    """

    name: str
    stream: str = ""
    when: When = None


class Scalar(NamedTuple):
    """A value of ``epoch_data``.

    Args:
        name: Template of its name.
        stream: Template of the stream; empty: every stream.
        aggregation: Template of the one that is read of a variable's statistics. Empty: a plain value; ``None``: either
            a plain value or the mean; of every stream, whatever there is.
        when: Argument and value without which nothing of this holds.
    """

    name: str
    stream: str = ""
    aggregation: str | None = None
    when: When = None


class Statistics(NamedTuple):
    """Aggregations of a variable of every batch in ``epoch_data``, which equal ones by another hook only repeat.

    Args:
        name: Template of the variable's name; where the argument is, or holds, a mapping, its values list aggregations.
        stream: Template of the stream; empty: every stream.
        aggregations: Those of a variable that is named alone.
        when: Argument and value without which nothing of this holds.
    """

    name: str
    stream: str = ""
    aggregations: tuple[str, ...] = ("mean",)
    when: When = None


class Streams(NamedTuple):
    """Streams of a dataset that an argument names: an item of its ``streams_from``.

    Args:
        argument: A mapping whose keys are their names.
        names: Their names where it is given and no such mapping, but a component, say.
        without: Keys that name no stream.
        unless: Another argument and a value of it, with which nothing of this holds.
    """

    argument: str
    names: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    unless: When = None

    def of(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Their names, for the arguments that a configuration gives."""
        value = arguments.get(self.argument)
        if self.unless is not None and self.unless in arguments.items():
            return ()
        if isinstance(value, Mapping) and "class" not in value:
            return tuple(name for name in value if name not in self.without)
        return () if value is None else self.names


class File(NamedTuple):
    """A file, relative to the run directory.

    Args:
        name: Template of its path. Angle brackets stand for what only the run knows: ``epoch_<epoch>.png``.
        stream: Template of the stream whose file it is; empty: every stream.
        when: Argument and value without which nothing of this holds.
    """

    name: str
    stream: str = ""
    when: When = None


class SavedModel(NamedTuple):
    """A saved model of the run.

    Args:
        name: Template of its suffix: ``best`` of ``model_best``; angle brackets as in a file's name.
        when: Argument and value without which nothing of this holds.
    """

    name: str
    when: When = None
