"""A network of scikit-learn, made by code."""

from sklearn.neural_network import MLPClassifier

import emloop_sklearn


class Network(emloop_sklearn.BaseModel):
    def create_model(self, hidden=8):
        return MLPClassifier([hidden], learning_rate_init=0.01, random_state=self.seed)
