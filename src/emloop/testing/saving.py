"""Promises about state, saved models, and restoring where the source is there."""

from __future__ import annotations

import json
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from emloop._contracts import Restorable
from emloop._state.commit import write_commit
from emloop._state.tree import copy_tree
from emloop.errors import EmloopError, SavedModelError, StateError
from emloop.saved_models import find_saved, write_saved_model

from .case import Case, World, arrays, state_of
from .contents import copies_in, pickles_in
from .promise import claims, promise, refuses, same

__all__ = ["Saving"]

_COMPLETE = "return from state_dict all that training depends on: parameters, optimizer, schedule, step, generators"
_WRITE = "write saved models with emloop.saved_models.write_saved_model"
_READ = "restore with emloop.saved_models.find_saved(restore_from).state(backend, format)"


class Kept(NamedTuple):
    """A saved model in its run, what state was saved, and what the model says of the first batch."""

    path: Path
    state: Any
    evaluated: Any


class Saving:
    """What a model's state and its saved models hold."""

    @pytest.fixture(scope="class")
    @classmethod
    @promise("save-and-restore", _WRITE)
    def kept(cls, world: World) -> Kept:
        """A trained model can be saved and goes on."""
        model = world.trained("kept")
        path = Path(model.save("best"))
        return Kept(path, state_of(model), arrays(model.run(world.batches[0], train=False)))

    @promise("keep-the-state", _COMPLETE)
    def test_training_goes_on_from_a_state_to_the_bit(self, world: World) -> None:
        """A state brings any model of the same configuration to where the old one was, to the bit."""
        uninterrupted, resumed = world.trained(), world.create()
        state = copy_tree(state_of(uninterrupted))
        for batch in world.later:
            resumed.run(batch, train=True)
        resumed.load_state_dict(state)
        same(state, state_of(resumed), "state after loading")
        for number, batch in enumerate(world.later):
            expected = arrays(uninterrupted.run(batch, train=True))
            same(expected, arrays(resumed.run(batch, train=True)), f"outputs of batch {number} after loading a state")
        same(state_of(uninterrupted), state_of(resumed), "state some batches after loading")

    @promise("keep-the-state", "let state_dict only read: it draws no random number and resets nothing")
    def test_a_state_is_taken_without_changing_the_training(self, world: World) -> None:
        """Taking the state changes no training, however often a run commits."""
        quiet, watched = world.create(), world.create()
        for batch in world.batches:
            quiet.run(batch, train=True)
            state_of(watched)
            watched.run(batch, train=True)
        same(state_of(quiet), state_of(watched), "state of the model whose state was taken after every batch")

    @promise("keep-the-state", "return copies from state_dict, not the arrays that training updates in place")
    def test_a_state_does_not_change_later(self, world: World) -> None:
        """A state is a snapshot, which later training does not change."""
        model = world.trained()
        state = state_of(model)
        before = copy_tree(state)
        for batch in world.batches:
            model.run(batch, train=True)
        same(before, state, "state, some batches after it was taken")

    @promise("save-and-restore", "let save work before the first batch, when shapes may be unknown")
    def test_a_fresh_model_can_be_saved_and_restored(self, world: World) -> None:
        """A model saved before its first batch is restored and learns as the fresh one does."""
        path = world.create("fresh").save("zeroth")
        restored, fresh = world.create(restore_from=path), world.create()
        for number, batch in enumerate(world.batches[:3]):
            expected = arrays(fresh.run(batch, train=True))
            same(expected, arrays(restored.run(batch, train=True)), f"outputs of batch {number} of the restored model")

    @promise("save-and-restore", "give write_saved_model backend, rung, restore_fallback and described variables")
    def test_a_saved_model_says_what_it_is(self, world: World, case: Case, kept: Kept) -> None:
        """A manifest has backend, fallback, rung, and inputs and outputs with dtypes and shapes."""
        manifest = find_saved(kept.path).manifest
        assert manifest["backend"], "no backend"
        model = world.create()
        same(claims(model, Restorable).restore_fallback, manifest["restore_fallback"], "restore_fallback")
        assert case.rung in (None, manifest["rung"]), f"rung {manifest['rung']!r}, since {manifest['reason']}"
        for kind, names in (("inputs", list(model.input_names)), ("outputs", world.outputs_of(model))):
            same(names, list(manifest[kind]), kind)
            for name, described in manifest[kind].items():
                assert described, f"{kind}: nothing is known of {name!r}"
                dtype, shape = np.dtype(described["dtype"]), described["shape"]
                assert shape[:1] == [None], f"{kind}: {name!r} is {dtype} {shape}; its first axis must be null"

    @promise("save-and-restore", f"let save only read, and restore the whole state; {_COMPLETE}")
    def test_saving_and_restoring_change_no_training(self, world: World) -> None:
        """A training goes on alike whether its model was saved, was restored, or neither."""
        quiet, saved = world.trained(), world.trained("saved")
        restored: Any = world.create(restore_from=saved.save("middle"))
        for number, batch in enumerate(world.later):
            expected = arrays(quiet.run(batch, train=True))
            same(expected, arrays(saved.run(batch, train=True)), f"outputs of batch {number} after saving")
            same(expected, arrays(restored.run(batch, train=True)), f"outputs of batch {number} after restoring")
        same(state_of(quiet), state_of(saved), "state of the model that was saved")
        same(state_of(quiet), state_of(restored), "state of the model that was restored")

    @promise("save-and-restore", f"put nothing outside the saved model that it needs; {_READ}")
    def test_a_saved_model_is_restored_from_its_run_a_copy_or_a_checkpoint(self, world: World, tmp_path: Path) -> None:
        """A saved model depends on nothing around it: its run, a lone copy and a checkpoint restore it."""
        model = world.trained("left")
        path = Path(model.save("best"))
        expected = arrays(model.run(world.batches[0], train=False))
        commit = write_commit(tmp_path / "checkpoints", 1, {"model": state_of(model)}, {})
        for place, kind in ((path, "the saved model"), (path.parent, "its run"), (commit.path, "a checkpoint")):
            self._restores(world, place, kind, expected)
        shutil.move(path, tmp_path / "moved")
        shutil.rmtree(path.parent)
        with chdir(tmp_path):
            self._restores(world, tmp_path / "moved", "a copy whose original is gone", expected)

    @promise("save-and-restore", _WRITE)
    def test_saving_again_replaces_the_saved_model(self, world: World) -> None:
        """A model saved under a name that is taken replaces the older one."""
        model: Any = world.create("again")
        model.save("best")
        model.run(world.batches[0], train=True)
        restored = world.create(restore_from=model.save("best"))
        same(state_of(model), state_of(restored), "state restored from what was saved last")

    @promise("save-and-restore", "store state trees and data, never pickles (torch.save, joblib, numpy objects)")
    def test_nothing_that_is_saved_holds_a_pickle(self, kept: Kept) -> None:
        """No file of a saved model, nor any member of an archive in it, is a pickle."""
        found = pickles_in(kept.path.parent)
        assert not found, f"pickles: {', '.join(found)}"

    @promise("save-and-restore", "save parameters and shapes, no examples; an exported program must not fold them in")
    def test_nothing_that_is_saved_holds_the_data(self, world: World, kept: Kept) -> None:
        """No batch, and no example of one, ends up in a file."""
        names = world.config["model"]["inputs"]
        values = [np.asarray(batch[name]) for batch in world.batches for name in names]
        secrets = [example for array in values for example in (array, *array) if example.nbytes >= 64]
        assert secrets, "the case's batches are too small to be recognised in a file; give them 64 bytes"
        found = copies_in(kept.path.parent, secrets)
        assert not found, f"sources of a batch stand in {', '.join(found)}"

    @promise("save-and-restore", f"{_READ}, which verifies every file")
    def test_a_damaged_saved_model_is_refused_by_name(self, world: World, kept: Kept, tmp_path: Path) -> None:
        """One flipped bit in any file of a saved model is noticed, and the error names the file."""
        files = sorted(file for file in kept.path.rglob("*") if file.is_file())
        if world.source_module is None:
            # A class that needs no source of the user's reads the state alone.
            files = [file for file in files if file.parent == kept.path]
        fallback = find_saved(kept.path).manifest["restore_fallback"]
        for number, file in enumerate(files):
            copied = tmp_path / str(number)
            shutil.copytree(kept.path, copied)
            damaged = copied / file.relative_to(kept.path)
            content = bytearray(damaged.read_bytes())
            content[len(content) // 2] ^= 4
            damaged.write_bytes(content)
            with world.without_source(), refuses(SavedModelError, f"a damaged {file.name}", file.name):
                world.create(restore_from=copied, restore_fallback=fallback)

    @promise("save-and-restore", f"{_READ}; begin load_state_dict with emloop.saved_models.require_format")
    def test_what_is_no_model_of_the_backend_is_refused(self, world: World, tmp_path: Path) -> None:
        """Another backend's model, a state of something else, and nothing at all are refused."""
        described: dict[str, Any] = {"restore_fallback": None, "inputs": {}, "outputs": {}, "tree": {"w": 1}}
        other = write_saved_model(tmp_path / "model_other", backend="other", rung="weights", **described)
        with refuses(SavedModelError, "a model of the backend 'other'", "'other'"):
            world.create(restore_from=other)
        with refuses(SavedModelError, "a path with nothing there", "there is none"):
            world.create(restore_from=tmp_path / "model_gone")
        with refuses(StateError, "a state of something else, {'w': 1}"):
            world.create().load_state_dict({"w": 1})
        with refuses(EmloopError, "a directory without a model"):
            world.create(restore_from=tmp_path)

    @promise("save-and-restore", "give write_saved_model what state_dict returns as its tree")
    def test_a_state_is_the_same_whoever_saves_it(self, kept: Kept) -> None:
        """A checkpoint and a saved model hold the same tree, readable as text and arrays."""
        same(kept.state, find_saved(kept.path).tree(), "tree of the saved model")
        manifest = json.loads((kept.path / "manifest.json").read_text())
        assert json.loads((kept.path / manifest["state"][0]).read_text()), "the state is empty"

    @promise("save-and-restore", "raise SavedModelError with 'log_dir' from save when log_dir is None")
    def test_a_model_without_run_directory_cannot_be_saved(self, world: World) -> None:
        """A model that was built without a run directory refuses to be saved."""
        with refuses(SavedModelError, "save without a run directory", "log_dir"):
            world.create().save("best")

    @staticmethod
    def _restores(world: World, place: Path, kind: str, expected: Any) -> None:
        try:
            restored = world.create(restore_from=place)
        except Exception as error:
            raise AssertionError(f"cannot be restored from {kind}: {type(error).__name__}: {error}") from error
        same(expected, arrays(restored.run(world.batches[0], train=False)), f"outputs of what {kind} restored")
