"""The names of emloop 0.2, and of cxflow before it, that are others now: one table for all who tell people.

The check of a config, errors of imports, unknown commands, ``emloop migrate`` and the page on migrating read it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Literal, NamedTuple, TypeVar

__all__ = ["MOVED", "Moved", "explain", "hints", "old_distributions", "replaced", "replaced_arguments"]

T = TypeVar("T")


class Moved(NamedTuple):
    r"""What has become of a name.

    Args:
        kind: What it names. ``python`` is what code says: a module, a constant, a method, an attribute.
        old: The name, as a regular expression.
        new: What a config says instead, ``\1`` being what was in parentheses; ``""``: nothing; ``None``: that depends.
        advice: Why, or what to do.
        needs: An argument that the model has to take for this to help; models of other backends have rows of their own.
        lives: Whether a backend has such an argument again, so that it is gone only for who knows the model.
    """

    kind: Literal["class", "optimizer argument", "section", "command", "model argument", "hook argument", "python"]
    old: str
    new: str | None
    advice: str
    needs: str = ""
    lives: bool = False


_RENAMED = "cxflow is called emloop since 2018"
_FOR_ALL = "hooks for every backend are emloop's own"
_OPTIMIZERS = "optimizers have the names that PyTorch and Keras give them"
_ARGUMENTS = "of an optimizer named as in TensorFlow 1: arguments have the names that Keras gives them"

MOVED = (
    Moved("class", r"(?:(?:cxflow|emloop)\.(?:\w+\.)*)?CatchSigint", "", "the main loop itself ends at a signal"),
    Moved("class", r"cxflow\.(.*)", r"emloop.\1", _RENAMED),
    Moved("class", r"cxflow_tensorflow\.(.*)", r"emloop_tensorflow.\1", _RENAMED),
    Moved(
        "class",
        r"emloop_tensorflow\.(?:hooks\.)?(?:\w+\.)*(DecayLR|DecayLROnPlateau|InitLR|LogLR|WriteTensorBoard)",
        r"\1",
        _FOR_ALL,
    ),
    Moved(
        "class", r"(?:(?:tensorflow|tf)\..*\.)?(Adam|Adagrad|Adadelta|AdamW|Nadam|Ftrl)Optimizer", r"\1", _OPTIMIZERS
    ),
    Moved("class", r"(?:(?:tensorflow|tf)\..*\.)?RMSPropOptimizer", "RMSprop", _OPTIMIZERS),
    Moved("class", r"(?:(?:tensorflow|tf)\..*\.)?(?:GradientDescent|Momentum)Optimizer", "SGD", _OPTIMIZERS),
    Moved("class", r"(?:(?:tensorflow|tf)\..*\.)?AdaMaxOptimizer", "Adamax", _OPTIMIZERS),
    Moved("optimizer argument", "beta1", "beta_1", _ARGUMENTS),
    Moved("optimizer argument", "beta2", "beta_2", _ARGUMENTS),
    Moved("optimizer argument", "decay", "rho", _ARGUMENTS),
    Moved("optimizer argument", "use_nesterov", "nesterov", _ARGUMENTS),
    Moved("optimizer argument", "use_locking", "", "there are no locks to take"),
    Moved(
        "class",
        r"emloop_tensorflow\.(?:\w+\.)*(?:Quantized)?TFLiteModel",
        "emloop_tensorflow.LiteRTModel",
        "TensorFlow Lite is called LiteRT",
    ),
    Moved("section", "predict", "eval.predict", "an evaluation is a part of the section `eval`, whatever its name"),
    Moved("command", "split", None, "`emloop dataset split CONFIG` calls the dataset's method `split`"),
    Moved(
        "model argument",
        "n_gpus",
        None,
        "`device: cuda:1` chooses a GPU; training on several is there for TensorFlow only",
        "device",
        lives=True,
    ),
    Moved("model argument", "n_gpus", "", "this model computes where its library does", lives=True),
    Moved(
        "model argument",
        "session_config",
        None,
        "there are no sessions: `device` says where, `precision` how precisely, `OMP_NUM_THREADS` in how many threads",
        "device",
    ),
    Moved("model argument", "session_config", "", "there are no sessions"),
    Moved("model argument", "keep_profiles", None, "`profile: {keep: 5}` keeps the newest five", "profile"),
    Moved(
        "model argument", "keep_profiles", "", "this model has no profiles; the hook `LogProfile` logs where time goes"
    ),
    Moved(
        "model argument",
        "freeze",
        None,
        "saved models work without the source as they are, and `emloop export RUN --to onnx`, for TensorFlow also "
        "`--to saved_model`, writes one for other runtimes; `frozen: ['backbone\\..*']` is something else: parameters "
        "that are not trained",
        "frozen",
    ),
    Moved("model argument", "freeze", "", "saved models work without the source as they are"),
    Moved(
        "model argument",
        "quantize(?:_delay)?",
        "",
        "no training knows of rounded numbers; tools of LiteRT round what `emloop export RUN --to litert` has written",
    ),
    Moved("hook argument", "visualize_graph", "", "there is no graph that all backends have"),
    Moved("python", r"cxflow(?:\..*)?", None, f"{_RENAMED}: `import emloop as el`"),
    Moved("python", r"cxflow_tensorflow(?:\..*)?", None, f"{_RENAMED}: `import emloop_tensorflow as eltf`"),
    Moved(
        "python",
        r"emloop_tensorflow\.metrics(?:\..*)?",
        None,
        "left out: `keras.metrics`, or the hooks `ClassificationMetrics` and `Metrics`, which see whole epochs",
    ),
    Moved(
        "python",
        r"emloop_tensorflow\.ops(?:\..*)?",
        None,
        "left out: TensorFlow has `tf.repeat`, `tf.reshape`, `tf.sparse.from_dense`, `tf.gather` and `tf.meshgrid`, "
        "Keras has `keras.losses.Huber`",
    ),
    Moved(
        "python",
        r"emloop_tensorflow\.models(?:\..*)?",
        None,
        "left out, with its networks written as text (`64c3s2-mp2-gap`): list layers of Keras, in code or as `net` of "
        "`emloop_tensorflow.Supervised`",
    ),
    Moved("python", r"CXF_(\w+)", r"EL_\1", "constants begin with `EL_`"),
    Moved(
        "python",
        "_create_model",
        "create_model",
        "it returns the module or the estimator, or makes layers of Keras; its arguments are keys of `model`",
    ),
    Moved("python", "_dataset", "dataset", "`self.dataset` is the dataset"),
    Moved("python", "_session|_graph", None, "there are no sessions and graphs: the network is `self.module`"),
)
"""The rows, in the order of the page; of several that fit, the first one counts."""

_DISTRIBUTIONS = {
    "emloop-tensorflow": "emloop_tensorflow",
    "cxflow": "cxflow",
    "cxflow-tensorflow": "cxflow_tensorflow",
}
"""Distributions made for emloop 0.2 and before → the module that each brings."""


def old_distributions(module: str = "") -> Iterator[tuple[str, str]]:
    """What is installed that was made for emloop 0.2 or before, and the way out.

    Args:
        module: Only what brings this module; by default all.
    """
    wanted = [name for name, brought in _DISTRIBUTIONS.items() if module in ("", brought)]
    if wanted:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - dear, and rarely needed
    for name in wanted:
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        brought = _DISTRIBUTIONS[name]
        again = ", then install emloop again, with `--force-reinstall --no-deps`: some files belong to both"
        advice = f"`pip uninstall {name}`" + (again if brought.startswith("emloop") else "")
        yield f"{name} {found} is installed, made for emloop 0.2, and brings its own {brought}", advice


def replaced(kind: str, name: str) -> str | None:
    """What a config says instead of a name, ``""`` for nothing; ``None`` if that is not for a program to tell."""
    found = None
    for row, match in _rows(kind, name):
        if row.new is None:
            break
        found = match.expand(row.new)
        return (replaced(kind, found) if found else None) or found
    return found


def replaced_arguments(kind: str, arguments: Mapping[str, T]) -> dict[str, T]:
    """Arguments by the names that they have now, without those that mean nothing any more."""
    names = {name: replaced(kind, name) for name in arguments}
    return {names[name] or name: value for name, value in arguments.items() if names[name] != ""}


def hints(kind: str, name: str, accepted: Container[str] = (), *, gone: bool = False) -> tuple[str, ...]:
    """What to tell somebody who has used a name, if it has moved.

    Args:
        kind: What it names, as in the table.
        name: The name.
        accepted: Arguments that would have been accepted.
        gone: Whether only names count that no backend has any more.
    """
    for row, _ in _rows(kind, name):
        if (row.needs and row.needs not in accepted) or (gone and row.lives):
            continue
        new = replaced(kind, name) if row.new else row.new
        told = row.advice if new is None else f"leave it out: {row.advice}" if not new else f"now {new}: {row.advice}"
        return (told, *(("`emloop migrate CONFIG` writes it so",) if kind in ("class", "section") else ()))
    return ()


def explain(error: BaseException) -> None:
    """Add to an error of the user's code what has become of the names that its message has."""
    if isinstance(error, (AttributeError, ImportError, NameError)):
        for name in dict.fromkeys(re.findall(r"[\w.]+", str(error))):
            for told in hints("python", name.strip(".")):
                note = f"{name}: {told}"
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)


def _rows(kind: str, name: str) -> Iterator[tuple[Moved, re.Match[str]]]:
    for row in MOVED:
        if row.kind == kind and (match := re.fullmatch(row.old, name)):
            yield row, match
