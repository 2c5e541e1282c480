"""The hooks that emloop 0.2 had for TensorFlow, at their path of then; they are emloop's own, for every backend."""

from emloop.hooks import DecayLR, DecayLROnPlateau, InitLR, LogLR, WriteTensorBoard

__all__ = ["DecayLR", "DecayLROnPlateau", "InitLR", "LogLR", "WriteTensorBoard"]
