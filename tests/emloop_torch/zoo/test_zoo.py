"""What a saved model of each architecture can do without its source, and that it does it rightly."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from .catalogue import ARCHITECTURES
from .measure import measure, recorded

RECORDED = recorded()
NAMES = [
    pytest.param(name, marks=() if one.everyday else pytest.mark.torture, id=name)
    for name, one in sorted(ARCHITECTURES.items())
]


@pytest.mark.parametrize("name", NAMES)
def test_an_architecture_does_without_its_source_what_the_table_says(name, tmp_path):
    """It reaches the rung, agrees with what goes on from there, and no save changes a training."""
    found = measure(ARCHITECTURES[name], tmp_path)

    print(f"{name}: {' | '.join(found)}")
    assert (found.rung, found.agrees) == (RECORDED[name].rung, RECORDED[name].agrees), found
    assert bool(found.reason) == (found.rung != "exported")


def test_nearly_all_are_trained_further_without_their_source():
    """At least 85 % of them; the table holds all, and none that is accepted and wrong."""
    assert RECORDED.keys() == ARCHITECTURES.keys()
    assert sum(finding.goes_on for finding in RECORDED.values()) >= 0.85 * len(RECORDED)
    assert not [name for name, finding in RECORDED.items() if finding.rung != "weights" and finding.is_wrong]
