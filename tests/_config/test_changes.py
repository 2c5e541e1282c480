"""Two configurations are compared key by key."""

from __future__ import annotations

import math

import pytest

from emloop._config import load_config
from emloop._config.changes import ABSENT, changes

BASE = {
    "dataset": {"class": "a.Data", "batch": 32},
    "model": {"class": "a.Model", "optimizer": {"name": "adam", "rate": 0.1}, "layers": [1, 2]},
    "hooks": ["SaveLatest", {"StopAfter": {"epochs": 3}}, {"a.SaveFile": {"files": ["x"]}}, "SaveFile"],
    "main_loop": {"seed": 1},
}


def found(old, new, **options):
    return {change.key: (change.old, change.new) for change in changes(old, new, **options)}


def test_a_configuration_equals_itself():
    """Nothing is different, not even what is no number."""
    assert found(BASE, BASE) == {}
    assert found({"a": {"x": math.nan}}, {"a": {"x": math.nan}}) == {}


def test_keys_are_spelt_as_overrides_and_hooks_go_by_name():
    """Order of hooks and depth of mappings do not matter."""
    new = {
        "dataset": {"class": "a.Data"},
        "model": {"class": "a.Model", "optimizer": {"name": "sgd", "rate": 0.1, "beta": 1}, "layers": [1, 2, 3]},
        "hooks": ["LogProfile", {"StopAfter": {"epochs": 5}}, "SaveFile", {"SaveFile": {"name": "mine"}}],
        "main_loop": {"seed": 1},
        "own": 3,
    }

    assert found(BASE, new) == {
        "dataset.batch": (32, ABSENT),
        "model.optimizer.name": ("adam", "sgd"),
        "model.optimizer.beta": (ABSENT, 1),
        "model.layers": ([1, 2], [1, 2, 3]),
        "hooks.SaveLatest": ({}, ABSENT),
        "hooks.StopAfter.epochs": (3, 5),
        "hooks.SaveFile.class": ("a.SaveFile", "SaveFile"),
        "hooks.SaveFile.files": (["x"], ABSENT),
        "hooks.SaveFile-2": ({}, ABSENT),
        "hooks.LogProfile": (ABSENT, {}),
        "hooks.mine": (ABSENT, {"name": "mine"}),
        "own": (ABSENT, 3),
    }


@pytest.mark.parametrize(("old", "new"), [(1, 1.0), (1, True), (0, False), ("1", 1), ([1], [1.0]), (None, 0)])
def test_values_of_another_type_are_other_values(old, new):
    """A constructor may care."""
    assert found({"model": {"x": old}}, {"model": {"x": new}}) == {"model.x": (old, new)}


def test_a_missing_section_is_like_an_empty_one_with_nothing_in_it():
    """``main_loop:`` without anything changes nothing but itself."""
    assert found({"main_loop": None}, {"main_loop": {"seed": 1}}) == {"main_loop.seed": (ABSENT, 1)}


def test_defaults_count_where_nothing_is_written():
    """What is written in one and is the default of the other is no difference."""
    old = {"model": {"class": "a.Model", "depth": 2, "rate": 0.1}}
    new = {"model": {"class": "b.Model", "width": 5}}
    result = changes(
        old,
        new,
        old_defaults=lambda part: {"depth": 1, "width": 5, "bias": True, "gone": 1},
        new_defaults=lambda part: {"depth": 3, "rate": 0.1, "bias": False},
    )

    assert [(c.key, c.old, c.new, c.old_is_default, c.new_is_default) for c in result] == [
        ("model.class", "a.Model", "b.Model", False, False),
        ("model.depth", 2, 3, False, True),
        ("model.bias", True, False, True, True),
    ]


def test_a_change_knows_its_object_and_its_place(tmp_path):
    """What is judged can be shown where it is written."""
    path = tmp_path / "config.yaml"
    path.write_text("model: {class: a.B, x: 1}\nhooks: [{StopAfter: {epochs: 1}}]\n")
    old, new = load_config(path), load_config(path, ["hooks.StopAfter.epochs=2", "~model.x"])
    removed, changed = changes(old, new)

    assert (removed.part.name, removed.argument, removed.kind) == ("model", "x", "removed")
    assert str(removed.place) == f"{path}:1:8"
    assert (changed.part.section, changed.part.cls, changed.argument) == ("hooks", "StopAfter", "epochs")
    assert str(changed.place) == "argument 1: hooks.StopAfter.epochs=2"
