"""skops, imported once it is needed, and without PyTorch.

To list the estimators of scikit-learn, it imports every package in it: a second for whoever trains none. One of them
imports PyTorch where that is installed: seconds, for a list that is the same without.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

__all__ = ["skops_io"]

_NEEDLESS = "sklearn.externals.array_api_compat.torch"


@cache
def skops_io() -> ModuleType:
    """The module ``skops.io``."""
    if _NEEDLESS in sys.modules or "torch" in sys.modules:
        return importlib.import_module("skops.io")
    # What is None there cannot be imported, and is passed over.
    sys.modules[_NEEDLESS] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("skops.io")
    finally:
        del sys.modules[_NEEDLESS]
