"""``emloop dataset show``: the first examples of every stream, and statistics of what they hold."""

from __future__ import annotations

import io
import reprlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from emloop._streams import Pass, entered
from emloop._support.files import atomic_write
from emloop._support.printable import printable
from emloop.main_loop.streams import stream_names
from emloop.types import Batch

__all__ = ["show_data"]

_BATCHES = 100
_EXAMPLES = 5
_NARROWEST = len(f"{-1.23456e-78:.6g}  ┃")
"""Columns of an example, none of whose numbers is broken."""

_FEW = 10
"""Values of whole numbers, or texts, that are counted one by one."""

_WIDE = 160
"""Columns of a page that is no terminal's."""


def show_data(dataset: object, html: str | None = None) -> None:
    """Draw a page of the streams of a dataset: to standard output, or into a file of HTML.

    Args:
        dataset: The dataset.
        html: The file.
    """
    from rich.console import Console

    console = Console() if html is None else Console(record=True, file=io.StringIO(), width=_WIDE)
    for name in stream_names(dataset):
        with entered(Pass(training=name == "train", index=0)):
            stream = getattr(dataset, f"{name}_stream")()
            batches = list(islice(stream, _BATCHES))
        _draw(console, name, batches, len(stream) if hasattr(stream, "__len__") else None)
    if html is not None:
        atomic_write(html, console.export_html(inline_styles=True))


def _draw(console: Any, name: str, batches: Sequence[Batch], length: int | None) -> None:
    gathered: dict[str, list[Any]] = defaultdict(list)
    for batch in batches:
        for source, values in batch.items():
            gathered[source].append(values)
    looked = "" if length is None or length == len(batches) else f" in the first {len(batches)} of {length} batches"
    examples = sum(map(len, next(iter(gathered.values()), [])))
    title = f"{name}: {examples} examples{looked or f' in {len(batches)} batches'}"
    statistics = _table(title, ("source", "dtype", "shape", "statistics"))
    room = console.width - max(map(len, gathered), default=0) - len("┃  ┃")
    count = min(max(room // _NARROWEST, 1), _EXAMPLES, examples)
    shown = _table(f"{name}: the first examples", ("source", *map(str, range(1, count + 1))))
    for source, parts in gathered.items():
        _row(statistics, (source, *_form(parts[0]), _statistics(parts)))
        _row(shown, (source, *map(_brief, islice(chain.from_iterable(parts), count))))
    console.print(statistics, shown)


def _table(title: str, heads: Iterable[str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title)), title_justify="left")
    for head in heads:
        table.add_column(Text(printable(head)), overflow="fold")
    return table


def _row(table: Any, cells: Iterable[str]) -> None:
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells))


def _form(values: Any) -> tuple[str, str]:
    """Dtype and shape of an example."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return str(values.dtype), str([*values.shape[1:]] or "")
    first: Any = next(iter(values), None)
    is_array = isinstance(first, np.ndarray)
    return (str(first.dtype), "various") if is_array else (type(first).__name__, "")


def _statistics(parts: Sequence[Any]) -> str:
    """Of numbers: range, mean, missing ones; of what has few values, how often each is there."""
    if all(isinstance(part, np.ndarray) and part.dtype.kind in "biuf" for part in parts):
        values = np.concatenate([part.reshape(-1) for part in parts])
        known = values if values.dtype.kind != "f" else values[~np.isnan(values)]
        found, counts = (known, known) if known.dtype.kind == "f" else np.unique(known, return_counts=True)
        if known.dtype.kind != "f" and len(found) <= _FEW:
            return _shares(dict(zip(found.tolist(), counts.tolist(), strict=True)), len(values))
        if not len(known):
            return "all missing"
        missing = f", {1 - len(known) / len(values):.1%} missing" if len(known) < len(values) else ""
        return f"{known.min():.6g} to {known.max():.6g}, mean {known.mean(dtype=np.float64):.6g}{missing}"
    texts = [value for part in parts for value in part if isinstance(value, str)]
    if not texts:
        return ""
    counted = Counter(texts)
    if len(counted) <= _FEW:
        return _shares(counted, len(texts))
    lengths = [len(text) for text in texts]
    return f"{len(counted)} different, {min(lengths)} to {max(lengths)} characters, {counted['']} empty"


def _shares(counts: Any, total: int) -> str:
    return ", ".join(f"{_brief(value)}: {count / total:.1%}" for value, count in sorted(counts.items()))


_short = reprlib.Repr()
_short.maxstring = 60


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size > _FEW:
        return f"{value.dtype} {[*value.shape]}"
    if isinstance(value, np.ndarray | np.generic):
        as_six_digits: Any = {"float_kind": "{:.6g}".format}
        return np.array2string(np.asarray(value), separator=", ", max_line_width=_WIDE, formatter=as_six_digits)
    return _short.repr(value)
