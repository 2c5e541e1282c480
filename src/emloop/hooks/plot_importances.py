"""Draw how much each feature counts for a model that can tell."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from emloop._contracts import SAFE, AbstractHook, AbstractModel, Explaining, ResumeChanges
from emloop._support.files import atomic_write
from emloop.declare import File, Positive
from emloop.errors import ConfigError, Problem
from emloop.types import EpochData

from ._checks.arguments import at_least, extra_module
from ._figures.figures import new_figure, write_figure

__all__ = ["PlotImportances"]

_ROW, _AROUND, _HIGHEST = 0.25, 1.0, 600  # inches
_LONGEST_NAME = 40


class PlotImportances(AbstractHook):
    """Draw the importances of the features, or the coefficients of a linear model, as bars; the largest come first.

    .. code-block:: yaml

        hooks:
          - PlotImportances: {top: 20}

    Writes ``importances.png`` at the end of the training, and ``importances.csv`` with all features beside it; with
    ``n_epochs``, also ``importances_epoch_<epoch>.png`` and ``.csv`` in every ``n_epochs``-th epoch in which something
    has been learned. The values are the model's own, and may be negative; they are ordered by their absolute values.
    A model without any is an error when it is built, or, where only the learned model can tell, when they are drawn.

    Args:
        output_dir: The run directory.
        model: The model; of those that come with emloop, estimators of scikit-learn, LightGBM and XGBoost.
        top: Number of features to draw.
        n_epochs: Number of epochs from one picture to the next; by default there is only that of the end.

    Raises:
        MissingExtraError: If Matplotlib is not installed.
        ConfigError: If the model has no importances.
    """

    stateless = True
    reads = ()
    writes = (
        *(File("importances.png"), File("importances.csv")),
        *(File("importances_epoch_<epoch>.png"), File("importances_epoch_<epoch>.csv")),
    )
    resume_changes: ClassVar[ResumeChanges] = {"*": SAFE}

    def __init__(
        self, output_dir: str, model: AbstractModel, top: Positive = 20, n_epochs: Positive | None = None
    ) -> None:
        super().__init__()
        extra_module("matplotlib", extra="plots", who="PlotImportances")
        if not isinstance(model, Explaining):
            message = f"PlotImportances: {type(model).__name__} has no importances of features"
            hint = "a model offers them by importances(), see emloop.abilities.Explaining"
            raise ConfigError(Problem(message, hints=(hint,)))
        model.importances()  # which may tell at once that there never are any
        self._model = model
        self._folder = Path(output_dir)
        self._top = at_least("top", 1, top)
        self._n_epochs = None if n_epochs is None else at_least("n_epochs", 1, n_epochs)

    def after_epoch(self, epoch_id: int, epoch_data: EpochData | None = None) -> None:
        """Draw them if it is the epoch's turn."""
        if self._n_epochs is not None and epoch_id % self._n_epochs == 0:
            self._write(f"importances_epoch_{epoch_id}")

    def after_training(self, success: bool) -> None:
        """Draw them as they are in the end."""
        if success:
            self._write("importances")

    def _write(self, name: str) -> None:
        found = sorted(self._model.importances().items(), key=lambda item: (not math.isnan(item[1]), -abs(item[1])))
        if not found:
            return  # nothing has been learned yet
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([("feature", "importance"), *found])
        atomic_write(self._folder / f"{name}.csv", table.getvalue().encode())
        self._draw(found[: self._top], self._folder / f"{name}.png")

    def _draw(self, found: Sequence[tuple[str, float]], path: Path) -> None:
        figure = new_figure((6.4, min(_AROUND + _ROW * len(found), _HIGHEST)))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        axes.barh(range(len(found)), [value if math.isfinite(value) else 0 for _, value in found])
        names = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name, _ in found]
        axes.set_yticks(range(len(found)), names, parse_math=False)  # a dollar sign begins no formula
        axes.invert_yaxis()
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel("importance")
        write_figure(figure, path)
