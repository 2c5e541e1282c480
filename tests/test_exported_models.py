"""A saved model that was made for another runtime is restored by the class that runs it, and by no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from emloop.api import create_model
from emloop.errors import SavedModelError, UnknownClassError
from emloop.saved_models import class_of_export, find_saved, write_saved_model


def write(directory, step=1, **changes):
    """Save the state of a step."""
    arguments = {
        "backend": "abacus",
        "restore_fallback": "abacus.BaseModel",
        "inputs": {"images": {"dtype": "uint8", "shape": [None, 8, 8]}},
        "outputs": {"loss": None},
        "tree": {"step": step},
        "rung": "inference",
        **changes,
    }
    return write_saved_model(directory, **arguments)


@pytest.fixture
def run(tmp_path):
    """A directory to save models in."""
    return tmp_path / "log" / "majority_keen-noether"


def test_an_exported_model_names_the_class_that_alone_restores_it(run):
    """And holds the files of the other runtime, verified as they are read."""
    path = write(run / "model_a", exported={"net.bin": b"weights and all"})

    assert class_of_export(path) == "abacus.BaseModel"
    assert find_saved(path).exported("net.bin") == b"weights and all"
    assert find_saved(path).manifest["exported"] == ["net.bin"]
    with pytest.raises(SavedModelError, match=r"exports no 'other\.bin'"):
        find_saved(path).exported("other.bin")
    Path(path, "net.bin").write_bytes(b"weights AND all")
    with pytest.raises(SavedModelError, match=r"net\.bin: damaged"):
        find_saved(path).exported("net.bin")


def test_what_is_no_exported_model_has_no_class_of_its_own(run, tmp_path):
    """A saved model, a run, nothing, and what is damaged: that is for whoever restores it to say."""
    saved, damaged = write(run / "model_a"), Path(write(run / "model_b", exported={"net.bin": b"1"}))
    (damaged / "manifest.json").write_bytes(b"{}")

    assert [class_of_export(path) for path in (saved, run, tmp_path / "gone", damaged)] == [None] * 4


def test_an_exported_model_is_not_written_over_a_saved_one(run):
    """Its files keep their names, so the old one would be lost before the new one is there."""
    for kept in ({}, {"exported": {"net.bin": b"1"}}):
        path = write(run / f"model_{len(kept)}", **kept)
        before = find_saved(path).manifest
        with pytest.raises(SavedModelError, match="there is a saved model already; an exported one needs a directory"):
            write(path, step=2, exported={"net.bin": b"2"})
        assert find_saved(path).manifest == before


def test_what_was_exported_is_none_of_a_run_s_models(run):
    """Neither its best nor its only one, whatever it is called."""
    write(run / "model_best", exported={"net.bin": b"1"})
    write(run / "model_last")

    assert find_saved(run).path == run / "model_last"


def test_nothing_else_takes_the_place_of_the_class_that_runs_it(run):
    """Not the fallback of the configuration either, which could not read it."""
    path = write(run / "abacus_best", exported={"net.bin": b"1"})
    config = {"model": {"class": "gone.Net", "restore_fallback": "emloop.models.Sequence"}}

    with pytest.raises(UnknownClassError, match="there is no module 'abacus'"):
        create_model(config, restore_from=path)
