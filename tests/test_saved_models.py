"""A saved model is found, whole, wherever it lies and whatever happened while it was written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emloop._state.commit import write_commit
from emloop._state.manifest import FileRecord, read_manifest, write_manifest
from emloop._state.tree import equal_trees
from emloop.errors import ConfigError, SavedModelError, StateError
from emloop.saved_models import Lasting, describe_variables, find_saved, saved_model_path, write_saved_model


def state(step):
    """A model's state after some steps: whoever mixes two of them is found out."""
    return {"step": step, "weights": np.full((50, 20), float(step)), "moments": [np.full(7, step), None]}


def on_a_base(step):
    """The same with a frozen base, which is another one from the second step on."""
    return {**state(step), "base": np.full(9000, float(step > 1)).view(Lasting)}


def write(directory, step=1, **changes):
    """Save the state of a step."""
    arguments = {
        "backend": "abacus",
        "restore_fallback": "abacus.BaseModel",
        "inputs": {"images": {"dtype": "uint8", "shape": [None, 8, 8]}},
        "outputs": {"loss": None},
        "tree": state(step),
        "rung": "exported",
        **changes,
    }
    return write_saved_model(directory, **arguments)


def program_of(root, **files):
    """A program as its backend exports it."""
    folder = root / "exported"
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def names(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def run(tmp_path):
    """A run directory with what every run has."""
    directory = tmp_path / "log" / "majority_keen-noether"
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text("model: {}\n")
    return directory


def test_a_saved_model_gives_back_what_it_was_given(run):
    """The state to the bit; and its manifest says what it is."""
    path = write(run / "model_best", 3, reason="no loops", extra={"tied": [["a", "b"]]})
    saved = find_saved(path)

    assert (saved.path, saved.kind) == (run / "model_best", "saved model")
    assert equal_trees(saved.tree(), state(3))
    manifest = saved.manifest
    assert (manifest["backend"], manifest["restore_fallback"]) == ("abacus", "abacus.BaseModel")
    assert (manifest["rung"], manifest["reason"]) == ("exported", "no loops")
    assert manifest["inputs"] == {"images": {"dtype": "uint8", "shape": [None, 8, 8]}}
    assert manifest["outputs"] == {"loss": None}
    assert manifest["extra"] == {"tied": [["a", "b"]]}
    assert manifest["versions"].keys() == {"python", "emloop", "numpy"}


def test_a_saved_model_is_a_few_readable_files(run):
    """A manifest, JSON and safetensors; equal states have equal names, different ones different names."""
    write(run / "model_a", 1)
    write(run / "model_b", 1)
    write(run / "model_c", 2)

    skeleton, arrays, manifest = sorted(names(run / "model_a"), key=lambda name: (name == "manifest.json", name))
    assert re.fullmatch(r"model-[0-9a-f]{8}\.json", skeleton)
    assert arrays == skeleton.replace(".json", ".safetensors")
    assert manifest == "manifest.json"
    assert names(run / "model_b") == names(run / "model_a")
    assert names(run / "model_c") != names(run / "model_a")
    json.loads((run / "model_a" / "manifest.json").read_text())


def test_a_state_without_arrays_needs_no_array_file(run):
    """And comes back as it was."""
    write(run / "model_small", tree={"count": 3})

    assert len(names(run / "model_small")) == 2
    assert find_saved(run / "model_small").tree() == {"count": 3}


def test_saving_over_an_older_model_leaves_nothing_of_it(run):
    """However often; files that somebody else has put there stay."""
    for step in (1, 2, 2, 1, 3):
        write(run / "model_latest", step)
        (run / "model_latest" / "notes.txt").write_text("good one")
        assert equal_trees(find_saved(run / "model_latest").tree(), state(step))
        assert len(names(run / "model_latest")) == 4

    assert (run / "model_latest" / "notes.txt").read_text() == "good one"


def test_leftovers_of_a_killed_save_go_with_the_next(run):
    """Files that no manifest names do not pile up."""
    write(run / "model_best", 1)
    (run / "model_best" / "model-00000000.safetensors").write_bytes(b"half")
    (run / "model_best" / ".tmp-77-abc").write_bytes(b"half")
    (run / "model_best" / "program").mkdir()
    (run / "model_best" / "program" / "train.pt2").write_bytes(b"half")
    write(run / "model_best", 2)

    assert len(names(run / "model_best")) == 3


def test_half_written_files_of_a_program_are_no_part_of_it(run, tmp_path):
    """Whether the program was being written when its process was killed, or the saved model."""
    program = program_of(tmp_path, train__graph="loss")
    write(run / "model_best", 1, program=program)
    (program / ".tmp-1").write_bytes(b"half")
    (run / "model_best" / "program" / ".tmp-2").write_bytes(b"half")
    path = write(run / "model_best", 2, program=program)

    assert not list(Path(path).rglob(".tmp-*"))


def test_a_saved_model_works_wherever_it_is_copied(run, tmp_path):
    """It refers to nothing outside of itself."""
    write(run / "model_best", 5, program=program_of(tmp_path, train__graph="loss"))
    copy = shutil.copytree(run / "model_best", tmp_path / "elsewhere" / "shipped")
    shutil.rmtree(run)
    shutil.rmtree(tmp_path / "exported")
    saved = find_saved(copy)

    assert equal_trees(saved.tree(), state(5))
    assert saved.program() == copy / "program"
    assert (copy / "program" / "train" / "graph").read_text() == "loss"


def test_a_saved_model_without_a_program_says_so(run):
    """There is no directory to look into."""
    assert find_saved(write(run / "model_best")).program() is None


def test_an_unchanged_program_is_not_written_again(run, tmp_path):
    """It is exported once per run; a later save costs only the state."""
    write(run / "model_best", 1, program=program_of(tmp_path, graph="big"))
    before = (run / "model_best" / "program" / "graph").stat()
    write(run / "model_best", 2, program=program_of(tmp_path, graph="big"))

    assert (run / "model_best" / "program" / "graph").stat().st_ino == before.st_ino
    assert find_saved(run / "model_best").program() == run / "model_best" / "program"


def test_another_program_replaces_the_old_one(run, tmp_path):
    """With all its files, and as often as it changes."""
    for number, files in enumerate([{"a": "1", "b": "1"}, {"a": "2"}, {"a": "3"}, {"a": "2"}, {"a": "2", "b": "1"}]):
        write(run / "model_best", number, program=program_of(tmp_path, **files))
        program = find_saved(run / "model_best").program()

        assert {path.name: path.read_text() for path in program.iterdir()} == files
        assert len(names(run / "model_best")) == 3 + len(files)

    write(run / "model_best", 9)
    assert len(names(run / "model_best")) == 3


@pytest.mark.parametrize("step", [1, 2], ids=["same-content", "other-content"])
def test_saving_again_mends_a_damaged_model(run, tmp_path, step):
    """What lies there is not believed by its name."""
    program = program_of(tmp_path, graph="big")
    write(run / "model_best", 1, program=program)
    for name in names(run / "model_best"):
        flip_a_bit(run / "model_best" / name)
    write(run / "model_best", step, program=program)

    assert equal_trees(find_saved(run / "model_best").tree(), state(step))
    assert find_saved(run / "model_best").program() is not None


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def remove(path):
    path.unlink()


def replace_by_link(path):
    other = path.with_name("other")
    path.rename(other)
    path.symlink_to(other)


@pytest.mark.parametrize("damage", [flip_a_bit, cut, remove, replace_by_link])
@pytest.mark.parametrize("suffix", [".safetensors", "json", "graph"])
def test_a_damaged_file_is_refused_by_name(run, tmp_path, suffix, damage):
    """One flipped bit, a byte less, no file, or a link in its place: the error says which file it is."""
    path = write(run / "model_best", program=program_of(tmp_path, graph="big"))
    for name in names(run / "model_best"):
        if not name.endswith(suffix):
            continue
        backup = shutil.copytree(path, tmp_path / "backup")
        damage(run / "model_best" / name)
        # A model without a manifest does not count, and its run has nothing else to offer.
        expected = (
            r"no saved model and no checkpoint" if damage is remove and name == "manifest.json" else re.escape(name)
        )
        with pytest.raises(SavedModelError, match=expected):
            read_all(path)
        shutil.rmtree(path)
        backup.rename(path)
    read_all(path)


def read_all(path):
    saved = find_saved(path)
    saved.tree()
    saved.program()


def forge(path, **changes):
    """Change a manifest, and let it vouch for that."""
    manifest = json.loads((path / "manifest.json").read_text())
    files = [FileRecord(**record) for record in manifest.pop("files")]
    del manifest["sha256"]
    write_manifest(path, {**manifest, **changes}, files)


def test_a_manifest_that_names_a_file_outside_is_refused(run, tmp_path):
    """Nobody can make a saved model read anything but its own files."""
    path = run / "model_best"
    write(path)
    forge(path, program="../..")

    with pytest.raises(SavedModelError, match=r"names no file of '\.\./\.\.'"):
        find_saved(path).program()


@pytest.mark.parametrize("mistake", [{"state": []}, {"state": ["nothing.json", None]}, {"state": None}])
def test_a_manifest_that_makes_no_sense_is_refused(run, mistake):
    """Even if its hash is right."""
    path = run / "model_best"
    write(path)
    forge(path, **mistake)

    with pytest.raises(SavedModelError, match="cannot be restored"):
        find_saved(path).tree()


def test_what_is_no_saved_model_is_not_taken_for_one(run):
    """Another format, or another kind of directory, is named."""
    (run / "model_best").mkdir()
    write_manifest(run / "model_best", {"kind": "saved model", "format": 99}, [])

    with pytest.raises(SavedModelError, match="expected a saved model of format 1 or 2, got saved model of format 99"):
        find_saved(run)


def test_a_run_offers_its_best_model(run):
    """Before any other, and before its checkpoints."""
    write(run / "model_3", 3)
    write(run / "model_best", 2)
    write_commit(run / "checkpoints", 7, {"model": state(7)}, {})

    assert find_saved(run).path == run / "model_best"
    assert find_saved(run / "config.yaml").path == run / "model_best"
    assert find_saved(str(run / "model_3" / "manifest.json")).path == run / "model_3"


def test_a_run_offers_its_only_model(run):
    """Whatever its name; what has no manifest was never saved."""
    write(run / "model_latest", 3)
    (run / "model_best").mkdir()
    (run / "model_best" / "model-00000000.json").write_text("{}")

    assert find_saved(run).path == run / "model_latest"


def test_a_run_without_a_best_model_offers_its_newest_checkpoint(run, caplog):
    """A damaged one is passed over, loudly, and left where it is."""
    for seq in (1, 2, 3):
        write_commit(run / "checkpoints", seq, {"model": state(seq), "loop": {}}, {})
    write(run / "model_1")
    write(run / "model_2")
    flip_a_bit(run / "checkpoints" / "00000003" / "state.safetensors")
    saved = find_saved(run)

    assert (saved.kind, saved.path.name) == ("checkpoint", "00000002")
    assert equal_trees(saved.tree(), state(2))
    assert "A damaged checkpoint is skipped" in caplog.text
    assert "00000003" in caplog.text
    assert (run / "checkpoints" / "00000003").is_dir()


def test_a_checkpoint_can_be_named_itself(run):
    """Its program is the run's."""
    write_commit(run / "checkpoints", 4, {"model": state(4)}, {})
    saved = find_saved(run / "checkpoints" / "00000004")

    assert equal_trees(saved.tree(), state(4))
    assert saved.program() is None
    (run / "program").mkdir()
    assert saved.program() == run / "program"


def test_a_checkpoint_without_a_model_says_what_it_holds(run):
    """There is nothing in it to restore a model from."""
    write_commit(run / "checkpoints", 1, {"loop": {}, "random": {}}, {})

    with pytest.raises(SavedModelError, match="no state of 'model'; there is loop, random"):
        find_saved(run).tree()


def test_a_run_with_several_models_asks_which(run):
    """It does not guess."""
    write(run / "model_1")
    write(run / "model_2")

    with pytest.raises(SavedModelError, match="several saved models; name one of model_1, model_2"):
        find_saved(run)


def test_where_there_is_nothing_the_error_says_what_there_is(run, tmp_path):
    """A directory, a file, or nothing at all."""
    with pytest.raises(SavedModelError, match=r"no saved model and no checkpoint; there is config\.yaml"):
        find_saved(run)
    with pytest.raises(SavedModelError, match="but there is none"):
        find_saved(tmp_path / "nowhere")
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(SavedModelError, match="but this is a file"):
        find_saved(tmp_path / "weights.bin")


def test_another_backend_s_model_is_refused_with_the_way_to_restore_it(run):
    """The manifest knows."""
    saved = find_saved(write(run / "model_best"))
    saved.require_backend("abacus")

    with pytest.raises(SavedModelError, match=r"'abacus', not by 'sklearn'; abacus\.BaseModel can restore it"):
        saved.require_backend("sklearn")


def test_a_state_is_asked_for_by_backend_and_format(run):
    """What another backend, or another version of it, would understand otherwise is refused."""
    saved = find_saved(write(run / "model_best", tree={"format": "abacus 2", "beads": 3}))
    assert saved.state("abacus", "abacus 2") == {"format": "abacus 2", "beads": 3}

    with pytest.raises(SavedModelError, match="saved by the backend 'abacus', not by 'sklearn'"):
        saved.state("sklearn", "abacus 2")
    with pytest.raises(SavedModelError, match="expected a model's state of the format 'abacus 3', got 'abacus 2'"):
        saved.state("abacus", "abacus 3")


@pytest.mark.parametrize("tree", [{"format": "abacus 1"}, {"beads": 3}, [1], None])
def test_a_checkpoint_of_another_format_is_refused(run, tree):
    """A checkpoint does not say whose it is; the state in it does."""
    write_commit(run / "checkpoints", 1, {"model": tree}, {})

    with pytest.raises(SavedModelError, match="expected a model's state of the format 'abacus 2', got "):
        find_saved(run).state("abacus", "abacus 2")


def test_a_name_cannot_lead_out_of_the_run(run):
    """Suffixes come from configurations."""
    assert saved_model_path(run, "best") == run / "model_best"
    for suffix in ("../../x", "a/b", "/etc", "nul\0"):
        with pytest.raises(ConfigError, match="plain file name"):
            saved_model_path(run, suffix)


def test_variables_are_described_by_type_and_shape():
    """The number of examples does not belong to it."""
    batch = {"images": np.zeros((4, 8, 8), np.uint8), "labels": [1, 2, 3, 4], "names": ["a", "b", "c", "d"]}

    assert describe_variables(batch) == {
        "images": {"dtype": "uint8", "shape": [None, 8, 8]},
        "labels": {"dtype": "int64", "shape": [None]},
        "names": {"dtype": "<U1", "shape": [None]},
    }


def test_a_state_that_cannot_be_stored_changes_nothing(run):
    """The old model stays."""
    write(run / "model_best", 1)
    with pytest.raises(StateError, match="object"):
        write(run / "model_best", tree={"weights": object()})

    assert equal_trees(find_saved(run / "model_best").tree(), state(1))
    assert len(names(run / "model_best")) == 3


STOP_AT_EVERY_STEP = """
import os, sys
from pathlib import Path
import test_saved_models as t

directory, state, number = Path(sys.argv[1]), getattr(t, sys.argv[2]), 0
files = 3 + (sys.argv[2] == "on_a_base")
program = t.program_of(directory, graph="new", weights="x")
while True:
    number += 1
    target = directory / str(number) / "model_best"
    t.write(target, tree=state(1), program=t.program_of(directory, graph="old"))
    program = t.program_of(directory, graph="new")
    child = os.fork()
    if child == 0:
        left = number

        def stop(event, arguments):
            global left
            if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.link"):
                left -= 1
                if not left:
                    os._exit(9)

        sys.addaudithook(stop)
        t.write(target, tree=state(2), program=program)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    saved = t.find_saved(target)
    step = saved.tree()["step"]
    assert t.equal_trees(saved.tree(), state(step)), number
    assert (saved.program() / "graph").read_text() == {1: "old", 2: "new"}[step], number
    t.write(target, tree=state(3))
    assert len(t.names(target)) == files, (number, t.names(target))
    print(code, step)
    if code == 0:
        break
"""


@pytest.mark.slow
@pytest.mark.parametrize("of", ["state", "on_a_base"])
def test_a_process_killed_at_any_step_of_a_save_leaves_the_old_or_the_new_model(tmp_path, of):
    """Every opened, renamed or removed file is a place to be killed at; the next save cleans up."""
    done = subprocess.run(
        [sys.executable, "-c", STOP_AT_EVERY_STEP, tmp_path, of],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]

    *killed, finished = outcomes
    assert len(killed) > 10
    assert {code for code, _ in killed} == {9}
    assert finished == (0, 2)
    # Old until some step, new from then on.
    assert [step for _, step in outcomes] == sorted(step for _, step in outcomes)
    assert {step for _, step in killed} == {1, 2}


def test_a_model_saved_anew_while_it_is_read_is_read_as_it_is_now(run, monkeypatch):
    """The old files go away under the reader's hands, who then takes the new ones, with their manifest."""
    path = write(run / "model_latest", 1)
    saved = find_saved(path)
    steps = [2, 3]

    def read_and_be_overtaken(directory):
        manifest = read_manifest(directory)
        if steps:
            step = steps.pop(0)
            with monkeypatch.context() as undisturbed:
                undisturbed.setattr("emloop.saved_models.reading.read_manifest", read_manifest)
                write(path, step, rung=f"rung {step}")
        return manifest

    with monkeypatch.context() as patch:
        patch.setattr("emloop.saved_models.reading.read_manifest", read_and_be_overtaken)
        tree = saved.tree()

    assert equal_trees(tree, state(3))
    assert saved.manifest["rung"] == "rung 3"


SAVE_FOR_EVER = """
import sys
import test_saved_models as t

step = 0
while True:
    step += 1
    t.write(sys.argv[1], step)
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_reader_never_meets_half_a_model(tmp_path):
    """While a process saves over and over, and after it was killed."""
    target = tmp_path / "model_latest"
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, target],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout.readline() == "1\n"
            seen = set()
            while len(seen) < 20:
                saved = find_saved(target)
                tree = saved.tree()
                assert equal_trees(tree, state(tree["step"]))
                seen.add(tree["step"])
            writer.kill()
            acknowledged = int(writer.stdout.read().split()[-1])
        tree = find_saved(target).tree()
        assert tree["step"] in (acknowledged, acknowledged + 1)
        assert equal_trees(tree, state(tree["step"]))
