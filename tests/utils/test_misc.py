"""Context managers that silence and release."""

from __future__ import annotations

import logging
import sys
from threading import Semaphore

import pytest

from emloop.utils import DisabledLogger, DisabledPrint, ReleasedSemaphore


@pytest.mark.parametrize("make", [DisabledPrint, DisabledLogger, lambda: ReleasedSemaphore(Semaphore(0))])
def test_entering_gives_the_manager_itself(make):
    """``with DisabledPrint() as x`` gives something to hold, unlike in the reference."""
    manager = make()
    with manager as entered:
        assert entered is manager


def test_nothing_is_printed_inside_and_everything_outside(capsys):
    """Only what is printed outside of the block, or after an error in it, arrives."""
    quiet = DisabledPrint()
    print("before")
    with quiet:
        print("hidden")
        with quiet:
            print("hidden twice")
        print("still hidden")
    with pytest.raises(KeyError), quiet:
        raise KeyError
    print("after")

    assert capsys.readouterr().out == "before\nafter\n"


def test_standard_output_is_the_same_object_afterwards():
    """A stream that somebody else put into place survives the block."""
    before = sys.stdout
    with DisabledPrint():
        assert sys.stdout is not before

    assert sys.stdout is before


@pytest.mark.parametrize("name", ["emloop.tests.quiet", None])
def test_a_disabled_logger_drops_records_and_recovers(name, caplog):
    """Nested blocks of one manager end with the logger as it was."""
    logger = logging.getLogger(name)
    quiet = DisabledLogger(name)
    with quiet, quiet:
        logger.warning("hidden")
    logger.warning("shown")

    assert caplog.messages == ["shown"]


def test_a_logger_that_was_disabled_stays_so():
    """The block restores what it found."""
    logger = logging.getLogger("emloop.tests.disabled")
    logger.disabled = True
    with DisabledLogger(logger.name):
        pass

    assert logger.disabled


def test_a_semaphore_is_released_for_the_block_only():
    """Inside it can be acquired once more, afterwards it is as it was."""
    semaphore = Semaphore(0)
    released = ReleasedSemaphore(semaphore)
    with released, released:
        assert semaphore.acquire(blocking=False)
        assert semaphore.acquire(blocking=False)
        assert not semaphore.acquire(blocking=False)
        semaphore.release(2)

    assert not semaphore.acquire(blocking=False)
