"""The model that wraps any estimator: one that learns batch by batch, or from all batches of an epoch together.

Symbols: ``B`` examples, ``C`` classes, ``F`` features, ``T`` targets.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import sklearn
import skops
from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline

from emloop.arguments import take_settings
from emloop.errors import ConfigError, Problem, SavedModelError, StateError
from emloop.saved_models import (
    advise_capsule,
    capsule_for,
    check_state,
    find_saved,
    overridden_methods,
    require_format,
    saved_model_path,
    write_saved_model,
)
from emloop.seeding import current_seed
from emloop.types import StateTree
from emloop_sklearn._archives.archive import dump, load, require_trusted, untrusted_types
from emloop_sklearn._boosting.columns import Columns
from emloop_sklearn._boosting.rounds import rounds_problems
from emloop_sklearn._boosting.together import Together

from ._batches import BatchModel
from ._estimators import build_estimator
from ._fitting import (
    Balance,
    learns_by_batches,
    to_classes,
    weighing_problems,
)
from ._onnx import FORMATS
from ._outputs import output_problems
from ._parameters import follow, parameters_of
from ._settings import Settings, sources_of
from ._source import LEARNING, METHODS, what_needs_source

if TYPE_CHECKING:
    from emloop.datasets.abstract_dataset import AbstractDataset

__all__ = ["BaseModel"]

logger = logging.getLogger(__name__)

_Array = npt.NDArray[Any]

_BACKEND = "sklearn"
_FORMAT = f"emloop_{_BACKEND} 1"


_STATE = {
    **dict.fromkeys(("classes", "arguments"), object),
    "format": str,
    "estimator": bytes,
    **dict.fromkeys(("batches", "examples"), int),
    "parameters": {str: object},
    "class_counts": ([[object, ...], [int, ...]], None),
    "overrides": [str, ...],
    "needs_source": (str, None),
    "together": ({"rounds": int, "fitted": bool, "seen": object}, None),
    "columns": object,
}


class BaseModel(BatchModel):
    """Any estimator or pipeline of scikit-learn, LightGBM or XGBoost.

    The configuration alone is enough:

    .. code-block:: yaml

        model:
          class: emloop_sklearn.BaseModel
          estimator: {class: sklearn.linear_model.SGDClassifier, loss: log_loss}
          inputs: [images, labels]
          outputs: [predictions, loss, accuracy]

    or a class of your own creates the estimator; the arguments of its :meth:`create_model` are keys of the section:

    .. code-block:: python

        class Network(emloop_sklearn.BaseModel):
            def create_model(self, hidden=64):
                return MLPClassifier([hidden], random_state=self.seed)

    Outputs are what the estimator offers: ``predictions [B]``, ``probabilities: float [B, C]``, ``transformed`` for
    transformers; and, given labels, ``accuracy: float [B]`` (0 or 1) and ``loss: float [B]``: the log loss of
    classifiers with probabilities, in nats and at most 27.7, or the squared error of regressors. In training they are
    computed before the estimator learns from the batch. Before its very first batch an estimator knows nothing: all
    classes are equally likely, and predictions are the first class, or zero.

    An estimator with ``partial_fit``, or a pipeline of such, learns from every batch. Any other one learns at the end
    of an epoch from all its batches, which are kept in memory until then: in one go, at the end of the first epoch, or,
    with ``rounds_per_epoch``, that many more rounds in every epoch:

    .. code-block:: yaml

        model:
          class: emloop_sklearn.BaseModel
          estimator: {class: lightgbm.LGBMClassifier, learning_rate: 0.05}
          rounds_per_epoch: 10
          features: [age, city, income]
          labels: bought
          classes: ['no', 'yes']
          outputs: [predictions, probabilities, loss, accuracy]

    ``rounds_per_epoch`` is for boosters and forests: ``HistGradientBoosting…``, ``GradientBoosting…``,
    ``RandomForest…``, ``ExtraTrees…``, ``Bagging…``, those of LightGBM and of XGBoost. A training that is stopped
    within an epoch goes on from the end of the last one, which changes nothing of the result.

    ``class_weight: balanced`` of an estimator that learns from every batch is by the counts of the classes in all
    batches it has learned from, the current one included: ``n / (C * n_c)``. It has no effect on the outputs.

    A saved model can be restored, and trained further, without the source of your class as long as it overrides only
    :meth:`create_model`; where it overrides :meth:`fit_batch`, too, it can still be evaluated, and predict. A restored
    estimator keeps its sizes and choices; rates and penalties follow the configuration if it has changed.

    Args:
        dataset: May offer ``num_classes`` and ``feature_names``; ``None`` for inference only.
        log_dir: Run directory, where :meth:`save` writes; ``None`` for inference only.
        restore_from: A saved model, a run directory or a checkpoint.
        inputs: Source of the features, ``[B, …]``, which are flattened to ``[B, F]``; then, if needed, of the labels.
        features: Instead: sources that are the columns of a data frame (pandas), each ``[B]``, numbers or text. Text is
            a category for the estimator, unless that is a pipeline, which may encode it itself.
        labels: Source of the labels, where ``features`` are named.
        categories: Names of the ``features`` that are categories: only these, and whatever their values are. Those seen
            in the first epoch are known; any other one counts as missing.
        outputs: Names of the outputs.
        estimator: The estimator as ``{class: full.name, argument: value}``, unless :meth:`create_model` is overridden.
            Every ``random_state`` left out becomes the run's seed.
        rounds_per_epoch: How many rounds (trees, of each class) an epoch adds.
        classes: Number or list of the classes; by default the dataset's ``num_classes``.
        weights: Output → the source that weighs it, for all hooks: ``{loss: w, accuracy: w}``. That of ``loss``,
            ``[B]``, weighs the examples in training, too, as ``sample_weight``.
        saved_model: ``{capsule: on}``: the source of the project's own modules goes along; see
            [the source capsule](../reference/saved-models.md#the-source-capsule).
        trusted_types: Full names of types that may be restored, beside those of scikit-learn, NumPy and SciPy.
        **kwargs: The arguments of :meth:`create_model`.

    Raises:
        ConfigError: If an argument is wrong or unknown, or an output is unavailable.
        SavedModelError: If there is nothing to restore from, or restoring needs the source.
        UntrustedError: If restoring would create objects of types that are not trusted.
    """

    exports_to: ClassVar[tuple[str, ...]] = FORMATS
    settings_class: ClassVar[type] = Settings
    forwards_config_to: ClassVar[tuple[str, ...]] = ("create_model",)

    def __init__(
        self,
        dataset: AbstractDataset | None,
        log_dir: str | None,
        restore_from: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, log_dir, restore_from)
        saved = None if restore_from is None else find_saved(restore_from)
        state = None if saved is None else saved.state(_BACKEND, _FORMAT)
        # Arguments of a class whose source is gone have done their work.
        has_source = type(self).create_model is not BaseModel.create_model or kwargs.get("estimator") is not None
        gone = None if has_source or state is None else state["arguments"]
        settings, arguments = take_settings(type(self), Settings, kwargs, gone)
        self.dataset = dataset
        """The dataset, which :meth:`create_model` may query for sizes and the like; ``None`` for inference only."""
        seed = current_seed()
        self.seed = None if seed is None else seed % 2**32
        """The run's seed as scikit-learn takes it, i.e. its lower 32 bits; ``None`` outside a run."""
        self.classes = to_classes(settings.classes, dataset)
        """All classes, ``[C]``, if known; :meth:`create_model` may set them."""
        self._log_dir = log_dir
        self._features, self._labels = sources_of(settings)
        self._inputs = (*self._features, *([self._labels] if self._labels else ()))
        self._outputs = tuple(settings.outputs)
        self._trusted = tuple(settings.trusted_types)
        self.weights = dict(settings.weights or {})
        self.batch_weight: _Array | None = None
        """What each example of the batch that is learned from counts, ``float64 [B]``; ``None``: all alike."""
        self._arguments = sorted(arguments)
        self._variables: dict[str, Any] = {}
        self._has_said_why = self._has_been_loaded = False
        configured = self._configured_estimator(settings.estimator, arguments, state)
        self._columns = self._make_columns(settings, configured)
        self._configured_type = None if configured is None else type(configured)
        self._parameters = {} if configured is None else parameters_of(configured)
        if saved is None:
            self._adopt(configured)
            require_trusted(configured, self._trusted)
        else:
            try:
                self.load_state_dict(state)
            except StateError as error:
                raise SavedModelError(f"{saved.path}: {error}") from error
        self._capsule = capsule_for(
            settings.saved_model.capsule,
            (type(self), type(self._estimator)),
            kwargs,
            without_source=None if has_source else saved,
        )
        self._rounds_per_epoch = settings.rounds_per_epoch
        self._choose_learning(state)
        learns = self._labels is not None or not (is_classifier(self._estimator) or is_regressor(self._estimator))
        self._weight = self.weights.get("loss") if learns else None
        if problems := self._problems():
            raise ConfigError(problems)

    def _problems(self) -> list[Problem]:
        """What the estimator cannot do of what is asked for."""
        overridden = {*overridden_methods(type(self), BaseModel, METHODS), *self._lacks}
        problems = []
        if LEARNING not in overridden and self._weight is not None:
            problems += weighing_problems(self._estimator, by_batches=self._together is None)
        if self._rounds_per_epoch:
            problems += rounds_problems(self._estimator, is_overridden=LEARNING in overridden)
        if "compute_outputs" not in overridden:
            problems += output_problems(self._estimator, self._outputs, has_labels=self._labels is not None)
        return problems

    def _make_columns(self, settings: Settings, configured: Any) -> Columns | None:
        if not settings.features:
            return None
        # A pipeline may encode text itself, and knows better how.
        is_pipeline = isinstance(configured, Pipeline)
        return Columns(settings.features, () if is_pipeline and settings.categories is None else settings.categories)

    def _choose_learning(self, state: StateTree | None) -> None:
        """Decide whether the estimator learns from every batch, or at the end of an epoch."""
        known = (state or {}).get("together")
        by_batches = self._rounds_per_epoch is None and known is None and learns_by_batches(self._estimator)
        if not by_batches and not self._overrides(LEARNING):
            self._together = Together(self._rounds_per_epoch, self.seed, self.classes, known)
            self._together.begin(self._estimator)
        # What learns from all examples together counts them itself.
        self._balance = Balance.of(self._estimator if by_batches else None, (state or {}).get("class_counts"))

    def create_model(self) -> Any:
        """Create the unfitted estimator; override it, with arguments of your own, which become keys of the config.

        Use ``self.seed`` for its ``random_state``.
        """
        hint = "estimator: {class: sklearn.linear_model.SGDClassifier, loss: log_loss}, or override create_model"
        raise ConfigError(Problem("the argument 'estimator' is missing", type(self).__name__, hints=(hint,)))

    @property
    def restore_fallback(self) -> str:
        """This class: it restores every saved model that does not say why its source is needed."""
        return "emloop_sklearn.BaseModel"

    def save(self, name_suffix: str) -> str:
        """Save the model durably as ``model_<name_suffix>`` in the run directory, and return its path.

        Raises:
            SavedModelError: If the model was created without a run directory.
        """
        if self._log_dir is None:
            raise SavedModelError(f"{type(self).__name__} has no log_dir, so it cannot be saved")
        state = self.state_dict()
        rung, why = self._needs_source
        if why and not self._has_said_why:
            self._has_said_why = True
            logger.warning(
                "%s %s will need its source: %s%s",
                "Training" if rung == "inference" else "Restoring",
                type(self).__name__,
                why,
                advise_capsule(self._capsule is not None),
            )
        return write_saved_model(
            saved_model_path(self._log_dir, name_suffix),
            backend=_BACKEND,
            restore_fallback=self.restore_fallback,
            inputs=self._variables.get("inputs", dict.fromkeys(self._inputs)),
            outputs=self._variables.get("outputs", dict.fromkeys(self._outputs)),
            tree=state,
            weights=self.weights,
            capsule=self._capsule,
            rung=rung,
            reason=why,
            extra={"versions": {"scikit-learn": sklearn.__version__, "skops": skops.__version__}},
        )

    def state_dict(self) -> StateTree:
        """Everything the training depends on; the estimator as the bytes of a skops archive.

        Raises:
            StateError: If a part of the estimator cannot be stored.
        """
        if self._capsule is not None and self._log_dir is not None:
            self._capsule.write(Path(self._log_dir))
        if not self.can_stop_here:
            raise StateError(f"{type(self._estimator).__name__} learns at the end of the epoch; it is saved after that")
        archive = dump(self._estimator)
        self._require_restorable(archive)
        overridden = overridden_methods(type(self), BaseModel, METHODS)
        if not self._lacks:
            self._needs_source = what_needs_source(type(self), overridden, untrusted_types(archive))
        return {
            "format": _FORMAT,
            "estimator": archive,
            "classes": self.classes,
            "batches": self._batches,
            "examples": self._examples,
            "arguments": self._arguments,
            "parameters": self._parameters,
            "class_counts": self._balance.counts,
            "overrides": sorted({*overridden, *self._lacks}),
            "needs_source": self._needs_source[1],
            "together": None if self._together is None else self._together.state(),
            "columns": None if self._columns is None else self._columns.state(),
        }

    def _require_restorable(self, archive: bytes) -> None:
        """Refuse to store what nobody could restore; the first one is really loaded.

        Raises:
            StateError: If it has types that are not trusted, or cannot be loaded.
        """
        name = type(self._estimator).__name__
        if foreign := untrusted_types(archive, self._trusted):
            listed = ", ".join(foreign)
            raise StateError(
                f"{name} could be saved but not restored, since {listed} is not trusted by default; if you trust what "
                f"it holds: trusted_types: [{listed}] in the section model"
            )
        if not self._has_been_loaded:
            load(archive, self._trusted)
            self._has_been_loaded = True

    def load_state_dict(self, state: StateTree) -> None:
        """Restore what :meth:`state_dict` of an equal model returned.

        Raises:
            StateError: If the state belongs to another backend, or to an estimator other than the configured one.
            SavedModelError: If the model's source is needed.
            UntrustedError: If it contains types that are not trusted.
        """
        require_format(state, _FORMAT)
        state = {"together": None, "columns": None, **state}  # which older ones lack
        check_state("model", state, _STATE)
        lacks = sorted(set(state["overrides"]).difference(overridden_methods(type(self), BaseModel, METHODS)))
        if set(lacks) - {LEARNING}:
            raise SavedModelError(
                f"{type(self).__name__} cannot restore it without the source: {state['needs_source']}"
            )
        try:
            restored = load(state["estimator"], self._trusted)
        except StateError as error:
            raise StateError(f"{error}; {state['needs_source']}" if state["needs_source"] else str(error)) from error
        if self._configured_type is None:
            self._arguments, self._parameters = state["arguments"], state["parameters"]
        elif type(restored) is not self._configured_type:
            found, expected = type(restored).__name__, self._configured_type.__name__
            raise StateError(f"the state is that of a {found}, the configuration describes a {expected}")
        else:
            follow(restored, self._parameters, state["parameters"])
        known = state["classes"] if state["classes"] is not None else getattr(restored, "classes_", None)
        if self.classes is not None and known is not None and not np.array_equal(self.classes, known):
            raise StateError(f"the state knows {len(known)} classes, the configuration or dataset {len(self.classes)}")
        self.classes = known if self.classes is None else self.classes
        labels, _ = state["class_counts"] or ((), ())
        if self.classes is not None and (strange := set(labels).difference(np.asarray(self.classes).tolist())):
            raise StateError(f"the state counts examples of {strange}, which are no classes")
        self._batches, self._examples = state["batches"], state["examples"]
        self._balance = Balance.of(restored if self._together is None else None, state.get("class_counts"))
        if self._together is not None:
            self._together = Together(self._rounds_per_epoch, self.seed, self.classes, state["together"])
        if self._columns is not None and state["columns"] is not None:
            self._columns.load(state["columns"])
        self._lacks, self._needs_source = lacks, ("inference" if lacks else "estimator", state["needs_source"])
        self._adopt(restored)

    def _configured_estimator(self, description: Any, arguments: Mapping[str, Any], state: StateTree | None) -> Any:
        """The fresh estimator described by configuration and source; ``None`` if there is only a state to go by.

        Raises:
            ConfigError: If the arguments are not those of :meth:`create_model`, or it returns something else.
        """
        name = type(self).__name__
        makes_its_own = type(self).create_model is not BaseModel.create_model
        if makes_its_own and description is not None:
            raise ConfigError.about("estimator", "has no effect, since create_model is overridden", "remove it")
        if description is not None:
            return build_estimator(description, self.seed)
        if state is not None and not makes_its_own:
            return None
        estimator = self.create_model(**arguments)
        if not hasattr(estimator, "get_params"):
            raise ConfigError(
                f"create_model of {name} must return an estimator, which has get_params, got {estimator!r}"
            )
        return estimator
