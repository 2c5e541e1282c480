"""What a model does with a batch.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

import numpy as np
import pytest

from emloop._contracts import Stateful
from emloop._state.tree import copy_tree, equal_trees
from emloop.errors import BatchError, ConfigError, EmloopError, MissingVariableError, SavedModelError
from emloop.types import Batch

from .case import Case, World

__all__ = ["Running", "arrays"]


def arrays(outputs: Batch) -> dict[str, np.ndarray]:
    """Outputs as arrays of their own, which nothing can change any more."""
    return {name: np.array(values) for name, values in outputs.items()}


class Running:
    """Promises about running batches, about variables, and about mistakes."""

    def test_every_output_has_a_value_for_every_example(self, world: World) -> None:
        """Whatever the size of the batch; outputs have a length, can be iterated, and become arrays."""
        model = world.create()
        for train in (False, True):
            for batch in (world.batches[0], _first(world.batches[0], 3)):
                outputs = model.run(batch, train=train)
                size = len(next(iter(batch.values())))
                assert list(model.output_names) == list(outputs)
                for values in outputs.values():
                    assert len(values) == size
                    assert len(list(values)) == size
                    assert np.asarray(values).shape[0] == size

    def test_names_are_those_of_the_configuration(self, world: World) -> None:
        """In the order given."""
        model = world.create()
        assert list(model.input_names) == list(world.config["model"]["inputs"])
        assert list(model.output_names) == list(world.config["model"]["outputs"])

    def test_training_lowers_the_loss(self, world: World, case: Case) -> None:
        """Seen again, the same batches are less of a surprise."""
        if case.loss is None:
            pytest.skip(f"{case.name}: has no loss")
        model = world.create()
        before = np.mean([np.mean(arrays(model.run(batch, train=False))[case.loss]) for batch in world.batches])
        for _ in range(4):
            for batch in world.batches:
                model.run(batch, train=True)
        after = np.mean([np.mean(arrays(model.run(batch, train=False))[case.loss]) for batch in world.batches])
        assert after < before

    def test_an_evaluation_changes_no_training(self, world: World) -> None:
        """Evaluating now and then leaves the training as it would have been, to the bit."""
        quiet, watched = world.create(), world.create()
        for batch in world.batches:
            expected = arrays(quiet.run(batch, train=True))
            watched.run(world.batches[-1], train=False)
            assert equal_trees(expected, arrays(watched.run(batch, train=True)))

    def test_an_evaluation_can_be_repeated(self, world: World) -> None:
        """The same batch gives the same outputs, as long as nothing is trained."""
        model = world.create()
        model.run(world.batches[0], train=True)
        first = arrays(model.run(world.batches[1], train=False))
        assert equal_trees(first, arrays(model.run(world.batches[1], train=False)))

    def test_equal_seeds_give_equal_trainings(self, world: World) -> None:
        """Everything that is random comes from the run's seed."""
        one, other = world.create(), world.create()
        for batch in world.batches:
            assert equal_trees(arrays(one.run(batch, train=True)), arrays(other.run(batch, train=True)))

    def test_outputs_stay_what_they_were(self, world: World) -> None:
        """What hooks have gathered does not change when the model is trained on."""
        model = world.create()
        outputs = model.run(world.batches[0], train=True)
        then = arrays(outputs)
        for batch in world.batches[1:]:
            model.run(batch, train=True)
        assert equal_trees(then, arrays(outputs))

    def test_a_batch_stays_what_it_was(self, world: World) -> None:
        """The hooks that follow see what the stream gave."""
        model, batch = world.create(), world.batches[0]
        before = copy_tree(dict(batch))
        model.run(batch, train=True)
        assert equal_trees(before, dict(batch))

    def test_a_variable_can_be_read_and_changed(self, world: World, case: Case) -> None:
        """Hooks that steer the training need no other door; what they have set is part of the state."""
        if case.variable is None:
            pytest.skip(f"{case.name}: has no variable that hooks may change")
        model = world.create()
        value = model.get_variable(case.variable)  # type: ignore[attr-defined]  # an optional part of the contract
        model.set_variable(case.variable, value / 4)  # type: ignore[attr-defined]
        assert model.get_variable(case.variable) == pytest.approx(value / 4)  # type: ignore[attr-defined]
        other = world.create()
        assert isinstance(model, Stateful)
        other.load_state_dict(model.state_dict())  # type: ignore[attr-defined]
        assert other.get_variable(case.variable) == model.get_variable(case.variable)  # type: ignore[attr-defined]

    def test_an_unknown_variable_is_named(self, world: World, case: Case) -> None:
        """And those that there are."""
        if case.variable is None:
            pytest.skip(f"{case.name}: has no variable that hooks may change")
        for ask in ("get_variable", "set_variable"):
            with pytest.raises(MissingVariableError, match=r"'learning_rat'"):
                getattr(world.create(), ask)("learning_rat", *([1.0] if ask == "set_variable" else []))

    def test_an_unknown_key_is_refused_with_a_suggestion(self, world: World) -> None:
        """Before anything is run."""
        with pytest.raises(ConfigError, match=r"unknown argument 'output_'(.|\n)*did you mean"):
            world.create(output_=["x"])

    def test_names_must_be_lists(self, world: World) -> None:
        """A single name would count as the list of its letters."""
        with pytest.raises(ConfigError, match=r"inputs"):
            world.create(inputs="features")

    def test_an_unknown_output_is_named(self, world: World) -> None:
        """At the latest with the first batch."""
        with pytest.raises(EmloopError, match="outputt"):
            world.create(outputs=["outputt"]).run(world.batches[0], train=False)

    def test_examples_of_different_shapes_are_no_batch(self, world: World) -> None:
        """The error names the source."""
        name = next(iter(world.config["model"]["inputs"]))
        batch = dict(_first(world.batches[0], 2))
        batch[name] = [np.zeros(2).tolist(), np.zeros(3).tolist()]
        with pytest.raises(BatchError, match=name):
            world.create().run(batch, train=False)

    def test_a_model_without_run_directory_cannot_be_saved(self, world: World) -> None:
        """It says so."""
        with pytest.raises(SavedModelError, match="log_dir"):
            world.create().save("best")


def _first(batch: Batch, count: int) -> Batch:
    return {name: values[:count] for name, values in batch.items()}
