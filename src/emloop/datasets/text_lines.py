"""Lines of text files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from emloop.errors import ConfigError

from ._ready.dataset import Paths
from ._ready.tables import MadeTables
from ._ready.tabular import Columns, TabularDataset

__all__ = ["TextLines"]

_BATCH = 1 << 14  # lines


class TextLines(TabularDataset):
    """Lines of text files, as large as the disk.

    .. code-block:: yaml

        dataset:
          class: TextLines
          path: [data/spam.txt, data/ham.txt]
          columns:
            text: text
            label: {name: file, categories: [ham, spam]}
          split: {train: 0.9, valid: 0.1}

    A batch holds a list of texts, without line ends. The lines are kept as :class:`Table` keeps its rows.

    Needs ``pip install 'emloop[tables]'``.

    Args:
        path: A file, a pattern, or a list; or a mapping from stream to these. UTF-8.
        columns: What a batch holds, as of a table with the columns ``text``, and ``file``: the file's name without its
            suffix.
        skip_blank: Whether to leave out lines without a letter.
        **kwargs: What all ready datasets take.

    Raises:
        ConfigError: If a file is not there, or no text.
        MissingExtraError: If PyArrow is not installed.
    """

    def _configure_dataset(  # type: ignore[override]
        self, path: Paths, columns: Columns = ("text",), skip_blank: bool = False, **kwargs: Any
    ) -> None:
        import pyarrow as pa  # noqa: PLC0415 - an extra

        files = self._found(path)
        for folder in (one for paths in files.values() for one in paths if one.is_dir()):
            raise ConfigError.about("path", f"{folder} is a folder; name its files: {folder}/*.txt")
        schema = pa.schema([("text", pa.string()), ("file", pa.string())])
        self._tables = {
            source: MadeTables(schema, partial(_lines_in, paths, skip_blank)) for source, paths in files.items()
        }
        self._stamps, self._read_as = self._named(files), ["lines", skip_blank]
        super()._configure_dataset(columns, **kwargs)


def _lines_in(paths: Sequence[Path], skip_blank: bool) -> Iterator[tuple[Any, str]]:
    import pyarrow as pa  # noqa: PLC0415 - an extra

    for path in paths:
        number = 0
        with path.open("rb") as file:
            while read := list(islice(file, _BATCH)):
                lines = []
                for number, line in enumerate(read, start=number + 1):  # noqa: B020 - it goes on
                    try:
                        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                        lines.append(text.removesuffix("\n").removesuffix("\r"))
                    except UnicodeDecodeError as error:
                        message = f"{path}, line {number}: {error.reason}: it is no UTF-8 text"
                        raise ConfigError.about("path", message) from None
                if skip_blank:
                    lines = [line for line in lines if line.strip()]
                names = pa.array([path.stem] * len(lines), pa.string())
                yield pa.RecordBatch.from_arrays([pa.array(lines, pa.string()), names], ["text", "file"]), str(path)
