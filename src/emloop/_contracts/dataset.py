"""What a dataset promises: to be built from one YAML string and to offer streams."""

from __future__ import annotations

from typing import ClassVar

from .resume_changes import ResumeChanges

__all__ = ["AbstractDataset"]


class AbstractDataset:
    """Source of streams.

    Every method called ``<name>_stream`` that takes no argument and returns an iterable of batches makes the stream
    ``<name>`` available. Inheriting from this class is not required. The constructor takes a single string, so that a
    dataset may be written in another language.

    What the framework looks for beside the streams, as methods or attributes: ``num_batches`` (stream → number of
    batches, for progress), ``num_classes`` and ``classes_names`` (for confusion matrices and classifiers).

    Args:
        config_str: The ``dataset`` section of the configuration without ``class``, and with ``output_dir``, as YAML.
    """

    resume_changes: ClassVar[ResumeChanges] = {
        "*": "changes the data from here on; the result is no longer that of an unchanged run"
    }
    """What a change of an argument means to a run that goes on: argument (``*``: any other) → ``safe``, ``refused``, or
    what it does. Shown, and refused, before anything is written."""

    def __init__(self, config_str: str) -> None:
        """Do nothing: what a dataset needs is its own affair."""
