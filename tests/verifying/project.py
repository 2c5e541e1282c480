"""A small experiment, right in everything, and the mistakes that users make: each is a class to put into it."""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path

import numpy as np

import emloop as el

BATCHES = 5


class Points(el.BaseDataset):
    """Points on both sides of a plane, drawn anew in every pass."""

    def _configure_dataset(self, **kwargs):
        pass

    def _batch(self, rng):
        x = rng.normal(size=(8, 3))
        return {"x": x, "y": (x.sum(axis=1) > 0).astype(float)}

    def train_stream(self):
        rng = self.rng("train")
        for _ in range(BATCHES):
            yield self._batch(rng)

    def valid_stream(self):
        return [self._batch(np.random.default_rng(number)) for number in range(3)]


class ReadAhead(Points):
    """A thread of its own draws batches from NumPy's global generator, one ahead of the one that is read.

    Nothing is left to chance: whoever has the thread draw a batch waits for it.
    """

    late = False

    def _configure_dataset(self, **kwargs):
        self._asked, self._drawn, self._batches = queue.Queue(), queue.Queue(), []
        threading.Thread(target=self._fill, daemon=True).start()
        self.draw()

    def _fill(self):
        while True:
            self._asked.get()
            self._batches.append(self._batch(np.random))
            self._drawn.put(None)

    def draw(self):
        """Let the thread draw a batch."""
        self._asked.put(None)
        self._drawn.get()

    def train_stream(self):
        for _ in range(BATCHES):
            if not (self.late and self._batches):
                self.draw()
            yield self._batches.pop(0)


class ReadLate(ReadAhead):
    """The thread is slow, so that it draws while the model computes: see ``Draw``."""

    late = True


class Race(ReadAhead):
    """The thread is quick in the first process, and slow in every other."""

    def _configure_dataset(self, **kwargs):
        try:
            Path("raced").touch(exist_ok=False)
        except FileExistsError:
            self.late = True
        super()._configure_dataset(**kwargs)


class Draw(el.AbstractHook):
    """Stands for the time at which a slow thread comes to draw."""

    stateless = True

    def __init__(self, dataset):
        super().__init__()
        self._dataset = dataset

    def after_batch(self, stream_name, batch_data):
        if self._dataset.late and stream_name == "train":
            self._dataset.draw()


class Urandom(Points):
    """From the third batch on, one example is drawn from the system."""

    def train_stream(self):
        for number, batch in enumerate(super().train_stream()):
            if number > 1:
                batch["x"][0, 0] = int.from_bytes(os.urandom(2), "big") / 65536
            yield batch


class Logistic(el.AbstractModel):
    """Logistic regression whose rate falls with every batch, and whose steps draw global random numbers."""

    input_names = ("x", "y")
    output_names = ("loss",)
    forgotten = ()

    def __init__(self, dataset, log_dir, restore_from=None):
        self._w, self._step, self._log_dir = np.zeros(3), 0, log_dir

    def run(self, batch, train, stream=None):
        p = 1 / (1 + np.exp(-batch["x"] @ self._w))
        if train:
            noise = 0.1 * np.random.normal(size=3)
            self._w = self._w - 0.5 / (1 + self._step) * (batch["x"].T @ (p - batch["y"]) / len(p) + noise)
            self._step += 1
        return {"loss": -np.log(np.where(batch["y"] > 0, p, 1 - p) + 1e-12)}

    def state_dict(self):
        state = {"w": self._w, "step": self._step}
        return {key: value for key, value in state.items() if key not in self.forgotten}

    def load_state_dict(self, state):
        self._w, self._step = state["w"], state.get("step", 0)

    def save(self, name_suffix):
        path = Path(self._log_dir) / f"model_{name_suffix}.npy"
        np.save(path, self._w)
        return str(path)


class Forgetful(Logistic):
    """The number of steps, from which the rate follows, is not in its state."""

    forgotten = ("step",)


class Global(Logistic):
    """The number of steps is a global variable, and not in the state."""

    steps = 0
    forgotten = ("step",)

    def run(self, batch, train, stream=None):
        self._step = Global.steps
        Global.steps += train
        return super().run(batch, train, stream)


class Weights(Logistic):
    """Has no state but what it saves."""

    state_dict = load_state_dict = None

    def __init__(self, dataset, log_dir, restore_from=None):
        super().__init__(dataset, log_dir)
        if restore_from is not None:
            self._w = np.load(restore_from)

    def run(self, batch, train, stream=None):
        self._step = 0
        return super().run(batch, train, stream)


class Iterated(Points):
    """Its training stream is neither a generator nor a sequence, and keeps no state."""

    def train_stream(self):
        return iter(list(super().train_stream()))


class Broken(Logistic):
    """Fails in its third step."""

    def run(self, batch, train, stream=None):
        if self._step == 2:
            raise ZeroDivisionError("planted")
        return super().run(batch, train, stream)


class Count(el.AbstractHook):
    """Counts all batches, and says how many there were; its state is not declared."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._count = 0

    def after_batch(self, stream_name, batch_data):
        self._count += 1

    def after_epoch(self, epoch_id, epoch_data):
        epoch_data["train"]["seen"] = self._count


class AddRows(el.AbstractHook):
    """Adds a row to a file of its own, which no resume cuts back."""

    stateless = True

    def __init__(self, output_dir, **kwargs):
        super().__init__(**kwargs)
        self._path = Path(output_dir) / "rows.txt"

    def after_batch(self, stream_name, batch_data):
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{stream_name} {np.mean(batch_data['loss'])!r}\n")
