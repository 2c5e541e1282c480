"""Networks that could fail for reasons of their own, each a few lines."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import emloop_tensorflow


class Classifier(emloop_tensorflow.BaseModel):
    """Tells which of two classes a point is of."""

    def call(self, points, labels, training):
        logits = self.score(points, training)
        loss = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return {"loss": loss, "logits": logits}

    def create_model(self):
        self.out = layers.Dense(2)

    def score(self, points, training):
        return self.out(points)


class Linear(tf.Module):
    """Counts its calls, in training and otherwise."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.seen = tf.Variable(tf.zeros(2), trainable=False)
        self.weight = tf.Variable(tf.random.stateless_normal((inputs, outputs), seed=[1, inputs]))
        self.calls = tf.Variable(0, trainable=False, dtype=tf.int64)

    def __call__(self, values):
        self.calls.assign_add(1)
        self.seen[0].assign(tf.reduce_mean(values))
        return values @ self.weight


class Modules(Classifier):
    """Modules of TensorFlow in nested lists and mappings."""

    def create_model(self):
        self.parts = [Linear(3, 5), [Linear(5, 5)], {"out": Linear(5, 2)}]

    def score(self, points, training):
        first, (second,), last = self.parts
        return last["out"](tf.nn.tanh(second(tf.nn.relu(first(points)))))


class Net(keras.Model):
    """Has regularisers, losses of its own, noise, statistics and a variable of TensorFlow."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(6, kernel_regularizer="l1")
        self.others = [layers.Dense(6), layers.Dense(2)]
        self.norm, self.noise = layers.BatchNormalization(), layers.GaussianNoise(0.1)
        self.scale = tf.Variable(1.0)

    def call(self, values, training=False):
        values = self.noise(self.norm(self.first(values), training=training), training=training) * self.scale
        for layer in self.others:
            values = layer(values)
        self.add_loss(0.01 * tf.reduce_mean(values**2))
        return values


class Subclassed(Classifier):
    """A model of Keras with a class of its own."""

    def create_model(self):
        self.net = Net()

    def score(self, points, training):
        return self.net(points, training=training)


class Shared(Classifier):
    """A functional model that has a layer twice, and shares it with another one."""

    def create_model(self):
        given, layer = keras.Input((3,)), layers.Dense(3, kernel_regularizer="l2")
        self.net = keras.Model(given, layers.Dense(2)(layer(layers.ReLU()(layer(given)))))
        self.before = keras.Sequential([layer])

    def score(self, points, training):
        return self.net(self.before(points), training=training)


class Looping(Classifier):
    """Takes as many turns, and ways, as the values say."""

    def create_model(self):
        self.turn, self.out = tf.Variable(np.eye(3, dtype="float32")), layers.Dense(2)

    def score(self, points, training):
        turns = 0
        while tf.reduce_sum(tf.abs(points)) > 1.0 and turns < 3:
            points = tf.nn.tanh(points @ self.turn)
            turns += 1
        if tf.reduce_sum(points) > 0:
            points = points * 2.0
        return self.out(points)


@tf.custom_gradient
def rounded(values):
    """Rounds on the way in, and lets gradients pass as if it had not."""
    return tf.round(values * 4) / 4, lambda gradient: gradient


class StraightThrough(Classifier):
    """A gradient of its own."""

    def create_model(self):
        self.first, self.out = layers.Dense(4), layers.Dense(2)

    def score(self, points, training):
        return self.out(rounded(self.first(points)))


@tf.function
def bent(values):
    """A function with a function in it."""
    return nested(values) + 0.5


@tf.function
def nested(values):
    """Called from several places."""
    return tf.nn.tanh(values)


class Nested(Classifier):
    """Functions that call functions, in turns and branches, with gradients of all of them."""

    def create_model(self):
        self.scale, self.out = tf.Variable(tf.ones(3)), layers.Dense(2)

    def score(self, points, training):
        values = tf.map_fn(lambda row: rounded(bent(row)) * self.scale, points)
        values = tf.cond(tf.reduce_sum(values) > 0, lambda: nested(values), lambda: tf.vectorized_map(bent, values))
        _, values = tf.while_loop(lambda turn, _: turn < 3, lambda turn, v: (turn + 1, nested(v)), [0, values])
        return self.out(tf.recompute_grad(lambda v: tf.sin(v) * self.scale)(values))


class Always(Classifier):
    """Drops values in evaluations, too."""

    def create_model(self):
        self.out, self.drop = layers.Dense(2), layers.Dropout(0.5)

    def score(self, points, training):
        return self.out(self.drop(points, training=True))


class Hidden(Classifier):
    """A variable that only a function knows, and noise from the generator that Keras has for all."""

    def create_model(self):
        weight = tf.Variable(tf.ones((3, 2)), name="weight")
        self.project = lambda values: values @ weight

    def score(self, points, training):
        return self.project(points + (keras.random.normal(tf.shape(points)) if training else 0.0))


class Mixed(Classifier):
    """Numbers of four kinds."""

    def create_model(self):
        self.double = tf.Variable(np.ones((3, 2)))
        self.brain = tf.Variable(np.ones(2), dtype=tf.bfloat16)
        self.whole = tf.Variable(2, trainable=False)

    def score(self, points, training):
        doubled = tf.cast(tf.cast(points, tf.float64) @ self.double, tf.float32)
        return doubled * tf.cast(self.whole, tf.float32) + tf.cast(self.brain, tf.float32)


class Recurrent(Classifier):
    """Sequences of any length, with a mask."""

    def create_model(self):
        self.body = keras.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(4), layers.Dense(2)])

    def score(self, points, training):
        return self.body(points, training=training)


class Noisy(Classifier):
    """Draws from what nobody can save."""

    def score(self, points, training):
        return self.out(points + tf.random.normal(tf.shape(points)))


class Pythonic(Classifier):
    """Calls Python in the middle of a graph."""

    def score(self, points, training):
        doubled = tf.numpy_function(lambda values: values * 2, [points], tf.float32)
        return self.out(tf.ensure_shape(doubled, (None, 3)))


class Looked(Classifier):
    """Has a convolution to look at."""

    def create_model(self):
        convolution = [layers.Reshape((3, 1, 1)), layers.Conv2D(4, 1, name="look")]
        self.body = keras.Sequential([*convolution, layers.Flatten(), layers.Dense(2)])

    def score(self, points, training):
        return self.body(points)


class Drawn(Classifier):
    """Begins with what it draws by functions of ``tf.random``."""

    def create_model(self):
        self.weight = tf.Variable(tf.random.normal((3, 2)))

    def score(self, points, training):
        return points @ self.weight


class Filling(Classifier):
    """Counts labels in a table."""

    def create_model(self):
        self.out = layers.Dense(2)
        self.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)

    def call(self, points, labels, training):
        if training:
            self.table.insert(labels, tf.ones_like(labels, tf.float32))
        return super().call(points, labels, training)


class Averaged(Classifier):
    """Evaluates with an average of its weights, which TensorFlow 1 has kept in this way."""

    def create_model(self):
        self.out = layers.Dense(2)
        self.out.build((None, 3))
        self.average = tf.train.ExponentialMovingAverage(0.5)
        self.average.apply([self.out.kernel.value])

    def score(self, points, training):
        if training:
            self.average.apply([self.out.kernel.value])
            return self.out(points)
        return points @ self.average.average(self.out.kernel.value)


class Chancy(Classifier):
    """Draws by an operation that writes the state of a generator, and does not read it first."""

    def create_model(self):
        self.out = layers.Dense(2)
        self.generator = tf.random.Generator.from_seed(3)

    def score(self, points, training):
        return self.out(points * self.generator.binomial([1], 3.0, 0.5, dtype=tf.float32))


class Predicting(Classifier):
    """Tells without labels as well."""

    def predict(self, points, training=False):
        return {"logits": self.score(points, training)}
