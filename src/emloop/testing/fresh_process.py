"""Use a saved model without its source: here, or in a process of its own."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emloop._state.random import seed_everything, use_seed
from emloop._state.tree import dump_tree
from emloop._streams import StreamWrapper
from emloop.api import create_dataset, create_model
from emloop.saved_models import find_saved
from emloop.types import Batch

from .case import SEED, arrays, state_of

__all__ = ["main", "observe", "use_elsewhere"]


def observe(
    model: Any, batches: Sequence[Batch], *, trains: bool, renew: Callable[[Any], Any] = lambda model: model
) -> dict[str, Any]:
    """What a model that has seen the first half of the batches does from there on.

    Args:
        model: The model.
        batches: All batches.
        trains: Whether to train it on the second half.
        renew: Called in the middle of that; returns the model that goes on.
    """
    half, end = len(batches) // 2, len(batches)
    middle = (half + end) // 2
    seen: dict[str, Any] = {"restored": state_of(model)}
    seen["evaluated"] = [arrays(model.run(batch, train=False)) for batch in batches[:2]]
    if trains:
        seen["trained"] = [arrays(model.run(batch, train=True)) for batch in batches[half:middle]]
        seen["state"] = state_of(model)
        model = renew(model)
        seen["trained again"] = [arrays(model.run(batch, train=True)) for batch in batches[middle:]]
        seen["state again"] = state_of(model)
    return seen


def use_elsewhere(job: dict[str, Any]) -> dict[str, Any]:
    """Restore a saved model and observe it, saved and restored once more in the middle.

    Args:
        job: ``config``; ``source``, the module that must not be there; ``saved``; ``out``; ``trains``, whether to.

    Raises:
        RuntimeError: If the source can be imported.
    """
    if job["source"] is not None and importlib.util.find_spec(job["source"]) is not None:
        raise RuntimeError(f"{job['source']} can be imported")
    rungs = [find_saved(job["saved"]).manifest["rung"]]
    seed_everything(SEED)
    with use_seed(SEED):
        dataset: Any = create_dataset(job["config"])

        def again(model: Any) -> Any:
            path = model.save("again")
            rungs.append(find_saved(path).manifest["rung"])
            return create_model(job["config"], None, dataset, path)

        batches = list(StreamWrapper(dataset.train_stream, name="train"))
        model: Any = create_model(job["config"], job["out"], dataset, job["saved"])
        return {**observe(model, batches, trains=job["trains"], renew=again), "rungs": rungs}


def main(job_file: str) -> None:
    """Do a job that is described in a file, and leave what was observed in its directory."""
    job = json.loads(Path(job_file).read_text())
    skeleton, array_bytes = dump_tree(use_elsewhere(job))
    Path(job["out"], "found.json").write_bytes(skeleton)
    if array_bytes is not None:
        Path(job["out"], "found.safetensors").write_bytes(array_bytes)
