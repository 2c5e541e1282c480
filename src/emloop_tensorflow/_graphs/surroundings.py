"""What Keras and TensorFlow keep for a whole process, kept for each model instead.

Names of layers count up over all models, and initial values come from one generator. Of two equal models in a process,
the second would have other names and other weights.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python.eager import context
from tensorflow.python.ops import variable_scope

from emloop.errors import StateError
from emloop.saved_models import check_state
from emloop.types import StateTree

__all__ = ["GlobalGenerators", "Surroundings"]

_OF_KERAS = "global_seed_generator"
_STATE = {"seed": (int, None), "words": (np.dtype("uint32"), None), "keras": (np.dtype("int64"), None)}
_POLICIES = {"fp32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


class Surroundings:
    """The global state of Keras for one model.

    Args:
        seed: The run's seed.
        precision: The key ``precision``.
    """

    def __init__(self, seed: int, precision: str) -> None:
        self._seed = seed
        self._drawn = random.Random(seed).getstate()
        self._eager: random.Random | None = None
        self._scopes: dict[str, int] = {}
        self._own: dict[str, Any] = {
            "object_name_uids": defaultdict(int),
            _OF_KERAS: None,
            "dtype_policy": keras.dtype_policies.DTypePolicy(_POLICIES[precision]),
        }

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Around whatever makes layers, variables or graphs of the model."""
        outside, drawn = self._own, random.getstate()
        before = {name: global_state.get_global_attribute(name) for name in outside}
        random.setstate(self._drawn)
        eager = context.context()
        outside_eager = eager._seed, getattr(eager, "_rng", None)
        scopes = variable_scope.get_variable_scope_store()
        outside_scopes, scopes.variable_scopes_count = scopes.variable_scopes_count, self._scopes
        if self._eager is None:
            # Not each time, since it makes kernels begin anew that count what they have drawn.
            tf.random.set_seed(self._seed)
        else:
            eager._seed, eager._rng = self._seed, self._eager
        for name, value in self._own.items():
            global_state.set_global_attribute(name, value)
        try:
            yield
        finally:
            self._own = {name: global_state.get_global_attribute(name) for name in before}
            self._drawn, self._eager = random.getstate(), eager._rng
            eager._seed, eager._rng = outside_eager
            scopes.variable_scopes_count = outside_scopes
            for name, value in before.items():
                global_state.set_global_attribute(name, value)
            random.setstate(drawn)


class GlobalGenerators:
    """What is drawn outside of graphs, by functions of ``tf.random`` and ``keras.random`` that get no seed."""

    def seed(self, seed: int) -> None:
        """Start both from a seed."""
        tf.random.set_seed(seed)
        global_state.set_global_attribute(_OF_KERAS, None)

    def state_dict(self) -> StateTree:
        """The seed of TensorFlow, what it draws further ones from, and the state of Keras; ``None``: has none yet."""
        eager, of_keras = context.context(), global_state.get_global_attribute(_OF_KERAS)
        seeded = eager._seed is not None
        return {
            "seed": eager._seed,
            "words": np.array(eager._rng.getstate()[1], np.uint32) if seeded else None,
            "keras": None if of_keras is None else np.asarray(of_keras.state.numpy()),
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            StateError: If it is anything else.
        """
        check_state("the generators of TensorFlow", state, _STATE)
        if all(np.array_equal(value, state[name]) for name, value in self.state_dict().items()):
            return  # whoever has drawn nothing, pays for nothing
        seed, words, keras_state = state["seed"], state["words"], state["keras"]
        of_keras, drawing = None, random.Random()
        try:
            if seed is not None:
                drawing.setstate((3, tuple(map(int, words)), None))
                # Kernels count what they have drawn by a seed, and begin anew with this.
                tf.random.set_seed(seed)
                context.context()._rng.setstate(drawing.getstate())
            if keras_state is not None:
                of_keras = keras.random.SeedGenerator(0, name=_OF_KERAS)
                of_keras.state.assign(keras_state)
        except (TypeError, ValueError, OverflowError, tf.errors.OpError) as error:
            raise StateError(f"the generators of TensorFlow: the state is none: {error}") from error
        global_state.set_global_attribute(_OF_KERAS, of_keras)
