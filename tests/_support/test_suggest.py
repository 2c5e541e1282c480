"""A suggestion is what was probably meant, or there is none."""

from __future__ import annotations

import pytest

from emloop._support.suggest import did_you_mean, nearest

SETTINGS = [
    "dataset", "model", "hooks", "main_loop", "batch_size", "learning_rate", "rate", "epochs", "optimizer", "loss",
    "accuracy", "device", "precision", "hidden", "max", "min", "stream_names", "output_file", "weight_decay", "seed",
    "StopAfter", "ComputeStats", "SGDClassifier", "tanh", "relu", "text",
]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", "learning_rate"),
        ("criterion", "loss"),
        ("modle", "model"),
        ("odel", "model"),
        ("mdoel", "model"),
        ("datset", "dataset"),
        ("data_set", "dataset"),
        ("DataSet", "dataset"),
        ("mainloop", "main_loop"),
        ("main-loop", "main_loop"),
        ("batchsize", "batch_size"),
        ("batch_sise", "batch_size"),
        ("bacth_sise", "batch_size"),
        ("learnin_rate", "learning_rate"),
        ("learn_rate", "learning_rate"),
        ("optimiser", "optimizer"),
        ("otpimizre", "optimizer"),
        ("weight_decai", "weight_decay"),
        ("epoch", "epochs"),
        ("max_epochs", "epochs"),
        ("hoks", "hooks"),
        ("maxx", "max"),
        ("mni", "min"),
        ("mx", "max"),
        ("mas", "max"),
        ("sed", "seed"),
        ("lss", "loss"),
        ("oss", "loss"),
        ("losd", "loss"),
        ("raet", "rate"),
        ("acc", "accuracy"),
        ("acuracy", "accuracy"),
        ("opt", "optimizer"),
        ("streams", "stream_names"),
        ("stopafter", "StopAfter"),
        ("StpoAfer", "StopAfter"),
        ("SGD", "SGDClassifier"),
        ("TEXT", "text"),
        ("tan", "tanh"),
        ("maximum", "max"),
        ("txt", "text"),
    ],
)
def test_a_typing_error_an_abbreviation_and_a_part_are_recognised(typed, meant):
    """Letters left out, doubled, wrong or exchanged, as many as fit the length; case and dashes do not matter."""
    assert nearest(typed, SETTINGS) == meant
    assert did_you_mean(typed, SETTINGS) == (f"did you mean {meant!r}?",)


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        ("toy", "tty"),
        ("my", "tty"),
        ("gpu", "cpu"),
        ("l1", "l2"),
        ("min", "max"),
        ("rate", "date"),
        ("labels", "layers"),
        ("inputs", "outputs"),
        ("train_loss", "train_size"),
        ("batch_norm", "batch_size"),
        ("generate", "rate"),
        ("hidden", "hinge"),
        ("momentum", "moments_file"),
        ("lr", "layers"),
        ("dataset_dir", "data"),
        ("size", "batch_size"),
        ("bod", "body.0.bias"),
        ("x", "y"),
        ("x", "xy"),
        ("", "x"),
        ("x", ""),
        ("", ""),
        ("_", "a"),
    ],
)
def test_another_word_is_not_taken_for_a_typing_error(typed, known):
    """However few letters they differ in: a wrong guess costs more time than none."""
    assert nearest(typed, [known]) is None
    assert did_you_mean(typed, [known]) == ()


def test_the_closest_word_wins_and_among_equals_the_first():
    """A typing error is likelier than an abbreviation."""
    assert nearest("output", ["output_file", "outputs"]) == "outputs"
    assert nearest("stem", ["items", "steps", "step"]) == "step"
    assert nearest("dataset", ["digits", "digits_dataset"]) == "digits_dataset"
    assert nearest("pgn", ["pgf", "png"]) == "png"
    assert nearest("tain", ["train", "stain"]) == "train"
