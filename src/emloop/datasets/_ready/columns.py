"""Columns of a table → what a batch holds: numbers, classes, texts. Everything is converted once, before training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from emloop._support.suggest import did_you_mean
from emloop.errors import ConfigError

__all__ = ["Column", "Layout", "Request", "layout_of", "no_column", "specified"]

_Scalar = str | int | float | bool

Request = tuple[str, str]
"""Name of a column, and what its cells are read as: a dtype, ``str``, or an empty text for what they seem to be."""


@dataclass(frozen=True)
class Column:
    """What a source of a batch is made of.

    Args:
        name: Name of the column in the table, or a list of columns that lie side by side in one array
            ``[B, number of columns]``; by default the source's own.
        dtype: Of the array; ``str`` for texts. By default as the table has it.
        categories: The values that occur, of which a batch holds the index, ``int64``; ``true``: those that occur in
            the training's table, sorted.
        missing: What stands for a missing value. By default floats have NaN, and for anything else it is an error.
    """

    name: str | Sequence[str] | None = None
    dtype: (
        Literal["bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64", "str"] | None
    ) = None
    categories: bool | Sequence[str | int | float | bool] = False
    missing: str | int | float | bool | None = None


@dataclass(frozen=True)
class Part:
    """A column of the table within a source.

    Args:
        column: Its name in the table.
        source: The source.
        place: Where it stands among the columns of the source; ``None``: it is alone.
        dtype: What the source holds, or ``str`` or ``bytes``.
        shape: Of a value.
        categories: What indices stand for; ``None``: values are what they are.
        missing: What stands for a missing value.
    """

    column: str
    source: str
    place: int | None
    dtype: str
    shape: tuple[int, ...]
    categories: tuple[_Scalar, ...] | None
    missing: _Scalar | None

    @property
    def request(self) -> Request:
        """How the column is to be read where it is text."""
        return self.column, "" if self.categories is not None or self.shape or self.dtype == "bytes" else self.dtype


@dataclass(frozen=True)
class Layout:
    """What the rows of a table become.

    Args:
        parts: In the order of the sources.
    """

    parts: tuple[Part, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """A row: of a text, it has the place in another file, and the length."""
        fields = []
        for source in self.sources:
            parts = [part for part in self.parts if part.source == source]
            first = parts[0]
            kind, shape = ("<i8", (2,)) if first.dtype in ("str", "bytes") else (first.dtype, first.shape)
            fields.append((source, kind, shape if first.place is None else (len(parts), *shape)))
        return np.dtype(fields)

    @property
    def sources(self) -> list[str]:
        """Names of the sources."""
        return list(dict.fromkeys(part.source for part in self.parts))

    def described(self) -> list[dict[str, Any]]:
        """All that rows depend on, as JSON."""
        return [asdict(part) for part in self.parts]

    @property
    def requests(self) -> list[Request]:
        """The columns that are needed."""
        return list(dict.fromkeys(part.request for part in self.parts))

    def rows(
        self, columns: Mapping[Request, Any], keep: Callable[[bytes], int], where: Callable[[int], str]
    ) -> npt.NDArray[Any]:
        """Some rows of a table.

        Args:
            columns: Values of the columns, each a ``pyarrow.Array``.
            keep: Writes the bytes of texts to the other file, and returns where they begin there.
            where: Number of one of these rows → its place for messages.

        Raises:
            ConfigError: If a value is not what it should be.
        """
        rows = np.zeros(len(next(iter(columns.values()))), self.dtype)
        for part in self.parts:
            values = _converted(columns[part.request], part, where)
            if part.dtype in ("str", "bytes"):
                pieces = [piece.encode() if isinstance(piece, str) else piece for piece in values.to_pylist()]
                lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
                rows[part.source][:, 0] = keep(b"".join(pieces)) + np.cumsum(lengths) - lengths
                rows[part.source][:, 1] = lengths
            elif part.place is None:
                rows[part.source] = _as_array(values, part)
            else:
                rows[part.source][:, part.place] = _as_array(values, part)
        return rows


def specified(columns: Sequence[str] | Mapping[str, Any] | None, there: Sequence[str]) -> dict[str, Column]:
    """Source → column, of what a configuration says.

    Args:
        columns: Names of columns, or source → what it is made of; ``None``: each column is a source.
        there: The columns of the table.

    Raises:
        ConfigError: If a column is not there.
    """
    # What pandas made up to keep the numbers of its rows is nobody's source.
    wanted = [name for name in there if not name.startswith("__index_level_")] if columns is None else columns
    if columns is None and "" in there:
        hint = "name those to read in `columns`; pandas leaves out the numbers of its rows with `index=False`"
        raise ConfigError.about("columns", f"column {there.index('') + 1} has no name", hint)
    if not wanted:
        raise ConfigError.about("columns", "expected a column, or several, got none")
    found = {}
    for number, source in enumerate(wanted):
        given = columns[source] if isinstance(columns, Mapping) else source
        column = (
            given if isinstance(given, Column) else Column(**given) if isinstance(given, Mapping) else Column(given)
        )
        found[source] = column = column if column.name is not None else replace(column, name=source)
        keys = ("columns", source if isinstance(columns, Mapping) else number)
        for name in [column.name] if isinstance(column.name, str) else column.name or ():
            if name not in there:
                hints = (*did_you_mean(name, there), *_maybe_delimiter(there))
                raise ConfigError.about(keys, no_column(name, there), *hints)
        if not column.name:
            raise ConfigError.about(keys, "expected a column, or a list of columns, got none")
    return found


def no_column(name: str, there: Sequence[str]) -> str:
    """There is no such column."""
    return f"there is no column {name!r}; the table has: {', '.join(there) or 'none'}"


def _maybe_delimiter(there: Sequence[str]) -> list[str]:
    found = [sign for sign in ";,|\t" if len(there) == 1 and sign in there[0]]
    return [f"is {sign!r} what stands between the cells? Say so: `delimiter: {sign!r}`" for sign in found[:1]]


def layout_of(columns: Mapping[str, Column], schema: Any, values_of: Callable[[str], Iterable[Any]]) -> Layout:
    """What the rows of a table become.

    Args:
        columns: Source → column.
        schema: The table's ``pyarrow.Schema``.
        values_of: Name of a column → its values, batch by batch, as ``pyarrow.Array``.

    Raises:
        ConfigError: If a column's type is none that a batch can hold.
    """
    parts: list[Part] = []
    for source, column in columns.items():
        is_alone = isinstance(column.name, str)
        names = [column.name] if isinstance(column.name, str) else list(column.name or ())
        own = [_part(source, column, name, None if is_alone else n, schema, values_of) for n, name in enumerate(names)]
        if not is_alone:
            texts = [part.column for part in own if part.dtype in ("str", "bytes")]
            if texts:
                raise ConfigError.about(
                    ("columns", source),
                    f"column {texts[0]!r} holds texts, which cannot lie beside numbers in one array",
                    "say what it is: `categories: true` for classes, or a dtype; or name it alone",
                )
            if len({part.shape for part in own}) > 1:
                raise ConfigError.about(("columns", source), "the columns hold lists of different lengths")
            dtype = str(np.result_type(*(part.dtype for part in own)))
            own = [replace(part, dtype=dtype) for part in own]
        parts += own
    return Layout(tuple(parts))


def _part(
    source: str, column: Column, name: str, place: int | None, schema: Any, values_of: Callable[[str], Iterable[Any]]
) -> Part:
    keys = ("columns", source)
    held = schema.field(name).type
    dtype, shape = _held(held, keys, name, values_of)
    categories: tuple[Any, ...] | None = None
    if column.categories is True:
        categories = tuple(_occurring(values_of(name), column.missing))
    elif column.categories:
        categories = tuple(column.categories)
    if (shape or dtype == "bytes") and (
        categories is not None or column.dtype == "str" or (column.dtype and not shape)
    ):
        raise ConfigError.about(keys, f"column {name!r} holds {held}, of which nothing else can be made")
    dtype = column.dtype or ("int64" if categories is not None else dtype)
    return Part(name, source, place, dtype, shape, categories, column.missing)


def _held(
    held: Any, keys: tuple[str, ...], name: str, values_of: Callable[[str], Iterable[Any]]
) -> tuple[str, tuple[int, ...]]:
    """The dtype and the shape of a value of an Arrow type."""
    from pyarrow import types  # noqa: PLC0415 - an extra

    if types.is_dictionary(held):
        return _held(held.value_type, keys, name, values_of)
    if types.is_fixed_size_list(held) or types.is_list(held) or types.is_large_list(held):
        dtype, inner = _held(held.value_type, keys, name, values_of)
        first = next((values[0] for values in values_of(name) if len(values)), None)
        if dtype not in ("str", "bytes") and not inner:
            return dtype, (len(first) if first is not None and first.is_valid else 0,)
    simple = {
        "str": types.is_string(held) or types.is_large_string(held),
        "bytes": types.is_binary(held) or types.is_large_binary(held),
        "float64": types.is_decimal(held) or types.is_null(held),
        "datetime64[D]": types.is_date(held),
        f"datetime64[{getattr(held, 'unit', '')}]": types.is_timestamp(held),
        f"timedelta64[{getattr(held, 'unit', '')}]": types.is_duration(held),
        "number": types.is_boolean(held) or types.is_integer(held) or types.is_floating(held),
    }
    found = next((dtype for dtype, is_so in simple.items() if is_so), None)
    if found is None:
        hint = "name the columns to read in `columns`, or store it as numbers, texts, or lists of numbers of one length"
        raise ConfigError.about(keys, f"column {name!r} holds {held}, which a batch cannot hold", hint)
    return np.dtype(held.to_pandas_dtype()).name if found == "number" else found, ()


def _occurring(values: Iterable[Any], missing: _Scalar | None) -> list[Any]:
    found = {value for batch in values for value in batch.unique().to_pylist() if value not in (None, "")}
    return sorted(found if missing is None else {*found, missing})


def _converted(values: Any, part: Part, where: Callable[[int], str]) -> Any:
    """The values of a column, as an Arrow array of the type that is wanted."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import compute  # noqa: PLC0415

    def wrong(row: int, message: str, *hints: str) -> ConfigError:
        return ConfigError.about(("columns", part.source), f"{where(row)}: column {part.column!r} {message}", *hints)

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    values = _complete(values, part, wrong)
    if part.shape:
        values = _flat(values, part, wrong)
    if part.categories is not None:
        known = pa.array([_of_type(value, values.type, part, "categories").as_py() for value in part.categories])
        codes = compute.index_in(values, value_set=known.cast(values.type))
        if codes.null_count:
            row = compute.index(compute.is_null(codes), True).as_py()
            listed = ", ".join(map(repr, part.categories[:8])) + (", …" if len(part.categories) > 8 else "")
            raise wrong(row, f"has the unknown category {values[row].as_py()!r}", f"its categories: {listed}")
        values = codes
    if part.dtype == "bytes" or (part.dtype == "str" and _is_text(values.type)):
        return values
    target = pa.string() if part.dtype == "str" else pa.from_numpy_dtype(np.dtype(part.dtype))
    try:
        # A float need not hold every digit, but an integer must hold the whole number.
        return compute.cast(values, target, safe=not _is_float(part))
    except pa.ArrowInvalid:
        row = next(
            row for row in range(len(values)) if not _fits(values[row : row + 1], target, safe=not _is_float(part))
        )
        hint = "`categories: true` makes numbers of texts" if _is_text(values.type) else "ask for another dtype"
        raise wrong(
            row // (part.shape or (1,))[0], f"has {values[row].as_py()!r}, which is no {part.dtype}", hint
        ) from None


def _complete(values: Any, part: Part, wrong: Callable[..., ConfigError]) -> Any:
    """The values, without those that are missing as far as they have to be there."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import compute  # noqa: PLC0415

    if part.categories is not None and _is_text(values.type):
        values = compute.if_else(compute.equal(values, ""), None, values)
    gone = compute.is_null(values, nan_is_null=pa.types.is_floating(values.type) and part.missing is not None)
    if part.missing is not None:
        return compute.if_else(gone, _of_type(part.missing, values.type, part, "missing"), values)
    if values.null_count and (part.categories is not None or part.shape or not _is_float(part)):
        hint = "say what stands for it: " + (
            "`missing: unknown`"
            if _is_text(values.type)
            else "`missing: 0`" + ("" if part.categories else "; or `dtype: float32`, which has NaN")
        )
        raise wrong(compute.index(gone, True).as_py(), "has no value", hint)
    return values


def _is_float(part: Part) -> bool:
    return part.dtype not in ("str", "bytes") and np.dtype(part.dtype).kind == "f"


def _fits(values: Any, target: Any, *, safe: bool) -> bool:
    try:
        values.cast(target, safe=safe)
    except ValueError:
        return False
    return True


def _is_text(held: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415 - an extra

    return bool(types.is_string(held) or types.is_large_string(held))


def _of_type(value: _Scalar, held: Any, part: Part, key: str) -> Any:
    """A value of the configuration, of the type of its column."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    try:
        return pa.scalar(value).cast(held)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        message = f"{value!r} is no {held}, as column {part.column!r} holds"
        raise ConfigError.about(("columns", part.source, key), message) from None


def _flat(values: Any, part: Part, wrong: Callable[..., ConfigError]) -> Any:
    """The numbers of lists, one after the other."""
    from pyarrow import compute  # noqa: PLC0415 - an extra

    if not hasattr(values, "flatten") or not hasattr(values.type, "value_type"):
        raise wrong(0, f"holds {values.type}, and lists in the first table")
    odd = compute.index(compute.equal(compute.list_value_length(values), part.shape[0]), False).as_py()
    if odd >= 0:
        raise wrong(odd, f"has a list of {len(values[odd])}, and the first row one of {part.shape[0]}")
    flat = values.flatten()
    if flat.null_count and np.dtype(part.dtype).kind != "f":
        row = compute.index(compute.is_null(flat), True).as_py() // part.shape[0]
        raise wrong(row, "has a list with a missing value", "`dtype: float32` has NaN for it")
    return flat


def _as_array(values: Any, part: Part) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return array.reshape(-1, *part.shape)
