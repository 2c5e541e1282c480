"""The contract of datasets: built from one YAML string, they offer streams."""

from __future__ import annotations

from typing import ClassVar

from .resume_changes import ResumeChanges

__all__ = ["AbstractDataset"]


class AbstractDataset:
    """Source of streams.

    Every method called ``<name>_stream`` that takes no argument and returns an iterable of batches makes the stream
    ``<name>`` available. Inheriting from this class is not required. The constructor takes a single string, so that a
    dataset may be written in another language.

    Optional, as methods or attributes: ``num_batches`` (stream → number of batches, for progress), ``num_classes`` and
    ``classes_names`` (for confusion matrices and classifiers).

    Args:
        config_str: The ``dataset`` section of the configuration without ``class``, and with ``output_dir``, as YAML.
    """

    resume_changes: ClassVar[ResumeChanges] = {
        "*": "changes the data from here on; the result is no longer that of an unchanged run"
    }
    """What a changed argument means for a resumed run: argument (``*``: any other) → ``safe``, ``refused``, or its
    effect in words. Shown, or refused, before anything is written."""

    def __init__(self, config_str: str) -> None:
        """Do nothing; what a dataset keeps is up to it."""
