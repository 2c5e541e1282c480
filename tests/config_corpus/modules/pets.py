"""Classes that the configurations of the corpus name. Importing them imports torch, which must not happen."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

import emloop as el
from emloop.hooks import ComputeStats, EveryNEpoch

Activation = Literal["relu", "tanh"]
SIZE = 3


class Optimizer(enum.Enum):
    SGD = "sgd"
    ADAM = "adam"


@dataclass
class Layer:
    units: int
    activation: Activation = "relu"
    bias: bool = True
    tags: list[str] = field(default_factory=list)
    count: ClassVar[int] = 0


class Pets(el.BaseDataset):
    def _configure_dataset(
        self,
        path: Path,
        batch_size: int = 32,
        shares: dict[str, float] | None = None,
        size: tuple[int, int] = (8, 8),
        shuffle: bool = True,
        **kwargs: Any,
    ) -> None:
        self._load(**kwargs)

    def _load(self, limit: int | None = None, *, cache: bool = False) -> None:
        raise NotImplementedError

    def train_stream(self) -> el.Stream: ...

    def valid_stream(self) -> el.Stream: ...

    def test_stream(self) -> el.Stream: ...


class MorePets(Pets):
    def predict_stream(self) -> el.Stream: ...


class AnyPets(Pets):
    def __getattr__(self, name: str) -> Any: ...


class OldPets:
    def __init__(self, config_str: str) -> None: ...

    def train_stream(self) -> el.Stream: ...


class Net(el.AbstractModel):
    def __init__(
        self,
        dataset: el.AbstractDataset,
        log_dir: str | None,
        restore_from: str | None = None,
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        hidden: list[int] | None = None,
        rate: float = 0.1,
        dropout: float | None = None,
        activation: Activation = "relu",
        optimizer: Optimizer = Optimizer.SGD,
        layers: list[Layer] | None = None,
        options: Mapping[str, int | bool] | None = None,
        name_of_device: str = "cpu",
    ) -> None:
        self._net = torch.nn.Linear(3, 3)

    input_names = output_names = ()

    def run(self, batch: el.Batch, train: bool, stream: Any = None) -> el.Batch: ...

    def save(self, name_suffix: str) -> str: ...


class DeepNet(Net):
    def __init__(self, depth: int = 3, **kwargs: Any) -> None:
        kwargs.pop("old_depth", None)
        super().__init__(inputs=["images"], **kwargs)


class LooseNet(Net):
    def __init__(self, **kwargs: Any) -> None:
        self.config = kwargs


class NoModel:
    def run(self) -> None: ...


def make_net() -> Net: ...


class Announce(el.AbstractHook):
    def __init__(self, text: str, times: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Whisper(EveryNEpoch):
    def __init__(self, word: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def _after_n_epoch(self, epoch_id: int, *args: Any, **kwargs: Any) -> None: ...


class Weigh(ComputeStats):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(variables=["weight"], **kwargs)


def turned(example: dict[str, object], rng: object, degrees: float, *, mode: str = "nearest") -> dict[str, object]: ...
