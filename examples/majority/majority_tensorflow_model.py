"""A network of Keras that takes a vote."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

import emloop_tensorflow


class MajorityNet(emloop_tensorflow.BaseModel):
    """One hidden layer; how it is trained stands in the config."""

    def create_model(self, hidden: int = 16) -> None:
        """Make a fresh network; its argument is a key of the section ``model``.

        Args:
            hidden: Size of the hidden layer.
        """
        self.net = keras.Sequential([layers.Dense(hidden, "relu"), layers.Dense(2)])

    def predict(self, x: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """What the model says of vectors, ``float32 [B, D]``."""
        logits = self.net(x, training=training)
        return {"logits": logits, "predictions": tf.argmax(logits, 1)}

    def call(self, x: tf.Tensor, y: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """The same, with what it is worth."""
        outputs = self.predict(x, training)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, outputs["logits"])
        return {**outputs, "loss": loss, "accuracy": tf.cast(outputs["predictions"] == y, tf.float32)}
