"""The constructor obeys what the section ``model`` declares."""

from __future__ import annotations

from functools import partial

import pytest

torch = pytest.importorskip("torch")

import emloop_torch  # noqa: E402

from ..misspelt import unrefused  # noqa: E402
from .nets import deep  # noqa: E402


class Own(emloop_torch.BaseModel):
    """A model with an argument of its own."""

    def create_model(self, hidden=3):
        return deep()


@pytest.mark.parametrize(("cls", "least"), [(Own, 300), (emloop_torch.Supervised, 1000)])
def test_every_misspelt_key_is_refused_by_name(cls, least, create):
    """Of the section, and of optimizers and their groups, schedules, layers and losses, whichever PyTorch has."""
    count, missed = unrefused(cls, partial(create, cls=cls))

    assert missed == []
    assert count >= least


def test_null_leaves_a_key_at_its_default(create):
    """Where the reference says that null is the default, or nothing else is meant by it."""
    keys = ["optimizer", "lr_schedule", "clip_gradient", "compile", "init_from", "monitor", "profile", "saved_model"]
    model = create(cls=Own, **dict.fromkeys([*keys, "inference_inputs", "distributed"]))

    assert model.output_names == ["loss"]
