"""What a model's state and its saved models hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from emloop._state.commit import write_commit
from emloop._state.tree import copy_tree, equal_trees
from emloop.errors import EmloopError, SavedModelError, StateError
from emloop.saved_models import find_saved, write_saved_model

from .case import Case, World
from .contents import copies_in, pickles_in
from .running import arrays

__all__ = ["Saving"]


class Kept(NamedTuple):
    """A saved model in its run."""

    path: Path
    state: Any
    evaluated: Any


class Saving:
    """Promises about state, saved models and restoring where the source is there."""

    @pytest.fixture(scope="class")
    @classmethod
    def kept(cls, world: World) -> Kept:
        """A run with a saved model, which nobody changes, and the state that was saved."""
        model = _trained(world, "kept")
        path = Path(model.save("best"))
        return Kept(path, model.state_dict(), arrays(model.run(world.batches[0], train=False)))

    def test_training_goes_on_from_a_state_to_the_bit(self, world: World) -> None:
        """A state brings any model of the same configuration to where the old one was: outputs and state are equal."""
        uninterrupted, half = _trained(world), len(world.batches) // 2
        state = copy_tree(uninterrupted.state_dict())
        resumed = world.create()
        for batch in world.batches[half:]:
            resumed.run(batch, train=True)
        resumed.load_state_dict(state)  # type: ignore[attr-defined]
        assert equal_trees(state, resumed.state_dict())  # type: ignore[attr-defined]
        _assert_same_future(world, uninterrupted, resumed)

    def test_a_state_is_taken_without_changing_the_training(self, world: World) -> None:
        """However often a run commits."""
        quiet, watched = world.create(), world.create()
        for batch in world.batches:
            quiet.run(batch, train=True)
            watched.state_dict()  # type: ignore[attr-defined]
            watched.run(batch, train=True)
        assert equal_trees(quiet.state_dict(), watched.state_dict())  # type: ignore[attr-defined]

    def test_a_state_does_not_change_later(self, world: World) -> None:
        """It is a copy of what was."""
        model = _trained(world)
        state = model.state_dict()
        before = copy_tree(state)
        for batch in world.batches:
            model.run(batch, train=True)
        assert equal_trees(before, state)

    def test_a_fresh_model_can_be_saved_and_restored(self, world: World) -> None:
        """Before its first batch; what is restored learns as the fresh one does."""
        path = world.create("fresh").save("zeroth")
        restored, fresh = world.create(restore_from=path), world.create()
        for batch in world.batches[:3]:
            assert equal_trees(arrays(fresh.run(batch, train=True)), arrays(restored.run(batch, train=True)))

    def test_a_saved_model_says_what_it_is(self, world: World, case: Case, kept: Kept) -> None:
        """Backend, fallback, rung, inputs and outputs with dtypes and shapes."""
        manifest = find_saved(kept.path).manifest
        inputs, outputs = world.config["model"]["inputs"], world.config["model"]["outputs"]
        assert manifest["backend"]
        assert manifest["restore_fallback"] == world.create().restore_fallback
        assert case.rung in (None, manifest["rung"]), manifest["reason"]
        assert list(manifest["inputs"]) == list(inputs)
        assert list(manifest["outputs"]) == list(outputs)
        for described in (*manifest["inputs"].values(), *manifest["outputs"].values()):
            assert np.dtype(described["dtype"])
            assert described["shape"][0] is None

    def test_saving_and_restoring_change_no_training(self, world: World) -> None:
        """Who saved, which may take finding out a lot, who did not, and who was restored go on alike."""
        quiet, saved = _trained(world), _trained(world, "saved")
        restored: Any = world.create(restore_from=saved.save("middle"))
        for batch in world.batches[len(world.batches) // 2 :]:
            expected = arrays(quiet.run(batch, train=True))
            assert equal_trees(expected, arrays(saved.run(batch, train=True)))
            assert equal_trees(expected, arrays(restored.run(batch, train=True)))
        assert equal_trees(quiet.state_dict(), saved.state_dict())
        assert equal_trees(quiet.state_dict(), restored.state_dict())

    def test_a_saved_model_is_restored_from_its_run_a_copy_or_a_checkpoint(
        self, world: World, kept: Kept, tmp_path: Path
    ) -> None:
        """It depends on nothing around it."""
        moved = tmp_path / "moved"
        shutil.copytree(kept.path, moved)
        commit = write_commit(tmp_path / "checkpoints", 1, {"model": kept.state}, {})
        for place in (kept.path, kept.path.parent, moved, commit.path):
            restored = world.create(restore_from=place)
            assert equal_trees(kept.evaluated, arrays(restored.run(world.batches[0], train=False)))

    def test_saving_again_replaces_the_saved_model(self, world: World) -> None:
        """Under the same name stands what was saved last."""
        model: Any = world.create("again")
        model.save("best")
        model.run(world.batches[0], train=True)
        restored: Any = world.create(restore_from=model.save("best"))
        assert equal_trees(model.state_dict(), restored.state_dict())

    def test_nothing_that_is_saved_holds_a_pickle(self, kept: Kept) -> None:
        """Every file is read, and every member of every archive in it."""
        assert pickles_in(kept.path.parent) == []

    def test_nothing_that_is_saved_holds_the_data(self, world: World, kept: Kept) -> None:
        """No array of a batch, and no example of it, ends up in a file."""
        names = world.config["model"]["inputs"]
        values = [np.asarray(batch[name]) for batch in world.batches for name in names]
        secrets = [example for array in values for example in (array, *array) if example.nbytes >= 64]
        assert secrets, "the batches are too small to be recognised"
        assert copies_in(kept.path.parent, secrets) == []

    def test_a_damaged_saved_model_is_refused_by_name(self, world: World, kept: Kept, tmp_path: Path) -> None:
        """One bit in any of its files is enough; the error names the file."""
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
            with world.without_source(), pytest.raises(SavedModelError, match=file.name):
                world.create(restore_from=copied, restore_fallback=fallback)

    def test_what_is_no_model_of_the_backend_is_refused(self, world: World, tmp_path: Path) -> None:
        """Another backend's model, a state of something else, nothing at all."""
        described: dict[str, Any] = {"restore_fallback": None, "inputs": {}, "outputs": {}, "tree": {"w": 1}}
        other = write_saved_model(tmp_path / "model_other", backend="other", rung="weights", **described)
        with pytest.raises(SavedModelError, match="'other'"):
            world.create(restore_from=other)
        with pytest.raises(SavedModelError, match="there is none"):
            world.create(restore_from=tmp_path / "model_gone")
        with pytest.raises(StateError):
            world.create().load_state_dict({"w": 1})  # type: ignore[attr-defined]
        with pytest.raises(EmloopError):
            world.create(restore_from=tmp_path)

    def test_a_state_is_the_same_whoever_saves_it(self, kept: Kept) -> None:
        """A checkpoint and a saved model hold one tree, which is readable as text and arrays."""
        assert equal_trees(kept.state, find_saved(kept.path).tree())
        manifest = json.loads((kept.path / "manifest.json").read_text())
        assert json.loads((kept.path / manifest["state"][0]).read_text())


def _trained(world: World, name: str | None = None) -> Any:
    """A model that has seen the first half of the batches."""
    model = world.create(name)
    for batch in world.batches[: len(world.batches) // 2]:
        model.run(batch, train=True)
    return model


def _assert_same_future(world: World, one: Any, other: Any) -> None:
    for batch in world.batches[len(world.batches) // 2 :]:
        assert equal_trees(arrays(one.run(batch, train=True)), arrays(other.run(batch, train=True)))
    assert equal_trees(one.state_dict(), other.state_dict())
