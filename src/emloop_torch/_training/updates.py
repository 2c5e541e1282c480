"""From losses to new parameters: backward passes, accumulation, and the steps of the optimizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from emloop.errors import ConfigError, StateError
from emloop.saved_models import check_state
from emloop.types import StateTree
from emloop_torch._programs.program_module import LOSS
from emloop_torch._programs.views import loss_among
from emloop_torch._tensors.arrays import laid_out, to_plain, to_tensor
from emloop_torch._tensors.means import OtherRows

from .averages import Averages
from .backward import back_propagate
from .learners import Learner
from .optimizers import learnable

__all__ = ["Updates", "states_of"]

_Weight = float | torch.Tensor
_RATE = "learning_rate"


class Updates:
    """Turns losses into steps.

    Args:
        module: The module that is trained.
        learners: What trains its parameters.
        accumulate: Number of batches whose gradients make one step.
        scaler: Keeps the gradients of half-precision numbers from vanishing; ``None`` where there are none.
        averages: What follows the parameters after every step, if anything does.
        together: What brings in the gradients of other processes, if there are any.
    """

    def __init__(
        self,
        module: nn.Module,
        learners: Sequence[Learner],
        accumulate: int,
        scaler: torch.amp.GradScaler | None,
        averages: Averages | None = None,
        together: OtherRows | None = None,
    ) -> None:
        self._module = module
        self._parameters = list(learnable(module).values())
        self.learners = list(learners)
        self.losses = list(dict.fromkeys(learner.loss for learner in learners))
        """Names of the outputs that are learned from."""
        self.is_simple = is_simple = len(self.losses) == 1 and all(learner.every == 1 for learner in learners)
        self._always: dict[str, list[nn.Parameter] | None] = dict.fromkeys(self.losses) if is_simple else {}
        matched = {name for learner in learners for name in learner.named}
        self._unmatched = {name: p for name, p in learnable(module).items() if name not in matched}
        self._windows = {loss: _Window() for loss in sorted(self.losses)}
        self._accumulate = accumulate
        self._scaler = scaler
        self.takes_plain = is_simple and accumulate == 1 and scaler is None
        """Whether losses on the host that all count the same may stand for their mean."""
        self._averages = averages
        self._together = together
        if together is not None:
            together.check([learner.optimizer for learner in learners], is_simple=is_simple)
        self._pending = 0
        self._steps = 0

    @property
    def routes(self) -> dict[str, list[str]] | None:
        """Loss → names of the parameters that its gradient reaches; ``None``: ``loss`` is the only one, for all."""
        if self.losses == [LOSS]:
            return None
        return {loss: sorted(n for one in self.learners if one.loss == loss for n in one.named) for loss in self.losses}

    @property
    def rates(self) -> dict[str, list[Learner]]:
        """Name of a learning rate → what it is the rate of, the first of which tells its value."""
        own = {f"{learner.name}/{_RATE}": [learner] for learner in self.learners if learner.name}
        return {_RATE: self.learners, **own}

    def before_batch(self) -> None:
        """Called before every training batch.

        Raises:
            ConfigError: If a schedule is at its end, or a parameter has been thawed that nobody trains.
        """
        for learner in self.learners:
            learner.schedule.before_batch()
        for name, parameter in self._unmatched.items():
            if parameter.requires_grad:
                hint = "add it to the match of one"
                raise ConfigError.about(
                    "optimizers", f"{name!r} is no longer frozen, and none of them matches it", hint
                )

    @property
    def completes_step(self) -> bool:
        """Whether the next batch is the last before a step."""
        return self._pending + 1 == self._accumulate

    def reached(self) -> dict[str, list[nn.Parameter] | None]:
        """Loss → the parameters that its gradient reaches in this batch; ``None``: whatever it depends on."""
        if self._always:
            return self._always
        found: dict[str, list[nn.Parameter] | None] = {}
        for loss in self.losses:
            due = [learner for learner in self._due() if learner.loss == loss]
            parameters = [p for learner in due for p in learner.parameters if p.requires_grad]
            found |= {loss: parameters} if parameters else {}
        return found

    def __call__(
        self,
        losses: Mapping[str, torch.Tensor],
        weights: Mapping[str, _Weight],
        between: Callable[[], None] | None = None,
        shares: Mapping[str, _Weight] | None = None,
    ) -> None:
        """Learn from one batch.

        A step follows the mean over all batches since the last one, ``Σ W·loss / Σ W``. As ``Σ W`` is known at its end
        only, gradients are summed up as ``W / (n · largest W so far) · gradient``, which no sum exceeds, and brought to
        scale then. So batches of one weight are divided by ``n``, the number of batches in a step, and by nothing else.

        Args:
            losses: The batch's mean of each loss that has its turn; see :attr:`takes_plain`.
            weights: ``W`` of each, what the batch counts among others.
            between: Called between the backward passes and the steps.
            shares: By what each loss is scaled, since other processes have other rows of the batch.

        Raises:
            MissingVariableError: If a loss is missing.
        """
        reached = self._always or self.reached()
        for number, (name, parameters) in enumerate(reached.items(), 1):
            loss = loss_among(losses, name)
            if shares is not None:
                loss = _times(loss, shares[name])
            if self._accumulate > 1:
                window, weight = self._windows[name], weights[name]
                largest = _larger(weight, window.largest)
                if self._pending:
                    self._scale_gradients(name, _ratio(window.largest, largest))
                loss = loss * (_ratio(weight, largest) / self._accumulate)
                window.largest, window.total = largest, window.total + weight
            scaled = loss if self._scaler is None else self._scaler.scale(loss)
            back_propagate(scaled, parameters, keeps_graph=number < len(reached))
        if between is not None:
            between()
        if self._together is not None:
            self._together.spread_buffers()
        self._pending += 1
        if self._pending == self._accumulate:
            self._step()

    def end_epoch(self) -> None:
        """Learn from what is left of the batches that would have made one step."""
        if self._pending:
            self._step()
        for learner in self.learners:
            learner.schedule.end_epoch()

    def state_dict(self) -> StateTree:
        """Everything but the parameters themselves."""
        states = {learner.name: learner.state_dict() for learner in self.learners}
        weights = [weight for window in self._windows.values() for weight in (window.total, window.largest)]
        return {
            **states.get("", {"optimizers": states}),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "steps": self._steps,
            "accumulated": {
                "batches": self._pending,
                "gradients": self.pending(),
                "weights": [w if isinstance(w, float) else to_plain(w) for w in weights],
            },
        }

    def load_state_dict(self, state: StateTree) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            StateError: If the state is of other optimizers or another model.
        """
        named = learnable(self._module)
        accumulated = {"batches": int, "gradients": {str: object}, "weights": [object] * 2 * len(self._windows)}
        kind = {"scaler": ({str: float}, None), "steps": int, "accumulated": accumulated}
        check_state("training", state, {**dict.fromkeys(state, object), **kind})
        batches = state["accumulated"]["batches"]
        gradients = {name: to_tensor(value) for name, value in state["accumulated"]["gradients"].items()}
        for name, gradient in gradients.items():
            if name not in named or (gradient.shape, gradient.dtype) != (named[name].shape, named[name].dtype):
                raise StateError(
                    f"the state holds a gradient of {name!r}, which is not trained here, or of another kind"
                )
        if batches >= max(self._accumulate, 1) or (gradients and not batches):
            raise StateError(
                f"the state has {len(gradients)} gradients of {batches} batches; a step takes {self._accumulate}"
            )
        states, own = states_of(state), {learner.name: learner for learner in self.learners}
        if states.keys() != own.keys():
            told = [", ".join(filter(None, names)) or "only one" for names in (states, own)]
            raise StateError(f"the state is of these optimizers: {told[0]}; the configuration describes: {told[1]}")
        for name, learner in own.items():
            learner.load_state_dict(states[name])
        if self._scaler is not None and state["scaler"] is not None:
            check_state("gradient scaler", state["scaler"], dict.fromkeys(self._scaler.state_dict(), float))
            self._scaler.load_state_dict(state["scaler"])
        self._steps = state["steps"]
        self._pending = batches
        device = self._parameters[0].device
        weights = [w if isinstance(w, float) else to_tensor(w).to(device) for w in state["accumulated"]["weights"]]
        for window, total, largest in zip(self._windows.values(), weights[::2], weights[1::2], strict=False):
            window.total, window.largest = total, largest
        for name, parameter in named.items():
            parameter.grad = laid_out(gradients[name], parameter) if name in gradients else None

    def _due(self) -> list[Learner]:
        return [learner for learner in self.learners if (self._steps + 1) % learner.every == 0]

    def pending(self) -> StateTree:
        """The gradients of the batches since the last step, by the names of the parameters."""
        named = learnable(self._module)
        return {name: to_plain(p.grad) for name, p in named.items() if p.grad is not None} if self._pending else {}

    def load_pending(self, state: StateTree) -> None:
        """Take up what :meth:`pending` returned."""
        gradients = {name: to_tensor(value) for name, value in state.items()}
        if self._together is not None:
            gradients = dict(self._together.mean_gradients(gradients))
        for name, parameter in learnable(self._module).items():
            parameter.grad = laid_out(gradients[name], parameter) if name in gradients else None

    def _step(self) -> None:
        if self._together is not None:
            self._together.reduce()
        if self._accumulate > 1:
            for loss, window in self._windows.items():
                self._scale_gradients(loss, _ratio(self._accumulate * window.largest, window.total))
                window.largest = window.total = 0.0
        has_scaled = False
        for learner in self.learners if self._always else self._due():
            has_scaled = learner.step(self._scaler) or has_scaled
        if self._scaler is not None and has_scaled:
            self._scaler.update()
        if self._averages is not None:
            self._averages.follow(self._steps)
        self._pending = 0
        self._steps += 1

    def _scale_gradients(self, loss: str, factor: _Weight) -> None:
        # A tensor's value is left to the device.
        if isinstance(factor, torch.Tensor) or factor != 1.0:
            for learner in self.learners:
                for parameter in learner.parameters if learner.loss == loss else ():
                    if parameter.grad is not None:
                        parameter.grad.mul_(factor)


def states_of(state: StateTree) -> dict[str, StateTree]:
    """Name of an optimizer → its part of a state of :class:`Updates`; the only one has no name."""
    return dict(state["optimizers"]) if "optimizers" in state else {"": state}


class _Window:
    """What the batches since the last step count, of one loss: the largest, and all together."""

    largest: _Weight = 0.0
    total: _Weight = 0.0


def _times(loss: torch.Tensor, share: _Weight) -> torch.Tensor:
    if isinstance(share, torch.Tensor):
        return loss * share.to(loss.dtype)
    return loss if share == 1.0 else loss * share


def _larger(one: _Weight, other: _Weight) -> _Weight:
    if isinstance(one, torch.Tensor):
        return torch.maximum(one, torch.as_tensor(other, dtype=one.dtype, device=one.device))
    return max(one, float(other))


def _ratio(part: _Weight, whole: _Weight) -> _Weight:
    """A part of a whole; of nothing, all of it."""
    if isinstance(whole, torch.Tensor):
        return torch.where(whole > 0, part / whole, 1.0)
    return part / whole if whole else 1.0
