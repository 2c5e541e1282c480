"""A convolutional network for small images, of layers of Keras."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

import emloop_tensorflow


class ConvNet(emloop_tensorflow.BaseModel):
    """Tells which of ten digits an image of 8 × 8 pixels shows."""

    def create_model(self, channels: int = 32, dropout: float = 0.5) -> None:
        """Make a fresh network; these arguments are keys of the section ``model``.

        Args:
            channels: Number of channels of the first layer; the second has twice as many.
            dropout: Part of the signals that is left out in training.
        """
        self.net = keras.Sequential(
            [
                layers.Reshape((8, 8, 1)),
                layers.Conv2D(channels, 3, padding="same"),
                layers.BatchNormalization(momentum=0.9),
                layers.ReLU(),
                layers.Conv2D(2 * channels, 3, padding="same"),
                layers.BatchNormalization(momentum=0.9),
                layers.ReLU(),
                layers.MaxPooling2D(),
                layers.Dropout(dropout),
                layers.Flatten(),
                layers.Dense(10),
            ]
        )

    def predict(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """What the model says of images alone: all that is needed in production.

        Args:
            images: ``float32 [B, 8, 8]`` from 0 to 1.
            training: Whether the model learns from them.
        """
        logits = self.net(images, training=training)
        return {"probabilities": tf.nn.softmax(logits), "predictions": tf.argmax(logits, 1), "logits": logits}

    def call(self, images: tf.Tensor, labels: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """The same, with what it is worth.

        Args:
            images: ``float32 [B, 8, 8]`` from 0 to 1.
            labels: ``int64 [B]``.
            training: Whether the model learns from them.
        """
        outputs = self.predict(images, training)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs["logits"])
        return {**outputs, "loss": loss, "accuracy": tf.cast(outputs["predictions"] == labels, tf.float32)}
