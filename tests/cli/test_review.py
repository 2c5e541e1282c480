"""A run goes on with a changed configuration only after saying what the changes mean."""

from __future__ import annotations

import logging
import sys
import types
from typing import ClassVar

import pytest

import emloop as el
from emloop._config import load_config
from emloop.cli._training.review import review
from emloop.errors import ConfigError

CONFIG = """\
dataset: {class: pkg.Gone, batch: 32}
model: {class: pkg.Gone, rate: 0.1, restore_fallback: a.B}
hooks:
  - ComputeStats: {variables: [loss]}
  - SaveBest: {variable: loss}
  - LogVariables
  - StopAfter: {epochs: 3}
  - tests_review.Mine: {depth: 1}
main_loop: {seed: 5, epochs_count: 9}
eval: {test: {main_loop: {buffer: 1}}}
"""
DATA = "changes the data from here on; the result is no longer that of an unchanged run"
MODEL = "counts from here on; the model's state must fit"


class Mine(el.AbstractHook):
    resume_changes: ClassVar = {"depth": "refused", "width": "makes it wider"}


@pytest.fixture
def changed(tmp_path, monkeypatch, caplog):
    """The changes that overrides make to a run's configuration, as they are logged."""
    monkeypatch.setitem(sys.modules, "tests_review", types.ModuleType("tests_review"))
    monkeypatch.setattr("tests_review.Mine", Mine, raising=False)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)

    def changed(*overrides, **options):
        caplog.clear()
        with caplog.at_level(logging.INFO, "emloop"):
            review(load_config(path), load_config(path, overrides), seed=5, **options)
        return [record.getMessage().removeprefix("Changed: ") for record in caplog.records]

    return changed


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("main_loop.epochs_count=20", "main_loop.epochs_count: 9 → 20 (safe)"),
        ("main_loop.commit={every: 1ep}", 'main_loop.commit.every: nothing → "1ep" (safe)'),
        ("main_loop.seed=null", "main_loop.seed: 5 → null (safe)"),
        ("~main_loop.seed", "main_loop.seed: 5 → nothing (safe)"),
        (
            "main_loop.fixed_epoch_size=7",
            (
                "main_loop.fixed_epoch_size: nothing → 7 (epochs are cut differently from here on; the result is no "
                "longer that of an unchanged run)"
            ),
        ),
        ("eval.test.main_loop.buffer=2", "eval.test.main_loop.buffer: 1 → 2 (safe)"),
        ("model.rate=0.3", f"model.rate: 0.1 → 0.3 ({MODEL})"),
        ("model.name=mine", "model.name: nothing → mine (safe)"),
        ("dataset.batch=8", f"dataset.batch: 32 → 8 ({DATA})"),
        ("hooks.StopAfter.epochs=5", "hooks.StopAfter.epochs: 3 → 5 (safe)"),
        ("hooks.ComputeStats.variables=[a]", "hooks.ComputeStats.variables: [loss] → [a] (what it remembers must fit)"),
        (
            "hooks.SaveBest.variable=accuracy",
            "hooks.SaveBest.variable: loss → accuracy (the best value so far stays, and is compared with the new one)",
        ),
        ("hooks.SaveBest.on_save_failure=warn", "hooks.SaveBest.on_save_failure: nothing → warn (safe)"),
        ("hooks.Mine.width=2", "hooks.Mine.width: nothing → 2 (makes it wider)"),
        ("~hooks.SaveBest", "hooks.SaveBest: removed (what it remembered is dropped)"),
        ("~hooks.LogVariables", "hooks.LogVariables: removed (safe)"),
        ("hooks+=SaveLatest", "hooks.SaveLatest: added (safe)"),
        ("hooks+=StopOnPlateau", "hooks.StopOnPlateau: added (starts without a past)"),
        ("hooks.3={pkg.Other: {name: StopAfter, epochs: 3}}", "hooks.StopAfter.class: StopAfter → pkg.Other (another"),
    ],
)
def test_every_change_says_what_it_means(changed, override, said):
    """Old and new value, and what the owner of the key declares."""
    assert changed(override)[0].startswith(said)


def test_nothing_is_said_where_nothing_changes(changed):
    """Also not about what emloop itself has written into the run's configuration."""
    assert changed() == []
    assert changed("~model.restore_fallback") == []
    assert changed("main_loop.epochs_count=9") == []


def test_another_order_of_hooks_is_a_change(changed):
    """The order of the list is the order of events."""
    assert changed("hooks=[{StopAfter: {epochs: 3}}, SaveLatest]", "hooks+=LogVariables")[0] == (
        "hooks: [LogVariables, StopAfter] → [StopAfter, LogVariables] (events reach them in this order from here on)"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "main_loop.seed=6",
            (
                "argument 1: main_loop.seed: a run cannot go on with another one: 5 → 6\n"
                "     | main_loop.seed=6\n"
                "     |                ^\n"
                "  the random numbers so far were drawn from it; another seed needs a new run: emloop train"
            ),
        ),
        (
            "model.class=b.C",
            (
                "argument 1: model.class: a run cannot go on with another one: pkg.Gone → b.C\n"
                "     | model.class=b.C\n"
                "     |             ^^^\n"
                "  to go on with another class, leave this run as it is: --fork"
            ),
        ),
        (
            "hooks.Mine.depth=2",
            (
                "argument 1: hooks.Mine.depth: a run cannot go on with another one: 1 → 2\n"
                "     | hooks.Mine.depth=2\n"
                "     |                  ^"
            ),
        ),
    ],
)
def test_what_a_run_cannot_go_on_with_is_refused(changed, override, message):
    """The message names the argument, both values and the way out."""
    with pytest.raises(ConfigError) as error:
        changed(override)

    assert str(error.value) == message


def test_all_refusals_come_at_once(changed):
    """Nobody has to try again for each."""
    with pytest.raises(ConfigError) as error:
        changed("model.class=b.C", "dataset.class=b.D", "main_loop.seed=6")

    assert [problem.path for problem in error.value.problems] == ["dataset.class", "model.class", "main_loop.seed"]


def test_a_fork_may_have_another_class(changed):
    """Whether the state fits shows when it is given back; the seed stays that of the run."""
    assert changed("model.class=b.C", fork=True)[0].startswith("model.class: pkg.Gone → b.C (another class; what")
    with pytest.raises(ConfigError, match="another seed needs a new run"):
        changed("main_loop.seed=6", fork=True)
