"""A convolutional network for small images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

import emloop_torch


class Net(nn.Module):
    """Tells which of ten digits an image of 8 × 8 pixels shows.

    Args:
        channels: Number of channels of the first layer; the second has twice as many.
        dropout: Part of the signals that is left out in training.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(dropout),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * channels * 16, 10)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the model says of images alone: all that is needed in production.

        Args:
            images: ``float32 [B, 8, 8]`` from 0 to 1.
        """
        logits = self.head(self.features(images.unsqueeze(1)))
        return {"probabilities": logits.softmax(1), "predictions": logits.argmax(1), "logits": logits}

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same, with what it is worth.

        Args:
            images: ``float32 [B, 8, 8]`` from 0 to 1.
            labels: ``int64 [B]``.
        """
        outputs = self.predict(images)
        loss = functional.cross_entropy(outputs["logits"], labels, reduction="none")
        return {**outputs, "loss": loss, "accuracy": (outputs["predictions"] == labels).float()}


class ConvNet(emloop_torch.BaseModel):
    """The network; how it is trained stands in the config."""

    def create_model(self, channels: int = 32, dropout: float = 0.5) -> nn.Module:
        """Make a fresh network; these arguments are keys of the section ``model``."""
        return Net(channels, dropout)
