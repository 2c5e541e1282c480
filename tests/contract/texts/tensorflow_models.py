"""Networks of every kind for TensorFlow, each a few lines."""

import keras
import tensorflow as tf
from keras import layers

import emloop_tensorflow


class Classifier(emloop_tensorflow.BaseModel):
    """Tells which of four classes a signal is of."""

    def predict(self, signals, training=False):
        logits = self.body(signals, training=training)
        return {"logits": logits, "predictions": tf.argmax(logits, 1)}

    def call(self, signals, labels, training):
        outputs = self.predict(signals, training)
        loss = keras.losses.sparse_categorical_crossentropy(labels, outputs["logits"], from_logits=True)
        return {**outputs, "loss": loss, "accuracy": tf.cast(outputs["predictions"] == labels, tf.float32)}


class Mlp(Classifier):
    def create_model(self, hidden=16):
        self.body = keras.Sequential(
            [layers.Flatten(), layers.Dense(hidden, "relu"), layers.Dropout(0.2), layers.Dense(4)]
        )


class ConvNet(Classifier):
    def create_model(self):
        self.body = keras.Sequential(
            [
                layers.Reshape((6, 8, 1)),
                layers.Conv2D(6, 3, kernel_regularizer="l2"),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.MaxPool2D(2),
                layers.Flatten(),
                layers.Dropout(0.3),
                layers.Dense(4),
            ]
        )


class Transformer(emloop_tensorflow.BaseModel):
    """Says what follows each token; the table of tokens is used on the way in and on the way out."""

    def create_model(self, width=16):
        self.tokens = layers.Embedding(16, width)
        self.places = tf.Variable(tf.zeros((8, width)))
        self.blocks = [
            {
                "attention": layers.MultiHeadAttention(2, width // 2, dropout=0.1),
                "norms": [layers.LayerNormalization(), layers.LayerNormalization()],
                "dense": keras.Sequential([layers.Dense(32, "gelu"), layers.Dense(width), layers.Dropout(0.1)]),
            }
            for _ in range(2)
        ]

    def call(self, tokens, training):
        read, following = tokens[:, :-1], tokens[:, 1:]
        states = self.tokens(read) + self.places
        for block in self.blocks:
            first, second = block["norms"]
            normed = first(states)
            states += block["attention"](normed, normed, use_causal_mask=True, training=training)
            states += block["dense"](second(states), training=training)
        logits = states @ tf.transpose(tf.convert_to_tensor(self.tokens.embeddings))
        loss = keras.losses.sparse_categorical_crossentropy(following, logits, from_logits=True)
        return {"loss": tf.reduce_mean(loss, 1), "predictions": tf.argmax(logits, 2)}


class Lstm(Classifier):
    def create_model(self):
        self.body = keras.Sequential(
            [
                layers.Bidirectional(layers.LSTM(10, return_sequences=True, dropout=0.2)),
                layers.Bidirectional(layers.LSTM(10)),
                layers.Dense(4),
            ]
        )


class Plain(emloop_tensorflow.BaseModel):
    """Nothing of Keras but the optimizer; the loss is the mean of the batch."""

    def create_model(self):
        draw = tf.random.Generator.from_seed(self.seed)
        self.draw = draw
        self.weights_of = {"in": tf.Variable(draw.normal((48, 12)) / 7), "out": tf.Variable(draw.normal((12, 4)) / 4)}
        self.batches = tf.Variable(0, trainable=False)

    def call(self, signals, labels, training):
        flat = tf.reshape(signals, (-1, 48))
        if training:
            flat += 0.1 * self.draw.normal(tf.shape(flat))
            self.batches.assign_add(1)
        logits = tf.nn.tanh(flat @ self.weights_of["in"]) @ self.weights_of["out"]
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return {"loss": loss, "predictions": tf.argmax(logits, 1)}
