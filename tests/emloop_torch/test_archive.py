"""A program is data: what could run foreign code, or tell secrets, is neither written nor read."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from emloop.errors import SavedModelError, UntrustedError  # noqa: E402
from emloop_torch._programs.archive import check, unpack  # noqa: E402

from .nets import deep  # noqa: E402


@pytest.fixture
def archive(create, batches):
    """The training view of a small net."""
    model = create(deep)
    model.run(batches[0], train=True)
    return Path(model.save("best"), "program", "train.pt2").read_bytes()


def changed(content, change, *, member="models/model.json"):
    """The archive with one member changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, change(data) if entry.filename.endswith(member) else data)
    return buffer.getvalue()


def replaced(pattern, by):
    """Change the first place in a member that matches."""

    def change(data):
        found, count = re.subn(pattern, lambda _: by, data.decode(), count=1)
        assert count == 1
        return found.encode()

    return change


def test_what_was_written_is_read(archive):
    """The check lets pass what the backend itself writes."""
    check(archive, "train.pt2")

    assert unpack(archive, "train.pt2").graph_signature.user_outputs


def test_a_program_tells_nothing_of_its_source(archive):
    """No paths, no lines of code, no examples, no guards to be executed."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        text = file.read(next(name for name in file.namelist() if name.endswith("model.json"))).decode()
        samples = [info.file_size for info in file.infolist() if "sample_inputs" in info.filename]

    assert "nets.py" not in text
    assert "stack_trace" not in text
    assert json.loads(text)["guards_code"] == []
    assert samples in ([], [0])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (replaced(r'"target": "torch\.ops\.aten\.linear\.default"', '"target": "torch.hub.load"'), "'torch.hub.load'"),
        (
            replaced(r'"target": "torch\.ops\.aten\.linear\.default"', '"target": "torch.ops.aten.from_file.default"'),
            "from_file",
        ),
        (
            replaced(r'"target": "torch\.ops\.aten\.linear\.default"', '"target": "torch.ops.aten.__class__"'),
            "__class__",
        ),
        (replaced(r'"target": "torch\.ops\.aten\.linear\.default"', '"target": "#extension:op"'), "#extension:op"),
        (replaced(r'"name": "weight"', '"name": "weight=print(1), x"'), "print(1)"),
        (replaced(r"Symbol\('s\d+', [^\"]*\)", "__import__('os').system('true')"), "__import__"),
        (replaced(r'"guards_code": \[\]', '"guards_code": ["__import__(\'os\')"]'), "guards_code"),
        (replaced(r'"metadata": \{\}', '"metadata": {"stack_trace": "x"}'), "metadata"),
    ],
    ids=["operator", "file-operator", "attribute", "extension", "name", "expression", "guard", "metadata"],
)
def test_what_could_run_foreign_code_is_refused(archive, change, what):
    """Before PyTorch sees it."""
    with pytest.raises(UntrustedError, match=re.escape(what)):
        unpack(changed(archive, change), "train.pt2")


def test_a_pickle_is_refused_wherever_it_is(archive):
    """As a weight, as an example, as a member of another name."""
    pickled = changed(archive, replaced(r'"use_pickle": false', '"use_pickle": true'), member="weights_config.json")
    with pytest.raises(UntrustedError, match="a pickle"):
        unpack(pickled, "train.pt2")
    buffer = io.BytesIO(archive)
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("archive/data/constants/custom_obj_0", b"\x80\x05.")
    with pytest.raises(UntrustedError, match="custom_obj_0"):
        unpack(buffer.getvalue(), "train.pt2")


def test_what_is_no_archive_is_refused(archive):
    """Half a file, or another one."""
    for content in (archive[: len(archive) // 2], b"", b"PK nothing"):
        with pytest.raises(SavedModelError, match=r"train\.pt2 is no program"):
            unpack(content, "train.pt2")
