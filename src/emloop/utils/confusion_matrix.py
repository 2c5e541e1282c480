"""The reference's path to the confusion matrix; it is computed in ``emloop.hooks._statistics.confusion``."""

from emloop.hooks._statistics.confusion import confusion_matrix

__all__ = ["confusion_matrix"]
