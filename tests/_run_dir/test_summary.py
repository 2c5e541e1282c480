"""A summary tells how a run stands, also while it changes."""

from __future__ import annotations

import pytest

from emloop._run_dir.run import Run
from emloop._run_dir.summary import RunSummary, list_runs


@pytest.fixture
def run(tmp_path):
    """A run that this process works on."""
    (tmp_path / "run").mkdir()
    run = Run.create(
        tmp_path / "run", kind="training", config_text="model:\n  rate: 1\n", source=None, seed=7, command=[]
    )
    yield run
    run.end("failed", "the test is over", exit_status=1)


def test_a_run_that_ends_while_it_is_listed_is_not_lost(run):
    """Its trace is read again when the lock turns out to be free."""
    summary = RunSummary(run.directory)
    assert summary.trace.status == "running"

    run.end("done", "target reached", exit_status=0)

    assert (summary.status, summary.trace.reason) == ("done", "target reached")


def test_what_is_not_asked_for_is_not_read(run):
    """Each file is read when something first wants to know what is in it, and once."""
    run.log_metrics({"epoch_id": 1, "valid": {"loss": 0.5}})
    (summary,) = list_runs(run.directory.parent)
    (run.directory / "config.yaml").write_text("model:\n  rate: 2\n")
    assert (summary.config, summary.info.seed, summary.metric("valid.loss")) == ({"model.rate": 2}, 7, 0.5)
    for name in ("run.json", "trace.yaml", "config.yaml", "metrics.jsonl"):
        (run.directory / name).write_text("")
    assert (summary.config, summary.info.seed, summary.metric("valid.loss")) == ({"model.rate": 2}, 7, 0.5)
    assert summary.trace.status == "running"


def test_the_best_of_all_epochs_is_found(run):
    """In the file, as far as it is written."""
    for epoch, loss in enumerate((0.5, 0.1, 0.3)):
        run.log_metrics({"epoch_id": epoch, "valid": {"loss": {"mean": loss}}})

    summary = RunSummary(run.directory)
    assert [summary.metric("valid.loss", how) for how in (None, "min", "max")] == [0.3, 0.1, 0.5]
