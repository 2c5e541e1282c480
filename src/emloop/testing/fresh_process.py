"""What :mod:`emloop.testing.source_free` runs in a process of its own: a saved model without its source."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from emloop._state.random import seed_everything, use_seed
from emloop._state.tree import dump_tree
from emloop._streams import StreamWrapper
from emloop.api import create_dataset, create_model
from emloop.saved_models import find_saved

from .case import SEED
from .running import arrays

__all__ = ["use_elsewhere"]


def use_elsewhere(job: dict[str, Any]) -> dict[str, Any]:
    """Restore a saved model, evaluate it, train it further, save and restore it again, train it once more.

    Args:
        job: ``config``; ``source``, the module that must not be there; ``saved``; ``out``; ``train``, whether to.

    Raises:
        RuntimeError: If the source can be imported.
    """
    if job["source"] is not None and importlib.util.find_spec(job["source"]) is not None:
        raise RuntimeError(f"{job['source']} can be imported")
    seed_everything(SEED)
    with use_seed(SEED):
        dataset: Any = create_dataset(job["config"])
        batches = list(StreamWrapper(dataset.train_stream, name="train"))
        half, end = len(batches) // 2, len(batches)
        model: Any = create_model(job["config"], job["out"], dataset, job["saved"])
        found: dict[str, Any] = {"restored": model.state_dict(), "rung": find_saved(job["saved"]).manifest["rung"]}
        found["evaluated"] = [arrays(model.run(batch, train=False)) for batch in batches[:2]]
        if job["train"]:
            middle = (half + end) // 2
            found["trained"] = [arrays(model.run(batch, train=True)) for batch in batches[half:middle]]
            found["state"] = model.state_dict()
            path = model.save("again")
            found["rung_again"] = find_saved(path).manifest["rung"]
            again: Any = create_model(job["config"], None, dataset, path)
            found["trained_again"] = [arrays(again.run(batch, train=True)) for batch in batches[middle:]]
            found["state_again"] = again.state_dict()
    return found


def _main(job_file: str) -> None:
    job = json.loads(Path(job_file).read_text())
    skeleton, array_bytes = dump_tree(use_elsewhere(job))
    Path(job["out"], "found.json").write_bytes(skeleton)
    if array_bytes is not None:
        Path(job["out"], "found.safetensors").write_bytes(array_bytes)


if __name__ == "__main__":
    _main(sys.argv[1])
