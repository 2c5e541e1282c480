"""Drawing how much each feature counts."""

from __future__ import annotations

import math

import pytest
from PIL import Image

from emloop.errors import ConfigError
from emloop.hooks.plot_importances import PlotImportances


class Weighing:
    """A model that can say how much its features count."""

    def __init__(self, **found):
        self.found = found

    def importances(self):
        return self.found


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_end_of_the_training_has_a_picture_and_a_table(tmp_path):
    """Of all features in the table, the largest first whatever their sign, and of some in the picture."""
    hook = PlotImportances(str(tmp_path), Weighing(age=0.25, city=-2.0, **{"a$b$": 1e-20, "c, d": 0.5}), top=3)
    hook.after_epoch(1, {})
    hook.after_training(True)

    assert files_in(tmp_path) == ["importances.csv", "importances.png"]
    assert (tmp_path / "importances.csv").read_text() == (
        'feature,importance\ncity,-2.0\n"c, d",0.5\nage,0.25\na$b$,1e-20\n'
    )
    with Image.open(tmp_path / "importances.png") as image:
        assert image.size == (640, 175)


def test_pictures_of_epochs_begin_when_something_is_learned(tmp_path):
    """Every n-th epoch has its own; an attempt that failed, or a model that knows nothing, has none."""
    model = Weighing()
    hook = PlotImportances(str(tmp_path), model, n_epochs=2)
    hook.after_epoch(0, {})
    model.found = {"age": 1.0}
    for epoch in (1, 2, 3, 4):
        hook.after_epoch(epoch, {})
    hook.after_training(False)

    assert files_in(tmp_path) == [f"importances_epoch_{n}.{kind}" for n in (2, 4) for kind in ("csv", "png")]


def test_a_diverged_model_is_drawn_too(tmp_path):
    """What is no number comes first, without a bar; long names are cut in the picture only."""
    found = {"fine": 1.0, "x" * 300: math.nan, "large": -math.inf}
    PlotImportances(str(tmp_path), Weighing(**found)).after_training(True)

    lines = (tmp_path / "importances.csv").read_text().splitlines()
    assert lines == ["feature,importance", f"{'x' * 300},nan", "large,-inf", "fine,1.0"]


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (object(), {}, "PlotImportances: object has no importances of features"),
        (Weighing(), {"top": 0}, "top: expected a whole number, 1 or more, got 0"),
        (Weighing(), {"n_epochs": 0}, "n_epochs: expected a whole number, 1 or more, got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_when_the_hook_is_built(tmp_path, model, arguments, message):
    """Not after a night of training."""
    with pytest.raises(ConfigError, match=message):
        PlotImportances(str(tmp_path), model, **arguments)
