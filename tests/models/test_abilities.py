"""What a model can do beside its contract follows from what it defines."""

from __future__ import annotations

import pytest

from emloop import abilities
from emloop.models import Ensemble


class Plain:
    """A model written for emloop 0.2."""

    input_names = output_names = ()

    def run(self, batch, train):
        """Run nothing."""

    def save(self, name_suffix):
        """Save nothing."""


class Reading(Plain):
    """Offers its numbers, and lets nobody change them."""

    def get_variable(self, name):
        """One of none."""


class Everything(Reading):
    """Has every ability."""

    restore_fallback = "package.Class"
    exports_to = ("onnx",)
    prediction_inputs = ()
    can_stop_here = True

    def state_dict(self): ...
    def load_state_dict(self, state): ...
    def set_variable(self, name, value): ...
    def prefetch(self, batch): ...
    def end_epoch(self): ...
    def first_nan(self): ...
    def export(self, to, directory, batches): ...
    def predict(self, batch): ...
    def model_facts(self): ...
    def importances(self): ...


class Stateless(Everything):
    """Takes an ability back that it has inherited."""

    state_dict = None


@pytest.mark.parametrize(("model", "expected"), [
    pytest.param(Plain, set(), id="none-is-needed"),
    pytest.param(Reading, {"Inspectable"}, id="reading-without-changing"),
    pytest.param(Everything, set(abilities.__all__), id="all"),
    pytest.param(Stateless, set(abilities.__all__) - {"Stateful"}, id="taken-back"),
])  # fmt: skip
def test_a_model_has_the_abilities_whose_members_it_defines(model, expected):
    """Nothing is inherited or registered; half of a protocol is none."""
    found = {name for name in abilities.__all__ if isinstance(model(), getattr(abilities, name))}

    assert found == expected


def test_a_model_that_saves_nothing_claims_little():
    """An ensemble is restorable in name alone: its fallback is None."""
    ensemble = Ensemble(inputs=["x"], outputs=["y"], model_paths=["a"])

    assert not isinstance(ensemble, abilities.Stateful)
    assert ensemble.restore_fallback is None
