"""Processes tell one another what to do, and why they end."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest

pytest.importorskip("torch")

from torch import distributed
from torch.distributed import TCPStore

from emloop.errors import RankError
from emloop.ranks import Scene
from emloop_torch._ranks import joining


def test_messages_of_any_length_arrive(several):
    """At all, and what all hand over at rank 0."""
    first, *others = several("messages", size=3)

    assert [lengths for _, lengths in first] == [[k * n // 3 for k in (1, 2, 3)] for n in (0, 10, 70_000, 5_000_000)]
    for told in others:
        assert told == [(content, []) for content, _ in first]


def test_a_signal_to_another_process_is_known_to_rank_0(several):
    """It decides what becomes of it."""
    assert several("signals") == [signal.SIGTERM, b"end"]


def test_processes_that_are_started_anew_find_one_another(several):
    """Though the launcher's store still tells where rank 0 was."""
    store = distributed.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)

    first, other = several("restarted", store.port)

    assert other == [(b"attempt 0", 0), (b"attempt 1", 2)]
    assert first == [(None, 0), (None, 2)]


@pytest.mark.parametrize(
    ("who", "how", "where", "words"),
    [
        (1, "raises", "run", "rank 1 failed: ValueError: a bad label"),
        (0, "raises", "hear", "rank 0 failed: ValueError: a bad label"),
        (1, "SIGKILL", "run", "rank 1 is gone"),
        (1, "SIGKILL", "gather", "rank 1 is gone"),
        (0, "SIGKILL", "run", "rank 0 is gone"),
        (0, "SIGKILL", "hear", "rank 0 is gone"),
        (0, "SIGKILL", "state", "rank 0 is gone"),
        (1, "SIGKILL", "state", "rank 1 is gone"),
        (1, "SIGSTOP", "run", "rank 1 has stopped, or is cut off"),
        (1, "SIGSTOP", "gather", "rank 1 has stopped, or is cut off"),
        (0, "SIGSTOP", "hear", "rank 0 has not been heard of for"),
    ],
)
def test_whoever_fails_is_named_and_all_end_in_time(several, who, how, where, words):
    """With the cause, as soon as it is known; of a process that stops, after the time limit."""
    stopped = who if how == "SIGSTOP" else None
    ended = several("failure", who, how, where, size=3, timeout=4.0, is_to_succeed=False, stopped=stopped)

    for rank, each in enumerate(ended):
        if rank != who:
            assert each.code == 1, each.output
            assert each.output.startswith(words)
            assert each.output.count("\n") == 1
            assert each.seconds < 60
    assert ended[who].code == (1 if how == "raises" else -9 if how == "SIGKILL" else None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("carelessness", "is no longer what it is on rank 0"),
        ("unused", "distributed={find_unused_parameters: true}"),
        ("wrong_batch", "each takes its own part of a batch"),
        ("other_shape", "rank 1 failed: ConfigError: distributed: DistributedDataParallel refuses: [1]: params[0]"),
    ],
)
def test_what_would_be_learned_apart_is_refused(several, name, words):
    """Before anything is saved."""
    ended = several(name, timeout=10.0, is_to_succeed=False)

    assert all(each.code == 1 for each in ended)
    assert any(words in each.output for each in ended)


def test_two_processes_of_one_number_are_told():
    """As where two machines were given the same."""
    zero, one = (Scene(rank, 3, rank, 3, "127.0.0.1", 0, "torchrun") for rank in range(2))
    made = partial(TCPStore, timeout=timedelta(seconds=60), wait_for_workers=False)
    store = made("127.0.0.1", 0, is_master=True)
    clients = [made("127.0.0.1", store.port) for _ in range(2)]

    with ThreadPoolExecutor(2) as threads:
        connected = [threads.submit(joining._connect, one, client) for client in clients]
        with pytest.raises(RankError, match="two processes call themselves rank 1"):
            joining._listen(zero, store, 60.0)
        for each in connected:
            if each.exception() is None:  # else rank 0 has closed the connection before
                for connection in each.result()[1][0]:
                    connection.close()
