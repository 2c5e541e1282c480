"""Graphs of TensorFlow that are complete with their weights, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from emloop.errors import BatchError, SavedModelError
from emloop.models.exported import ExportedModel
from emloop.saved_models import Described, Saved
from emloop.suggest import check_choice
from emloop_tensorflow._graphs.feeding import told_by

__all__ = ["FrozenModel"]

_GRAPH = "saved_model.pb"
_MODES = ("el_is_training:0", "cxf_is_training:0")
"""What tells a graph of emloop 0.2 whether it is trained."""


class FrozenModel(ExportedModel):
    """Runs a SavedModel, or a graph that was frozen by emloop 0.2; for evaluation only.

    What ``emloop export --to saved_model`` has made is restored like any saved model. A SavedModel from elsewhere is
    given by its directory, a frozen graph by its file, or either by a directory that holds no other:

    .. code-block:: yaml

        model:
          class: emloop_tensorflow.FrozenModel
          path: resnet50
          inputs: [images]
          outputs: [scores]
          rename: {images: input_1, scores: output_0}

    Args:
        dataset: Not used.
        log_dir: Not used, since nothing is saved.
        restore_from: An exported model, or what ``path`` takes.
        path: A SavedModel, a frozen graph, or a directory with one of them; takes precedence over ``restore_from``.
        inputs: Names of all sources it takes; those of a frozen graph are its placeholders.
        outputs: Names of the outputs to compute; by default all, which for a frozen graph are those operations whose
            result no other takes.
        rename: Name of an input or output here → its name in the graph.
        signature: Which of the signatures of a SavedModel to run.

    Raises:
        ConfigError: If an argument is wrong, or names something that the graph lacks.
        SavedModelError: If there is no graph, several, or one that cannot be read.
    """

    backend = "saved_model"
    suffix = ".pb"
    word = "SavedModel or frozen graph"
    only_computes = False
    _order: Sequence[str] = ()

    def __init__(
        self,
        dataset: object = None,
        log_dir: str | None = None,
        restore_from: str | None = None,
        *,
        path: str | None = None,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
        signature: str = "serving_default",
    ) -> None:
        del dataset, log_dir
        place = _single(Path(str(self.find(path, restore_from)[0])))
        self._name = str(place)
        if place.is_dir():
            takes, gives, self._run = _saved_model(place, signature)
            # TensorFlow keeps none.
            gives = sorted(gives, key=lambda name: (self._order.index(name) if name in self._order else -1, name))
        else:
            takes, gives, self._run = _frozen(place, [(rename or {}).get(name, name) for name in outputs or ()])
        described = {name: _described(spec, name, self._name) for name, spec in takes.items()}
        super().__init__(described, gives, inputs, outputs, rename)

    def compute(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> Sequence[Any]:
        """Compute the named outputs."""
        try:
            found = self._run(**{name: tf.constant(array) for name, array in inputs.items()})
        except tf.errors.OpError as error:
            raise BatchError(f"{self._name} cannot compute this batch: {told_by(error)}") from error
        return [found[name].numpy() for name in outputs]

    def reads(self, path: Path) -> bool:
        """Whether it is a frozen graph, or a directory that is no exported model and has graphs."""
        return super().reads(path) or (path.is_dir() and not (path / "manifest.json").exists() and bool(_graphs(path)))

    def take(self, saved: Saved) -> tuple[str | bytes, str]:
        """The SavedModel of an exported model, each of its files verified."""
        for name in saved.manifest.get("exported", ()):
            saved.exported(name)
        self._order = list(saved.manifest["outputs"])
        return str(saved.path), str(saved.path)


def _graphs(place: Path) -> list[Path]:
    """SavedModels and frozen graphs in a directory."""
    if (place / _GRAPH).is_file():
        return [place]
    saved = [path.parent for path in sorted(place.glob(f"*/{_GRAPH}"))]
    return [*saved, *sorted(place.glob("*.pb"))]


def _single(place: Path) -> Path:
    """
    Raises:
        SavedModelError: If there is not one.
    """
    if place.is_file():
        return place.parent if place.name == _GRAPH else place
    found = _graphs(place)
    if len(found) != 1:
        there = f"several: {', '.join(path.name for path in found)}" if found else "none"
        raise SavedModelError(f"{place}: expected one SavedModel or frozen graph (.pb), found {there}")
    return found[0]


_Opened = tuple[Mapping[str, tf.TensorSpec], Iterable[str], Callable[..., Mapping[str, Any]]]


def _saved_model(place: Path, signature: str) -> _Opened:
    try:
        loaded = tf.saved_model.load(str(place))
    except Exception as error:
        # A file that is cut off is told by whatever part has met it.
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise SavedModelError(f"{place} cannot be read by TensorFlow {tf.__version__}: {told}") from error
    if not loaded.signatures:
        raise SavedModelError(f"{place} has no signature; save it with `signatures=`, or by `model.export(…)` of Keras")
    function = loaded.signatures[check_choice("signature", signature, loaded.signatures)]
    # Variables live as long as what was loaded.
    function._emloop_owner = loaded
    return function.structured_input_signature[1], list(function.structured_outputs), function


def _frozen(place: Path, wanted: Sequence[str]) -> _Opened:
    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(place.read_bytes())
    except Exception as error:  # the parser's own kind of error is of another package
        raise SavedModelError(f"{place} is no frozen graph: {type(error).__name__}: {error}") from error
    here = {node.name for node in definition.node}

    def bring() -> None:
        evaluating = {mode: tf.constant(False) for mode in _MODES if mode.partition(":")[0] in here}
        tf.compat.v1.import_graph_def(definition, input_map=evaluating, name="")

    graph = tf.compat.v1.wrap_function(bring, []).graph
    modes = {mode.partition(":")[0] for mode in _MODES}
    operations = [each for each in graph.get_operations() if each.name in here and each.name not in modes]
    takes = {each.name: each.outputs[0] for each in operations if each.type == "Placeholder"}
    last = [each.name for each in operations if each.outputs and not any(out.consumers() for out in each.outputs)]
    gives = list(dict.fromkeys((*last, *(name for name in wanted if name in here))))
    specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in takes.items()}
    wrapped = tf.compat.v1.wrap_function(bring, [])
    feeds = [wrapped.graph.get_tensor_by_name(f"{name}:0") for name in takes]
    fetches = {name: wrapped.graph.get_tensor_by_name(f"{name}:0") for name in gives}
    function = wrapped.prune(feeds, fetches)
    return specs, gives, lambda **given: function(*(given[name] for name in takes))


def _described(spec: tf.TensorSpec, name: str, origin: str) -> Described:
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    if dtype.kind not in "biuf":
        raise SavedModelError(f"{origin}: {name!r} is of {spec.dtype.name}; only tensors of numbers can be used")
    return Described(dtype, None if spec.shape.rank is None else tuple(spec.shape))
