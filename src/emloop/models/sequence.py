"""Trained models one after the other, each fed by those before it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any, NoReturn

from emloop._contracts import AbstractModel
from emloop._streams import StreamWrapper
from emloop.errors import BatchError, UsageError
from emloop.types import Batch

from .members import Members

__all__ = ["Sequence"]


class Sequence(AbstractModel):
    """Runs trained models in order; each sees the batch and the outputs of those before it. For evaluation only.

    .. code-block:: yaml

        model:
          class: Sequence
          models_root: log
          model_paths: [features_keen-noether, classifier_wise-gauss]

    Args:
        model_paths: Runs or saved models, of any backends, in order.
        models_root: Put in front of each path.
        dataset: The dataset, given to every member.
        eager_loading: Whether to load the members now instead of with the first batch.
        log_dir: Not used, since a sequence saves nothing.
        restore_from: Not used, since the members restore themselves.
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
        self._members = Members("Sequence", model_paths, models_root, dataset, {})
        if eager_loading:
            self._members.load()

    @property
    def _models(self) -> list[AbstractModel] | None:
        return self._members.loaded

    @property
    def input_names(self) -> list[str]:
        """Names of the sources that the first member needs."""
        return list(self._members.load()[0].input_names)

    @property
    def output_names(self) -> list[str]:
        """Names of all members' outputs, in order."""
        return [name for model in self._members.load() for name in model.output_names]

    def run(self, batch: Batch, train: bool = False, stream: StreamWrapper | None = None) -> Batch:
        """Run the members on the batch, one after the other.

        Returns:
            The outputs of all members.

        Raises:
            UsageError: If ``train`` is set.
            BatchError: If a member needs what neither the batch nor a member before it provides.
        """
        if train:
            raise UsageError("a Sequence cannot be trained; train its members")
        known: dict[str, Any] = dict(batch)
        for index, model in enumerate(self._members.load()):
            missing = sorted(set(model.input_names) - set(known))
            if missing:
                raise BatchError(
                    f"member {self._members.paths[index]} needs {', '.join(map(repr, missing))}; "
                    f"there is: {', '.join(map(repr, known))}"
                )
            known.update(self._members.run_one(index, known, stream))
        return {name: known[name] for name in self.output_names}

    def save(self, name_suffix: str) -> NoReturn:
        """
        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a Sequence is not saved; its members are")
