"""Nothing in a commit can be missed: without any one of its keys, a resume is refused or ends otherwise."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os

import pytest

pytest.importorskip("tensorboard")

from .ablation import Ablation, drop
from .spoiling import outcomes

DATA = """
dataset: {class: tests.end_to_end.ablation.Data}
"""

LOOP = """
main_loop:
  {seed: 3, epochs_count: 3, extra_streams: [valid], on_unused_sources: ignore, commit: {every: 9ep}}
"""

HOOKS = """
hooks:
  - ComputeStats: {variables: [loss]}
  - WriteCSV
"""

CORE = """
model: {name: small, class: tests.end_to_end.ablation.Model}
hooks:
  - InitLR: {value: 0.3, variable_name: rate}
  - ComputeStats: {variables: {loss: [mean, std, max], predictions: [median]}}
  - DecayLROnPlateau: {variable: z, long_term: 2, short_term: 1, variable_name: rate, min_delta: 9.0}
  - DecayLR: {decay_value: 0.9, variable_name: rate}
  - StopOnPlateau: {variable: x, long_term: 3, short_term: 2}
  - tests.end_to_end.ablation.Sums: {variables: [p]}
  - WriteCSV
  - WriteTensorBoard: {variables: [loss], histogram_variables: [loss], image_variables: [images]}
  - PredictionsToCsv: {variables: [predictions], id_variable: id, output_file: predictions.csv}
  - LogitsToCsv: {variable: p, class_names: [no, yes], id_variable: id, output_file: logits.csv}
  - SequenceToCsv: {variables: [p], id_variable: id, output_file: sequences.csv}
  - SaveBest: {condition: max}
  - SaveFile: {files: [COPIED]}
  - StopAfter: {iterations: 13}
  - ShowProgress
"""

TORCH = """
model:
  name: net
  class: tests.emloop_torch.ablated.Model
  inputs: [x, y]
  outputs: [loss]
  optimizer: {class: AdamW, learning_rate: 0.05}
  lr_schedule: {class: StepLR, step_size: 2, gamma: 0.9}
  accumulate: 2
  ema: {decay: 0.9}
"""

SKLEARN = """
model:
  name: linear
  class: emloop_sklearn.BaseModel
  estimator: {class: sklearn.linear_model.SGDClassifier, loss: log_loss, class_weight: balanced}
  classes: 2
  inputs: [x, y]
  outputs: [loss]
"""

EXPERIMENTS = {
    "numpy": DATA + CORE + LOOP,
    "generator": DATA.replace("Data", "Generated")
    + "model: {name: small, class: tests.end_to_end.ablation.Model}"
    + HOOKS
    + LOOP,
    "torch": DATA + TORCH + HOOKS + LOOP,
    "sklearn": DATA + SKLEARN + HOOKS + LOOP,
}

WITHIN = ("batch 2 of stream 'train' in epoch 2", "batch 2 of stream 'valid' in epoch 2", "epoch 1")
"""Commits that are taken apart; in the first, the global generators keep half of what they have drawn."""

ACCUMULATING = ("batch 3 of stream 'train' in epoch 2",)
"""One within a window of accumulated gradients."""

UNUSED = (("random", "torch"), ("random", "tensorflow"))
"""What a process has that has imported these frameworks."""

ELSEWHERE = {
    **dict.fromkeys(UNUSED, "a generator that nothing here draws from; that it begins anew is said"),
    ("hooks/ShowProgress", "totals"): "what a person sees of the batches that an epoch will have",
    ("model", "parameters"): "compared with the configuration's, which are the same here",
    ("model", "training", "configured", 0): "compared with the configuration's, which are the same here",
}
"""Keys that matter to something else than a resume with the same configuration and source: place → to what."""

SHALLOW = 2


def superfluous(ablation: Ablation, places, components, depth) -> dict[str, str]:
    """Keys without which a resume ends as if they were there, or with an error that is none of ours."""
    outcomes: dict[tuple[object, ...], str] = {}
    for place in places:
        commit = ablation.commits[place]
        assert ablation.resumed(commit, "loop", ("stage",), lambda *_: None) == "same"
        for component, keys in ablation.keys(commit):
            whole = (component, *keys)
            is_known = whole in UNUSED or any(whole[: len(key)] == key != whole for key in ELSEWHERE)
            is_meant = component.startswith(components) and len(keys) <= depth and not is_known
            if is_meant and outcomes.get(whole, "same") == "same":
                outcomes[whole] = ablation.resumed(commit, component, keys, drop)
    return {"/".join(map(str, whole)): found for whole, found in outcomes.items() if not _matters(found)}


def _matters(outcome) -> bool:
    return outcome == "other" or outcome.startswith("refused")


@pytest.fixture
def ablation(tmp_path, monkeypatch, one_torch_thread):
    """An untouched run of an experiment; nothing of it has to survive a power failure."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    # What reads TensorBoard's files imports it, and from then on its random numbers are part of every run.
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorflow")
    logging.disable(logging.CRITICAL)
    yield lambda name: Ablation(tmp_path, EXPERIMENTS[name])
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "places", "components", "depth"),
    [
        pytest.param("numpy", WITHIN[:1], "", 9, id="core"),
        pytest.param("numpy", WITHIN[:2], "", 9, marks=pytest.mark.torture, id="core-in-full"),
        pytest.param("torch", ACCUMULATING, "model", SHALLOW, id="torch"),
        pytest.param("generator", WITHIN, "streams", 9, marks=pytest.mark.torture, id="generator"),
        pytest.param("torch", ACCUMULATING, "model", 9, marks=pytest.mark.torture, id="torch-in-full"),
        pytest.param("sklearn", WITHIN, "model", 9, marks=pytest.mark.torture, id="sklearn-in-full"),
    ],
)
def test_no_key_can_be_missed(ablation, name, places, components, depth):
    """Whatever is dropped from a commit, the resume is refused or its result is another one."""
    if name in ("torch", "sklearn"):
        pytest.importorskip(name)

    assert superfluous(ablation(name), places, components, depth) == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "count", "seed"),
    [
        pytest.param("numpy", 12, 0, id="numpy"),
        pytest.param("torch", 8, 0, id="torch"),
        *(
            pytest.param(name, 1000, 1, marks=pytest.mark.torture, id=f"{name}-in-full")
            for name in ("numpy", "generator", "torch", "sklearn")
        ),
    ],
)
def test_a_value_that_was_changed_is_refused_in_words_or_obeyed(ablation, tmp_path, name, count, seed):
    """Nothing of ours ends with a traceback, and nothing is written beside the run."""
    if name in ("torch", "sklearn"):
        pytest.importorskip(name)
    found = dict(outcomes(ablation(name), (*WITHIN, *ACCUMULATING), count, seed))

    untold = [f"{changed}: {outcome}" for changed, outcome in found.items() if not is_told(outcome)]
    assert not untold, "\n".join(untold)
    assert any(outcome.startswith("refused") for outcome in found.values())
    assert {"config.yaml", "copied.txt", "untouched", "work"} == {path.name for path in tmp_path.iterdir()}


def is_told(outcome: str) -> bool:
    """Whether a run went on, or was refused in words that a person would read."""
    return outcome in ("same", "other") or (outcome.startswith("refused: ") and "Traceback" not in outcome)
