"""Tensors and loaders of PyTorch in processes of `main_loop.workers`."""

from __future__ import annotations

import sys

import pytest

torch = pytest.importorskip("torch")

import emloop_torch  # noqa: E402, F401 - takes loaders over
from emloop import _build  # noqa: E402
from emloop._state.random import seed_everything, use_seed  # noqa: E402
from emloop._streams import StreamWrapper  # noqa: E402

MODULE = """
import emloop as el


class Rows:
    def __init__(self, make):
        self._make = make

    def __len__(self):
        return 12

    def __getitem__(self, number):
        return self._make(number)


class Points(el.BaseDataset):
    def _configure_dataset(self):
        pass

    def loader_stream(self):
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        def collate(examples):
            (points,) = map(torch.stack, zip(*examples))
            return {"points": points + torch.randn(3), "names": [str(len(points))]}

        return DataLoader(TensorDataset(torch.rand(30, 3, generator=torch.Generator())), 4, True, collate_fn=collate)

    def images_stream(self):
        import torch

        last = torch.channels_last
        return Rows(lambda n: {"x": torch.full((2, 3, 4, 5), n).to(memory_format=last), "y": torch.tensor(n)})

    def halves_stream(self):
        import torch

        return Rows(lambda n: {"x": torch.full((2,), n, dtype=torch.bfloat16)})

    def gradients_stream(self):
        import torch

        return Rows(lambda n: {"x": torch.full((2,), float(n), requires_grad=True)})

    def noise_stream(self):
        import torch

        return Rows(lambda n: {"x": torch.rand(2)})
"""


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    """Reads a stream with a worker, and without."""
    path = tmp_path_factory.mktemp("fed")
    (path / "torch_points.py").write_text(MODULE)
    sys.path.insert(0, str(path))
    config = {"dataset": {"class": "torch_points.Points"}}
    with use_seed(5):
        workers = _build.start_workers(1, config, None, 5)
        (worker,) = workers._workers
        worker._connection.poll(None)
        dataset = _build.build_dataset(config)

        def read(name):
            found = []
            for pool in (None, workers):
                seed_everything(5)
                stream = StreamWrapper(getattr(dataset, f"{name}_stream"), name=name, workers=pool)
                found.append([batch for _ in range(2) for batch in stream])
            return found

        yield read
        workers.close()
    sys.path.remove(str(path))


def equal(one, other):
    return one.keys() == other.keys() and all(
        type(value) is type(other[key])
        and (
            (value.dtype, value.stride(), value.tolist())
            == (other[key].dtype, other[key].stride(), other[key].tolist())
            if isinstance(value, torch.Tensor)
            else value == other[key]
        )
        for key, value in one.items()
    )


@pytest.mark.parametrize("name", ["loader", "images"])
def test_tensors_come_from_a_worker_as_they_are(fed, name, caplog):
    """Those of a loader without workers of its own, too, with the random numbers of its pass."""
    alone, with_worker = fed(name)

    assert len(alone) == len(with_worker) > 12
    assert all(map(equal, alone, with_worker))
    assert "main_loop.workers" not in caplog.text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("halves", "a batch holds what only one process can have: TypeError: "),
        ("gradients", "a batch holds what only one process can have: RuntimeError: "),
        ("noise", "it draws from the global random state of Python, NumPy or a framework"),
    ],
)
def test_what_a_worker_cannot_give_is_read_as_ever(fed, name, why, caplog):
    """And says so."""
    alone, with_worker = fed(name)

    assert all(map(equal, alone, with_worker))
    assert why in caplog.text
