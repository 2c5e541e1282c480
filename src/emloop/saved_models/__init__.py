"""Saved models: what all backends share of writing, finding and verifying them.

::

    model_best/
      manifest.json             backend, restore_fallback, inputs and outputs, rung, names, sizes and hashes
      model-3fa1c2d4.json       the model's state tree …
      model-3fa1c2d4.safetensors    … and its arrays
      frozen-3fa1c2d45d2ee94b.safetensors    optional: those that do not change, a hard link where the run has them
      program/                  optional: the model as data, without weights
  capsule-5d2ee94b.json     optional: the source of the project's own modules, which only its user can let run
      model.onnx                an exported model: what other runtimes read

The manifest is replaced last, in one step, and names every file by its hash. So a model can be saved over an older one
at any time: readers find the old or the new one, complete, even after a crash. A saved model depends on nothing around
it and works wherever it is copied.
"""

from emloop._source.cache import cache_directory
from emloop._state.kinds import check_state
from emloop._state.tree import Lasting, Rows

from .capsule import Capsule
from .collecting import advise_capsule, capsule_for, collect_capsule, packages_of
from .describing import Described, array_of, describe_variables, fitted, require_sources
from .finding import class_of_export, find_saved
from .lacking import overridden_methods, require_program, versions_of, why_training_needs_source
from .purpose import (
    borrowing,
    evaluating,
    may_lend,
    predicting,
    restores_to_evaluate,
    restores_to_predict,
    takes_rows,
    taking_rows,
)
from .reading import Saved, require_format
from .trust import trust_source_of
from .versions import shelf_life
from .writing import replace_program, saved_model_path, write_saved_model

__all__ = [
    "Capsule",
    "Described",
    "Lasting",
    "Rows",
    "Saved",
    "advise_capsule",
    "array_of",
    "borrowing",
    "cache_directory",
    "capsule_for",
    "check_state",
    "class_of_export",
    "collect_capsule",
    "describe_variables",
    "evaluating",
    "find_saved",
    "fitted",
    "may_lend",
    "overridden_methods",
    "packages_of",
    "predicting",
    "replace_program",
    "require_format",
    "require_program",
    "require_sources",
    "restores_to_evaluate",
    "restores_to_predict",
    "saved_model_path",
    "shelf_life",
    "takes_rows",
    "taking_rows",
    "trust_source_of",
    "versions_of",
    "why_training_needs_source",
    "write_saved_model",
]
