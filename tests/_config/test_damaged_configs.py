"""However a configuration is damaged, the check says where, and never fails itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emloop._config.check import check_config
from emloop.errors import ConfigError

MODULES = Path(__file__).parents[1] / "config_corpus" / "modules"
VALID = """\
dataset:
  class: pets.Pets
  path: data
  batch_size: 16
  shares: {valid: 0.2, test: 0.1}
model:
  class: pets.Net
  name: pets
  inputs: [images]
  outputs: [loss, accuracy]
  hidden: [64, 32]
  rate: 0.01
  layers:
    - {units: 3, activation: relu}
hooks:
  - ComputeStats: {variables: [loss, accuracy]}
  - LogVariables
  - SaveBest: {variable: accuracy, condition: max}
  - StopAfter: {epochs: 3}
main_loop:
  extra_streams: [valid]
  epochs_count: 3
eval:
  test:
    model: {rate: 0.1}
    hooks:
      - ComputeStats: {variables: [loss]}
"""
KEYS = [
    (VALID.index(f"{before}{key}:") + len(before), key)
    for before, key in [
        ("\n", "dataset"), ("\n", "model"), ("\n", "hooks"), ("\n", "main_loop"), ("\n", "eval"), ("  ", "class"),
        ("  ", "path"), ("  ", "batch_size"), ("  ", "shares"), ("  ", "name"), ("  ", "inputs"), ("  ", "outputs"),
        ("  ", "hidden"), ("  ", "rate"), ("  ", "layers"), ("{", "units"), (", ", "activation"),
        ("- ", "ComputeStats"),
        ("{", "variables"), ("- ", "SaveBest"), ("{", "variable"), (", ", "condition"), ("- ", "StopAfter"),
        ("{", "epochs"), ("  ", "extra_streams"), ("  ", "epochs_count"),
    ]
    if f"{before}{key}:" in VALID
]  # fmt: skip

STRUCTURE = " \n\t:#{}[]'\"&*!%@,-|>"
"""Characters that change what the lines around them mean."""


@pytest.fixture(autouse=True)
def _pets(monkeypatch):
    monkeypatch.syspath_prepend(MODULES)


def check(path: Path, text: str):
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        return check_config(path)[1]
    except ConfigError as error:
        return list(error.problems)


def test_the_configuration_is_valid_before_it_is_damaged(tmp_path):
    """Otherwise the tests below would show nothing."""
    assert [] == check(tmp_path / "config.yaml", VALID)


@pytest.mark.slow
@given(
    place=st.sampled_from(KEYS),
    at=st.integers(0, 40),
    how=st.sampled_from(["replace", "insert", "delete", "swap"]),
    char=st.sampled_from("abcdefghijklmnopqrstuvwxyzAZ_09 -.:#&*!{}[],'\"\t\n%@é"),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_wrong_character_in_a_key_is_located(tmp_path, place, at, how, char):
    """A located mistake on the line of the key or below it, or a configuration that is still valid."""
    start, key = place
    at = start + at % len(key)
    line = 1 + VALID.count("\n", 0, start)
    middle = {
        "replace": char + VALID[at + 1 :],
        "insert": char + VALID[at:],
        "delete": VALID[at + 1 :],
        "swap": VALID[at : at + 2][::-1] + VALID[at + 2 :] if at + 1 < start + len(key) else VALID[at + 1 :],
    }
    text = VALID[:at] + middle[how]

    found = check(tmp_path / "config.yaml", text)

    if found:
        lines = {problem.place.line for problem in found if problem.place is not None}
        is_structure = how in ("replace", "insert") and char in STRUCTURE
        lacks_section = [problem for problem in found if "is missing" in problem.message and key in problem.message]
        assert line in lines or (lines and is_structure) or lacks_section, (text, found)


@pytest.mark.torture
def test_a_hundred_thousand_random_documents_never_break_the_check(tmp_path):
    """Pieces of configurations in any order, cut and glued at random: a list of problems, and nothing else."""
    generator = random.Random(20261122)
    words = [*sorted(set(VALID.replace(":", " : ").split())), *"3'{}", "&a", "*a", "<<:", "- ", "\n", "\n  ", "null"]
    path = tmp_path / "config.yaml"
    for _ in range(100_000):
        lines = VALID.splitlines(keepends=True)
        for _ in range(generator.randint(1, 6)):
            index = generator.randrange(len(lines))
            action = generator.randrange(4)
            if action == 0:
                lines[index] = lines[index][: generator.randrange(len(lines[index]) + 1)]
            elif action == 1:
                lines.insert(index, lines[generator.randrange(len(lines))])
            elif action == 2:
                lines[index] = lines[index].replace(":", generator.choice([": ", " ", ":", ": [", ": {"]), 1)
            else:
                at = generator.randrange(len(lines[index]) + 1)
                lines[index] = lines[index][:at] + generator.choice(words) + lines[index][at:]
        for problem in check(path, "".join(lines)):
            assert problem.message
