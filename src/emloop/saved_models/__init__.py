"""Saved models: what all backends share of writing, finding and verifying them.

::

    model_best/
      manifest.json             backend, restore_fallback, inputs and outputs, rung, names, sizes and hashes
      model-3fa1c2d4.json       the model's state tree …
      model-3fa1c2d4.safetensors    … and its arrays
      program/                  optional: the model as data, without weights
      model.onnx                an exported model: what other runtimes read

The manifest is replaced last, in one step, and names every file by its hash. So a model can be saved over an older one
at any time: readers find the old or the new one, complete, even after a crash. A saved model depends on nothing around
it and works wherever it is copied.
"""

from .finding import class_of_export, find_saved
from .reading import Saved, require_format
from .writing import describe_variables, replace_program, saved_model_path, write_saved_model

__all__ = [
    "Saved",
    "class_of_export",
    "describe_variables",
    "find_saved",
    "replace_program",
    "require_format",
    "saved_model_path",
    "write_saved_model",
]
