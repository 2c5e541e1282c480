"""Traces of single training batches, whatever writes them."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from emloop.profiling import Profile, Profiling


@contextmanager
def into_a_file(path):
    yield
    Path(f"{path}.json").write_text("{}")


@contextmanager
def into_a_directory(path):
    yield
    Path(path, "plugins").mkdir(parents=True)


@pytest.mark.parametrize(("trace", "names"), [
    pytest.param(into_a_file, ["trace-00000006.json", "trace-00000009.json"], id="files"),
    pytest.param(into_a_directory, ["trace-00000006", "trace-00000009"], id="directories"),
])  # fmt: skip
def test_every_so_many_batches_are_traced_and_the_newest_traces_stay(trace, names, tmp_path):
    """A batch is told whether it is one of them."""
    profiling = Profiling.asked_for(Profile(keep=2, every=3), str(tmp_path), trace)
    traced = []
    for batch in range(1, 11):
        with profiling.of(batch) as is_traced:
            traced += [batch] * is_traced

    assert traced == [3, 6, 9]
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == names


@pytest.mark.parametrize(("key", "log_dir"), [(None, "run"), (False, "run"), (True, None)])
def test_nothing_is_traced_unless_asked_for_in_a_run(key, log_dir):
    """Without a run directory there is no place for a trace."""
    assert Profiling.asked_for(key, log_dir, into_a_file) is None
