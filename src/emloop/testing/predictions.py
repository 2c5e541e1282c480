"""Promises about saved models that are loaded to predict."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from typing import Any

import numpy as np
import pytest

from emloop._state.random import random_state
from emloop._yaml import documents as yaml
from emloop.predictor import Predictor, load

from .case import World, arrays
from .promise import promise, same

__all__ = ["Predictions"]

_ALONE = "Predicting.predict changes nothing that another call uses; take a lock where it has to"


class Predictions:
    """What a model answers once it has been trained and saved."""

    @pytest.fixture(scope="class")
    @classmethod
    @promise("predict", "need no dataset to be restored, or restore without the source")
    def predictor(cls, world: World) -> Predictor:
        """A saved model can be loaded from where there is nothing but it and its configuration."""
        directory = world.run_dir("loaded")
        shutil.move(world.trained("predicted").save("best"), directory)
        (directory / "config.yaml").write_text(yaml.dump(world.config), encoding="utf-8")
        with chdir(directory):
            return load(directory)

    @pytest.fixture
    def inputs(self, world: World, predictor: Predictor) -> dict[str, Any]:
        """A batch that the model has not seen, less what prediction does not need."""
        return {name: np.asarray(world.later[0][name]) for name in predictor.inputs}

    @promise("predict", "let Predicting.predict compute what run computes in evaluation")
    def test_a_prediction_is_what_an_evaluation_says(
        self, world: World, predictor: Predictor, inputs: dict[str, Any]
    ) -> None:
        """A loaded model predicts what the trained one says in its evaluation, as far as that needs no labels."""
        predicted, evaluated = predictor.predict(inputs), arrays(world.trained().run(world.later[0], train=False))
        assert predicted, "there are no outputs"
        shared = [name for name in predicted if name in evaluated]
        expected, found = ({name: one[name] for name in shared} for one in (evaluated, predicted))
        same(expected, found, "prediction", exact=False)

    @promise("predict", _ALONE)
    def test_threads_predict_at_once(self, predictor: Predictor, inputs: dict[str, Any]) -> None:
        """Four threads at once are told what one is told, again and again."""
        alone = predictor.predict(inputs)
        with ThreadPoolExecutor(4) as threads:
            for found in threads.map(lambda _: predictor.predict(inputs), range(12)):
                # A framework may use fewer cores in each of several threads, which adds up in another order.
                same(alone, found, "prediction beside others", exact=False)

    @promise("predict", "compute every example by itself, in evaluation mode")
    def test_examples_are_predicted_by_themselves(self, predictor: Predictor, inputs: dict[str, Any]) -> None:
        """What is said of an example does not depend on those beside it."""
        same(predictor.predict(inputs), predictor.predict(inputs, batch_size=1), "one by one", exact=False)

    @promise("predict", "draw from generators of the model's own, or put the global ones back")
    def test_predicting_draws_nothing_that_is_the_callers(self, predictor: Predictor, inputs: dict[str, Any]) -> None:
        """Global random generators are after a prediction where they were before."""
        before = random_state()
        predictor.predict(inputs)
        same(before, random_state(), "random generators")
