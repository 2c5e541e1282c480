"""Trained models one after the other, each fed by those before it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

from emloop._streams import StreamWrapper
from emloop.errors import BatchError
from emloop.types import Batch

from .members import MadeOfMembers

__all__ = ["Sequence"]


class Sequence(MadeOfMembers):
    """Runs trained models in order; each sees the batch and the outputs of those before it. For evaluation only.

    .. code-block:: yaml

        model:
          class: Sequence
          models_root: log
          model_paths: [features_keen-noether, classifier_wise-gauss]

    Args:
        model_paths: Runs or saved models, of any backends, in order.
        models_root: Prefix of each path.
        dataset: The dataset, passed to every member.
        eager_loading: Whether to load the members now instead of with the first batch.
        log_dir: Unused: a sequence saves nothing.
        restore_from: Unused: the members restore themselves.
    """

    def __init__(
        self,
        model_paths: SequenceOf[str],
        models_root: str | None = None,
        dataset: object = None,
        eager_loading: bool = False,
        *,
        log_dir: str | None = None,
        restore_from: str | None = None,
    ) -> None:
        del log_dir, restore_from
        super().__init__(model_paths, models_root, dataset, {}, eager_loading=eager_loading)

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that the first member needs."""
        return list(self._load()[0].input_names)

    @property
    def output_names(self) -> list[str]:
        """Names of all members' outputs, in order."""
        return [name for model in self._load() for name in model.output_names]

    def _combine(self, batch: Batch, stream: StreamWrapper | None) -> Batch:
        known: dict[str, Any] = dict(batch)
        for index, model in enumerate(self._load()):
            missing = sorted(set(model.input_names) - set(known))
            if missing:
                raise BatchError(
                    f"member {self._paths[index]} needs {', '.join(map(repr, missing))}; "
                    f"there is: {', '.join(map(repr, known))}"
                )
            known.update(self._run_member(index, known, stream))
        return {name: known[name] for name in self.output_names}
