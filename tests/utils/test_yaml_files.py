"""YAML files and texts."""

from __future__ import annotations

import pytest

from emloop.utils.yaml import load_yaml, reload, yaml_to_file, yaml_to_str

DATA = {"a": [1, 2.5, None, True, "yes"], "nested": {"text": "čau", "empty": {}}, "none": "none"}


def test_what_was_written_is_read_back(tmp_path):
    """A file holds the same data, under the path that is returned."""
    path = yaml_to_file(DATA, tmp_path, "data.yaml")

    assert path == f"{tmp_path}/data.yaml"
    assert load_yaml(path) == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["data.yaml"]


def test_text_and_reload_keep_the_data(tmp_path):
    """Data survive the way through text."""
    (tmp_path / "data.yaml").write_text(yaml_to_str(DATA), encoding="utf-8")

    assert load_yaml(tmp_path / "data.yaml") == reload(DATA) == DATA


def test_merge_keys_are_resolved(tmp_path):
    """``<<`` brings the merged keys into plain dictionaries."""
    (tmp_path / "data.yaml").write_text("a: &x {b: 1}\ne: {<<: *x, f: 2}\n")

    assert load_yaml(tmp_path / "data.yaml") == {"a": {"b": 1}, "e": {"b": 1, "f": 2}}


def test_a_missing_file_is_an_os_error_that_names_it(tmp_path):
    """The path is in the message."""
    with pytest.raises(OSError, match=r"nowhere\.yaml"):
        load_yaml(tmp_path / "nowhere.yaml")
