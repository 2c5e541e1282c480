"""skops, imported without PyTorch.

To list the estimators of scikit-learn, it imports every package in it, one of which imports PyTorch where that is
installed: seconds, for a list that is the same without.
"""

import sys

__all__ = ["skops"]

_NEEDLESS = "sklearn.externals.array_api_compat.torch"

if _NEEDLESS in sys.modules or "torch" in sys.modules:
    import skops.io
else:
    # What is None there cannot be imported, and is passed over.
    sys.modules[_NEEDLESS] = None  # type: ignore[assignment]
    try:
        import skops.io
    finally:
        del sys.modules[_NEEDLESS]
