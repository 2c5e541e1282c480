r"""What trains parameters: an optimizer of optax, its schedule and warm-up, and clipping; all of it pure functions.

.. code-block:: yaml

    optimizer: {class: adamw, learning_rate: 1e-3, weight_decay: 0.01}
    lr_schedule: {class: cosine_decay_schedule, decay_steps: 1000, warmup_steps: 100}
    clip_gradient: {norm: 1.0}

The rate is a value of the state, which hooks may set, so an optimizer is made anew in every step, which costs nothing
once that is compiled. Optax is imported only where something is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from emloop.arguments import Chosen, read_component
from emloop.declare import Count, Family, Limits
from emloop.errors import ConfigError, MissingExtraError
from emloop.parameters import Clip

__all__ = ["Optimizers", "Rates", "Schedules", "clipped", "optimizer_of", "rate_of", "try_out"]


_RATE = "learning_rate"
_DEFAULT = "adamw"
_USUAL_RATE = 1e-3
_STARTS = ("init_value", "peak_value", "value")
"""What schedules call the rate that they are made for."""


class Optimizers(Family):
    """The key ``optimizer``.

    Attributes:
        learning_rate: The rate, which hooks may set; by default the optimizer's own, or 0.001.
    """

    word = "optimizer"
    home = "optax"
    given = ("learning_rate",)
    functions = True
    refused: ClassVar = {
        "lbfgs": "evaluates the model several times in a step, which emloop does not",
        "optimistic_adam_v2": "takes several rates; make it in create_optimizer",
    }

    learning_rate: Annotated[float, Limits(minimum=0)] | None = None


class Schedules(Family):
    """The key ``lr_schedule``.

    Attributes:
        interval: What a step of the schedule is.
        warmup_steps: Number of steps of the optimizer over which the rate rises from zero.
    """

    word = "schedule"
    home = "optax"
    given = ("init_value", "peak_value", "value")
    functions = True
    needs_class = False
    refused: ClassVar = {
        "warmup_cosine_decay_schedule": "has a warm-up of its own; take cosine_decay_schedule with warmup_steps",
        "warmup_exponential_decay_schedule": "has a warm-up of its own; take exponential_decay with warmup_steps",
        "warmup_constant_schedule": "is a warm-up; leave the class out: {warmup_steps: 100}",
        "join_schedules": "takes functions, which a configuration cannot hold; write one of your own, and name that",
        "sgdr_schedule": "takes functions of its own; write one of your own, and name that",
    }

    interval: Literal["batch", "epoch"] = "batch"
    warmup_steps: Count = 0


class Rates:
    """The learning rate of every step.

    Args:
        description: The key ``lr_schedule``.
        configured: The rate of the key ``optimizer``.

    Raises:
        ConfigError: If the description is wrong.
    """

    def __init__(self, description: Any, configured: float) -> None:
        chosen = read_component(Schedules, description or {}, ("lr_schedule",))
        self.by_epochs = chosen.beside.get("interval", Schedules.interval) == "epoch"
        self.warmup_steps: int = chosen.beside.get("warmup_steps", Schedules.warmup_steps)
        self.configured = configured
        self._schedule: Callable[[Any], Any] | None = None
        if chosen.cls is not None:
            taken = inspect.signature(chosen.cls).parameters
            start = {name: configured for name in _STARTS[:2] if name in taken} or {"value": configured}
            made = _made(chosen, ("lr_schedule",), {key: start[key] for key in start if key in taken})
            # A function of one's own may be the schedule itself.
            self._schedule = made if callable(made) else chosen.cls

    @property
    def moves(self) -> bool:
        """Whether there is a schedule."""
        return self._schedule is not None

    def at(self, count: jax.Array) -> jax.Array:
        """What the schedule says for a step or an epoch."""
        schedule = self._schedule
        return jnp.asarray(self.configured if schedule is None else schedule(count), jnp.float32)

    def warmth(self, steps: jax.Array) -> jax.Array | float:
        """The factor of the warm-up, for a step of the optimizer."""
        if not self.warmup_steps:
            return 1.0
        return jnp.minimum((steps + 1).astype(jnp.float32) / self.warmup_steps, 1.0)


def rate_of(description: Any) -> float:
    """The rate that the key ``optimizer`` names or, where it does not, that of the optimizer itself.

    Raises:
        ConfigError: If the description is wrong.
    """
    chosen = _chosen(description)
    named = chosen.beside.get(_RATE)
    own = inspect.signature(chosen.cls).parameters.get(_RATE)
    if named is None and own is not None and isinstance(own.default, Real):
        named = own.default
    return _USUAL_RATE if named is None else float(named)


def optimizer_of(description: Any, rate: Any) -> Any:
    """The optimizer of a configuration.

    Args:
        description: The key ``optimizer``; ``None`` for AdamW with optax's own values.
        rate: Its learning rate.

    Raises:
        ConfigError: If the description is wrong.
    """
    chosen = _chosen(description)
    takes_rate = _RATE in inspect.signature(chosen.cls).parameters
    made = _made(chosen, ("optimizer",), {_RATE: rate} if takes_rate else {})
    if not (hasattr(made, "init") and hasattr(made, "update")):
        raise ConfigError.about("optimizer", f"expected an optimizer of optax, got {made!r}")
    return made


def try_out(description: Any, rate: Any) -> None:
    """Make an optimizer, and let one whose arguments hold text move something, since optax looks at them only then.

    Raises:
        ConfigError: If the description is wrong.
    """
    made, chosen = optimizer_of(description, rate), _chosen(description)
    texts = [f"{name}: {value}" for name, value in chosen.arguments.items() if isinstance(value, str)]
    if not texts:
        return
    something = {"": jnp.zeros((2, 2))}
    try:
        jax.eval_shape(lambda each: made.update(each, made.init(each), each), something)
    except (TypeError, ValueError) as error:
        message = f"{chosen.cls.__name__} cannot compute with {', '.join(texts)}"
        raise ConfigError.about("optimizer", message, "numbers are written without quotes: 0.1") from error


def _chosen(description: Any) -> Chosen:
    try:
        import optax as _optax  # noqa: F401, PLC0415 - nobody else needs it
    except ModuleNotFoundError as error:
        raise MissingExtraError("emloop_jax", "jax") from error
    return read_component(Optimizers, description or _DEFAULT, ("optimizer",))


def _made(chosen: Chosen, keys: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    try:
        return chosen.cls(**{**chosen.arguments, **given})
    except (TypeError, ValueError) as error:
        raise ConfigError.about(keys, f"{chosen.cls.__name__}: {error}") from error


def clipped(gradients: Any, clip: Clip | None) -> Any:
    """Gradients within the limits of the key ``clip_gradient``."""
    if clip is None:
        return gradients
    if (value := clip.value) is not None:
        gradients = jax.tree.map(lambda each: jnp.clip(each, -value, value), gradients)
    if (most := clip.norm) is not None:
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(each)) for each in jax.tree.leaves(gradients)))
        factor = jnp.where(norm < most, 1.0, most / norm)
        gradients = jax.tree.map(lambda each: (each * factor).astype(each.dtype), gradients)
    return gradients
