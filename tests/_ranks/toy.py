"""A linear model, and processes that talk over sockets: all that a training on many needs, without a framework."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import pickle
from multiprocessing.connection import Client, Listener
from pathlib import Path
from types import MappingProxyType

import numpy as np

import emloop as el
from emloop.errors import RankError
from emloop.testing.ranks import Numbers


class Sockets:
    """Every process but the first is connected with that."""

    def __init__(self, scene):
        self.rank, self.size, self.local_rank = scene.rank, scene.size, scene.local_rank
        place = scene.address, scene.port
        if self.rank == 0:
            with Listener(place, backlog=scene.size) as listener:
                found = [listener.accept() for _ in range(1, scene.size)]
            self._others = sorted(found, key=lambda each: each.recv())
        else:
            self._others = [_connected(place)]
            self._others[0].send(self.rank)
        self._signal = Path(f"{scene.port}.signal")

    def tell(self, message):
        for other in self._others:
            self._try(other.send_bytes, b"t" + message)

    def hear(self):
        return self._received(self._others[0])

    def gather(self, message):
        if self.rank:
            self._try(self._others[0].send_bytes, b"g" + message)
            return ()
        return [message, *map(self._received, self._others)]

    def total(self, values):
        """The sum over all processes."""
        found = self.gather(np.asarray(values, np.float64).tobytes())
        if self.rank:
            return np.frombuffer(self.hear()).reshape(np.shape(values))
        whole = np.sum([np.frombuffer(each) for each in found], axis=0)
        self.tell(whole.tobytes())
        return whole.reshape(np.shape(values))

    def ask_to_stop(self, number):
        self._signal.write_text(str(number))

    def asked_to_stop(self):
        return int(self._signal.read_text() or 0) or None if self._signal.exists() else None

    def fail(self, cause):
        for other in self._others:
            with contextlib.suppress(OSError):
                other.send_bytes(f"!rank {self.rank} failed: {cause}".encode())

    def close(self):
        for other in self._others:
            other.close()

    def _received(self, other):
        message = self._try(other.recv_bytes)
        if message[:1] == b"!":
            raise RankError(message[1:].decode())
        return message[1:]

    def _try(self, work, *arguments):
        try:
            return work(*arguments)
        except (EOFError, OSError):
            raise RankError(f"rank {0 if self.rank else 1} is gone") from None


def _connected(place):
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return Client(place)
        os.sched_yield()


class Linear(el.AbstractModel):
    """Learns by plain gradient descent; every prediction gets noise of its own."""

    input_names = ("points", "targets", "counts")
    output_names = ("loss", "predictions")
    weights = MappingProxyType({"loss": "counts"})
    on_all_ranks = ()
    join_ranks = classmethod(lambda cls, scene, timeout: Sockets(scene))
    launch_ranks = classmethod(lambda cls, count, command: print("would start", count, *command) or 0)

    def __init__(self, dataset, log_dir, restore_from=None, noise=0.0, rate=0.1, fails_on=None):
        self._ranks = el.ranks.current_ranks()
        self._parameters, self._log_dir, self._noise, self._fails_on = np.zeros(5), log_dir, noise, fails_on
        self._rate, self._steps = rate, 0
        self._rng = np.random.default_rng([el.seeding.current_seed() or 0, self._ranks.rank if self._ranks else 0])
        logging.getLogger("toy").warning("it is only a toy")
        if self._ranks and self._ranks.rank:
            logging.getLogger("toy").warning("it is not the first one")
        if restore_from is not None:
            self._parameters = np.load(Path(restore_from) / "parameters.npy")

    def run(self, batch, train, stream=None):
        points, targets, counts = (np.asarray(batch[name]) for name in self.input_names)
        if getattr(batch, "is_filler", False):
            counts = np.zeros_like(counts)
        design = np.column_stack([points, np.ones(len(points))])
        noise = self._noise * self._rng.normal(size=len(points)) if train else 0
        predictions = design @ self._parameters + noise
        errors = predictions - targets
        if train:
            self._steps += 1
            if self._fails_on == [self._ranks.rank if self._ranks else 0, self._steps]:
                raise ValueError("this is where it breaks")
            sums = np.append(2 * (counts * errors) @ design, counts.sum())
            if self._ranks is not None:
                sums = self._ranks.total(sums)
            self._parameters = self._parameters - self._rate * sums[:-1] / (sums[-1] or 1)
        return {"loss": errors**2, "predictions": predictions}

    def get_variable(self, name):
        return {"learning_rate": self._rate}[name]

    def set_variable(self, name, value):
        self._rate = {"learning_rate": value}[name]

    def state_dict(self):
        return {"parameters": self._parameters, "rate": self._rate, "steps": self._steps, "rng": self._own_state()}

    def load_state_dict(self, state):
        self._parameters, self._rate, self._steps = np.array(state["parameters"]), state["rate"], state["steps"]
        if self._ranks is None:
            self._rng.bit_generator.state = eval(state["rng"])

    def rank_state(self):
        return {"rng": self._own_state()}

    def merged_rank_states(self, states):
        return {"rng": None}

    def load_rank_state(self, state):
        if state["rng"] is not None:
            self._rng.bit_generator.state = eval(state["rng"])

    def _own_state(self):
        return repr(self._rng.bit_generator.state)

    def save(self, name_suffix):
        path = Path(self._log_dir) / f"model_{name_suffix}"
        path.mkdir(exist_ok=True)
        np.save(path / "parameters.npy", self._parameters)
        return str(path)


class Growing(Numbers):
    """Has more examples wherever it is not the first one."""

    def _configure_dataset(self, kind="index"):
        super()._configure_dataset(examples=38 + 5 * self.shard.rank, kind=kind)


class Alone(Linear):
    """Knows nothing of other processes."""

    join_ranks = None


class Forgetful(Linear):
    """Draws other random numbers once it is resumed."""

    def load_rank_state(self, state):
        self._rng = np.random.default_rng()


class Phased(Linear):
    """Has phases, which hooks begin."""

    on_all_ranks = ("begin_phase",)
    phase = speed = 0

    def begin_phase(self, number):
        self.phase = number

    def rename(self, name):
        self.name = name

    def run(self, batch, train, stream=None):
        self._rate = 0.1 / (1 + self.phase + self.speed)
        return super().run(batch, train, stream)


class Meddling(el.AbstractHook):
    """Does with batches and the model whatever one process would let it."""

    reads = ("points", "labels")
    writes = ()

    def __init__(self, model, output_dir, **kwargs):
        super().__init__(**kwargs)
        self._model, self._file, self._kept = model, Path(output_dir) / "meddling.txt", []

    def after_batch(self, stream_name, batch_data):
        points, labels = batch_data["points"], batch_data["labels"]
        assert all(isinstance(column, np.ndarray) for column in batch_data.values())
        self._kept.append([copy.deepcopy(dict(batch_data)), pickle.loads(pickle.dumps(points)), copy.copy(labels)])
        points[0] = 0
        labels += 1
        batch_data["counts"] *= 2
        self._kept.append([points.sum(), np.asarray(labels), batch_data["counts"].tolist()])

    def after_epoch(self, epoch_id, epoch_data):
        with self._file.open("a") as file:
            print(self._kept, file=file)
        self._kept.clear()
        if hasattr(self._model, "begin_phase"):
            self._model.begin_phase(epoch_id)
            self._model.speed = epoch_id / 2
            self._model.rename("slow")
            self._model.noted_by = self


class Sharded(Numbers):
    """Gives every process data of its own."""

    def _configure_dataset(self, kind="index"):
        super()._configure_dataset(examples=40, kind=kind)
        own = slice(self.shard.rank, None, self.shard.size)
        self._columns = {name: column[own] for name, column in self._columns.items()}
