"""Importing TensorFlow by way of the backend."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

tf = pytest.importorskip("tensorflow")


def test_keras_with_another_framework_is_refused_in_one_line():
    """Before anything is imported that would have to be imported otherwise."""
    done = subprocess.run(
        [sys.executable, "-c", "from emloop_tensorflow import BaseModel"],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "set KERAS_BACKEND=tensorflow" in done.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_whoever_imports_it_first_tensorflow_computes_by_the_same_kernels():
    """A resume without the source, whose modules may have imported it, ends with the same bits."""
    told = "from tensorflow.python.util import _pywrap_util_port\nprint(_pywrap_util_port.IsMklEnabled())"
    programs = [f"import {first}\n{told}" for first in ("emloop_tensorflow", "tensorflow, emloop_tensorflow")]
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    said = [
        subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True).stdout
        for text in programs
    ]

    assert said[0] == said[1]


@pytest.mark.slow
def test_importing_says_nothing_and_obeys_the_limit_of_threads(tmp_path):
    """What libraries tell of the machine is for those who ask, whatever a model's own module imports first."""
    (tmp_path / "own.py").write_text(
        "import keras\nimport tensorflow as tf\nimport emloop_tensorflow\n"
        "class Model(emloop_tensorflow.BaseModel):\n"
        "    def create_model(self):\n"
        "        print(tf.config.threading.get_intra_op_parallelism_threads())\n"
        "    def call(self, x, training):\n"
        "        return {'loss': x}\n"
    )
    program = "import emloop\nmodel = {'class': 'own.Model', 'inputs': ['x'], 'outputs': ['loss']}\n"
    program += "emloop.create_model({'model': model}, None, None, None)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("1\n", "")
