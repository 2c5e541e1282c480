"""``emloop diff``: what is different between two configs or runs."""

from __future__ import annotations

import json

import pytest

from emloop.cli._configs.diff import diff

CONFIG = """\
dataset: {class: data.Data, batch: 32}
model: {class: model.Model, rate: 0.1, depth: 2}
hooks: [SaveLatest, {StopAfter: {epochs: 3}}]
"""
MODEL = """\
class Model:
    run = save = None

    def __init__(self, dataset, rate=0.1, depth=2, width=8): ...


class Wide(Model):
    def __init__(self, dataset, rate=0.1, depth=2, width=64): ...
"""
PATCH = "# commit {commit}\n# branch main\n{changes}"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with a config, another one, and a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a.yaml").write_text(CONFIG)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


@pytest.fixture
def compared(project, capsys):
    """Exit code and output for two configs or runs."""

    def compared(first, second, **options):
        status = diff(first, second, "log", **options)
        return status, capsys.readouterr().out

    return compared


@pytest.fixture
def make_run(project):
    """A run directory, as far as it is compared."""

    def make_run(name, *, config=CONFIG, seed=1, commit="abc", changes="", version="1.0", loss=0.5, threads=None):
        run = project / "log" / name
        run.mkdir(parents=True)
        info = {"run_id": name, "kind": "training", "format": 1, "emloop": "1", "created": "2026-01-01T00:00:00+00:00"}
        info |= {"command": [], "seed": seed, "parent": None, "config": "config.yaml", "config_source": None}
        start = {"attempt": 1, "event": "start", "environment": {"python": "3.11", "threads": threads or {}}}
        files = {
            "run.json": json.dumps(info),
            "config.yaml": config,
            "code.patch": PATCH.format(commit=commit, changes=changes),
            "environment.txt": f"emloop==1\nnumpy=={version}\n",
            "attempts.jsonl": json.dumps(start) + "\n",
            "metrics.jsonl": json.dumps({"epoch_id": 1, "valid": {"loss": {"mean": loss}}}) + "\n",
        }
        for file, text in files.items():
            (run / file).write_text(text)
        return f"log/{name}"

    return make_run


def test_equal_configs_have_no_differences(compared, project):
    """Order, comments and references do not count."""
    (project / "b.yaml").write_text(
        "# the same\nextends: a.yaml\nmodel: {depth: '${two}', class: model.Model}\ntwo: 2\n"
    )
    (project / "c.yaml").write_text(f"two: 2\n{CONFIG}")

    assert compared("a.yaml", "a.yaml") == (0, "no differences\n")
    assert compared("b.yaml", "c.yaml") == (0, "no differences\n")


def test_keys_that_were_added_removed_and_changed_are_listed(compared, project):
    """One line each, as an override would spell it."""
    (project / "b.yaml").write_text(
        "dataset: {class: data.Data}\nmodel: {class: model.Model, rate: 0.3, depth: 2, name: b}\n"
        "hooks: [{StopAfter: {epochs: 5}}, {SaveBest: {stream: test}}]\n"
    )

    assert compared("a.yaml", "b.yaml") == (
        1,
        (
            "config:\n"
            "  -  dataset.batch           32\n"
            "  ~  model.rate              0.1 → 0.3\n"
            "  +  model.name              b\n"
            "  -  hooks.SaveLatest\n"
            "  ~  hooks.StopAfter.epochs  3 → 5\n"
            "  +  hooks.SaveBest          {stream: test}\n"
        ),
    )


def test_defaults_of_the_classes_count(compared, project):
    """What is written in one and the default in the other is the same; other defaults of another class are not."""
    (project / "b.yaml").write_text(CONFIG.replace(", rate: 0.1, depth: 2", ""))
    (project / "c.yaml").write_text(CONFIG.replace("model.Model, rate: 0.1", "model.Wide"))

    assert compared("a.yaml", "b.yaml") == (0, "no differences\n")
    assert compared("a.yaml", "c.yaml") == (
        1,
        ("config:\n  ~  model.class  model.Model → model.Wide\n  ~  model.width  8 (default) → 64 (default)\n"),
    )


def test_two_runs_are_compared_in_everything_that_made_them_what_they_are(compared, make_run):
    """Seed, code, versions and results, beside the configuration."""
    first = make_run("first")
    second = make_run(
        "second", seed=2, commit="def", changes="+x", version="2.0", loss=0.25, threads={"OMP_NUM_THREADS": "1"}
    )

    assert compared(first, first) == (0, "no differences\n")
    assert compared(first, second) == (
        1,
        (
            "config:\n"
            "  ~  main_loop.seed  1 → 2\n"
            "code:\n"
            "  ~  commit               abc → def\n"
            '  ~  uncommitted changes  null → "04a6fb169345"\n'
            "environment:\n"
            '  ~  numpy            "1.0" → "2.0"\n'
            '  +  OMP_NUM_THREADS  "1"\n'
            "metrics:\n"
            "  ~  valid.loss  0.5 → 0.25\n"
        ),
    )


def test_a_run_may_be_compared_with_a_config(compared, make_run):
    """Then only the configuration is; what only a run has written is no difference."""
    run = make_run("first", config=CONFIG.replace("depth: 2", "depth: 2, restore_fallback: a.B"))

    assert compared("a.yaml", run) == (0, "no differences\n")
    assert compared("@", "a.yaml") == (0, "no differences\n")


def test_what_a_damaged_run_lacks_is_not_compared(compared, make_run, project):
    """The rest is."""
    first, second = make_run("first"), make_run("second", version="2.0")
    (project / second / "metrics.jsonl").write_text("{tor")
    (project / second / "code.patch").unlink()
    (project / second / "attempts.jsonl").unlink()

    assert compared(first, second) == (1, 'environment:\n  ~  numpy   "1.0" → "2.0"\n  -  python  "3.11"\n')


def test_programs_get_json(compared, project):
    """All differences in one list; an empty one where there is none."""
    (project / "b.yaml").write_text(CONFIG.replace("32", "!!set {x}").replace(", depth: 2", ", depth: 4"))

    assert json.loads(compared("a.yaml", "b.yaml", as_json=True)[1]) == [
        {"about": "config", "key": "dataset.batch", "kind": "changed", "old": 32, "new": ["x"], "defaults": []},
        {"about": "config", "key": "model.depth", "kind": "changed", "old": 2, "new": 4, "defaults": []},
    ]
    assert compared("a.yaml", "a.yaml", as_json=True) == (0, "[]\n")
