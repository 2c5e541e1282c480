"""What the promises are tried on, for each of our own backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emloop.testing import Case

TEXTS = Path(__file__).parent / "texts"
DATA = (TEXTS / "data.py").read_text(encoding="utf-8")
TORCH = (TEXTS / "torch_models.py").read_text(encoding="utf-8")
TENSORFLOW = (TEXTS / "tensorflow_models.py").read_text(encoding="utf-8")
JAX = (TEXTS / "jax_models.py").read_text(encoding="utf-8")
SKLEARN = (TEXTS / "sklearn_models.py").read_text(encoding="utf-8")

OPTIMIZER = {"class": "AdamW", "learning_rate": 0.01}


def torch_case(class_name: str, rung: str, **options: Any) -> Case:
    """A network of ``torch_models.py``."""
    model = {
        "class": class_name,
        "inputs": ["signals", "labels"],
        "outputs": ["loss", "predictions", "accuracy"],
        "optimizer": OPTIMIZER,
        "device": "cpu",
        **options.pop("model", {}),
    }
    own_process = class_name in ("Mlp", "ConvNet", "Transformer", "StraightThrough")
    return Case(class_name, model=model, dataset=DATA, source=TORCH, rung=rung, own_process=own_process, **options)


TORCH_CASES = [
    torch_case("Mlp", "exported", model={"clip_gradient": {"norm": 1.0}}),
    torch_case("StraightThrough", "traced"),
    torch_case(
        "ControlFlow",
        "weights",
        trains_without_source=False,
        runs_without_source=False,
        not_applicable={"examples_are_predicted_by_themselves": "it asks for the mean of the batch"},
    ),
    Case(
        "Supervised",
        model={
            "class": "emloop_torch.Supervised",
            "net": ["Flatten", {"class": "Linear", "in_features": 48, "out_features": 4}],
            "metrics": ["accuracy"],
            "inputs": ["signals", "labels"],
            "outputs": ["loss", "predictions", "accuracy"],
            "optimizer": OPTIMIZER,
            "device": "cpu",
        },
        dataset=DATA,
        rung="exported",
        own_process=False,
    ),
]
"""One for each rung, quick enough for every day, and the class that needs no source."""

TORCH_ZOO = [
    torch_case(
        "ConvNet", "exported", model={"lr_schedule": {"class": "CosineAnnealingLR", "T_max": 8, "interval": "batch"}}
    ),
    torch_case(
        "Transformer", "exported", model={"inputs": ["tokens"], "outputs": ["predictions", "loss"], "accumulate": 2}
    ),
    torch_case("Lstm", "exported"),
    torch_case("Gru", "exported"),
    torch_case("Spectral", "exported"),
    torch_case("OldSpectral", "exported"),
    torch_case("FrozenBackbone", "exported", model={"frozen": [r"body\.1\..*"]}),
    torch_case("GradientPenalty", "traced"),
    torch_case("PartlyCompiled", "exported"),
]
"""Networks that could fail for reasons of their own; `make torture` tries them."""

SKLEARN_CASES = [
    Case(
        "Network",
        model={
            "class": "Network",
            "classes": 4,
            "inputs": ["signals", "labels"],
            "outputs": ["loss", "predictions", "probabilities"],
        },
        dataset=DATA,
        source=SKLEARN,
        rung="estimator",
    ),
    Case(
        "NaiveBayes",
        model={
            "class": "emloop_sklearn.BaseModel",
            "estimator": {"class": "sklearn.naive_bayes.GaussianNB"},
            "classes": 4,
            "inputs": ["signals", "labels"],
            "outputs": ["loss", "accuracy"],
        },
        dataset=DATA,
        rung="estimator",
        variable=None,
        own_process=False,
    ),
]


def tensorflow_case(class_name: str, **options: Any) -> Case:
    """A network of ``tensorflow_models.py``."""
    model = {
        "class": class_name,
        "inputs": ["signals", "labels"],
        "outputs": ["loss", "predictions"],
        "optimizer": OPTIMIZER,
        "device": "cpu",
        **options.pop("model", {}),
    }
    return Case(class_name, model=model, dataset=DATA, source=TENSORFLOW, rung="exported", **options)


TENSORFLOW_CASES = [
    tensorflow_case("Mlp", model={"clip_gradient": {"norm": 1.0}}),
    tensorflow_case(
        "Plain",
        own_process=False,
        not_applicable={"examples_are_predicted_by_themselves": "it asks for the mean of the batch"},
    ),
]
"""A network of Keras, and one without."""

TENSORFLOW_ZOO = [
    tensorflow_case("ConvNet", model={"lr_schedule": {"class": "CosineDecay", "decay_steps": 8, "interval": "batch"}}),
    tensorflow_case("Transformer", model={"inputs": ["tokens"], "accumulate": 2}),
    tensorflow_case("Lstm", model={"precision": "bf16"}),
]
"""Networks that could fail for reasons of their own; `make torture` tries them."""


def jax_case(class_name: str, rung: str = "exported", **options: Any) -> Case:
    """A network of ``jax_models.py``."""
    model = {
        "class": class_name,
        "inputs": ["signals", "labels"],
        "outputs": ["loss", "predictions", "accuracy"],
        "optimizer": {"class": "adamw", "learning_rate": 0.01},
        "device": "cpu",
        **options.pop("model", {}),
    }
    return Case(class_name, model=model, dataset=DATA, source=JAX, rung=rung, **options)


JAX_CASES = [
    jax_case("Mlp", model={"clip_gradient": {"norm": 1.0}}),
]
"""Quick enough for every day; what cannot be exported is tried beside the others, and by tests/emloop_jax."""

JAX_ZOO = [
    jax_case("ConvNet", model={"lr_schedule": {"class": "cosine_decay_schedule", "decay_steps": 40}}),
    jax_case("Transformer", model={"inputs": ["tokens"], "outputs": ["predictions", "loss"], "accumulate": 2}),
    jax_case("Lstm"),
    jax_case("ControlFlow", "weights", trains_without_source=False, runs_without_source=False, own_process=False),
]
"""Networks of Linen, of NNX and of no library, which take their time to compile; `make torture` tries them."""
