"""What of two runs is compared."""

from __future__ import annotations

from emloop._verifying.comparing import result_files


def test_what_a_killed_process_was_writing_is_no_result(tmp_path):
    """A kill after the last commit may leave a file half-written that no resume takes up, as the run is finished."""
    for name in ("training.csv", "trace.yaml", ".tmp-trace.yaml-1-abc", "model_best/.tmp-model.json-1-abc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")

    assert list(result_files(tmp_path, set())) == ["training.csv"]
