# ruff: noqa: INP001 -- for `make generated`
"""Write the page that shows what ``emloop check`` says about ten typical mistakes, by making them.

``make generated`` puts what this prints into ``docs/explanation/ten-mistakes.md``; a test compares the two.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

HEADER = """# Ten mistakes, and what emloop says

A training that fails after an hour because of a misspelt key has cost an hour. So every command that runs a config
first checks all of it, and `emloop check` does nothing else. This takes less than a tenth of a second, since nothing is
imported: what your classes accept is read from their source. All mistakes are reported at once, each with its place.

These are ten typical ones, in configs for the [digits example](../../examples/digits/README.md). The page is made by
`tools/ten_mistakes.py`, which runs the commands.
"""

FOOTER = """
## What it cannot see

Some things are only known when everything is built: what a class does with a `**kwargs` that it keeps, streams that a
dataset makes up in `__getattr__`, the variables that a hook of your own writes. About these the check is silent; they
are looked at once more before the first batch, and told in the same way.
[How to check a config](../how-to/check-a-config.md) says more.
"""

DATASET = "dataset: {class: examples.digits.digits_dataset.Digits}\n"
MODEL = """\
model:
  class: examples.digits.digits_model.Network
  inputs: [images, labels]
  outputs: [predictions, loss, accuracy]
"""

MISTAKES = [
    (
        "A misspelt argument",
        "The arguments of a model are those of its constructor, and of the method that its base class hands them to.",
        DATASET + MODEL + "  learning_rat: 0.003\n",
    ),
    (
        "A number that is none",
        "In YAML, `0,003` is a text.",
        DATASET + MODEL + "  learning_rate: 0,003\n  hidden: [256, 6o]\n",
    ),
    (
        "A class that is not there",
        "It says how far the name leads, and what is there instead.",
        "dataset: {class: examples.digits.dataset.Digits}\n" + MODEL.replace("Network", "Netwrok"),
    ),
    (
        "A misspelt hook",
        "Built-in hooks are named without a path.",
        DATASET + MODEL + "hooks:\n  - ComputeStats: {variables: [loss]}\n  - LogVariable\n",
    ),
    (
        "Arguments that are not indented",
        "Then they are a second key of the list's item.",
        DATASET + MODEL + "hooks:\n  - StopAfter:\n    epochs: 10\n",
    ),
    (
        "A hook before the one that feeds it",
        "Hooks see an epoch in the order of the list.",
        DATASET + MODEL + "hooks:\n  - WriteCSV: {variables: [loss]}\n  - ComputeStats: {variables: [loss]}\n",
    ),
    (
        "A watched stream that is never evaluated",
        "`SaveBest` watches the stream `valid`, unless it is told otherwise.",
        DATASET + MODEL + "hooks:\n  - ComputeStats: {variables: [accuracy]}\n  - SaveBest: {variable: accuracy}\n",
    ),
    (
        "A stream that the dataset lacks",
        "Streams are the methods of the dataset whose names end with `_stream`.",
        DATASET + MODEL + "main_loop: {extra_streams: [validation]}\neval: {tset: {}}\n",
    ),
    (
        "A word that is no choice",
        "Where only some words are accepted, they are listed.",
        DATASET
        + MODEL
        + "hooks:\n  - ComputeStats: {variables: [loss]}\n  - SaveBest: {stream: train, condition: minimum}\n"
        + "main_loop: {on_unused_sources: warning}\n",
    ),
    (
        "Everything at once",
        "A key given twice does not hide a section that is misspelt, nor that an evaluation changes what is not there.",
        DATASET
        + MODEL
        + "  inputs: [images]\nhook: []\nmain_loop: {epochs: ten}\n"
        + "eval:\n  predict: {model: {output: [predictions]}}\n",
    ),
]


def page() -> str:
    """The whole page."""
    parts = [HEADER, *(section(number, *mistake) for number, mistake in enumerate(MISTAKES, start=1)), FOOTER]
    return "".join(parts)


def section(number: int, title: str, text: str, config: str) -> str:
    """One mistake, and what is said about it."""
    name = f"mistake-{number}.yaml"
    shown = f"```yaml title={name}\n{config}```\n"
    said = f"```console exit=2\n$ emloop check {name}\n{report(name, config)}```\n"
    return f"\n## {number}. {title}\n\n{text}\n\n{shown}\n{said}"


def report(name: str, config: str) -> str:
    """What ``emloop check`` says."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, name).write_text(config, encoding="utf-8")
        Path(directory, "examples").symlink_to(ROOT / "examples")
        done = subprocess.run(
            [sys.executable, "-m", "emloop", "check", name],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 2:
        raise SystemExit(f"tools/ten_mistakes.py: {name} is no mistake:\n{done.stdout}{done.stderr}")
    return done.stderr
