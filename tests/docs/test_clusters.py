"""What the documentation shows for clusters, as far as it can be tried without one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "train-on-many-processes.md"
SRUN = """#!{python}
import os, subprocess, sys, time
from pathlib import Path

started = []
for rank in range(2):
    step = {{"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": 2, "SLURM_LOCALID": rank, "SLURM_STEP_TASKS_PER_NODE": "2"}}
    env = {{**os.environ, **{{name: str(value) for name, value in step.items()}}, "SLURM_STEP_NODELIST": "localhost"}}
    started.append(subprocess.Popen([sys.executable, "-m", *sys.argv[1:], *{more!r}], env=env))
metrics = Path("log/digits-17/metrics.jsonl")
while {stops} and not (metrics.exists() and metrics.stat().st_size) and started[0].poll() is None:
    time.sleep(0.05)
for process in started if {stops} else ():
    process.terminate()
sys.exit(max(process.wait() for process in started))
"""
MORE = ["main_loop.epochs_count=3", "model.channels=2", "~hooks.SaveConfusionMatrix", "~hooks.SaveBest"]


def shown(title):
    """The text of a block."""
    return PAGE.read_text().split(f"title={title}\n")[1].split("\n```")[0] + "\n"


def program(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.torture
def test_a_job_that_slurm_stops_is_queued_again_and_goes_on(tmp_path):
    """With stand-ins for ``srun`` and ``scontrol``."""
    pytest.importorskip("torch")
    (tmp_path / "examples").symlink_to(PAGE.parents[2] / "examples")
    program(tmp_path / "train.sbatch", shown("train.sbatch"))
    programs = tmp_path / "bin"
    programs.mkdir()
    program(programs / "scontrol", '#!/bin/sh\necho "$@" >> requeued\n')
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "17", "OMP_NUM_THREADS": "1"}
    codes = []
    for stops in (True, False):
        program(programs / "srun", SRUN.format(python=sys.executable, more=MORE, stops=stops))
        codes.append(subprocess.run(["bash", "train.sbatch"], cwd=tmp_path, env=env, check=False).returncode)

    assert codes == [75, 0]
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"


def test_the_job_for_kubernetes_says_what_torchrun_takes():
    """Its numbers of pods, and its words."""
    run = pytest.importorskip("torch.distributed.run")
    service, job = yaml.safe_load_all(shown("job.yaml"))

    (container,) = job["spec"]["template"]["spec"]["containers"]
    words = [word.replace("$(JOB_COMPLETION_INDEX)", "1") for word in container["args"]]
    options = run.get_args_parser().parse_args(words)
    assert int(options.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert int(options.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert options.master_addr == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert [options.training_script, *options.training_script_args][:2] == ["emloop", "train"]
