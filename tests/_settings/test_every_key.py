"""A misspelling of every documented key, of every section and backend, is found where it stands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = '''
import json, sys
from pathlib import Path

from emloop._config.check import MAIN_LOOP_CLASS, check_config, new_library
from emloop._config._composing.compose import EVALUATION_KEYS
from emloop._settings.annotations import hint_in
from emloop._settings.hints import Accepted
from emloop._settings.kinds import HOOK, MAIN_LOOP, MODEL
from emloop._settings.naming import SourceResolver, find_source, known_names
from emloop._settings.signatures import accepted_by_source
from emloop._source.ancestry import Ancestry
from emloop._yaml.documents import dump

BACKENDS = sys.argv[1:]
library = new_library()
resolver = SourceResolver(library)
plain = {"dataset": {"class": "nowhere.Data"}, "model": {"class": "nowhere.Model"}}


def misspelt(key):
    return key[:2] + "q" + key[2:]


def accepted(name, kind):
    return accepted_by_source(Ancestry(library, find_source(library, name, kind))).without((*kind.injected,))


def inside(hint):
    """The data classes and families that a hint holds, with the keys that lead to a value of theirs."""
    if hint.kind == "fields" or hint.component is not None:
        yield (), hint
    for part in hint.parts:
        for keys, found in inside(part):
            yield ((0, *keys) if hint.kind == "list" else keys), found


def nested(keys, value):
    for key in reversed(keys):
        value = [value] if key == 0 else {key: value}
    return value


def cases():
    """What to write, where it goes, and the keys that are misspelt there."""
    for name in known_names(library, HOOK):
        keys = list(accepted(name, HOOK).hints)
        yield {"hooks": [{name: dict.fromkeys(map(misspelt, keys), 1)}]}, ("hooks", 0, name), keys
    yield from of_class("main_loop", accepted(MAIN_LOOP_CLASS, MAIN_LOOP), {})
    yield {"eval": {"test": dict.fromkeys(map(misspelt, EVALUATION_KEYS), {})}}, ("eval", "test"), EVALUATION_KEYS
    for name in BACKENDS:
        yield from of_class("model", accepted(name, MODEL), {"class": name})


def of_class(section, found, content):
    yield {section: {**content, **dict.fromkeys(map(misspelt, found.hints), 1)}}, (section,), list(found.hints)
    for key, hint in found.hints.items():
        for keys, inner in inside(hint):
            where = (key, *keys)
            for written, names in of_hint(inner):
                yield {section: {**content, key: nested(keys, written)}}, (section, *where), names


def of_hint(hint):
    if hint.kind == "fields":
        names = [field.name for field in hint.fields]
        yield dict.fromkeys(map(misspelt, names), 1), names
        return
    kind = hint.component
    estimators = ["sklearn.linear_model.SGDClassifier", "sklearn.pipeline.Pipeline"]
    names = known_names(library, kind) if kind.package else estimators
    for name in names:
        found = resolver.accepted(name, kind)
        if name in kind.refused or not isinstance(found, Accepted) or found.open:
            continue
        called = {own: name for name, own in kind.names.items()}
        hidden = {*kind.injected, *kind.refused}
        keys = [called.get(key, key) for key in found.hints if key not in hidden]
        keys += [*kind.variants, *(field.name for field in kind.fields)]
        yield {"class": name, **dict.fromkeys(map(misspelt, keys), 1)}, keys


missed, count, suggested = [], 0, 0
for content, where, keys in cases():
    Path("config.yaml").write_text(dump({**plain, **content}))
    found = {problem.keys: problem for problem in check_config("config.yaml")[1]}
    for key in keys:
        problem = found.get((*where, misspelt(key)))
        place = problem and problem.place
        count += 1
        if not place or place.excerpt[place.column - 1 :][: place.width] != misspelt(key):
            missed.append([*map(str, where), key])
        else:
            suggested += f"did you mean {key!r}?" in problem.hints
print(json.dumps([missed, count, suggested, sorted({"torch", "sklearn", "numpy"} & set(sys.modules))]))
'''


@pytest.mark.parametrize(
    ("module", "backends", "least"),
    [
        pytest.param("numpy", [], 140, id="core"),
        pytest.param("sklearn", ["emloop_sklearn.BaseModel"], 170, id="sklearn"),
        pytest.param(
            "torch", ["emloop_torch.BaseModel", "emloop_torch.Supervised"], 1000, id="torch", marks=pytest.mark.torture
        ),
    ],
)
def test_every_misspelt_key_is_found_with_its_place(module, backends, least, tmp_path):
    """As deep as sections nest, without importing a framework; nearly always with the right word to write instead."""
    pytest.importorskip(module)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *backends], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    missed, count, suggested, imported = json.loads(done.stdout)
    assert missed == []
    assert count >= least
    assert suggested >= 0.95 * count
    assert imported == []
