"""A network that takes a vote."""

from __future__ import annotations

from sklearn.neural_network import MLPClassifier

import emloop_sklearn


class MajorityNet(emloop_sklearn.BaseModel):
    """One hidden layer, trained by Adam."""

    def create_model(self, hidden: int = 16) -> MLPClassifier:
        """Make a fresh network; its argument is a key of the section ``model``.

        Args:
            hidden: Size of the hidden layer.
        """
        return MLPClassifier([hidden], learning_rate_init=0.01, random_state=self.seed)
