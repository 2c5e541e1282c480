"""Graphs run as plain functions: the same numbers, in the memory that they need."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from emloop._state.tree import copy_tree, equal_trees  # noqa: E402
from emloop_torch._programs.straight import straight, without_copies  # noqa: E402

from .nets import deep  # noqa: E402
from .test_ladder import Reversed, layer  # noqa: E402


class Varied(nn.Module):
    """Slices, sizes, parts, constants that are no literals, a block without gradients."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 2.0))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, points, mask):
        with torch.no_grad():
            self.count.add_(1)
            largest = points.amax(0)
        first, *_ = points.split([1, 2], dim=1)
        masked = points.masked_fill(mask, float("-inf")).softmax(1) * self.scale
        flat = masked.reshape(points.shape[0], -1)[:, : points.shape[1] - 1]
        return torch.cat([flat, first, points[..., None].mean(1).to(torch.float64)], 1), largest, points.shape[0] * 2


class Averaging(nn.Module):
    """A buffer that is changed, one that is replaced, and one that is only read."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        for name in ("mean", "last", "scale"):
            self.register_buffer(name, torch.ones(4))

    def forward(self, values):
        if self.training:
            self.mean.mul_(0.9).add_(values.detach().mean(0), alpha=0.1)
            self.last = self.last * 0.5 + values.detach().amax(0)
        return self.linear((values - self.mean) * self.scale + self.last)


def exported(module, *example):
    sizes = tuple({0: torch.export.Dim.DYNAMIC} for _ in example)
    return torch.export.export(module, example, dynamic_shapes=sizes, strict=False).module(check_guards=False)


def test_a_function_computes_what_its_graph_does():
    """Values, gradients, and buffers, for sizes that it was not made with."""
    points, mask = torch.arange(12.0).reshape(4, 3), torch.zeros(4, 3, dtype=torch.bool)
    graphs = [exported(Varied(), points, mask) for _ in range(2)]
    found = []
    for graph, run in zip(graphs, (graphs[0], straight(graphs[1])), strict=True):
        given = torch.linspace(-1, 1, 21).reshape(7, 3).requires_grad_()
        outputs = run(given, torch.arange(21).reshape(7, 3) % 3 == 1)
        outputs[0].sum().backward()
        found.append([*outputs[:2], torch.tensor(outputs[2]), given.grad, graph.scale.grad, graph.count.clone()])

    assert all(map(torch.equal, *found))
    assert [14, 1] == [int(found[1][2]), int(found[1][5])]


def test_intermediate_results_are_released_as_early_as_in_the_graph():
    """Right after their last use."""
    graph = torch.fx.Graph()
    given = graph.placeholder("given")
    seen = []

    def make(tensor):
        made = tensor + 1
        seen.append(weakref.ref(made))
        return made

    def look(tensor):
        gc.collect()
        seen.append(seen[0]() is None)
        return tensor

    first = graph.call_function(make, (given,))
    second = graph.call_function(torch.neg, (first,))
    graph.output((graph.call_function(look, (second,)),))
    run = straight(torch.fx.GraphModule(nn.Module(), graph))

    assert torch.equal(run(torch.zeros(2))[0], -torch.ones(2))
    assert seen[1]


def test_a_copied_buffer_is_changed_in_place_only_where_nobody_could_tell():
    """Not where the graph still reads what the buffer was."""
    graph = torch.fx.Graph()
    alone, shared = graph.placeholder("alone"), graph.placeholder("shared")
    copies = [graph.call_function(torch.ops.aten.clone.default, (buffer,)) for buffer in (alone, shared)]
    news = [graph.call_function(torch.ops.aten.add_.Tensor, (new, 1)) for new in copies]
    graph.output((graph.call_function(torch.ops.aten.detach.default, (shared,)), *news))
    module = torch.fx.GraphModule(nn.Module(), graph)
    without_copies(module, range(2))
    buffers = [torch.zeros(1), torch.zeros(1)]
    before, *after = straight(module)(*buffers)

    assert [1, 0] == [int(buffer) for buffer in buffers]
    assert [0, 1, 1] == [int(before), *map(int, after)]


def test_a_traced_program_updates_buffers_as_the_training_does(goes_on_exactly, manifest, tmp_path):
    """In the same order, to the bit; buffers that are only read, as well."""
    normed = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), Averaging())
    goes_on_exactly(lambda: layer(lambda _, values: Reversed.apply(values), before=copy.deepcopy(normed)))

    assert manifest(tmp_path / "model_best")["rung"] == "traced"


def test_a_copy_of_a_restored_module_has_parameters_of_its_own(create, batches):
    """Also after the module has run, and so has functions that hold its parameters."""
    model = create(deep)
    model.run(batches[0], train=True)
    module = create(restore_from=model.save("best")).module.eval()
    given = {name: torch.from_numpy(values) for name, values in batches[0].items()}
    expected = module(**given)["loss"]
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()

    assert torch.equal(expected, twin(**given)["loss"])
    assert not torch.equal(expected, module(**given)["loss"])


def test_a_restored_model_computes_in_place_of_a_moved_one(create, batches):
    """A module that has moved to another dtype, and back, does not go on with what it had."""
    model = create(deep)
    model.run(batches[0], train=True)
    restored = create(restore_from=model.save("best"))
    restored.run(batches[1], train=False)
    restored.module.to(torch.float64).to(torch.float32)
    with torch.no_grad():
        for one, other in zip(model.module.parameters(), restored.module.parameters(), strict=True):
            other.copy_(one * 2)
            one.mul_(2)

    expected = copy_tree(model.run(batches[1], train=False))
    assert equal_trees(expected, restored.run(batches[1], train=False))
    assert np.isfinite(expected["loss"]).all()
