"""Promises about restoring without the source: in another process, another directory, with no module of the user's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from emloop._contracts import Restorable
from emloop._registry import find_class
from emloop._settings.kinds import MODEL
from emloop._state.commit import newest_commit
from emloop._state.tree import load_tree
from emloop.api import create_emloop_training, resume_emloop_training
from emloop.errors import EmloopError
from emloop.saved_models import find_saved

from .case import Case, World
from .fresh_process import observe, use_elsewhere
from .promise import claims, promise, refuses, same

__all__ = ["SourceFree"]

_TIMEOUT = 300
_PROGRAM = "import sys; from emloop.testing.fresh_process import main; main(sys.argv[1])"
_FALLBACK = "name in restore_fallback a class of the backend that builds the model from a saved model alone"


class Shipped(NamedTuple):
    """What became of a saved model without its source, and of the original meanwhile."""

    found: dict[str, Any]
    expected: dict[str, Any]

    def compare(self, case: Case, *names: str) -> None:
        """Demand that parts of both are equal, to the bit where the case is exact."""
        for name in names:
            same(self.expected[name], self.found[name], f"without source, {name}", exact=case.exact)


class SourceFree:
    """What is left of a model where its source is gone."""

    @pytest.fixture(scope="class")
    @classmethod
    @promise("restore-without-the-source", _FALLBACK)
    def shipped(cls, world: World, case: Case) -> Shipped:
        """A saved model can be restored and used in a process that lacks its source."""
        if not case.runs_without_source:
            pytest.skip(f"{case.name}: its source is needed for everything")
        original = world.trained("original")
        # Moved, so that nothing is left where it was.
        shutil.move(original.save("best"), world.directory / "shipped")
        expected = observe(original, world.batches, trains=case.trains_without_source)
        job = {
            "config": world.config,
            "source": world.source_module,
            "saved": str(world.directory / "shipped"),
            "out": str(world.run_dir("elsewhere")),
            "trains": case.trains_without_source,
        }
        if case.own_process:
            return Shipped(_in_a_fresh_process(job, world), expected)
        with world.without_source():
            return Shipped(use_elsewhere(job), expected)

    @promise("restore-without-the-source", _FALLBACK)
    def test_the_fallback_can_be_imported(self, world: World, case: Case) -> None:
        """The class that `restore_fallback` names can be imported without the model's source."""
        if not case.runs_without_source:
            pytest.skip(f"{case.name}: its source is needed for everything")
        fallback = claims(world.create(), Restorable).restore_fallback
        assert fallback, "restore_fallback is None"
        with world.without_source():
            assert isinstance(fallback, type) or find_class(fallback, MODEL)

    @promise("restore-without-the-source", "keep in the saved model all that load_state_dict and run need")
    def test_without_source_the_model_is_the_same(self, shipped: Shipped, case: Case) -> None:
        """Without its source a model has the same state, to the bit, and says the same of the same batches."""
        same(shipped.expected["restored"], shipped.found["restored"], "state restored without source")
        shipped.compare(case, "evaluated")

    @promise("restore-without-the-source", "keep the optimizer and what computes the loss in the saved model, too")
    def test_without_source_it_trains_further(self, shipped: Shipped, case: Case) -> None:
        """Without its source a model trains on as the training that was never interrupted."""
        _require_training(case)
        shipped.compare(case, "trained", "state")

    @promise("restore-without-the-source", "save a model restored without source as completely as the original")
    def test_without_source_it_can_be_saved_and_restored_again(self, shipped: Shipped, case: Case) -> None:
        """What was restored without source can be saved, restored and trained once more."""
        _require_training(case)
        before, again = shipped.found["rungs"]
        same(before, again, "rung of the model that was saved again")
        shipped.compare(case, "trained again", "state again")

    @promise("restore-without-the-source", "give write_saved_model a reason, and repeat it when training is asked for")
    def test_without_source_what_cannot_be_done_is_refused(self, world: World, case: Case) -> None:
        """What cannot be done without the source is refused, and the error says why the source is needed."""
        if case.trains_without_source:
            pytest.skip(f"{case.name}: nothing is refused")
        model = world.create("refused")
        model.run(world.batches[0], train=True)
        saved = find_saved(model.save("best"))
        assert saved.manifest["reason"], "the manifest gives no reason"
        with world.without_source(), refuses(EmloopError, "training without source", saved.manifest["reason"]):
            world.create(restore_from=saved.path).run(world.batches[0], train=True)

    @promise("restore-without-the-source", "let the fallback take the run's arguments and resume from its commits")
    def test_a_run_goes_on_without_source(self, world: World, case: Case) -> None:
        """A run of two epochs, resumed for two more without source, commits what four in a row commit."""
        _require_training(case)
        if not (case.exact and case.own_process):
            pytest.skip(f"{case.name}: whole runs are tried with other cases")
        longer = {**world.config, "main_loop": {**world.config["main_loop"], "epochs_count": 4}}
        whole = create_emloop_training(longer, world.directory / "log", output_dir_name="whole")
        whole.main_loop.run_training()
        cut = create_emloop_training(world.config, world.directory / "log", output_dir_name="cut")
        cut.main_loop.run_training()
        with world.without_source():
            fallback = claims(cut.model, Restorable).restore_fallback
            described = {**longer, "model": {**longer["model"], "restore_fallback": fallback}}
            resume_emloop_training(described, cut.output_dir).main_loop.run_training()
        for component in ("model", "loop", "streams/train"):
            expected, found = _committed(whole.output_dir, component), _committed(cut.output_dir, component)
            same(expected, found, f"{component} in the last commit of the resumed run")


def _in_a_fresh_process(job: dict[str, Any], world: World) -> dict[str, Any]:
    job_file, out = world.directory / "job.json", Path(job["out"])
    job_file.write_text(json.dumps(job))
    # What is importable here, such as a backend that is not installed yet, is so there; all but the source.
    paths = [path for path in sys.path if path and path != str(world.source_path)]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(job_file)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
        cwd=out,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"in a process without the source:\n{done.stdout}{done.stderr}".rstrip()
    array_file = out / "found.safetensors"
    found: dict[str, Any] = load_tree(
        (out / "found.json").read_bytes(), array_file.read_bytes() if array_file.exists() else None
    )
    return found


def _require_training(case: Case) -> None:
    if not case.trains_without_source:
        pytest.skip(f"{case.name}: its source is needed for training")


def _committed(run: str, component: str) -> Any:
    commit, rejected = newest_commit(Path(run) / "checkpoints", set_aside=False)
    assert not rejected, f"commits that cannot be read: {rejected}"
    return commit.load(component) if commit else None
