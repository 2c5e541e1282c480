"""A newcomer can walk from the command to the model in a few short steps."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

import emloop
from emloop.entry_point import entry_point

MODULE = """
import sys

import emloop as el


class Data:
    def __init__(self, config_str):
        pass

    def train_stream(self):
        return [{"x": [1]}]


class Walker(el.AbstractModel):
    input_names, output_names = ("x",), ()
    walk = None

    def run(self, batch, train, stream=None):
        frame, Walker.walk = sys._getframe(1), []
        while frame is not None:
            Walker.walk.insert(0, frame.f_code)
            frame = frame.f_back
        return {}

    def save(self, name_suffix):
        return name_suffix

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""


def test_from_emloop_train_to_model_run_in_at_most_eight_functions(tmp_path, monkeypatch):
    """None of them over fifty lines."""
    (tmp_path / "walked.py").write_text(MODULE)
    (tmp_path / "config.yaml").write_text(
        "dataset: {class: walked.Data}\nmodel: {class: walked.Walker}\nmain_loop: {epochs_count: 0}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["emloop", "train", "config.yaml"])

    with pytest.raises(SystemExit) as ended:
        entry_point()

    assert 0 == ended.value.code
    ours = str(Path(emloop.__file__).parent)
    steps = [code for code in sys.modules["walked"].Walker.walk if code.co_filename.startswith(ours)]
    assert len(steps) <= 8, [step.co_qualname for step in steps]
    lengths = {step.co_qualname: len(inspect.getsourcelines(step)[0]) for step in steps}
    assert {name: length for name, length in lengths.items() if length > 50} == {}
