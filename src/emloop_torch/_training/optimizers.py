r"""Optimizers: from the configuration, and their state by the names of the parameters.

.. code-block:: yaml

    optimizer:
      class: AdamW
      learning_rate: 1e-3
      weight_decay: 0.01
      groups:
        - {match: 'backbone\..*', learning_rate: 1e-4}

A parameter belongs to the first group whose rule it fits; those that fit none come last, with the values of the
optimizer itself. What a rule may ask, names and shapes, is the same of a model built from source and of one restored
without, and so is state by names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Annotated, Any, ClassVar, TypeAlias

import torch
from torch import nn, optim
from torch.optim.optimizer import _global_optimizer_post_hooks as _hooks_after
from torch.optim.optimizer import _global_optimizer_pre_hooks as _hooks_before

from emloop.arguments import Chosen, read_component
from emloop.declare import Count, Family, Limits, Names
from emloop.errors import ConfigError, StateError
from emloop.parameters import matching
from emloop.saved_models import check_state
from emloop.types import StateTree
from emloop_torch._classes import construct
from emloop_torch._tensors.arrays import laid_out, to_plain, to_tensor
from emloop_torch._tensors.remembered import require_step, require_whole

__all__ = [
    "Optimizers",
    "Rule",
    "build_optimizer",
    "first_rates",
    "forget_gradients",
    "learnable",
    "load_optimizer",
    "make_optimizer",
    "optimizer_state",
    "rebuild_optimizer",
    "selected",
    "take_step",
]

logger = logging.getLogger(__name__)

_RATE = "learning_rate"
_RATE_KEY = "lr"
_FIRST_RATES = ("initial_lr", "max_lr", "min_lr")
"""What schedules note in a group about its rate."""
_FLAGS = ("capturable", "differentiable", "foreach", "fused", "maximize")
_SURROUNDED = optim.Optimizer.profile_hook_step(lambda: None).__code__


_Share: TypeAlias = Annotated[float, Limits(above=0, maximum=1)]
_Named: TypeAlias = Mapping[str, nn.Parameter]


@dataclass(frozen=True)
class Rule:
    r"""Which parameters an item is for: those that fit all that it names or, if it names nothing, those that are left.

    Args:
        match: Regular expressions, of which one matches the whole name.
        ndim: Numbers of axes: 2 for matrices.
    """

    match: str | Names | None = None
    ndim: Count | Sequence[Count] | None = None


@dataclass(frozen=True)
class LayerDecay:
    r"""The key ``layer_decay``.

    Args:
        rate: Learning rate of a layer as a share of that of the next one towards the output.
        match: Regular expression of whole names whose one group is the layer's number: ``encoder\.layer\.(\d+)\..*``.
            By default the layers are the numbered parts of which there are most.
    """

    rate: _Share
    match: str | None = None


class Optimizers(Family):
    """The key ``optimizer``.

    Attributes:
        no_decay: Whether biases and the parameters of normalisations are spared from ``weight_decay``.
        layer_decay: Share of the learning rate that is left from one layer to the one before it.
    """

    word = "optimizer"
    home = "torch.optim"
    base = "torch.optim.Optimizer"
    given = ("params",)
    names: ClassVar = {_RATE: _RATE_KEY}
    refused: ClassVar = {
        "LBFGS": "evaluates the model several times in a step, which emloop does not",
        "differentiable": "nobody differentiates a step here; leave it out",
    }
    variants: ClassVar = {"groups": Rule}

    # PyTorch takes tensors as well, which no configuration can hold; text is a typing error, such as 0,1.
    learning_rate: float | None
    no_decay: bool = False
    layer_decay: _Share | LayerDecay | None = None


def build_optimizer(description: Any, module: nn.Module) -> optim.Optimizer:
    """The optimizer of a configuration. It has frozen parameters, too, and learns them once they no longer are.

    Args:
        description: The key ``optimizer``; ``None`` for AdamW with its own defaults.
        module: The module.

    Raises:
        ConfigError: If the description is wrong.
    """
    keys = ("optimizer",)
    return make_optimizer(read_component(Optimizers, description or "AdamW", keys), learnable(module), keys)


def make_optimizer(
    chosen: Chosen, named: _Named, keys: tuple[Any, ...], among: _Named | None = None
) -> optim.Optimizer:
    """An optimizer of some parameters.

    Args:
        chosen: Its class and arguments, and its groups.
        named: The parameters, by name.
        keys: Where the configuration describes it.
        among: All of the module, in whose layers they lie; by default no others.

    Raises:
        ConfigError: If the description is wrong.
    """
    groups = _grouped(chosen.beside.get("groups", ()), named, keys)
    parts = [part for group in groups for part in _parts(group, named, named if among is None else among, chosen, keys)]
    optimizer: optim.Optimizer = construct(keys, chosen, [group for group, *_ in parts])
    for group, (_, decays, share) in zip(optimizer.param_groups, parts, strict=True):
        if not decays and "weight_decay" not in group:
            message = f"{type(optimizer).__name__} has no weight_decay to spare anything from"
            raise ConfigError.about((*keys, "no_decay"), message)
        group.update({} if decays else {"weight_decay": 0.0})
        group.update({} if share == 1 else {_RATE_KEY: group[_RATE_KEY] * share})
    _check_steps(optimizer, named, keys)
    return optimizer


def rebuild_optimizer(name: str, configured: Sequence[Mapping[str, Any]], module: nn.Module) -> optim.Optimizer:
    """An optimizer as it was once configured, where nobody but the model's source could describe it.

    Args:
        name: Its class, as :func:`optimizer_state` tells it.
        configured: Its groups, likewise, as they were when it was fresh.
        module: The module.

    Raises:
        StateError: If the class is none that PyTorch has, or the groups are not of the module's parameters.
    """
    named = learnable(module)
    try:
        cls = read_component(Optimizers, name, ("optimizer",)).cls
        groups = [{**_plain_to_group(g), "params": [named.pop(n) for n in g["names"]]} for g in configured]
        made = [{key: value for key, value in group.items() if key not in _FIRST_RATES} for group in groups]
        return construct(("optimizer",), Chosen(cls, {}, {}), made)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"the optimizer {name} cannot be made again: {error}") from error


def learnable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Name → parameter, for those that can have a gradient, in the order of the module."""
    return {name: p for name, p in module.named_parameters() if p.is_floating_point() or p.is_complex()}


def optimizer_state(optimizer: optim.Optimizer, module: nn.Module) -> StateTree:
    """All that an optimizer remembers, by the names of the parameters."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    cls = type(optimizer)
    home = getattr(optim, cls.__name__, None)
    return {
        "class": cls.__name__ if home is cls else f"{cls.__module__}.{cls.__qualname__}",
        # Of a parameter that has had no gradient yet, nothing is known; that is part of the state, too.
        "state": {
            names[id(p)]: {key: _to_plain_value(value) for key, value in optimizer.state[p].items()}
            if optimizer.state.get(p)
            else None
            for group in optimizer.param_groups
            for p in group["params"]
        },
        "groups": [
            {"names": [names[id(parameter)] for parameter in group["params"]], **_plain_hyperparameters(group)}
            for group in optimizer.param_groups
        ],
    }


def load_optimizer(
    optimizer: optim.Optimizer,
    module: nn.Module,
    named: Mapping[str, nn.Parameter],
    state: StateTree,
    configured: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]],
) -> None:
    """Let an optimizer go on from what :func:`optimizer_state` returned.

    Rates and the like follow the configuration where it has changed since; a learning rate that a schedule or a hook
    has moved meanwhile moves on by the same factor.

    Args:
        optimizer: The optimizer.
        module: The module whose parameters it has.
        named: Those that may have a state, by name.
        state: The state.
        configured: The groups as the configuration made them.
        before: The groups as the configuration made them that was valid when the state was taken.

    Raises:
        StateError: If the state is of another optimizer, or of other parameters.
    """
    found = optimizer_state(optimizer, module)
    kind = {"class": str, "state": {str: ({str: object}, None)}, "groups": [{str: object}, ...]}
    check_state("optimizer", state, {**dict.fromkeys(state, object), **kind})
    if found["class"] != state["class"]:
        raise StateError(
            f"the state is of the optimizer {state['class']}, the configuration describes {found['class']}"
        )
    strange = sorted(set(state["state"]) - set(named))
    if strange:
        raise StateError(f"the optimizer's state has parameters that are not trained here: {', '.join(strange[:4])}")
    names, then = ([group.get("names", ()) for group in groups] for groups in (state["groups"], before))
    if names != then or sorted(name for of_group in names for name in of_group) != sorted(state["state"]):
        raise StateError("the optimizer's state and its groups are of different parameters")
    counts_on_device = {
        id(p) for g in optimizer.param_groups if g.get("capturable") or g.get("fused") for p in g["params"]
    }
    values = {
        name: {
            key: _to_own_value(value, named[name], keep_counts=id(named[name]) not in counts_on_device)
            for key, value in of_one.items()
        }
        for name, of_one in state["state"].items()
        if of_one is not None
    }
    for saved, old in zip(state["groups"], before, strict=True):
        if lost := old.keys() - saved.keys():
            raise StateError(f"a group of the optimizer's state has no {', '.join(sorted(lost))}")
        flags = {key: saved[key] for key in _FLAGS if key in saved}
        check_state("optimizer's group", flags, dict.fromkeys(flags, (bool, None)))
        if flags.get("capturable") and any(named[name].device.type == "cpu" for name in saved["names"]):
            raise StateError("a group of the optimizer's state is capturable, and has parameters on the CPU")
        of_group = {name: (named[name], values[name]) for name in saved["names"] if name in values}
        require_whole(optimizer, _plain_to_group(saved), of_group)
    optimizer.state.clear()
    optimizer.state.update({named[name]: of_one for name, of_one in values.items()})
    if [group["names"] for group in found["groups"]] != names:
        logger.warning("The parameter groups have changed, so their rates are those of the configuration")
        return
    for group, wanted, saved, old in zip(optimizer.param_groups, configured, state["groups"], before, strict=True):
        group.update(_plain_to_group(saved, like=group))
        if _follow(group, wanted, old):
            require_step(optimizer, group, [(p, optimizer.state[p]) for p in group["params"] if p in optimizer.state])


def forget_gradients(optimizer: optim.Optimizer) -> None:
    """Do what ``zero_grad`` does, without what surrounds it for profilers, at a tenth of the time."""
    if type(optimizer).zero_grad is optim.Optimizer.zero_grad:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
    else:
        optimizer.zero_grad(set_to_none=True)


def take_step(optimizer: optim.Optimizer) -> None:
    """Do what ``step`` does, without what surrounds it for profilers, which takes longer than the step of a small net.

    Where somebody looks or has hooked in, nothing is left out.
    """
    step: Any = type(optimizer).step
    own: Any = vars(optimizer).get("step")
    if (
        getattr(step, "__code__", None) is _SURROUNDED
        # A schedule puts a step in place of the class's, to warn where there was none before its own first.
        and (own is None or (hasattr(own, "_wrapped_by_lr_sched") and own.__wrapped__ is step))
        and not (optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
        and not (_hooks_before or _hooks_after or torch._C._autograd._profiler_enabled())
    ):
        vars(optimizer)["_opt_called"] = True
        undecided = [group for group in optimizer.param_groups if _steps_singly(group)]
        try:
            for group in undecided:
                group["foreach"] = False
            step.__wrapped__(optimizer)
        finally:
            for group in undecided:
                group["foreach"] = None
    else:
        optimizer.step()


def _steps_singly(group: Mapping[str, Any]) -> bool:
    """Whether a step would find out, by asking parameter after parameter, that it takes them one by one."""
    if group.get("foreach", False) is not None or group.get("fused") is not None:
        return False
    # One on the host is enough, and of others the first tells enough.
    return any(p.is_cpu for p in islice((p for p in group["params"] if p.grad is not None), 1))


def first_rates(group: Mapping[str, Any]) -> dict[str, float]:
    """What a schedule has noted in a parameter group."""
    return {key: group[key] for key in _FIRST_RATES if key in group}


def _check_steps(optimizer: optim.Optimizer, named: Mapping[str, nn.Parameter], keys: tuple[Any, ...]) -> None:
    """Refuse now, or right before the first step, what would fail within it.

    Raises:
        ConfigError: If a step would need something that is not there.
    """
    for group in optimizer.param_groups:
        if group.get("capturable") and any(parameter.device.type == "cpu" for parameter in group["params"]):
            message = "this is for devices other than the CPU; leave it out"
            raise ConfigError.about((*keys, "capturable"), message)

    def check_gradients(*_: Any) -> None:
        dense = [name for name, p in named.items() if p.grad is not None and not p.grad.is_sparse]
        if dense:
            message = f"SparseAdam takes sparse gradients only, and that of {dense[0]!r} is dense"
            hint = "take Adam, or make them sparse as nn.Embedding(…, sparse=True) does"
            raise ConfigError.about(keys, message, hint)

    if isinstance(optimizer, optim.SparseAdam):
        optimizer.register_step_pre_hook(check_gradients)


def selected(rule: Mapping[str, Any], named: _Named, keys: tuple[Any, ...]) -> list[str] | None:
    """Names of the parameters that fit a rule; ``None`` if it names nothing.

    Args:
        rule: What has the fields of :class:`Rule` among its keys.
        named: All that may fit, by name.
        keys: Where the configuration has it.

    Raises:
        ConfigError: If none fit.
    """
    patterns, axes = rule.get("match"), rule.get("ndim")
    if patterns is None and axes is None:
        return None
    places = {(*keys, "match", index): each for index, each in enumerate(() if patterns is None else patterns)}
    places = {(*keys, "match"): patterns} if isinstance(patterns, str) else places
    matched = {name for place, each in places.items() for name in matching(place, each, named)}
    found = [name for name in named if patterns is None or name in matched]
    if axes is not None:
        wanted = {axes} if isinstance(axes, int) else set(axes)
        there = sorted({named[name].ndim for name in found})
        found = [name for name in found if named[name].ndim in wanted]
        if not found:
            hint = f"there are some with {', '.join(map(str, there))}"
            raise ConfigError.about((*keys, "ndim"), f"no parameter that it matches has {axes} axes", hint)
    return found


def _grouped(descriptions: Sequence[Mapping[str, Any]], named: _Named, at: tuple[Any, ...]) -> list[dict[str, Any]]:
    left = dict(named)
    groups = []
    for index, description in enumerate(descriptions):
        keys = (*at, "groups", index)
        values = {_RATE_KEY if key == _RATE else key: value for key, value in description.items()}
        fitting = selected(description, named, keys)
        names = [name for name in (named if fitting is None else fitting) if name in left]
        if not names:
            at_fault = (*keys, "match") if "match" in description else keys
            raise ConfigError.about(at_fault, "the groups before it take all parameters that it matches")
        of_rule = {field.name for field in fields(Rule)}
        own = {key: value for key, value in values.items() if key not in of_rule}
        groups.append({"params": [left.pop(name) for name in names], **own})
    if any(parameter.requires_grad for parameter in left.values()):
        return [*groups, {"params": list(left.values())}]
    # The last group's learning rate is the one that hooks see, so what is frozen stands first.
    return [{"params": list(left.values())}, *groups] if left else groups


def _parts(
    group: Mapping[str, Any], named: _Named, among: _Named, chosen: Chosen, keys: tuple[Any, ...]
) -> Iterator[tuple[dict[str, Any], bool, float]]:
    """The parts of a group that are trained alike, whether they decay, and their share of the learning rate."""
    no_decay, decay = chosen.beside.get("no_decay", False), chosen.beside.get("layer_decay")
    decay = LayerDecay(decay) if isinstance(decay, int | float) else decay
    layers = {} if decay is None else _layers(among, decay.match, (*keys, "layer_decay"))
    names = {id(parameter): name for name, parameter in named.items()}
    parts: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for parameter in group["params"]:
        name = names[id(parameter)]
        decays = not (no_decay and _is_spared(name, named))
        parts.setdefault((-layers.get(name, 0), decays), []).append(parameter)
    # The last one's learning rate is the one that hooks see.
    for (depth, decays), parameters in sorted(parts.items(), key=lambda part: part[0]):
        yield {**group, "params": parameters}, decays, 1.0 if decay is None else decay.rate**-depth


def _is_spared(name: str, named: _Named) -> bool:
    """Whether a parameter is a bias or, by its shape, what a normalisation scales with."""
    owner, dot, leaf = name.rpartition(".")
    bias = named.get(f"{owner}{dot}bias")
    return leaf == "bias" or named[name].ndim < 2 or (bias is not None and bias.shape == named[name].shape)


def _layers(named: _Named, pattern: str | None, keys: tuple[Any, ...]) -> dict[str, int]:
    """Name → how many layers lie from its own to the output, if what stands before the first one is a layer, too."""
    if pattern is None:
        numbers = _numbered(named, keys)
    else:
        at = (*keys, "match")
        numbers = {}
        for name in matching(at, pattern, named):
            groups = re.fullmatch(pattern, name).groups()  # type: ignore[union-attr]
            if len(groups) != 1 or not str(groups[0]).isdecimal():
                hint = r"put the number, and nothing else, in brackets: 'encoder\.layer\.(\d+)\..*'"
                raise ConfigError.about(at, f"expected one group that is a number, got {groups} of {name!r}", hint)
            numbers[name] = int(groups[0])
    depths = {number: depth for depth, number in enumerate(sorted(set(numbers.values()), reverse=True), 1)}
    found, depth = {}, len(depths) + 1
    for name in named:
        if name in numbers:
            depth = 0
        found[name] = depths[numbers[name]] if name in numbers else depth
    return found


def _numbered(named: _Named, keys: tuple[Any, ...]) -> dict[str, int]:
    """Name → its number among the outermost numbered parts of which there are most.

    Raises:
        ConfigError: If there are none, or two such sequences.
    """
    sequences: dict[str, dict[str, int]] = {}
    for name in named:
        for number in re.finditer(r"\d+", name):
            sequences.setdefault(name[: number.start()], {})[name] = int(number[0])
    sequences = {prefix: of for prefix, of in sequences.items() if len(set(of.values())) > 1}
    outermost = {p: of for p, of in sequences.items() if not any(p != q and p.startswith(q) for q in sequences)}
    count = {prefix: len(set(of.values())) for prefix, of in outermost.items()}
    most = [prefix for prefix, number in count.items() if number == max(count.values())]
    if len(most) != 1:
        there = f"several sequences of numbered parts: {', '.join(most)}" if most else "no numbered parts"
        hint = r"say which are meant: {rate: 0.75, match: 'encoder\.layer\.(\d+)\..*'}"
        raise ConfigError.about(keys, f"the model has {there}", hint)
    return outermost[most[0]]


def _plain_hyperparameters(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _to_plain_value(value) for key, value in group.items() if key != "params"}


def _plain_to_group(saved: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    own = like or {}
    return {
        key: tuple(value) if isinstance(value, list) and not isinstance(own.get(key), list) else value
        for key, value in saved.items()
        if key != "names"
    }


def _follow(group: dict[str, Any], configured: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Take over what the configuration has changed; return whether that is more than rates."""
    more = False
    for key, value in configured.items():
        old = before.get(key, value)
        if key == "names" or repr(value) == repr(old):
            continue
        new = group[key] * (value / old) if key in (_RATE_KEY, *_FIRST_RATES) and old else value
        name = _RATE if key == _RATE_KEY else key
        logger.info("%s follows the configuration: %s instead of %s", name, new, group[key])
        group.update(_plain_to_group({key: new}, like=group))
        more = more or key not in (_RATE_KEY, *_FIRST_RATES)
    return more


def _to_plain_value(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return to_plain(value)
    if isinstance(value, (list, tuple)):
        return [_to_plain_value(item) for item in value]
    return value


def _to_own_value(value: Any, parameter: nn.Parameter, *, keep_counts: bool) -> Any:
    """A value of a parameter's state; tensors lie where the parameter does, counts mostly on the host."""
    if not _is_array(value):
        return value
    tensor = to_tensor(value)
    return tensor if keep_counts and tensor.ndim == 0 else laid_out(tensor, parameter)


def _is_array(value: Any) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "dtype")
