"""Frames of pandas and Polars that a function of the user's makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from emloop.declare import Component, Family, Streams
from emloop.errors import ConfigError

from ._ready.components import made_of
from ._ready.tables import MadeTables
from ._ready.tabular import Columns, TabularDataset

__all__ = ["Frame"]


class FrameMaker(Family):
    """A function that returns a frame."""

    functions: ClassVar[bool] = True
    word: ClassVar[str] = "function"


class Frame(TabularDataset):
    """Rows of a frame of pandas or Polars, of an Arrow table, or of a mapping of columns, which a function makes.

    .. code-block:: yaml

        dataset:
          class: Frame
          frame: {class: people.load, year: 2024}
          columns: {features: [age, income], label: {name: class, categories: true}}
          split: {train: 0.8, valid: 0.2}

    The function is called once in every process. Its rows become what those of :class:`Table` become.

    Needs ``pip install 'emloop[tables]'``.

    Args:
        frame: The function with its arguments; or a mapping from stream to these.
        columns: What a batch holds, as of a :class:`Table`.
        **kwargs: What all ready datasets take.

    Raises:
        ConfigError: If what it returns is no frame, or a column is not what it should be.
        MissingExtraError: If PyArrow is not installed.
    """

    streams_from: ClassVar[Sequence[Streams]] = (
        Streams("frame", ("train",)),
        Streams("split", without=("stratify", "group", "seed")),
        Streams("folds", ("train",)),
        Streams("folds", ("valid",), unless=("fold", None)),
    )

    def _configure_dataset(  # type: ignore[override]
        self,
        frame: Component[FrameMaker] | Mapping[str, Component[FrameMaker]],
        columns: Columns = None,
        **kwargs: Any,
    ) -> None:
        self._tables = {}
        for source, (keys, found) in made_of(frame, FrameMaker, "frame").items():
            table = _as_arrow(found, keys)
            read = partial(map, lambda batch: (batch, "the frame"), table.to_batches(max_chunksize=1 << 14))
            self._tables[source] = MadeTables(table.schema, read)
        super()._configure_dataset(columns, **kwargs)


def _as_arrow(frame: Any, keys: tuple[str, ...]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - an extra

    try:
        if isinstance(frame, pa.Table):
            return frame
        if hasattr(frame, "to_arrow"):
            return frame.to_arrow()
        if isinstance(frame, Mapping):
            return pa.table({name: pa.array(values) for name, values in frame.items()})
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (ValueError, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:  # pandas' own among them
        raise ConfigError.about(keys, f"the frame cannot be read: {'; '.join(map(str, error.args))}") from error
    except AttributeError:
        message = f"expected a frame of pandas or Polars, got {type(frame).__name__}"
        raise ConfigError.about(keys, message) from None
