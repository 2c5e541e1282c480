"""Random names: memorable, fit for a file name, and without any bearing on the experiment."""

import random
import re

import numpy as np

from emloop._support.names import random_name
from emloop._support.printable import printable


def test_a_name_is_an_adjective_and_a_surname():
    """A name can be said aloud and used as a file name anywhere."""
    for _ in range(500):
        assert re.fullmatch(r"[a-z]+-[a-z]+", random_name())


def test_the_separator_can_be_chosen():
    """``sep`` stands between the two words."""
    assert re.fullmatch(r"[a-z]+_[a-z]+", random_name("_"))


def test_names_rarely_repeat():
    """A few dozen runs of one model get names that can be told apart."""
    assert len({random_name() for _ in range(30)}) > 25


def test_names_neither_follow_nor_disturb_the_seed():
    """Two runs with one seed get different names, and drawing a name changes no number of the experiment."""
    random.seed(7)
    np.random.seed(7)
    before = random.getstate(), np.random.get_state()[1].tolist()
    first = [random_name() for _ in range(5)]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before

    random.seed(7)
    assert [random_name() for _ in range(5)] != first


def test_printable_text_cannot_steer_a_terminal():
    """Control characters of any kind are spelt out, letters of any language stay."""
    assert printable("\x1b[2Jnaïve 漢字\r\n\u202e") == r"\x1b[2Jnaïve 漢字\r\n\u202e"
    assert printable("a\tb\nc\x00", keep="\n\t") == "a\tb\nc\\x00"
    printable("\udcff").encode()
