"""Exporting a model and comparing what was written with it, on the same batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emloop._build import build_dataset, build_model
from emloop._contracts import AbstractModel, Exportable, bind_run
from emloop._registry import full_name
from emloop._support.suggest import check_choice
from emloop.constants import EL_DEFAULT_TRAIN_STREAM
from emloop.errors import BatchError, EmloopError, SaveError, UnknownClassError, UsageError
from emloop.main_loop.streams import Streams
from emloop.saved_models import Saved, class_of_export
from emloop.types import Batch

from .agreement import compared
from .examples import made_up, of_several_sizes, two_of

__all__ = ["Trial"]

logger = logging.getLogger(__name__)


class Trial:
    """A model, and batches of several sizes to export it with and to try what was exported on.

    Args:
        config: Config of the model and its dataset.
        saved: The saved model.
        to: The format.

    Raises:
        UsageError: If the model has no such format.
    """

    def __init__(self, config: Mapping[str, Any], saved: Saved, to: str) -> None:
        try:
            dataset, why_none = build_dataset(config), ""
        except (UnknownClassError, ImportError, OSError) as error:
            # Its source or its files may have stayed behind.
            dataset, why_none = None, str(error)
        model = build_model(config, None, dataset, str(saved.path))
        if not isinstance(model, Exportable):
            raise UsageError(f"--to {to}: a {full_name(type(model))} cannot be exported; it offers no format")
        self._model: Exportable = model
        self._to = check_choice("--to", to, model.exports_to)
        self.batches, self.origin = _examples(model, config, dataset, saved, why_none)

    def export(self, directory: Path, target: Path) -> Mapping[str, str]:
        """Write the model, restore what was written as its users will, and compare.

        Args:
            directory: Where to write.
            target: Where it will be moved, for messages.

        Returns:
            Output → how much it is off, in words.

        Raises:
            SaveError: If the model cannot be exported, or the exported one does something else.
        """
        expected = self._model.export(self._to, str(directory), self.batches)
        try:
            exported = build_model({"model": {"class": class_of_export(directory)}}, restore_from=str(directory))
            run = bind_run(exported)
            answers = [run(batch=batch, train=False, stream=None) for batch in self.batches]
        except EmloopError as error:
            text = str(error).replace(str(directory), str(target))
            raise SaveError(f"what was exported does not work, and is not kept: {text}") from error
        return compared(expected, answers)


def _examples(
    model: AbstractModel, config: Mapping[str, Any], dataset: Any, saved: Saved, why_none: str
) -> tuple[list[Batch], str]:
    """Batches of several sizes, and where they come from."""
    name = (config.get("main_loop") or {}).get("train_stream_name") or EL_DEFAULT_TRAIN_STREAM
    if dataset is not None:
        try:
            stream = Streams(dataset, 0, lambda _: -1, None).get(name, training=False)
            return of_several_sizes(two_of(stream, model.input_names)), f"of the stream {name!r}"
        except (BatchError, OSError) as error:
            why_none = str(error)
    logger.warning("It is tried with numbers at random, since there is no batch of the dataset: %s", why_none)
    return of_several_sizes([made_up(saved.manifest.get("inputs", {}), str(saved.path))]), "made up"
