"""Training with TensorFlow and Keras, and restoring without the source of the model.

TensorFlow is imported with the first name that needs it. The hooks of emloop 0.2 that had their place here do not.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emloop.hooks import DecayLR, DecayLROnPlateau, InitLR, LogLR, WriteTensorBoard

    from .base_model import BaseModel
    from .frozen_model import FrozenModel
    from .litert_model import LiteRTModel
    from .supervised import Supervised

__all__ = [
    "BaseModel",
    "DecayLR",
    "DecayLROnPlateau",
    "FrozenModel",
    "InitLR",
    "LiteRTModel",
    "LogLR",
    "Supervised",
    "WriteTensorBoard",
]

_HOMES = {
    "BaseModel": "base_model",
    "FrozenModel": "frozen_model",
    "LiteRTModel": "litert_model",
    "Supervised": "supervised",
    **dict.fromkeys(("DecayLR", "DecayLROnPlateau", "InitLR", "LogLR", "WriteTensorBoard"), "hooks"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] != "hooks":
        # It sets what counts only before anything else of TensorFlow.
        importlib.import_module(f"{__name__}._graphs")
    globals()[name] = found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
