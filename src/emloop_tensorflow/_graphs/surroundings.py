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
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python.eager import context

__all__ = ["Surroundings"]

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
        self._own: dict[str, Any] = {
            "object_name_uids": defaultdict(int),
            "global_seed_generator": None,
            "dtype_policy": keras.dtype_policies.DTypePolicy(_POLICIES[precision]),
        }

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Around whatever makes layers, variables or graphs of the model."""
        outside, drawn = self._own, random.getstate()
        before = {name: global_state.get_global_attribute(name) for name in outside}
        random.setstate(self._drawn)
        if context.global_seed() != self._seed:
            # Not otherwise, since it makes kernels begin anew that count what they have drawn.
            tf.random.set_seed(self._seed)
        for name, value in self._own.items():
            global_state.set_global_attribute(name, value)
        try:
            yield
        finally:
            self._own = {name: global_state.get_global_attribute(name) for name in before}
            self._drawn = random.getstate()
            for name, value in before.items():
                global_state.set_global_attribute(name, value)
            random.setstate(drawn)
