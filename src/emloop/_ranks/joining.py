"""What launchers tell the processes that they start.

``torchrun`` (https://docs.pytorch.org/docs/stable/elastic/run.html): ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``,
``LOCAL_WORLD_SIZE``, ``MASTER_ADDR``, ``MASTER_PORT``. ``srun`` (https://slurm.schedmd.com/srun.html):
``SLURM_PROCID``, ``SLURM_STEP_NUM_TASKS``, ``SLURM_LOCALID``, ``SLURM_STEP_NODELIST``, ``SLURM_JOB_ID``.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping

from emloop._contracts.ranks import Scene
from emloop.errors import UsageError

__all__ = ["is_first", "require_alone", "scene_of", "scenes"]

_FIRST_PORT, _PORTS = 15_000, 30_000
"""Of what is derived from the number of a job."""


def scene_of(environment: Mapping[str, str]) -> Scene | None:
    """The scene that a launcher has set for this process; ``None`` where it is alone.

    Raises:
        UsageError: If what it tells is incomplete, or no number.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        names, launcher = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"), "torchrun"
    elif "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        names, launcher = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"), "srun"
    else:
        return None
    rank, size, local, on_machine = (_number(environment, name, launcher) for name in names)
    if size == 1:
        return None
    if rank >= size:
        raise UsageError(
            f"{launcher} has set {names[0]}={rank} and {names[1]}={size}; ranks count from 0 to {size - 1}"
        )
    if launcher == "torchrun":
        address, port = environment.get("MASTER_ADDR", "127.0.0.1"), _number(environment, "MASTER_PORT", launcher)
    else:
        address = environment.get("MASTER_ADDR") or _first_host(environment.get("SLURM_STEP_NODELIST", "127.0.0.1"))
        port = int(
            environment.get("MASTER_PORT") or _FIRST_PORT + _number(environment, "SLURM_JOB_ID", launcher) % _PORTS
        )
    return Scene(rank, size, local, on_machine, address, port, launcher)


def scenes(count: int) -> list[dict[str, str]]:
    """What a launcher would tell so many processes on this machine, by rank; nothing to one alone."""
    if count == 1:
        return [{}]
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1])}
    sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return [{**place, **sizes, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def is_first() -> bool:
    """Whether this process is alone, or rank 0."""
    scene = scene_of(os.environ)
    return scene is None or scene.rank == 0


def require_alone(command: str) -> None:
    """Refuse several processes of a command that one runs.

    Raises:
        UsageError: If a launcher has started several.
    """
    scene = scene_of(os.environ)
    if scene is not None:
        message = f"emloop {command} is run by one process, and {scene.launcher} has started {scene.size}"
        raise UsageError(f"{message}; run it by itself")


def _number(environment: Mapping[str, str], name: str, launcher: str) -> int:
    text = environment.get(name, "")
    found = re.match(r"\d+", text)  # Slurm writes 4(x2) for four on each of two machines
    if found is None:
        raise UsageError(f"{launcher} has set {name}={text!r}; expected a number, as it sets where it starts a process")
    return int(found.group())


def _first_host(hosts: str) -> str:
    """The first of a list as Slurm writes it: ``node[003-008,12],other``."""
    found = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?([^\[,]*)", hosts)
    return hosts if found is None else "".join(part or "" for part in found.groups())
