"""A configuration as a flat table has the keys that overrides use."""

from __future__ import annotations

import pytest

from emloop._config import load_config
from emloop._run_dir.config import read_config
from emloop._yaml import documents as yaml

CONFIG = """\
dataset: {class: data.Digits, sizes: [8, 16], splits: [{name: a}, [1, 2]], empty: {}, nothing: null}
model:
  class: nets.Net
  layers: {first: {units: 3}}
  1: one
hooks:
  - LogVariables
  - my.hooks.Own: {on: yes}
  - StopAfter: {epochs: 5, name: limit}
  - StopAfter: {minutes: 1}
  - StopAfter: {iterations: 9}
  - SaveBest:
eval:
  test: {hooks: [SaveLatest], model: {class: x}}
rates: &rates {slow: 0.1}
main_loop: {<<: *rates}
"""

FLAT = {
    "dataset.class": "data.Digits",
    "dataset.sizes": [8, 16],
    "dataset.splits.0.name": "a",
    "dataset.splits.1": [1, 2],
    "dataset.empty": {},
    "dataset.nothing": None,
    "model.class": "nets.Net",
    "model.layers.first.units": 3,
    "model.1": "one",
    "hooks.LogVariables": {},
    "hooks.Own.on": "yes",
    "hooks.limit.epochs": 5,
    "hooks.limit.name": "limit",
    "hooks.3.minutes": 1,
    "hooks.4.iterations": 9,
    "hooks.SaveBest": {},
    "eval.test.hooks.SaveLatest": {},
    "eval.test.model.class": "x",
    "rates.slow": 0.1,
    "main_loop.slow": 0.1,
}


def test_every_value_has_a_key(tmp_path):
    """In the order of the file; lists of plain values are values."""
    (tmp_path / "config.yaml").write_text(CONFIG)

    assert read_config(tmp_path).flat == FLAT
    assert list(read_config(tmp_path).flat) == list(FLAT)


@pytest.mark.parametrize("key", [key for key in FLAT if key.startswith(("model.", "hooks.")) and FLAT[key] != {}])
def test_a_key_can_be_overridden_as_it_is_spelt(tmp_path, key):
    """What a listing calls a key, ``emloop train`` takes."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    changed = load_config(str(tmp_path / "config.yaml"), [f"{key}=changed"])
    (tmp_path / "changed").mkdir()
    (tmp_path / "changed" / "config.yaml").write_text(yaml.dump(dict(changed)))

    expected = {**FLAT, key: "changed"}
    if key.endswith(".name"):
        expected = {name.replace(".limit.", ".changed."): value for name, value in expected.items()}
    assert read_config(tmp_path / "changed").flat == expected


def test_the_newest_configuration_counts(tmp_path):
    """A resumed run may have another one than it began with."""
    (tmp_path / "config.yaml").write_text("model: {rate: 1}\n")
    (tmp_path / "config.attempt-10.yaml").write_text("model: {rate: 10}\n")
    (tmp_path / "config.attempt-9.yaml").write_text("model: {rate: 9}\n")

    assert read_config(tmp_path).flat == {"model.rate": 10}


@pytest.mark.parametrize("text", ["", "[", "- 1", "word", "\0", "a: 1\na: 2\n"])
def test_what_cannot_be_read_has_no_keys(tmp_path, text):
    """Nor has what is not there."""
    (tmp_path / "config.yaml").write_text(text)

    assert read_config(tmp_path).flat == read_config(tmp_path / "nowhere").flat == {}
