"""The reference's path to the confusion matrix; it is computed in ``emloop.hooks.confusion``."""

from emloop.hooks.confusion import confusion_matrix

__all__ = ["confusion_matrix"]
