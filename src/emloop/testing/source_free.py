"""What is left of a model where its source is gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from emloop._state.commit import newest_commit
from emloop._state.tree import equal_trees, load_tree
from emloop.api import create_emloop_training, resume_emloop_training
from emloop.errors import EmloopError
from emloop.saved_models import find_saved

from .case import Case, World
from .fresh_process import use_elsewhere
from .running import arrays

__all__ = ["SourceFree"]

_TIMEOUT = 300


class Shipped(NamedTuple):
    """What became of a saved model in a process that has no source, and of the original meanwhile."""

    found: Mapping[str, Any]
    expected: Mapping[str, Any]


class SourceFree:
    """Promises about restoring without source: in another process, another directory, with no module of the user's."""

    @pytest.fixture(scope="class")
    @classmethod
    def shipped(cls, world: World, case: Case) -> Shipped:
        """A saved model, taken elsewhere and used there, beside the model that was never stopped."""
        if not case.runs_without_source:
            pytest.skip(f"{case.name}: its source is needed for everything")
        original: Any = world.create("original")
        half, end = len(world.batches) // 2, len(world.batches)
        for batch in world.batches[:half]:
            original.run(batch, train=True)
        shutil.copytree(original.save("best"), world.directory / "shipped")
        expected: dict[str, Any] = {"restored": original.state_dict()}
        expected["evaluated"] = [arrays(original.run(batch, train=False)) for batch in world.batches[:2]]
        if case.trains_without_source:
            middle = (half + end) // 2
            expected["trained"] = [arrays(original.run(batch, train=True)) for batch in world.batches[half:middle]]
            expected["state"] = original.state_dict()
            expected["trained_again"] = [arrays(original.run(batch, train=True)) for batch in world.batches[middle:]]
            expected["state_again"] = original.state_dict()
        found = _in_a_fresh_process(world, case) if case.own_process else _without_source(world, case)
        return Shipped(found, expected)

    def test_without_source_the_model_is_the_same(self, shipped: Shipped, case: Case) -> None:
        """Its state, to the bit, and what it says of the same batches."""
        assert equal_trees(shipped.expected["restored"], shipped.found["restored"])
        _assert_equal(shipped.expected["evaluated"], shipped.found["evaluated"], exact=case.exact)

    def test_without_source_it_trains_further(self, shipped: Shipped, case: Case) -> None:
        """Outputs and the whole state equal those of the training that was never interrupted."""
        _require_training(case)
        _assert_equal(shipped.expected["trained"], shipped.found["trained"], exact=case.exact)
        _assert_equal(shipped.expected["state"], shipped.found["state"], exact=case.exact)

    def test_without_source_it_can_be_saved_and_restored_again(self, shipped: Shipped, case: Case) -> None:
        """And trained further once more."""
        _require_training(case)
        assert shipped.found["rung_again"] == shipped.found["rung"]
        _assert_equal(shipped.expected["trained_again"], shipped.found["trained_again"], exact=case.exact)
        _assert_equal(shipped.expected["state_again"], shipped.found["state_again"], exact=case.exact)

    def test_without_source_what_cannot_be_done_is_refused(self, world: World, case: Case) -> None:
        """Instead of training something else; the error repeats why the source is needed."""
        if case.trains_without_source:
            pytest.skip(f"{case.name}: nothing is refused")
        model = world.create("refused")
        model.run(world.batches[0], train=True)
        saved = find_saved(model.save("best"))
        with world.without_source(), pytest.raises(EmloopError) as refusal:
            world.create(restore_from=saved.path).run(world.batches[0], train=True)
        assert saved.manifest["reason"]
        assert saved.manifest["reason"] in str(refusal.value)

    def test_a_run_goes_on_without_source(self, world: World, case: Case) -> None:
        """Two epochs, then two more where the source is gone: the commit equals that of four epochs in a row."""
        _require_training(case)
        if not (case.exact and case.own_process):
            pytest.skip(f"{case.name}: whole runs are tried with other cases")
        config, longer = dict(world.config), {**world.config}
        longer["main_loop"] = {**config["main_loop"], "epochs_count": 4}
        whole = create_emloop_training(longer, world.directory / "log", output_dir_name="whole")
        whole.main_loop.run_training()
        cut = create_emloop_training(config, world.directory / "log", output_dir_name="cut")
        cut.main_loop.run_training()
        with world.without_source():
            described = {**longer, "model": {**config["model"], "restore_fallback": cut.model.restore_fallback}}
            resume_emloop_training(described, cut.output_dir).main_loop.run_training()
        for component in ("model", "loop", "streams/train"):
            assert equal_trees(_committed(whole.output_dir, component), _committed(cut.output_dir, component))


def _job(world: World, case: Case) -> dict[str, Any]:
    return {
        "config": world.config,
        "source": world.source_module,
        "saved": str(world.directory / "shipped"),
        "out": str(world.run_dir("elsewhere")),
        "train": case.trains_without_source,
    }


def _without_source(world: World, case: Case) -> dict[str, Any]:
    with world.without_source():
        return use_elsewhere(_job(world, case))


def _in_a_fresh_process(world: World, case: Case) -> dict[str, Any]:
    job = _job(world, case)
    (world.directory / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, "-m", "emloop.testing.fresh_process", str(world.directory / "job.json")],
        env={**os.environ, "PYTHONPATH": str(world.data_path), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
        cwd=world.run_dir("elsewhere"),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = Path(job["out"])
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
    assert not rejected
    assert commit is not None
    return commit.load(component)


def _assert_equal(expected: Any, found: Any, *, exact: bool) -> None:
    if exact:
        assert equal_trees(expected, found)
    else:
        _assert_close(expected, found)


def _assert_close(expected: Any, found: Any) -> None:
    if isinstance(expected, Mapping):
        assert list(expected) == list(found)
        for name in expected:
            _assert_close(expected[name], found[name])
    elif isinstance(expected, (list, tuple)):
        assert len(expected) == len(found)
        for one, other in zip(expected, found, strict=True):
            _assert_close(one, other)
    elif isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    else:
        assert equal_trees(expected, found)
