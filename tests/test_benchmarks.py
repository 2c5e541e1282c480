"""Benchmarks run and give their figures; how fast is for people to read."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = {path.stem: path for path in sorted(ROOT.glob("benchmarks/*/[!_]*.py"))}
LONG = {
    *("commits", "day", "feeding", "first_save", "jax_steps", "later_saves", "predict", "ranks", "ready_datasets"),
    *("start", "tensorflow_steps", "torch_steps"),
}
"""Those that take seconds even in their quick form."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    """The package, and a directory that nothing is found in."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEERS", raising=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.torture] if name in LONG else []) for name in BENCHMARKS],
)
def test_a_benchmark_gives_its_figures(name):
    """In its quick form: all of them positive, with a name of their own; or it says what is missing."""
    figures = import_module("benchmarks.figures")
    try:
        benchmark = import_module(f"benchmarks.{BENCHMARKS[name].parent.name}.{name}")
        found = benchmark.measure(quick=True)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")

    assert len(found) == len({one.name for one in found}) > 0
    measured = [one for one in found if isinstance(one, figures.Figure)]
    assert name == "peers" or measured
    for one in measured:
        for low, middle, high in filter(None, (one.quartiles, one.ratios)):
            assert low <= middle <= high
        assert bool(one.limit) == (one.ratios is not None)
    assert set(figures.page(report(figures, found)).splitlines()) >= {"## a benchmark", "What?"}


def report(figures, found):
    """A report of a single benchmark."""
    return {**figures.surroundings(), "quick": True, "benchmarks": {"a benchmark": figures.as_data("What?", found)}}


def test_what_the_loop_keeps_does_not_grow_with_the_batches(monkeypatch):
    """Not by a byte a batch, also where times are kept; and the figures of growth can be drawn."""
    pytest.importorskip("matplotlib")
    growth = import_module("benchmarks.core.growth")
    monkeypatch.setattr(growth, "NUMBERS", {what: numbers[:2] for what, numbers in growth.NUMBERS.items()})
    found = growth.measure(quick=True)

    assert not any(one.missed for one in found if one.name.startswith("memory"))
    growth.plot([asdict(one) for one in found], Path("growth.svg"))
    assert Path("growth.svg").read_text().lstrip().startswith("<?xml")


def test_a_figure_is_a_median_with_quartiles_and_is_compared_turn_by_turn():
    """With what is asked for; equal ratios have no spread, whatever the machine does."""
    figures = import_module("benchmarks.figures")
    seconds = {"limit": iter([1.0, 2.0, 4.0]), "ours": iter([2.0, 4.0, 8.0])}
    measures = {name: lambda count, taken=taken: next(taken) for name, taken in seconds.items()}

    found = figures.compare([measures], 2, 3, "ms", {"ours": 1.9})

    assert [figures.Figure("ours", "ms", (1500, 2000, 3000), "limit", (2, 2, 2), 1.9)] == found
    assert found[0].missed
    row = "| ours | 2,000 ms | 1,500 to 3,000 | 2.00 | 2 to 2 | limit | 1.9, missed |"
    assert row in figures.page(report(figures, found)).splitlines()


@pytest.mark.slow
def test_one_command_writes_all_figures_and_names_what_was_not_measured(capsys):
    """With the versions that they belong to."""
    main = import_module("benchmarks.__main__").main

    assert main(["check", "peers", "--quick", "--json", "found.json", "--markdown", "found.md"]) == 0

    found = json.loads(Path("found.json").read_text())
    assert {"python", "emloop", "numpy"} <= set(found["versions"])
    assert ["check", "peers"] == list(found["benchmarks"])
    assert "emloop check" in [one["name"] for one in found["benchmarks"]["check"]["figures"]]
    why = "the variable PEERS names no folder of environments; see benchmarks/peers/README.md"
    assert [{"name": "all", "why": why}] == found["benchmarks"]["peers"]["skipped"]
    assert f"Not measured: all: {why}." in Path("found.md").read_text()
    assert f"Not measured: all: {why}." in capsys.readouterr().out


def test_a_benchmark_that_lacks_a_package_is_named(capsys, monkeypatch):
    """By the package."""
    figures = import_module("benchmarks.figures")
    monkeypatch.setattr(figures, "import_module", lambda name: import_module("no_such_package"))

    figures.answer("benchmarks.pytorch.predict", quick=True)

    found = json.loads(capsys.readouterr().out)
    assert [{"name": "predict", "why": "no_such_package is not installed"}] == found["skipped"]


def test_a_name_that_no_benchmark_has_is_refused(capsys):
    """With those that there are."""
    with pytest.raises(SystemExit):
        import_module("benchmarks.__main__").main(["lop"])

    assert "no benchmark is called 'lop'; there are check, commits, day, " in capsys.readouterr().err
