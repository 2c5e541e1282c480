"""The JSON Schema that is emitted for a broken config rejects it, wherever a schema can see the mistake."""

from __future__ import annotations

import re
import sys
from contextlib import suppress

import pytest
from jsonschema import Draft202012Validator

from emloop._config import load_config
from emloop._config.schema import config_schema
from emloop._yaml import documents as yaml
from emloop.errors import EmloopError

from .test_corpus import CASES, CORPUS, command_of

BEYOND = re.compile(
    # where a name leads, and what a class has
    r" has no (method )?'| leads nowhere: |: unknown (dataset|model|hook) '| is no (class|hook|model)\b"
    # what one part of a config does for another
    r"|: no hook |is read here before |is not evaluated|is a plain value without aggregations|is named twice"
    r"|is an input as well|is an output of the model as well| writes .* as well,"
    # JSON has no other keys
    r"|expected text as key"
)


def mistakes(case):
    """The first line of each mistake in a report."""
    report = case.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return [line for line in report if line.startswith(f"{case.name}:")]


def verdicts(cases):
    """Case → whether the schema that is made for it accepts it, for all that hold data to validate."""
    accepted = {}
    for case in cases:
        if len(command_of(case)) == 2:  # else what is wrong stands on the command line
            with suppress(EmloopError):
                schema = config_schema(load_config(case))
                accepted[case] = Draft202012Validator(schema).is_valid(yaml.load_file(case))
    return accepted


@pytest.mark.parametrize(
    "step", [pytest.param(8, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.torture)], ids=["some", "all"]
)
def test_a_broken_config_is_rejected_where_a_schema_can(monkeypatch, step):
    """By an independent validator. What it accepts has only mistakes that no schema can see."""
    monkeypatch.chdir(CORPUS)
    monkeypatch.setattr(sys, "path", [str(CORPUS / "modules"), *sys.path])

    accepted = verdicts(CASES[::step])

    left_over = {case.stem: mistakes(case) for case, is_accepted in accepted.items() if is_accepted}
    assert {name: lines for name, lines in left_over.items() if not all(BEYOND.search(line) for line in lines)} == {}
    assert len(accepted) > 90 / step
    # Of a few, chance takes its part.
    assert len(left_over) <= (0.4 if step == 1 else 0.6) * len(accepted)
