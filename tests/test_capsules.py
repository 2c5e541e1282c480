"""The source capsule: what belongs to it, what is refused of it, and what runs only once its user says so."""

from __future__ import annotations

import importlib
import json
import linecache
import logging
import py_compile
import subprocess
import sys
import traceback

import pytest

from emloop._state.strict_json import dump
from emloop.errors import SavedModelError, UntrustedError
from emloop.saved_models import Capsule, collect_capsule, find_saved, trust_source_of, write_saved_model


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes modules, imports the first, and returns it; they are gone, from the disk and from memory, by ``leave``."""
    home = tmp_path / "home"
    before = set(sys.modules)
    finders = list(sys.meta_path)
    monkeypatch.syspath_prepend(str(home))

    def forget():
        for name in set(sys.modules) - before:
            if not name.startswith(("emloop", "numpy")):
                del sys.modules[name]
        importlib.invalidate_caches()

    def make(first, files):
        for name, text in files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        importlib.invalidate_caches()
        return None if first is None else importlib.import_module(first)

    def leave():
        for path in home.rglob("*.py"):
            path.unlink()
        forget()

    make.home, make.leave = home, leave
    yield make
    sys.meta_path[:] = finders
    forget()


def saved_with(capsule, directory):
    write_saved_model(
        directory,
        backend="abacus",
        restore_fallback=None,
        inputs={},
        outputs={},
        tree={"n": 1},
        rung="w",
        capsule=capsule,
    )
    return directory


def net(body="", base="object"):
    return f"{body}\nclass Net({base}):\n    def run(self):\n        raise ArithmeticError('from the net')\n"


def collected(module, **arguments):
    capsule = collect_capsule([module.Net], arguments)
    assert capsule is not None
    return sorted(capsule.modules)


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        pytest.param("import aa, bb.cc", ["aa.py", "bb/__init__.py", "bb/cc.py"], ["aa", "bb", "bb.cc"], id="import"),
        pytest.param("from bb import cc", ["bb/__init__.py", "bb/cc.py"], ["bb", "bb.cc"], id="from-package"),
        pytest.param("from ns.deep import cc", ["ns/deep/cc.py"], ["ns.deep.cc"], id="namespace"),
        pytest.param("from bb import *", {"bb/__init__.py": "from .cc import x", "bb/cc.py": "x = 1"}, ["bb", "bb.cc"]),
        pytest.param(
            "from ab import x", {"ab.py": "x = 1\nimport bc", "bc.py": "import ab"}, ["ab", "bc"], id="circle"
        ),
        pytest.param("def later():\n    import ab", {"ab.py": "1 / 0"}, ["ab"], id="not-imported-yet"),
        pytest.param(
            "def later():\n    from pp.qq import rr",
            {"pp/__init__.py": "1 / 0", "pp/qq/__init__.py": "", "pp/qq/rr.py": "from . import ss", "pp/qq/ss.py": ""},
            ["pp", "pp.qq", "pp.qq.rr", "pp.qq.ss"],
            id="package-not-imported-yet",
        ),
        pytest.param("import importlib\nab = importlib.import_module('a' + 'b')", ["ab.py"], ["ab"], id="by-name"),
        pytest.param("try:\n    import no_such_module\nexcept ImportError:\n    pass", [], [], id="optional"),
        pytest.param("import os, json, numpy.linalg, emloop", [], [], id="installed"),
        pytest.param("def later():\n    from ....too import far", [], [], id="beyond-the-top"),
    ],
)
def test_a_capsule_holds_what_is_imported_and_no_package(project, text, files, expected):
    """Of packages, only the versions are known."""
    files = files if isinstance(files, dict) else dict.fromkeys(files, "")
    module = project("first", {"first.py": net(text), **files})

    assert collected(module) == sorted(["first", *expected])


def test_a_relative_import_is_followed_from_its_own_package(project):
    """From the text of a package, one level or two."""
    text = net("from .part import x\nfrom ..other import y")
    files = {"pk/__init__.py": "", "pk/nets/__init__.py": text, "pk/nets/part.py": "x = 1", "pk/other.py": "y = 1"}

    assert collected(project("pk.nets", files)) == ["pk", "pk.nets", "pk.nets.part", "pk.other"]


def test_a_class_that_the_configuration_names_belongs_to_it(project):
    """However deep it stands; text that only looks like a name does no harm."""
    module = project("first", {"first.py": net(), "blocks.py": "class Block: pass"})
    section = {
        "net": [{"class": "blocks.Block"}],
        "note": "e.g. this one",
        "x": "no.such.thing",
        "y": [1, None, "a.py"],
    }

    assert collected(module, **section) == ["blocks", "first"]


def test_a_base_class_in_another_module_belongs_to_it(project):
    """Also where the name of its module does not stand in the text."""
    text = net("import importlib\nBase = getattr(importlib.import_module('ba' + 'se'), 'B')", "Base")

    assert collected(project("first", {"first.py": text, "base.py": "class B: pass"})) == ["base", "first"]


def test_a_text_that_changed_since_it_was_imported_is_left_out_and_named(project, caplog):
    """What would be kept is not what has been trained."""
    module = project("first", {"first.py": net("import ab"), "ab.py": "def f():\n    return 1\n"})
    (project.home / "ab.py").write_text("def f():\n    return 2\n")

    assert collected(module) == ["first"]
    assert f"The source capsule lacks ab: {project.home}/ab.py has changed since it was imported" in caplog.text


def test_what_is_compiled_or_beside_a_module_is_named(project, caplog):
    """A capsule holds texts only."""
    files = {"first.py": net("import ab\nimport fast"), "ab.py": "here = __file__", "fast.py": ""}
    module = project("first", files)
    py_compile.compile(str(project.home / "fast.py"), str(project.home / "fast.pyc"))
    (project.home / "fast.py").unlink()
    del sys.modules["fast"]
    importlib.invalidate_caches()
    importlib.import_module("fast")

    assert collected(module) == ["ab", "first"]
    assert f"The source capsule lacks fast: {project.home}/fast.pyc is no source text" in caplog.text
    assert "ab may read files beside it, which the source capsule does not hold" in caplog.text


def test_a_class_of_a_script_or_of_a_package_makes_no_capsule(caplog):
    """There is nothing of it that could be imported elsewhere, or needs to go along."""
    assert collect_capsule([type("Net", (), {"__module__": "__main__"})], {}) is None
    assert collect_capsule([logging.Logger], {}) is None
    assert "There is no source capsule: __main__: a script cannot be imported" in caplog.text
    assert "There is no source capsule: the model is made of installed packages only" in caplog.text


def test_a_project_that_is_too_large_makes_no_capsule(project, caplog):
    """Somebody has to read it."""
    module = project("first", {"first.py": net("import tables"), "tables.py": f"x = '{'x' * (5 << 20)}'"})

    assert collect_capsule([module.Net], {}) is None
    assert "more than 4194304; the longest is tables" in caplog.text


FILES = {
    "pk/__init__.py": "",
    "pk/nets.py": "from ns.part import x\nfrom .more import y\n\n" + net(),
    "pk/more.py": "y = 2",
    "ns/part.py": "x = 1",
}


@pytest.fixture
def saved(project, tmp_path):
    """A saved model with a capsule of a package and a namespace; its project is gone."""
    module = project("pk.nets", FILES)
    capsule = collect_capsule([module.Net], {})
    project.leave()
    return saved_with(capsule, tmp_path / "log" / "run" / "model_best")


def test_nothing_is_imported_unless_its_user_says_so(saved):
    """Neither by restoring, nor by reading the capsule."""
    found, path = find_saved(saved).capsule()

    assert sorted(found.modules) == ["ns.part", "pk", "pk.more", "pk.nets"]
    assert path == next(saved.glob("capsule-*.json"))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pk.nets")


def test_a_trusted_source_is_imported_from_memory_and_shown_before(saved, caplog):
    """Tracebacks show its lines, and its classes can be collected again."""
    trust_source_of(saved)
    shown = caplog.text
    module = importlib.import_module("pk.nets")

    assert (module.x, module.y) == (1, 2)
    assert "pk/nets.py  sha256 " in shown
    with pytest.raises(ArithmeticError) as raised:
        module.Net().run()
    linecache.checkcache()
    assert "raise ArithmeticError('from the net')" in traceback.format_exception(raised.value)[-2]
    assert str(saved) in traceback.extract_tb(raised.value.__traceback__)[-1].filename
    assert collect_capsule([module.Net], {}) == find_saved(saved).capsule()[0]


def test_trusting_twice_changes_nothing(saved):
    """The modules stay the same objects."""
    trust_source_of(saved)
    module = importlib.import_module("pk.nets")
    trust_source_of(saved)

    assert importlib.import_module("pk.nets") is module


def test_where_the_source_is_the_capsule_is_not_used(saved, project, caplog):
    """The modules that are there win."""
    caplog.set_level(logging.INFO)
    project(None, FILES)

    trust_source_of(saved)

    assert "The source is here, so the capsule of" in caplog.text
    assert importlib.import_module("pk.nets").__file__ == str(project.home / "pk" / "nets.py")


@pytest.mark.parametrize(
    ("path", "text"), [("pk.py", ""), ("pk/__init__.py", "z = 1"), ("ns/part.py", "x = 2"), ("pk/nets.py", "")]
)
@pytest.mark.parametrize("imported", [False, True])
def test_two_projects_are_not_mixed(saved, project, path, text, imported):
    """A module here that has one of the names and another text refuses the capsule; nothing of it is imported then."""
    there = {path: text} if path != "pk/nets.py" else {"pk/__init__.py": "", path: text}
    project(path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") if imported else None, there)

    with pytest.raises(UntrustedError, match="is another than the one here") as raised:
        trust_source_of(saved)

    assert str(project.home / path) in str(raised.value)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pk.more")


def test_a_folder_that_happens_to_have_the_name_is_no_module(saved, project):
    """Such as one with checkpoints in the working directory."""
    (project.home / "pk").mkdir(parents=True, exist_ok=True)
    importlib.invalidate_caches()

    trust_source_of(saved)

    assert importlib.import_module("pk.nets").y == 2


def forged(capsule, **modules):
    described = json.loads(capsule.content())
    for name, (path, text, digest) in modules.items():
        described["modules"][name] = {"path": path, "sha256": digest, "text": text}
    return dump(described)


HASH_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("os", ("os.py", "", HASH_OF_NOTHING), "'os' would take the place of a module that is no project's own"),
        ("os.path", ("os/path.py", "", HASH_OF_NOTHING), "'os.path' would take the place"),
        ("emloop.evil", ("emloop/evil.py", "", HASH_OF_NOTHING), "'emloop.evil' would take the place"),
        ("__main__", ("__main__.py", "", HASH_OF_NOTHING), "'__main__' would take the place"),
        ("sitecustomize2", ("../../evil.py", "", HASH_OF_NOTHING), "'../../evil.py' is no place for a module"),
        ("../evil", ("../evil.py", "", HASH_OF_NOTHING), "is no place for a module '../evil'"),
        ("a..b", ("a//b.py", "", HASH_OF_NOTHING), "is no place for a module 'a..b'"),
        ("net", ("/net.py", "", HASH_OF_NOTHING), "'/net.py' is no place for a module 'net'"),
        ("net", ("net.py", "evil = 1", HASH_OF_NOTHING), "the text of 'net' has been changed"),
        ("net", ("net.py", "", HASH_OF_NOTHING), "has been changed: it is not what was hashed"),
    ],
)
def test_a_forged_capsule_is_refused(name, entry, message):
    """Exit code 4, and nothing of it is used."""
    capsule = Capsule({"first": ("first.py", "x = 1")})

    with pytest.raises(UntrustedError, match=r"^c\.json") as raised:
        Capsule.parse(forged(capsule, **{name: entry}), "c.json")

    assert message in str(raised.value)
    assert raised.value.exit_code == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"sha256": 1}',
        b'{"kind": "capsule", "format": 2, "modules": {}, "packages": {}, "left_out": {}, "sha256": ""}',
        b'{"kind": "capsule", "format": 1, "modules": [], "packages": {}, "left_out": {}, "sha256": ""}',
    ],
)
def test_what_is_no_capsule_is_named(content):
    """Whatever it is."""
    with pytest.raises(SavedModelError, match=r"^c\.json"):
        Capsule.parse(content, "c.json")


def test_a_changed_byte_in_a_saved_capsule_is_noticed(saved):
    """As in every file of a saved model."""
    path = next(saved.glob("capsule-*.json"))
    path.write_bytes(path.read_bytes().replace(b"x = 1", b"x = 9"))

    with pytest.raises(SavedModelError, match="does not match its hash"):
        trust_source_of(saved)


def test_without_a_capsule_there_is_none_to_trust(tmp_path, caplog):
    """That is said; restoring goes on with what there is."""
    directory = saved_with(None, tmp_path / "model_best")

    trust_source_of(directory)

    assert find_saved(directory).manifest["capsule"] is None
    assert f"There is no source capsule in {directory} to be trusted" in caplog.text


def test_a_module_that_was_left_out_says_why(project, tmp_path):
    """Where it is not here either."""
    capsule = Capsule({"first": ("first.py", "import fast")}, left_out={"fast": "fast.so is no source text"})
    trust_source_of(saved_with(capsule, tmp_path / "model_best"))

    with pytest.raises(ImportError, match=r"fast is not in the source capsule: fast\.so is no source text"):
        importlib.import_module("first")


def test_two_capsules_share_a_namespace(project, tmp_path):
    """Members of an ensemble may come from one project."""
    for name in ("one", "two"):
        capsule = Capsule({f"shared.{name}": (f"shared/{name}.py", f"name = '{name}'")})
        trust_source_of(saved_with(capsule, tmp_path / name))

    assert [importlib.import_module(f"shared.{name}").name for name in ("one", "two")] == ["one", "two"]


def test_the_same_project_gives_the_same_bytes(project):
    """In every process, so that a capsule is written once."""
    project("first", {"first.py": net("import ab, bb"), "ab.py": "", "bb.py": ""})
    code = (
        "import first; from emloop.saved_models import collect_capsule as c; print(c([first.Net], {}).content().hex())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": f"{project.home}:{':'.join(sys.path)}", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(said) == 1
