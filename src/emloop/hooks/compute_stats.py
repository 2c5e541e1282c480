"""Compute statistics of variables over an epoch, for the hooks behind."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from emloop._state.kinds import check_state
from emloop._support.suggest import did_you_mean
from emloop.declare import Names, Statistics
from emloop.errors import ConfigError, StateError, VariableTypeError
from emloop.types import EpochData, StateTree

from ._checks.arguments import name_list
from ._statistics.columns import Column
from ._statistics.reductions import GATHERING, STREAMING, gathered
from ._statistics.weights import WeightedColumn
from ._variables.batches import located
from ._variables.gathering import Gathering
from .accumulate_variables import AccumulateVariables

__all__ = ["ComputeStats"]

_LOGGER = logging.getLogger(__name__)

# fmt: off
Aggregation: TypeAlias = Literal[
    "mean", "sum", "prod", "var", "std", "min", "max", "nanmean", "nansum", "nanprod", "nanvar", "nanstd",
    "nanmin", "nanmax", "average", "amin", "amax", "ptp", "all", "any", "size", "count_nonzero", "nancount",
    "nanfraction", "median", "nanmedian", "argmax", "argmin"
]
# fmt: on
"""What can be computed of a variable: all functions of NumPy, and the share and the number of NaN."""


class ComputeStats(AccumulateVariables):
    """Compute means and other statistics of variables, over all their values in an epoch; may be extended.

    .. code-block:: yaml

        hooks:
          - ComputeStats:
              variables: [loss, accuracy, {error: [median, max], depth: [mean, nanfraction]}]

    Leaves ``epoch_data[stream][variable] = {aggregation: number}``. Means, extremes, variances and their like take no
    memory that grows with the epoch; ``median``, ``argmax`` and ``argmin`` keep the values. Where the model says what
    weighs a variable, its mean is ``Σ w·v / Σ w``, and values of weight 0 are left out of everything; it is NaN where
    all are.

    Args:
        variables: Names, which stand for their ``mean``, and mappings of names to lists of aggregations.
        streams: Names of the streams; all others are ignored. By default every stream must have the variables.
    """

    writes: ClassVar[Sequence[NamedTuple]] = (Statistics("{variables}", stream="{streams}"),)

    EXTRA_AGGREGATIONS: ClassVar[frozenset[str]] = frozenset({"nanfraction", "nancount"})
    """Aggregations that NumPy does not have: the share and the number of NaN."""

    def __init__(
        self,
        variables: Iterable[str | Mapping[str, Sequence[Aggregation]]] | Mapping[str, Sequence[Aggregation]],
        streams: Names | None = None,
        **kwargs: Any,
    ) -> None:
        self._aggregations = aggregations = _aggregations_of(variables)
        gathering = [name for name, wanted in aggregations.items() if GATHERING.keys() & wanted]
        super().__init__(gathering, streams, **kwargs)
        streaming = {name: [word for word in wanted if word in STREAMING] for name, wanted in aggregations.items()}
        names = [name for name, words in streaming.items() if words]
        self._columns: Gathering[Column | WeightedColumn] = Gathering(
            names,
            lambda name: Column(streaming[name]),
            weights=self._weights,
            make_weighted=lambda name: WeightedColumn(streaming[name]),
        )
        self._told: set[tuple[str, str]] = set()
        self._gatherings.append(self._columns)

    def _statistics(self, stream_name: str) -> Iterable[tuple[str, OrderedDict[str, Any]]]:
        columns = self._columns.gathered[stream_name]
        for name, wanted in self._aggregations.items():
            results: dict[str, Any] = {}
            try:
                results |= columns[name].results() if name in columns else {}
            except VariableTypeError as error:
                raise located(error, stream_name, name) from error
            if name in self._variables:
                values = self._numbers(stream_name, name)
                weights = self._weight_of(stream_name, name, values.shape)
                results |= {word: gathered(word, values, weights) for word in wanted if word in GATHERING}
            column = columns.get(name)
            if isinstance(column, WeightedColumn) and column.weighs_nothing and (stream_name, name) not in self._told:
                self._told.add((stream_name, name))
                _LOGGER.warning(
                    "stream %r: all weights of %r were 0 in this epoch, so it has no mean (NaN)", stream_name, name
                )
            yield name, OrderedDict((word, results[word]) for word in wanted)

    # The main loop calls events with keywords; who calls this one directly has always given the data first.
    def after_epoch(self, epoch_data: EpochData, epoch_id: int = 0) -> None:  # type: ignore[override]
        """Write every variable's statistics for every stream of the epoch; NaN where a stream had no batch.

        Aggregations that another hook has left for a variable stay.
        """
        self._describe_streams(epoch_data)
        super().after_epoch(epoch_id, epoch_data)

    # Named again, since hooks that change only `after_epoch` take no part in evaluations inside an epoch.
    after_evaluation = AccumulateVariables.after_evaluation

    def _describe_stream(self, stream_name: str, data: MutableMapping[str, Any]) -> None:
        for name, statistics in self._statistics(stream_name):
            others = data.get(name)
            data[name] = OrderedDict(others, **statistics) if isinstance(others, Mapping) else statistics

    def state_dict(self) -> StateTree:
        """The unfinished statistics of the unfinished epoch."""
        return {**super().state_dict(), "columns": self._columns.state()}

    def load_state_dict(self, state: StateTree) -> None:
        """Go on where an equal hook stopped.

        Raises:
            StateError: If the state has other streams, variables or aggregations than the hook.
        """
        rest = dict(check_state(self, state, {"accumulated": object, "columns": {str: {str: object}}}))
        columns = rest.pop("columns")
        super().load_state_dict(rest)
        for stream, states in columns.items():
            if not self._observes(stream):
                raise StateError(f"{type(self).__name__}: the state has stream {stream!r}, which the hook ignores")
            check_state(self, states, dict.fromkeys(self._columns.gathered[stream], object))
            if self._variables and stream not in rest["accumulated"]:
                raise StateError(
                    f"{type(self).__name__}: the state lacks the values of {', '.join(map(repr, self._variables))} "
                    f"of stream {stream!r}"
                )
        self._columns.load(columns)


def _aggregations_of(variables: Any) -> dict[str, list[str]]:
    """Every variable → its aggregations, from all forms in which they may be written."""
    if isinstance(variables, str) or not isinstance(variables, Iterable):
        name_list("variables", variables)
    known = sorted([*STREAMING, *GATHERING])
    found: dict[str, list[str]] = {}
    for item in [variables] if isinstance(variables, Mapping) else variables:
        named = item if isinstance(item, Mapping) else {name: ["mean"] for name in name_list("variables", [item])}
        for name, wanted in named.items():
            words = name_list(f"variables.{name}", wanted)
            for word in words:
                if word not in known:
                    hint = "".join(f"; {text}" for text in did_you_mean(word, known))
                    raise ConfigError(
                        f"variables.{name}: unknown aggregation {word!r}{hint}; ComputeStats knows {', '.join(known)}"
                    )
            found[name] = list(dict.fromkeys([*found.get(name, ()), *words]))
    return found
