"""A training in a real notebook shows its table and its bar without any set-up of logging."""

from __future__ import annotations

import re

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

SETUP = """
from emloop.api import create_emloop_training
from emloop.utils.config import load_config
config = load_config("config.yaml")
"""
TRAIN = "training = create_emloop_training(config, 'log'); training.main_loop.run_training()"
INTERRUPTED = """
import os, signal, threading, time
from pathlib import Path
config["model"]["pause"] = 0.05
config["main_loop"]["epochs_count"] = 1000
training = create_emloop_training(config, 'log')
def interrupt():
    while "Training epoch 1" not in Path(training.output_dir, "train.log").read_text():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
training.main_loop.run_training()
"""
TWO_AT_ONCE = """
import threading
config["model"]["pause"] = 0.0
config["main_loop"]["epochs_count"] = 2
both = [create_emloop_training(config, 'log') for _ in range(2)]
threads = [threading.Thread(target=one.main_loop.run_training) for one in both]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.slow
def test_a_notebook_shows_the_table_once_a_run(toy, monkeypatch):
    """Also a cell that is run twice, interrupted, or works on two runs at once; a run shows what it was."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sources = [SETUP, TRAIN, TRAIN, INTERRUPTED, TWO_AT_ONCE, "both[0]"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(toy)}})
    client.execute()

    _, once, again, interrupted, two, shown = (cell.outputs for cell in notebook.cells)
    for outputs in (once, again):
        (text,) = texts(outputs)
        epochs = re.findall(r"^ +(\d+) .*\d\.\ds", text, flags=re.MULTILINE)
        assert epochs == ["1", "2", "3", "4", "5"]
        assert "Training terminated: main_loop.epochs_count = 5 is reached" in text
        assert "hooks …" not in text
    (text,) = texts(interrupted)
    assert "Training terminated: interrupted by SIGINT" in text
    assert len(texts(two)) == 2
    assert all("Training terminated: main_loop.epochs_count = 2 is reached" in text for text in texts(two))
    assert "<svg" in shown[0]["data"]["text/html"]


def texts(outputs):
    """What the displays of a cell show; nothing else may be there but warnings of signals."""
    assert all(output.output_type in ("display_data", "stream") for output in outputs), outputs
    return [output["data"]["text/plain"] for output in outputs if output.output_type == "display_data"]
