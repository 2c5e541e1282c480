"""A training without a main loop: dataset and model are ordinary objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from animals_dataset import Animals

import emloop_sklearn

ESTIMATOR = {
    "class": "sklearn.neural_network.MLPClassifier",
    "hidden_layer_sizes": [12],
    "learning_rate_init": 0.01,
    "random_state": 3,
}


def accuracy(model: emloop_sklearn.BaseModel, dataset: Animals) -> float:
    """Share of the validation animals that the model gets right."""
    outputs = [model.run(batch=batch, train=False) for batch in dataset.valid_stream()]
    return float(np.concatenate([output["accuracy"] for output in outputs]).mean())


def main(directory: Path) -> None:
    """Train for ten epochs, save the model, and restore it."""
    directory.mkdir(parents=True, exist_ok=True)
    dataset = Animals("{animals: 600, batch_size: 20}")
    names = {"inputs": ["measures", "kinds"], "outputs": ["accuracy"]}
    model = emloop_sklearn.BaseModel(dataset, str(directory), estimator=ESTIMATOR, **names)

    for epoch in range(10):
        print(f"epoch {epoch}: {accuracy(model, dataset):.3f} of the kinds are right")
        for batch in dataset.train_stream():
            model.run(batch=batch, train=True)

    path = model.save(name_suffix="final")
    restored = emloop_sklearn.BaseModel(dataset, None, restore_from=path, **names)
    print(f"{path}: {accuracy(restored, dataset):.3f}")


if __name__ == "__main__":
    main(Path("log") / "animals")
