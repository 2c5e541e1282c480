"""In which epochs hooks act that do so every few epochs."""

from __future__ import annotations

import pytest

from emloop.errors import ConfigError
from emloop.hooks import EveryNEpoch


class Note(EveryNEpoch):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.noted = []

    def _after_n_epoch(self, epoch_id, **kwargs):
        self.noted.append((epoch_id, *kwargs.values()))


def test_the_zeroth_and_every_nth_epoch_count():
    """The action is called for 0, n, 2n and so on, with the epoch's data where there is any."""
    hook = Note(n_epochs=3, model=None, output_dir="/tmp")
    for epoch_id in range(8):
        hook.after_epoch(epoch_id)
    hook.after_epoch(epoch_id=9, epoch_data={"train": {}})

    assert hook.noted == [(0,), (3,), (6,), (9, {"train": {}})]


def test_the_action_may_take_the_epoch_alone():
    """A subclass names only what it needs, as long as nobody hands it more."""

    class Alone(EveryNEpoch):
        def _after_n_epoch(self, epoch_id):
            self.last = epoch_id

    hook = Alone()
    hook.after_epoch(5)
    assert hook.last == 5


@pytest.mark.parametrize("n_epochs", [0, -1, 1.5, "2", True])
def test_what_is_no_number_of_epochs_is_refused(n_epochs):
    """Every 0 epochs is never, or always: a mistake."""
    with pytest.raises(ConfigError) as error:
        Note(n_epochs=n_epochs)

    assert str(error.value) == f"n_epochs: expected a whole number, 1 or more, got {n_epochs!r}"


def test_without_an_action_there_is_nothing_to_build():
    """The class is for extension only."""
    with pytest.raises(TypeError, match="_after_n_epoch"):
        EveryNEpoch()
