"""The text of Python's own standard library, in two parts that share no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import emloop as el
from emloop.datasets import IndexStream
from emloop.errors import ConfigError
from emloop.types import Batch

from .alphabet import encode
from .library import Windows, library_files, read
from .texts import Texts


class StandardLibrary(el.BaseDataset):
    """The source files of the running interpreter's standard library, split at random into train and valid.

    A batch of ``B`` windows holds ``text: int64 [B, T]``, the numbers of the characters in the alphabet, and
    ``targets: int64 [B, T]``, for each of them the character that follows it. The stream ``predict`` has texts to be
    continued instead: see :meth:`predict_stream`.

    Each version of Python has another text. A run must go on with the version it began with to end as if untouched.
    """

    def _configure_dataset(
        self,
        batch_size: int = 32,
        context: int = 128,
        valid_share: float = 0.1,
        valid_windows: int = 1024,
        prompts: Sequence[str] = ("import ",),
        characters: int = 200,
    ) -> None:
        """Read and split the library.

        Args:
            batch_size: Number of windows in a batch.
            context: Number of characters in a window, ``T``.
            valid_share: Part of the files that the model is never trained on.
            valid_windows: Number of windows of these files that it is watched on, at most.
            prompts: What the texts begin with that the stream ``predict`` continues.
            characters: Number of characters by which it continues them.
        """
        if not prompts or not all(prompts):
            raise ConfigError(f"prompts: expected texts of one character or more, got {prompts!r}")
        self._batch_size = batch_size
        self._context = context
        self._prompts = prompts
        self._characters = characters
        self.texts = Texts(prompts)
        """What the stream ``predict`` has come to."""
        files = library_files()
        # The run's seed decides, so an evaluation of the run has the same files and windows.
        rng = self.rng("split")
        shuffled = [files[number] for number in rng.permutation(len(files))]
        count = round(valid_share * len(files))
        self.files = {"valid": shuffled[:count], "train": shuffled[count:]}
        """Part → its files."""
        self._train = [encode(read(path)) for path in self.files["train"]]
        self._valid = Windows([encode(read(path)) for path in self.files["valid"]], context)
        self._watched = rng.permutation(len(self._valid))[:valid_windows]

    def train_stream(self) -> el.Stream:
        """All windows of the training files, cut elsewhere and in another order in every pass."""
        rng = self.rng("train")
        windows = Windows(self._train, self._context, offset=int(rng.integers(self._context)))
        return IndexStream(windows, self._batch_size, rng=rng, drop_last=True)

    def valid_stream(self) -> el.Stream:
        """The same windows of the validation files every time."""
        return IndexStream(self._valid.batch(self._watched), self._batch_size)

    def predict_stream(self) -> Iterator[Batch]:
        """The prompts, and what has been written of them, as often as the next character of each is wanted.

        A batch of ``P`` prompts holds ``text: int64 [P, T]``, the last characters of each, filled up behind the last
        one; ``length: int64 [P]``, how many they are; and ``chance: float64 [P]``, from 0 to 1, which the choice of
        the next character is to be left to. It is written to :attr:`texts` before the next batch is read.

        Raises:
            RuntimeError: If nothing was written.
        """
        rng = self.rng("predict")
        self.texts = Texts(self._prompts)
        for written in range(self._characters):
            if self.texts.written != written:
                raise RuntimeError(
                    "stream 'predict': the next characters have not been written; the hook ContinueTexts does so, "
                    "where main_loop.buffer is 0"
                )
            yield {**self.texts.ends(self._context), "chance": rng.random(len(self._prompts))}

    @property
    def num_batches(self) -> dict[str, int]:
        """Stream → number of batches; that of a pass over the training files says nothing about an epoch."""
        return {"valid": -(-len(self._watched) // self._batch_size), "predict": self._characters}
