"""Promises about running batches, variables and mistakes.

``B`` is the number of examples in a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emloop._contracts import Stateful, Steerable
from emloop._state.tree import copy_tree
from emloop.errors import BatchError, ConfigError, EmloopError, MissingVariableError
from emloop.types import Batch

from .case import Case, World, arrays
from .promise import claims, promise, refuses, same

__all__ = ["Running"]


class Running:
    """What a model does with a batch."""

    @promise("run-a-batch", "return B values for every name in output_names and nothing else, for any B")
    def test_every_output_has_a_value_for_every_example(self, world: World) -> None:
        """Every output has one value per example, whatever the size of the batch."""
        model = world.create()
        names = list(model.output_names)
        for train in (False, True):
            for batch in (world.batches[0], _first(world.batches[0], 3)):
                # By name, as the main loop calls it.
                outputs, size = model.run(batch=batch, train=train), len(next(iter(batch.values())))
                assert list(outputs) == names, f"run returns {list(outputs)}, but output_names is {names}"
                for name, values in outputs.items():
                    shape = np.asarray(values).shape
                    assert shape[:1] == (size,), f"output {name!r} has shape {shape} for a batch of {size} examples"
                    counts = len(values), len(list(values))
                    assert counts == (size, size), f"output {name!r}: len and iteration give {counts} for {size} values"

    @promise("run-a-batch", "keep `inputs` and `outputs` of the configuration, in that order, and put weights behind")
    def test_names_are_those_of_the_configuration(self, world: World) -> None:
        """`input_names` and `output_names` are what the configuration lists; behind them, what weighs the outputs."""
        model = world.create()
        same(list(world.config["model"]["inputs"]), list(model.input_names), "input_names")
        same(world.outputs_of(model), list(model.output_names), "output_names")

    @promise("run-a-batch", "with train=True take one optimisation step on the batch")
    def test_training_lowers_the_loss(self, world: World, case: Case) -> None:
        """Training on the same batches lowers their loss."""
        if case.loss is None:
            pytest.skip(f"{case.name}: has no loss")
        model = world.create()
        before = world.evaluate(model, case.loss)
        for _ in range(4):
            for batch in world.batches:
                model.run(batch, train=True)
        after = world.evaluate(model, case.loss)
        assert after < before, f"{case.loss!r} is {after:g} after four passes, {before:g} before"

    @promise("run-a-batch", "with train=False change no parameter, no running average and no random generator")
    def test_an_evaluation_changes_no_training(self, world: World) -> None:
        """An evaluation leaves the training as it would have been, to the bit."""
        quiet, watched = world.create(), world.create()
        for number, batch in enumerate(world.batches):
            expected = arrays(quiet.run(batch, train=True))
            watched.run(world.batches[-1], train=False)
            same(expected, arrays(watched.run(batch, train=True)), f"outputs of batch {number}, after an evaluation")

    @promise("run-a-batch", "with train=False switch off dropout and whatever else is random")
    def test_an_evaluation_can_be_repeated(self, world: World) -> None:
        """The same batch gives the same outputs as long as nothing is trained."""
        model = world.create()
        model.run(world.batches[0], train=True)
        first = arrays(model.run(world.batches[1], train=False))
        same(first, arrays(model.run(world.batches[1], train=False)), "outputs of the second evaluation")

    @promise("run-a-batch", "seed all that is random with emloop.seeding.current_seed(), when the model is built")
    def test_equal_seeds_give_equal_trainings(self, world: World) -> None:
        """Everything random comes from the run's seed."""
        one, other = world.create(), world.create()
        for number, batch in enumerate(world.batches):
            expected = arrays(one.run(batch, train=True))
            same(expected, arrays(other.run(batch, train=True)), f"outputs of batch {number} of the second training")

    @promise("run-a-batch", "return copies, not views of buffers that the next batch overwrites")
    def test_outputs_stay_what_they_were(self, world: World) -> None:
        """Outputs that hooks have gathered do not change when training goes on."""
        model = world.create()
        outputs = model.run(world.batches[0], train=True)
        then = arrays(outputs)
        for batch in world.batches[1:]:
            model.run(batch, train=True)
        same(then, arrays(outputs), "outputs of the first batch, some batches later")

    @promise("run-a-batch", "work on copies of the sources, and put nothing into the batch")
    def test_a_batch_stays_what_it_was(self, world: World) -> None:
        """A batch is not changed by the model, since hooks see it afterwards."""
        model = world.create()
        for train in (False, True):
            batch = copy_tree(dict(world.batches[0]))
            model.run(batch, train=train)
            same(dict(world.batches[0]), batch, f"the batch after run(train={train})")

    @promise("let-hooks-steer", "define get_variable and set_variable, and return what was set from state_dict")
    def test_a_variable_can_be_read_and_changed(self, world: World, case: Case) -> None:
        """A variable can be read and changed, and is part of the state."""
        model, other = self._steerable(world, case), world.create()
        value = model.get_variable(case.variable) / 4
        model.set_variable(case.variable, value)
        assert model.get_variable(case.variable) == pytest.approx(value), f"{case.variable} keeps its old value"
        claims(other, Stateful).load_state_dict(model.state_dict())
        same(model.get_variable(case.variable), other.get_variable(case.variable), f"{case.variable} after loading")

    @promise("let-hooks-steer", "raise MissingVariableError with the name asked for and those there are")
    def test_an_unknown_variable_is_named(self, world: World, case: Case) -> None:
        """An unknown variable is refused by name."""
        model = self._steerable(world, case)
        with refuses(MissingVariableError, "get_variable", "'learning_rat'"):
            model.get_variable("learning_rat")
        with refuses(MissingVariableError, "set_variable", "'learning_rat'"):
            model.set_variable("learning_rat", 1.0)

    @promise("declare-the-settings", "list all arguments in the constructor; check others with emloop.arguments")
    def test_an_unknown_key_is_refused_with_a_suggestion(self, world: World) -> None:
        """An unknown key is refused before anything runs, with a suggestion."""
        with refuses(ConfigError, "the key 'output_'", "unknown argument 'output_'", "did you mean"):
            world.create(output_=["x"])

    @promise("declare-the-settings", "check `inputs` and `outputs` with emloop.arguments.distinct_names")
    def test_names_must_be_lists(self, world: World) -> None:
        """A single name is refused, since it would count as the list of its letters."""
        with refuses(ConfigError, "inputs: features", "inputs"):
            world.create(inputs="features")

    @promise("run-a-batch", "raise ConfigError, or MissingVariableError in the first run, with the name")
    def test_an_unknown_output_is_named(self, world: World) -> None:
        """An output that cannot be computed is refused by name, at the latest by the first batch."""
        with refuses(EmloopError, "outputs: [outputt]", "outputt"):
            world.create(outputs=["outputt"]).run(world.batches[0], train=False)

    @promise("run-a-batch", "raise BatchError with the name of the source when it makes no array")
    def test_examples_of_different_shapes_are_no_batch(self, world: World) -> None:
        """Examples that differ in shape are refused, and the source is named."""
        name = next(iter(world.config["model"]["inputs"]))
        batch = dict(_first(world.batches[0], 2))
        batch[name] = [np.zeros(2).tolist(), np.zeros(3).tolist()]
        with refuses(BatchError, f"{name!r} with examples of 2 and 3 numbers", name):
            world.create().run(batch, train=False)

    @promise("run-a-batch", "check batches with emloop.saved_models.require_sources, at the latest after a KeyError")
    def test_a_lacking_source_is_named(self, world: World) -> None:
        """A batch without one of its sources is refused, and the source is named."""
        name = next(iter(world.config["model"]["inputs"]))
        batch = {other: values for other, values in world.batches[0].items() if other != name}
        with refuses(MissingVariableError, f"a batch without {name!r}", f"no {name!r}"):
            world.create().run(batch, train=False)

    @staticmethod
    def _steerable(world: World, case: Case) -> Any:
        if case.variable is None:
            pytest.skip(f"{case.name}: has no variable that hooks may change")
        return claims(world.create(), Steerable)


def _first(batch: Batch, count: int) -> Batch:
    return {name: values[:count] for name, values in batch.items()}
