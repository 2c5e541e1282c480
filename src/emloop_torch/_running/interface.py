"""What a model takes and gives: its method, its sources, its outputs, and what weighs these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from emloop.errors import ConfigError
from emloop_torch._programs.program_module import LOSS, ProgramModule
from emloop_torch._programs.views import PREDICT, choose_view, weights_in

__all__ = ["Interface", "read_interface"]


@dataclass(frozen=True)
class Interface:
    """What has been read from a module and its configuration."""

    view: str
    """Method of the module that runs."""
    taken: Sequence[str]
    """Sources that the method takes."""
    sources: Sequence[str]
    """All that a batch must hold."""
    outputs: Sequence[str]
    """What to return; what the module itself weighs these by is among them."""
    weights: Mapping[str, str]
    """Output → the output or source that weighs it."""
    loss_weights: Mapping[str, str]
    """The same of the losses."""
    weighing: Sequence[str]
    """Sources that weigh because the configuration says so."""

    @property
    def withheld(self) -> frozenset[str]:
        """Sources that are not for the module."""
        return frozenset(self.sources).difference(self.taken)


def read_interface(
    module: nn.Module,
    inputs: Sequence[str],
    inference_inputs: Sequence[str] | None,
    outputs: Sequence[str],
    losses: Sequence[str],
    configured: Mapping[str, str],
) -> Interface:
    """Decide which method runs, what it takes, and what weighs its outputs.

    Args:
        module: The module.
        inputs: The key ``inputs``.
        inference_inputs: The key ``inference_inputs``.
        outputs: The key ``outputs``.
        losses: Names of the outputs that are learned from.
        configured: Output → what weighs it, as class and configuration say.

    Raises:
        ConfigError: If no method takes the inputs, or a program's loss has another weight than the configured one.
    """
    own, given = weights_in(module)
    for loss in losses if isinstance(module, ProgramModule) else ():
        is_other = configured.get(loss, own.get(loss)) != own.get(loss)
        if is_other and (loss in own or module.is_traced):
            name = "loss" if loss == LOSS else f"loss {loss!r}"
            told = f"its {name} is weighed by {own[loss]!r}" if loss in own else f"its {name} has no weight"
            raise ConfigError.about("weights", f"the model goes on without its source, where {told}")
    weights, known = {**configured, **own}, {*outputs, *given}
    sources = [weight for weight in (*weights.values(), *configured.values()) if weight not in known]
    view, taken = choose_view(module, inputs, inference_inputs, sources)
    if view == PREDICT or set(inputs) == set(inference_inputs or ()):
        # Without labels there is no loss, and nothing that only the labels tell.
        weights = {name: weight for name, weight in weights.items() if name in outputs and weight not in given}
    used = {*outputs, *losses}
    sources = [weight for name, weight in weights.items() if name in used and weight not in known]
    sources = list(dict.fromkeys((*inputs, *sources, *taken)))
    beside = [weights[name] for name in outputs if weights.get(name) in given]
    return Interface(
        view=view,
        taken=taken,
        sources=sources,
        outputs=list(dict.fromkeys((*outputs, *beside))),
        weights=weights,
        loss_weights={loss: weights[loss] for loss in losses if loss in weights},
        weighing=[name for name in sources if name in configured.values()],
    )
