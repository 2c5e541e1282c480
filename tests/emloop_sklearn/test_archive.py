"""Bytes of an estimator: the same for the same estimator, and harmless to read."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
import skops.io
from numpy.testing._private.utils import runstring
from sklearn.base import BaseEstimator
from sklearn.cluster import Birch
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from emloop.errors import ConfigError, StateError, UntrustedError
from emloop_sklearn._archives.archive import dump, load, require_trusted, untrusted_types


class Holder(BaseEstimator):
    """Holds whatever an estimator might."""

    def __init__(self, **parts):
        self.__dict__.update(parts)


NAME = f"{Holder.__module__}.Holder"


def restored(estimator):
    return load(dump(estimator), [NAME])


def test_parts_that_are_one_object_stay_one():
    """What changes through one name changes through the other, after restoring as before."""
    array, numbers = np.zeros(3), [1, 2]
    found = restored(Holder(a=array, b=[array, numbers], c=numbers, d=np.zeros(3)))

    assert found.a is found.b[0]
    assert found.b[1] is found.c
    assert found.d is not found.a


def test_memory_order_survives_with_gaps_between_the_rows():
    """The order of axes decides in which order a product is summed up, hence its last bits."""
    base = np.asfortranarray(np.arange(32.0).reshape(8, 4))
    found = restored(Holder(slice=base[:3], rows=np.arange(32.0).reshape(8, 4)[:, :2], plain=base))

    assert found.slice.flags.f_contiguous
    assert found.rows.flags.c_contiguous
    assert found.plain.flags.f_contiguous
    np.testing.assert_array_equal(found.slice, base[:3])


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**70,
        -0.0,
        float("inf"),
        "ä\0",
        b"\x00\xff",
        (1, (2, "x")),
        np.float32(1.5),
        np.int64(-3),
        np.array([["a", "bc"]]),
        np.array([1, "x", None], dtype=object),
        np.zeros((0, 3), np.uint8),
        np.random.RandomState(3),
        np.random.default_rng(3),
    ],
)
def test_parts_come_back_as_they_were(value):
    """With their types; and the bytes say the same once more."""
    found = restored(Holder(value=value)).value

    assert type(found) is type(value)
    assert dump(Holder(value=found)) == dump(Holder(value=value))


def test_equal_estimators_have_equal_bytes():
    """Whoever else refers to their numbers and texts, and wherever their arrays lie."""
    shared = 12345.5
    one = Holder(a=shared, b=shared, name="constant", flags=(1, 2), array=np.arange(3), empty={})
    other = Holder(
        a=float("12345.5"),
        b=float("12345.5"),
        name="".join(["con", "stant"]),
        flags=(int("1"), 2),
        array=np.arange(3),
        empty={},
    )

    assert dump(one) == dump(other)
    assert dump(one) != dump(Holder(a=shared, b=shared, name="constant", flags=(1, 3), array=np.arange(3), empty={}))


def test_skops_itself_reads_the_bytes(tmp_path):
    """They are an ordinary skops archive, for whoever has no emloop."""
    path = tmp_path / "estimator.skops"
    path.write_bytes(dump(DecisionTreeClassifier(max_depth=3)))

    assert skops.io.load(path).max_depth == 3


def test_a_type_that_is_no_library_s_is_not_made():
    """Unless somebody agreed to it by name."""
    archive = dump(Holder(a=1))

    assert untrusted_types(archive) == [NAME]
    assert untrusted_types(archive, [NAME]) == []
    with pytest.raises(UntrustedError, match=f"trusted_types: .{NAME}."):
        load(archive)
    with pytest.raises(ConfigError, match=f"trusted_types: .{NAME}."):
        require_trusted(Holder(a=1))


def test_a_function_is_not_trusted_because_it_comes_with_a_library():
    """Among NumPy's functions there are some that execute their argument; its arithmetic is harmless."""
    with pytest.raises(UntrustedError, match="runstring"):
        load(dump(FunctionTransformer(runstring)))
    assert load(dump(FunctionTransformer(np.log1p))).func is np.log1p


def rewritten(archive, compression=zipfile.ZIP_STORED, **changes):
    """The archive with other content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name.partition(".")[0], old.read(name)))
    return buffer.getvalue()


def test_a_module_is_not_imported_because_an_archive_names_it():
    """Not even one of a trusted library: importing runs code."""
    archive = dump(FunctionTransformer())
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        schema = json.loads(file.read("schema.json"))
    schema["__module__"], schema["__class__"] = "numpy.f2py.__main__", "main"
    forged = rewritten(archive, schema=json.dumps(schema))

    with pytest.raises(UntrustedError, match=r"numpy\.f2py\.__main__\.main"):
        load(forged)


def test_a_compressed_archive_is_refused():
    """It might unpack to more than the disk holds; ours never are."""
    with pytest.raises(StateError, match="it is compressed"):
        load(rewritten(dump(Holder(a=np.zeros(10**6))), zipfile.ZIP_DEFLATED), [NAME])


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"PK\x05\x06" + bytes(18), id="no-files"),
        pytest.param(b"no archive at all", id="text"),
        pytest.param(rewritten(dump(FunctionTransformer()), schema="{}"), id="no-schema"),
        pytest.param(rewritten(dump(FunctionTransformer()), schema="[" * 10**5), id="deep"),
        pytest.param(dump(FunctionTransformer())[:-30], id="cut"),
    ],
)
def test_what_is_no_archive_is_refused(archive):
    """With an error of ours."""
    with pytest.raises(StateError, match="the estimator cannot be read"):
        load(archive)


def test_what_skops_cannot_write_is_named():
    """Before anything is saved."""
    with pytest.raises(StateError, match="Birch cannot be saved"):
        require_trusted(Birch())


def test_nothing_is_pickled(monkeypatch):
    """Neither writing nor reading goes near a pickle."""

    def forbidden(*arguments, **keywords):
        pytest.fail("pickled")

    for name in ("dumps", "loads", "dump", "load", "Pickler", "Unpickler"):
        monkeypatch.setattr(f"pickle.{name}", forbidden)

    assert restored(Holder(a=np.arange(3), b=[np.random.RandomState(1)])).a[2] == 2
