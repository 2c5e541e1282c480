"""Faces of the configuration and of random names."""

from __future__ import annotations

from emloop.utils import get_random_name, load_config, parse_arg


def test_a_config_is_loaded_with_its_overrides(tmp_path):
    """What follows the file wins over the file."""
    (tmp_path / "config.yaml").write_text("dataset: {class: a.B}\nmodel: {class: a.C, rate: 1}\n")
    config = load_config(tmp_path / "config.yaml", ["model.rate=1e-3"])

    assert config["model"] == {"class": "a.C", "rate": 0.001}
    assert parse_arg("a.b=[1, x]") == ("a.b", [1, "x"])


def test_a_random_name_is_an_adjective_and_a_surname():
    """The separator can be chosen."""
    adjective, surname = get_random_name(sep="+").split("+")

    assert adjective
    assert surname
    assert "-" in get_random_name()
