"""Flatten nested variables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from emloop._contracts import AbstractHook
from emloop.declare import Names, Variable
from emloop.errors import ConfigError
from emloop.types import Batch

from ._checks.arguments import optional_name_list
from ._variables.batches import read_variable

__all__ = ["Flatten"]


class Flatten(AbstractHook):
    """Add flat lists of nested variables to the batch, for the hooks behind.

    .. code-block:: yaml

        hooks:
          - Flatten: {variables: {tags: flat_tags}}
          - SaveConfusionMatrix: {labels_name: flat_tags}

    Lists, arrays and all other iterables are flattened at any depth, mappings to their keys; texts stay whole.

    Args:
        variables: Name of a variable → name of the flat one.
        streams: Names of the streams; by default every stream must have the variables.
    """

    stateless = True
    reads = (Variable("{variables}", stream="{streams}"),)
    writes = (Variable("{variables:values}", stream="{streams}"),)

    def __init__(self, variables: Mapping[str, str], streams: Names | None = None) -> None:
        super().__init__()
        if not isinstance(variables, Mapping) or not variables:
            raise ConfigError.about("variables", f"expected names and the names of their flat lists, got {variables!r}")
        self._variables = dict(variables)
        self._streams = optional_name_list("streams", streams)

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Add the flat variables.

        Raises:
            MissingVariableError: If the batch lacks a variable.
        """
        if self._streams is None or stream_name in self._streams:
            for source, target in self._variables.items():
                values = read_variable(batch_data, stream_name, source)
                batch_data[target] = list(_leaves(values))  # type: ignore[index]  # hooks may add to a batch


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray) and value.ndim and not value.dtype.hasobject:
        yield from value.reshape(-1)
    elif isinstance(value, (str, bytes)) or not isinstance(value, Iterable) or getattr(value, "shape", None) == ():
        yield value
    else:
        for element in value:
            yield from _leaves(element)
