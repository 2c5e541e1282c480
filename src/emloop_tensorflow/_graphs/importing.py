"""How TensorFlow is imported: quietly, with Keras upon it, and with no more threads or memory than others are given."""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from emloop.errors import MissingExtraError

__all__ = ["import_tensorflow"]

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "GRPC_VERBOSITY": "ERROR"}
"""What is said about the machine at every import. Who has set one of these hears what he has asked for.

Nothing by which TensorFlow computes, such as ``TF_ENABLE_ONEDNN_OPTS``: where a module of the user's imports it first,
the last bits would be others.
"""
_GREETING = re.compile(
    rb"(WARNING: All log messages before absl|[IW]\d{4} [\d:.]+ .*(port|cpu_feature_guard|cuda|gpu)\w*\.cc)"
    rb"|To enable the following instructions"
)
_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def import_tensorflow() -> None:
    """Import TensorFlow and Keras, and set what only holds from the beginning.

    Raises:
        MissingExtraError: If one of them is not installed.
        ImportError: If Keras computes with another framework.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    chosen = sys.modules["keras"].config.backend() if "keras" in sys.modules else os.environ["KERAS_BACKEND"]
    if chosen != "tensorflow":
        raise ImportError(
            f"Keras computes with {chosen!r} in this process, and emloop_tensorflow needs it with 'tensorflow': "
            "unset KERAS_BACKEND, or set KERAS_BACKEND=tensorflow"
        )
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "tensorflow" not in sys.modules:
        with suppress(ImportError):
            # PyTorch for CUDA imports it some time; after TensorFlow, with an LLVM of its own, that ends the process.
            importlib.import_module("triton")
    try:
        with _without_greeting():
            import keras  # noqa: F401, PLC0415 - which TensorFlow would import later
            import tensorflow as tf  # noqa: PLC0415 - not before what is set above
    except ModuleNotFoundError as error:
        raise MissingExtraError("emloop_tensorflow", "tensorflow") from error
    # Either is too late where somebody has computed something already.
    with suppress(RuntimeError, ValueError):
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    limit = next((os.environ[name] for name in _LIMITS if os.environ.get(name, "").isdecimal()), None)
    if limit is not None and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        with suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(int(limit))
            tf.config.threading.set_inter_op_parallelism_threads(int(limit))


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Keep what libraries say of themselves, straight to the terminal, from whoever has not asked for it."""
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != _QUIET["TF_CPP_MIN_LOG_LEVEL"]:
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(terminal, 2)
                said.seek(0)
                rest = b"".join(line for line in said if not _GREETING.match(line))
                os.write(2, rest)
    finally:
        os.close(terminal)
