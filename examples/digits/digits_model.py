"""A network for small images."""

from __future__ import annotations

from sklearn.neural_network import MLPClassifier

import emloop_sklearn


class Network(emloop_sklearn.BaseModel):
    """Fully connected layers, trained by Adam."""

    def create_model(self, hidden: tuple[int, ...] = (128,), learning_rate: float = 1e-3) -> MLPClassifier:
        """Make a fresh network; these arguments are keys of the section ``model``.

        Args:
            hidden: Size of each hidden layer.
            learning_rate: Step size of Adam.
        """
        return MLPClassifier(hidden, learning_rate_init=learning_rate, random_state=self.seed)
