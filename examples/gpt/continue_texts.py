"""Writing on: the next character of every text, drawn from what the model expects.

``P`` is the number of texts, ``T`` the number of characters that the model sees, ``C`` that of the alphabet.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

import emloop as el
from emloop.errors import ConfigError
from emloop.types import Batch, EpochData

from .stdlib_dataset import StandardLibrary

logger = logging.getLogger(__name__)


class ContinueTexts(el.AbstractHook):
    """Write the texts of the stream ``predict``, character by character, and at its end to a file.

    .. code-block:: yaml

        hooks:
          - examples.gpt.continue_texts.ContinueTexts: {temperature: 0.8}

    Any model will do that gives ``logits: float [P, T, C]`` for the character behind each one that it sees.

    Args:
        dataset: The dataset, which keeps the texts.
        output_dir: The run directory.
        temperature: Below 1 for what is likely, above 1 for surprises.
        top_k: Number of characters to choose from, the likeliest ones; all by default.
        output_file: The file, in the run directory.
    """

    stateless = True

    def __init__(
        self,
        dataset: StandardLibrary,
        output_dir: str,
        temperature: float = 1.0,
        top_k: int | None = None,
        output_file: str = "texts.txt",
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"temperature: expected a number above 0, got {temperature!r}")
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k: expected a number of characters, at least 1, got {top_k!r}")
        self._dataset = dataset
        self._temperature = temperature
        self._top_k = top_k
        self._file = Path(output_dir, output_file)

    def after_batch(self, stream_name: str, batch_data: Batch) -> None:
        """Write one more character of every text."""
        logits, lengths = np.asarray(batch_data["logits"]), np.asarray(batch_data["length"])
        last = logits[np.arange(len(lengths)), lengths - 1].astype(np.float64)
        chance = np.asarray(batch_data["chance"])
        self._dataset.texts.append(choose(last / self._temperature, chance, self._top_k))

    def after_epoch(self, epoch_id: int, epoch_data: EpochData) -> None:
        """Log the texts, and write the file."""
        texts = self._dataset.texts.decoded()
        for number, text in enumerate(texts, start=1):
            logger.info("Text %d of %d:\n%s\n", number, len(texts), text)
        self._file.write_text(f"\n{'-' * 80}\n".join(texts) + "\n", encoding="utf-8")


def choose(
    logits: npt.NDArray[np.float64], chance: npt.NDArray[np.float64], top_k: int | None = None
) -> npt.NDArray[np.int64]:
    """One of ``C`` characters for each of ``P`` texts, ``[P]``.

    Args:
        logits: How likely the characters are, ``[P, C]``.
        chance: What to leave the choice to, ``[P]``, from 0 to 1, 1 not included.
        top_k: Number of characters to choose from, the likeliest ones.
    """
    if top_k is not None:
        least = np.sort(logits, axis=1)[:, -top_k:][:, :1]
        logits = np.where(logits < least, -np.inf, logits)
    likely = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
    return (likely <= chance[:, np.newaxis] * likely[:, -1:]).sum(axis=1)
