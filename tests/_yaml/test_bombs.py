"""Documents made to break their reader are refused, quickly."""

from __future__ import annotations

import time

import pytest

from emloop._yaml import documents as yaml
from emloop.errors import ConfigError


def _growing(first: str, pattern: str, levels: int) -> str:
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {pattern.replace('@', f'*a{n - 1}')}" for n in range(1, levels)]
    return "\n".join(lines)


_MERGED = "\n".join(f"k{n}: &k{n} {{<<: [{', '.join([f'*k{n - 1}'] * 9)}], own{n}: 1}}" for n in range(1, 30))

BOMBS = {
    "brackets": "[" * 1_000_000,
    "braces": "{" * 1_000_000,
    "dashes": "- " * 400_000,
    "question-marks": "? " * 400_000,
    "keys-in-brackets": "{a: " * 200_000,
    "aliases-of-aliases": _growing("[x, x]", "[@, @, @, @, @, @, @, @, @]", 60),
    "aliases-in-mappings": _growing("{x: 1}", "{a: @, b: @}", 60),
    "merges-of-merges": "k0: &k0 {x: 1}\n" + _MERGED,
    "deep-by-aliases": _growing("[x]", "[@]", 500),
    "long-text-by-aliases": f"a: &a {'x' * 900_000}\nb: [*a, *a]",
    "many-nodes": "[" + "a, " * 20_001 + "]",
    "many-aliases": "[&a x, " + "*a, " * 1001 + "]",
    "large": "a: " + "x" * 1_000_001,
    "large-and-cut-in-a-character": ("é" * 600_000).encode(),
    "directives": "".join(f"%TAG !{n}! tag:{n}\n" for n in range(45_000)) + "--- a",
    "digits": "a: " + "1" * 900_000,
    "long-anchors": "&" + "a" * 900_000 + " [*" + "a" * 50_000,
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in BOMBS.items()])
def test_a_bomb_is_refused_within_a_second(text):
    """Whatever a document would grow to, reading it ends at once with an ordinary error."""
    began = time.process_time()

    with pytest.raises(ConfigError) as caught:
        yaml.load(text, "bomb.yaml")

    assert time.process_time() - began < 1
    assert str(caught.value).startswith("bomb.yaml:")
    assert len(caught.value.problems[0].message) < 200


def test_what_is_refused_is_said_with_its_limit():
    """The message tells what grew, and how far it may."""
    with pytest.raises(ConfigError) as caught:
        yaml.load(_growing("[x, x]", "[@, @, @, @, @, @, @, @, @, @]", 6), "f.yaml")

    assert str(caught.value).splitlines()[0] == (
        "f.yaml:5:5: grows to 31,111 nodes once its aliases are followed; at most 20,000 are read"
    )


def test_a_chain_of_merges_is_no_bomb():
    """A hundred mappings that each merge the one before are a legitimate document."""
    lines = ["m0: &m0 {k0: 0}", *(f"m{n}: &m{n} {{<<: *m{n - 1}, k{n}: {n}}}" for n in range(1, 100))]

    assert yaml.load("\n".join(lines))["m99"] == {f"k{n}": n for n in range(100)}


def test_fifty_levels_can_be_read():
    """Nesting is limited where no configuration gets to."""
    assert yaml.load("[" * 50 + "]" * 50)

    with pytest.raises(ConfigError, match="nested too deeply; at most 50 levels are read"):
        yaml.load("[" * 51 + "]" * 51)
