"""What a change of an argument of the main loop means to a run that goes on."""

from __future__ import annotations

from collections.abc import Mapping

from emloop._contracts import REFUSED, SAFE

__all__ = ["RESUME_CHANGES"]

_OTHER_EPOCHS = "epochs are cut differently from here on; the result is no longer that of an unchanged run"

RESUME_CHANGES: Mapping[str, str] = {
    "seed": REFUSED,
    "train_stream_name": "another stream trains from here on; the result is no longer that of an unchanged run",
    "fixed_batch_size": _OTHER_EPOCHS,
    "fixed_epoch_size": _OTHER_EPOCHS,
    "*": SAFE,
}
