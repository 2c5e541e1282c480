"""What a saved model of each architecture can do without its source.

From the root of the repository, ``python -m tests.emloop_torch.zoo.measure`` measures all, prints a table and writes it
to ``results.md``; names of architectures measure those only.
"""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import emloop_torch
from emloop._state.random import use_seed
from emloop._state.tree import copy_tree, equal_trees
from emloop.errors import BatchError

from . import adaptation, generative, language, representation, sequences, structure, vision  # noqa: F401
from .catalogue import ARCHITECTURES, Architecture

RESULTS = Path(__file__).with_name("results.md")
GOES_ON = ("exported", "traced")

_BEFORE, _AFTER = (8, 8, 8), (8, 5, 8)
"""Examples of the batches before the save, and after."""
_ROUNDING = 1e-3
"""How far values may part in three steps, as a share of the largest, where the manifest does not claim equality."""


class Finding(NamedTuple):
    """What was found.

    Args:
        rung: The rung that the manifest tells.
        agreement: ``to the bit``, how far outputs and weights part, ``fell`` where the shadow check took a rung back,
            ``refused: …`` where a batch is, ``WRONG: …``, or nothing where nothing is promised.
        reason: Why not a higher rung.
    """

    rung: str
    agreement: str
    reason: str

    @property
    def agrees(self) -> str:
        """The agreement without its size, which differs between machines."""
        return self.agreement.partition(":")[0].partition(" by ")[0]

    @property
    def is_wrong(self) -> bool:
        """Whether it is not what its source does."""
        return self.agrees == "WRONG"

    @property
    def goes_on(self) -> bool:
        """Whether it is trained further without source, and rightly."""
        return self.rung in GOES_ON and self.agrees not in ("WRONG", "refused")


def measure(architecture: Architecture, directory: Path) -> Finding:
    """Train a little, save, restore without source, train further, and compare with one that goes on.

    A third one never saves: what it does, and ends with, has to equal that of the one that saves after every epoch.
    """
    model, silent = (_create(architecture, directory / name) for name in ("saving", "silent"))
    rng = np.random.default_rng(1)
    for examples in _BEFORE:
        batch = architecture.batch(rng, examples)
        _trained(model, batch), _trained(silent, batch)
    path = Path(model.save("best"))
    manifest = json.loads((path / "manifest.json").read_text())
    rung, reason = manifest["rung"], manifest["reason"] or ""
    restored = None if rung == "weights" else _create(architecture, directory / "restored", path)
    parted = 0.0
    try:
        for examples in _AFTER:
            parted = max(parted, _parted_by(architecture.batch(rng, examples), model, silent, restored, rung))
    except BatchError as error:
        return Finding(rung, f"refused: {error}", reason)
    except _SavingChanges:
        return Finding(rung, "WRONG: a save changes the training", reason)
    fallen = json.loads((path / "manifest.json").read_text())
    if fallen["rung"] != rung:
        return Finding(fallen["rung"], "fell", fallen["reason"])
    if restored is None:
        return Finding(rung, "", reason)
    if parted > (0.0 if manifest["extra"]["exact"] else _ROUNDING):
        return Finding(rung, f"WRONG: off by {parted:.0e}, exact: {manifest['extra']['exact']}", reason)
    return Finding(rung, "to the bit" if parted == 0 else f"off by {parted:.0e}", reason)


class _SavingChanges(Exception):
    """Whoever saves has another training than whoever does not."""


def _parted_by(batch: dict[str, Any], model: Any, silent: Any, restored: Any, rung: str) -> float:
    """Evaluate a batch and learn from it, as one epoch, and tell how far the restored model parts."""
    pairs: list[tuple[Any, Any]] = []
    if restored is not None:
        evaluated = model.run(batch, train=False)
        silent.run(batch, train=False)
        pairs.append((evaluated, restored.run(batch, train=False)))
    expected, other = _trained(model, batch), _trained(silent, batch)
    model.end_epoch(), silent.end_epoch()
    model.save("latest")
    if not (equal_trees(expected, other) and equal_trees(model.state_dict(), silent.state_dict())):
        raise _SavingChanges
    if rung in GOES_ON:
        pairs.append((expected, _trained(restored, batch)))
        restored.end_epoch()
        pairs.append((_weights(model), _weights(restored)))
    elif restored is not None:
        restored.load_state_dict(copy_tree(model.state_dict()))
    return max((_parted(*pair) for pair in pairs), default=0.0)


def _trained(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    # All share Python's random numbers.
    random.seed(7)
    return model.run(batch, train=True)


def _create(architecture: Architecture, directory: Path, restore_from: Path | None = None) -> Any:
    cls = emloop_torch.BaseModel
    if restore_from is None:
        cls = type("Model", (architecture.model,), {"create_model": lambda self: architecture.make()})
    inputs = list(architecture.batch(np.random.default_rng(0), 2))
    trained_by = {} if "optimizers" in architecture.config else {"optimizer": {"class": "AdamW", "learning_rate": 0.01}}
    config = {**trained_by, **architecture.config}
    if any(isinstance(part, torch.nn.Embedding) and part.sparse for part in architecture.make().modules()):
        config["optimizer"] = {"class": "SGD", "learning_rate": 0.1}
    with use_seed(5):
        source = None if restore_from is None else str(restore_from)
        outputs = list(architecture.outputs)
        return cls(None, str(directory), source, inputs=inputs, outputs=outputs, device="cpu", **config)


def _weights(model: Any) -> dict[str, np.ndarray]:
    module = model.module
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def _parted(expected: dict[str, Any], found: dict[str, Any]) -> float:
    """The largest difference, as a share of the largest number of its kind; infinite where names differ."""
    if expected.keys() != found.keys():
        return float("inf")
    parted = 0.0
    for name, value in expected.items():
        one, two = np.asarray(value), np.asarray(found[name])
        if np.array_equal(one, two, equal_nan=one.dtype.kind in "fc"):
            continue
        if one.shape != two.shape:
            return float("inf")
        one, two = (part.astype(np.float64) if part.dtype.kind != "c" else part for part in (one, two))
        parted = max(parted, float(np.nanmax(np.abs(one - two)) / max(np.nanmax(np.abs(one)), 1e-3)))
    return parted


def table(findings: dict[str, Finding]) -> str:
    """The findings in Markdown, and what they come to."""
    on = sum(finding.goes_on for finding in findings.values())
    wrong = sum(finding.is_wrong and finding.rung != "weights" for finding in findings.values())
    rows = "\n".join(
        f"| {name} | {finding.rung} | {finding.agreement} | {finding.reason.replace('|', chr(92) + '|')} |"
        for name, finding in sorted(findings.items())
    )
    return (
        "# What is trained further without its source\n\n"
        f"{on} of {len(findings)} architectures ({on / len(findings):.0%}); accepted and wrong: {wrong}. PyTorch "
        f"{torch.__version__}; written by `python -m tests.emloop_torch.zoo.measure`.\n\n"
        "| architecture | rung | agrees | reason for no higher rung |\n| --- | --- | --- | --- |\n"
        f"{rows}\n"
    )


def recorded() -> dict[str, Finding]:
    """What ``results.md`` says."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    cells = (re.split(r" ?(?<!\\)\| ?", line)[1:5] for line in lines if line.startswith("| "))
    return {name: Finding(*rest) for name, *rest in cells if name in ARCHITECTURES}


def measured(names: Iterable[str]) -> Iterator[tuple[str, Finding]]:
    """Measure one after the other."""
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            yield name, measure(ARCHITECTURES[name], Path(directory))


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = sys.argv[1:] or sorted(ARCHITECTURES)
    findings = recorded()
    for name, finding in measured(chosen):
        print(f"{name}: {' | '.join(finding)}", flush=True)
        findings[name] = finding
        RESULTS.write_text(table(findings), encoding="utf-8")
