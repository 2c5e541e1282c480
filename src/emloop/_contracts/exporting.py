"""What a model may offer beside its contract: to write itself for another runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from emloop.types import Batch

__all__ = ["Exportable"]


@runtime_checkable
class Exportable(Protocol):
    """A model that ``emloop export`` can export.

    Attributes:
        exports_to: The formats.
    """

    exports_to: Sequence[str]

    def export(self, to: str, directory: str, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Write the model as one that another runtime runs, and leave it as it is.

        What is written is a saved model: its ``exported`` files, the inputs and outputs, which need no labels, and as
        ``restore_fallback`` the class that runs it. Whoever has called this compares the two.

        Args:
            to: One of ``exports_to``.
            directory: Where to write it, see :func:`emloop.saved_models.write_saved_model`; there is nothing yet.
            batches: Batches of several sizes, a large one first, with all sources of the model. They are to go by, and
                none of their values may end up in what is written.

        Returns:
            For each batch what the model itself gives, for every output of the exported one.
        """
