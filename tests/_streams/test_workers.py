"""Processes that load batches: the same batches and errors in the same order, and what cannot be loaded so."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

import numpy as np
import pytest

from emloop import _build
from emloop._state.random import seed_everything, use_seed
from emloop._streams import StreamWrapper, workers
from emloop._support.trust import untrusted
from emloop.errors import ProducerError

MODULE = '''
import os
import random
import signal
import time
from pathlib import Path

import numpy as np

import emloop as el
from emloop.datasets import IndexStream

PARENT = {parent}


class Broken(Exception):
    """Cannot be made of its message."""

    def __init__(self, number, *, why):
        super().__init__(f"{{number}}: {{why}}")


class Here(dict):
    """A mapping that is no dict."""


class Source:
    """Batches that say by whom they were loaded, beside what counts."""

    def __init__(self, count, log, load):
        self._count, self._log, self._load = count, log, load

    def __len__(self):
        return self._count

    def __getitem__(self, number):
        if not 0 <= number < self._count:
            raise IndexError(number)
        with open(self._log, "a") as log:
            print(number, os.getpid(), file=log)
        return self._load(number)


class Data(el.BaseDataset):
    def _configure_dataset(self, log, count=40, unlike=False, unmade=None):
        self._log, self._count = log, count
        self._offset = os.getpid() if unlike else 0
        self.level = 0
        self._drawn = random.random()
        if unmade and os.getpid() != PARENT:
            if unmade == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("no second one")

    def _source(self, load):
        return Source(self._count, self._log, load)

    def train_stream(self):
        order = self.rng("train").permutation(self._count)
        return self._source(lambda n: {{"x": order[n : n + 1] + self._offset, "pass": [self._drawn]}})

    def valid_stream(self):
        return self._source(lambda n: {{"x": np.arange(n % 3 + 1) + self.rng("split").integers(9) * 0}})

    def index_stream(self):
        return IndexStream({{"x": np.arange(self._count), "name": [str(n) for n in range(self._count)]}}, 7)

    def level_stream(self):
        return self._source(lambda n: {{"x": [n + self.level]}})

    def failing_stream(self):
        def load(n):
            if n == 20:
                raise Broken(n, why="rotten")
            return {{"x": [n]}}

        return self._source(load)

    def failing_there_stream(self):
        def load(n):
            if n == 20 and os.getpid() != PARENT:
                raise OSError("only there")
            return {{"x": [n]}}

        return self._source(load)

    def ending_stream(self):
        def load(n):
            if n == 20 and os.getpid() != PARENT:
                os._exit(3)
            return {{"x": [n]}}

        return self._source(load)

    def generator_stream(self):
        return ({{"x": [n]}} for n in range(self._count))

    def list_stream(self):
        return [{{"x": [n]}} for n in range(self._count)]

    def augmented_stream(self):
        rng = self.rng("augmented")
        return self._source(lambda n: {{"x": rng.normal(size=2)}})

    def later_stream(self):
        rng = self.rng("later")
        return self._source(lambda n: {{"x": rng.normal(size=2) if n > 17 else np.full(2, n)}})

    def globally_stream(self):
        return self._source(lambda n: {{"x": np.random.normal(size=2)}})

    def order_stream(self):
        order = np.random.permutation(self._count)
        return self._source(lambda n: {{"x": [order[n]]}})

    def mapping_stream(self):
        return self._source(lambda n: Here(x=[n]))

    def slow_stream(self):
        def load(n):
            if os.getpid() != PARENT and Path(self._log + ".hold").exists():
                Path(self._log + ".held").touch()
                time.sleep(60)
            return {{"x": [n]}}

        return self._source(load)
'''


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    """Makes the dataset and workers that are ready: the same for the same arguments."""
    path, pools = tmp_path_factory.mktemp("workers"), {}
    (path / "loaded.py").write_text(MODULE.format(parent=os.getpid()))
    sys.path.insert(0, str(path))

    def make(number, **arguments):
        config = {"dataset": {"class": "loaded.Data", "log": str(path / "log"), **arguments}}
        seed_everything(5)
        key = number, *arguments.items()
        if key not in pools:
            pools[key] = _build.start_workers(number, config, None, 5)
        pools[key]._alone.clear()
        pools[key]._proved.clear()
        pools[key].start()
        for worker in pools[key]._workers:
            while not worker.is_ready() and worker._process.poll() is None:
                worker._connection.poll(1)
        (path / "log").unlink(missing_ok=True)
        return Project(_build.build_dataset(config), pools[key], path / "log")

    yield make
    for pool in pools.values():
        pool.close()
    sys.path.remove(str(path))
    del sys.modules["loaded"]


@pytest.fixture
def project(pools):
    """Makes the dataset and its workers."""
    with use_seed(5):
        yield lambda number=2, **arguments: pools(number, **arguments)


class Project:
    """A dataset, its workers, and its log."""

    def __init__(self, dataset, workers, log):
        self.dataset, self.workers, self._log = dataset, workers, log

    def stream(self, name, *, alone=False, **options):
        """A stream, with workers or without."""
        method = getattr(self.dataset, f"{name}_stream")
        return StreamWrapper(method, name=name, workers=None if alone else self.workers, **options)

    def loaded(self):
        """Numbers of batches, by whether this process loaded them."""
        lines = [line.split() for line in self._log.read_text().splitlines()] if self._log.exists() else []
        here = str(os.getpid())
        return (
            [int(number) for number, process in lines if process == here],
            [int(number) for number, process in lines if process != here],
        )


def plain(batch):
    return {key: np.asarray(value).tolist() for key, value in batch.items()}


def read(stream, epochs=1):
    with stream:
        return [plain(batch) for _ in range(epochs) for batch in stream]


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("buffer", [0, 4])
@pytest.mark.parametrize("name", ["train", "valid", "index"])
def test_batches_are_those_without_workers_in_their_order(project, name, buffer, number):
    """With any number of them, with a thread as well, in every pass."""
    made = project(number)
    expected = read(made.stream(name, alone=True), epochs=3)

    assert read(made.stream(name, buffer_size=buffer), epochs=3) == expected


def test_workers_load_all_but_what_proves_them(project):
    """This process reads the first batch of every pass, and the first of each worker; the rest comes from elsewhere."""
    made = project(2)

    read(made.stream("train"), epochs=2)

    here, there = made.loaded()
    assert [0, 1, 0] == here
    assert sorted([*range(40), *range(40)]) == sorted(there)


@pytest.mark.parametrize("training", [True, False])
def test_epochs_of_a_fixed_size_run_across_passes(project, training):
    """What was loaded ahead of an epoch's end is not lost."""
    made = project(2)
    options = {"epoch_size": 17, "training": training}

    assert read(made.stream("train", **options), 6) == read(made.stream("train", alone=True, **options), 6)


def test_streams_in_turn_do_not_disturb_each_other(project):
    """One workers' answers go to the stream that asked, however the two are mixed."""
    made = project(2)
    expected = [list(zip(*[iter(read(made.stream(name, alone=True)))] * 8)) for name in ("train", "valid")]  # noqa: B905
    streams = [made.stream(name, epoch_size=8) for name in ("train", "valid")]

    found = [[tuple(plain(batch) for batch in stream) for stream in streams] for _ in range(5)]

    assert list(zip(*expected, strict=True)) == [tuple(pair) for pair in found]


@pytest.mark.parametrize("buffer", [0, 4])
def test_a_saved_position_is_what_was_handed_out(project, buffer):
    """Not what was loaded ahead; others go on there with another number of workers."""
    whole = read(project(1).stream("train", alone=True), epochs=2)
    stream = project(2).stream("train", buffer_size=buffer)
    with stream:
        first = [plain(next(stream)) for _ in range(13)]
        state = stream.state_dict()
    later = project(3).stream("train")
    later.load_state_dict(state)

    assert state["batches"] == 13
    assert whole == first + read(later, epochs=2)


def test_an_evaluation_begins_anew_each_time(project):
    """What is still loaded for the one that was left early is not taken for the next."""
    made = project(2)
    stream = made.stream("valid", training=False)
    for _ in range(3):
        assert [plain(next(stream)) for _ in range(5)] == read(made.stream("valid", alone=True, training=False))[:5]
        stream.restart()


def test_an_error_is_the_one_of_this_process(project):
    """Of its type and message, with its traceback, and what the worker said as a note; batches before it arrive."""
    made = project(2)
    stream, found = made.stream("failing"), []

    with pytest.raises(Exception, match="20: rotten") as caught:
        found.extend(batch["x"][0] for batch in stream)

    assert type(caught.value) is sys.modules["loaded"].Broken
    assert list(range(20)) == found
    (note,) = caught.value.__notes__
    assert note.startswith("It was raised in a worker first:\nTraceback (most recent call last):")
    assert note.endswith("Broken: 20: rotten\n")


def test_an_error_behind_a_buffer_is_the_cause_as_ever(project):
    """The thread that reads ahead hands it on."""
    made = project(1)
    with pytest.raises(ProducerError, match="at batch 20 of pass 0: Broken: 20: rotten") as caught:
        read(made.stream("failing", buffer_size=4))
    assert type(caught.value.__cause__) is sys.modules["loaded"].Broken


def test_what_only_a_worker_cannot_load_is_loaded_here(project, caplog):
    """And told, with the worker's traceback."""
    made = project(2)

    assert read(made.stream("failing_there")) == [{"x": [n]} for n in range(40)]
    assert "A worker could not load batch 20, and this process could: Traceback" in caplog.text
    assert "OSError: only there" in caplog.text


def test_a_worker_that_ends_is_named(project):
    """With how it ended, and what it was doing; reading on starts another one."""
    made = project(2)
    stream = made.stream("ending")
    with pytest.raises(ProducerError) as caught:
        read(stream)
    assert str(caught.value) == (
        "worker 1 of 2 ended with exit code 3 while it loaded batch 20 of stream 'ending'; where memory runs out, have "
        "fewer main_loop.workers"
    )
    assert read(made.stream("train")) == read(made.stream("train", alone=True))


def test_a_worker_that_is_killed_is_named(project):
    """Whenever that happens."""
    made = project(1)
    stream = made.stream("train")
    next(stream)
    made.workers._workers[0]._process.send_signal(signal.SIGKILL)
    with pytest.raises(ProducerError, match=r"^worker 1 of 1 was ended by SIGKILL while it loaded batch \d+ of stream"):
        read(stream)
    stream.restart()
    assert read(stream) == read(made.stream("train", alone=True))


ALONE = {
    "generator": "it is no sequence, which could be read at any batch",
    "list": "its batches are in memory already",
    "augmented": "reading a batch draws from self.rng, so each depends on those before it",
    "later": "reading a batch draws from self.rng, so each depends on those before it",
    "globally": "it draws from the global random state of Python, NumPy or a framework",
    "order": "it draws from the global random state of Python, NumPy or a framework",
    "mapping": "a batch holds what only one process can have: TypeError: loaded.Here",
}


@pytest.mark.parametrize("name", ALONE)
def test_what_workers_cannot_load_says_so_once(project, name, caplog):
    """In one line, and is read in this process as without them."""
    made = project(2)
    np.random.seed(1)
    expected = read(made.stream(name, alone=True), epochs=2)
    caplog.clear()
    np.random.seed(1)

    assert read(made.stream(name), epochs=2) == expected
    said = [record.getMessage() for record in caplog.records if "main_loop.workers" in record.getMessage()]
    assert said == [f"Stream `{name}` is loaded by this process alone, without main_loop.workers: {ALONE[name]}"]


def test_a_dataset_that_is_another_one_in_each_process_is_read_here(project, caplog):
    """The first batches are compared, so that no worker trains on data of its own."""
    made = project(2, unlike=True)

    assert read(made.stream("train")) == read(made.stream("train", alone=True))
    assert (
        "a worker loads another batch than this process, as if the dataset were made of something else" in caplog.text
    )


def test_a_dataset_that_was_changed_since_is_read_here(project, caplog):
    """A hook, for instance, makes the examples harder from epoch to epoch."""
    made = project(1)
    stream, other = made.stream("level"), made.stream("level", alone=True)
    assert read(stream) == read(other)
    made.dataset.level = 100

    assert read(stream) == read(other)
    assert "a worker loads another batch than this process" in caplog.text


def test_a_dataset_that_no_other_process_can_make_is_read_here(project, caplog):
    """The run goes on, and says why it is slow."""
    made = project(1, unmade="raises")

    assert read(made.stream("train")) == read(made.stream("train", alone=True))
    assert "a worker cannot make the dataset: ValueError: no second one" in caplog.text


def test_a_worker_that_hangs_is_named(project, monkeypatch, caplog):
    """With its process and its batch; once it goes on, so does the stream."""
    monkeypatch.setattr(workers, "_LONG", 0.05)
    made = project(1)
    stream, expected = made.stream("train"), read(made.stream("train", alone=True))
    (worker,) = made.workers._workers
    number = worker._process.pid
    seen = [plain(next(stream))]
    worker._process.send_signal(signal.SIGSTOP)

    class Wakes(logging.Handler):
        def emit(self, record):
            os.kill(number, signal.SIGCONT)

    logger, handler = logging.getLogger("emloop._streams.workers"), Wakes()
    logger.addHandler(handler)
    try:
        seen += read(stream)
    finally:
        logger.removeHandler(handler)

    assert expected == seen
    assert f"Worker 1 of 1, process {number}, has loaded batch " in caplog.text
    assert "of stream 'train' for 0.05 seconds; with main_loop.workers=0 a debugger shows where it hangs" in caplog.text


def test_a_worker_that_dies_before_it_is_ready_is_named(project):
    """As where memory is too little for one more dataset."""
    with pytest.raises(ProducerError, match=r"^worker 1 of 1 was ended by SIGKILL while it made the dataset; where"):
        project(1, unmade="killed")  # waits for it


def test_workers_end_with_their_pool(project):
    """Also those that are in the middle of a batch."""
    made = project(1)
    stream = made.stream("slow")
    hold, held = made._log.with_name("log.hold"), made._log.with_name("log.held")
    hold.touch()
    caught: list[BaseException] = []

    def reads():
        try:
            read(stream)
        except ProducerError as error:
            caught.append(error)

    reading = threading.Thread(target=reads)
    reading.start()
    while not held.exists():
        os.sched_yield()
    (process,) = [worker._process for worker in made.workers._workers]

    made.workers.close()

    hold.unlink()
    reading.join(20)
    assert len(caught) == 1
    assert process.returncode is not None


def test_no_line_is_logged_where_all_goes_well(project, caplog):
    """Workers are not worth a word then."""
    caplog.set_level(logging.WARNING)
    made = project(2)
    read(made.stream("train"))
    assert not caplog.records


def test_a_strangers_run_starts_no_process():
    """Whatever its configuration asks for."""
    with untrusted():
        assert _build.start_workers(2, {"dataset": {"class": "loaded.Data"}}, None, 5) is None
