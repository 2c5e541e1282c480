"""What every hook inherits; the contract itself stands with the model's and the dataset's."""

from emloop._contracts.hook import AbstractHook, TrainingTerminated

__all__ = ["AbstractHook", "TrainingTerminated"]
