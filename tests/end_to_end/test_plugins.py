"""Short names from other packages: a distribution on the path registers hooks, models and datasets."""

from __future__ import annotations

import os
import sys
import textwrap

import pytest

MODULE = """
import logging

import emloop as el


class Shout(el.AbstractHook):
    stateless = True

    def __init__(self, text: str):
        super().__init__()
        self._text = text

    def after_epoch(self, epoch_id, epoch_data):
        logging.getLogger(__name__).warning("%s %s", self._text.upper(), epoch_id)


class Ones(el.BaseDataset):
    def _configure_dataset(self, output_dir):
        pass

    def train_stream(self):
        return [{"x": [1, 1]}]


class Idle(el.AbstractModel):
    input_names, output_names = ("x",), ()

    def run(self, batch, train, stream=None):
        return {}

    def save(self, name_suffix):
        return name_suffix

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""

CONFIG = """\
dataset: {class: Ones}
model: {class: Idle}
hooks:
  - Shout: {text: epoch}
main_loop: {epochs_count: 1}
"""


@pytest.fixture
def install(tmp_path):
    """Puts a distribution with entry points on the path, as pip would."""

    def put(name: str, module: str, **groups: str) -> None:
        (tmp_path / f"{name}.py").write_text(module)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[emloop.{group}]\n{entry}\n" for group, entry in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))

    return put


@pytest.fixture
def emloop(tmp_path, processes):
    """Runs a command where the distributions are; returns exit code and messages."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "config.yaml").write_text(CONFIG)

    def run(*arguments: str) -> tuple[int, str]:
        process = processes.run(
            [sys.executable, "-m", "emloop", *arguments],
            cwd=tmp_path / "work",
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return process.returncode, process.stdout + process.stderr

    return run


FULL = {"hooks": "Shout = plug:Shout", "models": "Idle = plug:Idle", "datasets": "Ones = plug:Ones"}


def test_short_names_come_from_plugins_too(install, emloop):
    """A hook, a model and a dataset by the names that a package has registered."""
    install("plug", MODULE, **FULL)

    code, said = emloop("train", "config.yaml")

    assert 0 == code, said
    assert "EPOCH 1" in said


def test_arguments_of_a_plugin_are_checked_like_our_own(install, emloop):
    """With the place and a suggestion."""
    install("plug", MODULE, **FULL)

    code, said = emloop("train", "config.yaml", "hooks=[Shout: {txt: a}]")

    assert 2 == code
    assert "unknown argument 'txt'" in said
    assert "did you mean 'text'?" in said


def test_a_misspelt_plugin_name_is_recognised(install, emloop):
    """Registered names count among those that may have been meant."""
    install("plug", MODULE, **FULL)

    code, said = emloop("train", "config.yaml", "hooks=[Shuot: {text: a}]")

    assert 2 == code
    assert "unknown hook 'Shuot'" in said
    assert "did you mean 'Shout'?" in said


def test_a_broken_plugin_is_named_with_its_distribution(install, emloop):
    """Only when its name is used: others are not loaded."""
    install("plug", MODULE, **FULL)
    install("ruin", "import no_such_module_anywhere\n", hooks="Broken = ruin:Broken")

    assert 0 == emloop("train", "config.yaml")[0]
    code, said = emloop("train", "config.yaml", "hooks=[Broken]")

    assert 2 == code
    assert "ruin" in said
    assert "no_such_module_anywhere" in said
    assert "Traceback" not in said


def test_a_broken_backend_of_an_imported_framework_is_told(install, emloop):
    """What the framework draws at random is then no part of the run, which goes on; others are not loaded."""
    install("plug", MODULE, **FULL)
    install("ruin", "import no_such_module_anywhere\n", backends="plug = ruin:BaseModel\nabsent = ruin:BaseModel")

    code, said = emloop("train", "config.yaml")

    assert 0 == code, said
    assert "The backend 'plug' of ruin cannot be imported, so what plug draws at random is no part of the run" in said
    assert "absent" not in said


def test_a_name_that_two_plugins_offer_is_an_error_listing_both(install, emloop):
    """Neither wins by chance."""
    install("plug", MODULE, **FULL)
    install("rival", textwrap.dedent(MODULE), hooks="Shout = rival:Shout")

    code, said = emloop("train", "config.yaml")

    assert 2 == code
    assert "plug" in said
    assert "rival" in said
