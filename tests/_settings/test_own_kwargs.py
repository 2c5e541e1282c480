"""Classes that look into their own ``**kwargs``: what the check accepts is built, and what it refuses is not."""

from __future__ import annotations

import sys
import textwrap

import pytest

from emloop._build import build_hooks
from emloop._config import load_config
from emloop._config.check import check_config

MODULE = """
    import emloop as el
    from emloop import AbstractHook
    from emloop.hooks import AccumulateVariables, EveryNEpoch


    class Base(AbstractHook):
        stateless = True


    class Pops(Base):
        def __init__(self, **kwargs):
            self.p, self.q = kwargs.pop("p", 1), kwargs.get("q")
            super().__init__(**kwargs)


    class Needs(Base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.p = kwargs["p"]


    class NeedsByPop(Base):
        def __init__(self, **kwargs):
            self.both = [kwargs.pop("p"), kwargs["q"]]
            super().__init__(**kwargs)


    class NeedsOnlySometimes(Base):
        def __init__(self, **kwargs):
            self.p = kwargs["p"] if "p" in kwargs else 0
            if "q" in kwargs:
                self.q = kwargs["q"]
            self.both = "q" in kwargs and kwargs["q"]
            try:
                self.p = kwargs["p"]
            except KeyError:
                pass
            super().__init__(**kwargs)


    class NeedsAfterAWayOut(Base):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            if "q" in kwargs:
                return
            self.p = kwargs.get("p")
            for _ in ():
                self.q = kwargs["q"]


    class FillsIn(Base):
        def __init__(self, **kwargs):
            kwargs.setdefault("p", 3)
            self.p = kwargs["p"]
            del kwargs["p"]
            super().__init__(**kwargs)


    class FillsInElsewhere(Base):
        def __init__(self, **kwargs):
            complete(kwargs)
            self.p = kwargs["p"]
            super().__init__()


    class TakesInTurn(Base):
        def __init__(self, **kwargs):
            for name in ("p", "q"):
                setattr(self, name, kwargs.pop(name, None))
            super().__init__(**kwargs)


    class NeedsInTurn(AccumulateVariables):
        def __init__(self, **kwargs):
            self.own = {name: kwargs[name] for name in ("p", "q")}
            super().__init__(variables=[], **{k: v for k, v in kwargs.items() if k not in self.own})


    class TakesInTwoTurns(Base):
        def __init__(self, **kwargs):
            self.p = [kwargs.get(name) for name in ("p",)]
            self.q = [kwargs[name] for name in ("q",)]
            super().__init__(**kwargs)


    class NeedsSomeInTurn(Base):
        def __init__(self, **kwargs):
            self.own = [kwargs[name] for name in ["p", "q"] if name in kwargs]
            super().__init__(**kwargs)


    class Copies(Base):
        def __init__(self, **kwargs):
            own = dict(kwargs)
            self.p = own.pop("p", None)
            super().__init__(**own)


    class Helped(Base):
        def __init__(self, **kwargs):
            self._take(**kwargs)
            super().__init__()

        def _take(self, p=1, **_):
            self.p = p


    class Wraps(EveryNEpoch):
        stateless = True

        def __init__(self, **kwargs):
            super().__init__(n_epochs=kwargs.pop("p", 2), **kwargs)

        def _after_n_epoch(self, epoch_id):
            pass


    class Plain(Base):
        def __init__(self, p=1, **kwargs):
            super().__init__(**kwargs)


    class Late(Base):
        def __init__(self, **kwargs):
            AbstractHook.__init__(self, **kwargs)
            if "p" in kwargs:
                self.p = kwargs["p"]


    class Injected(Base):
        def __init__(self, **kwargs):
            self.here = kwargs["output_dir"], kwargs["model"]
            super().__init__(**kwargs)


    def complete(options):
        options["p"] = 1


    class Data(el.BaseDataset):
        def _configure_dataset(self, **kwargs):
            self.size = kwargs["batch_size"]

        def train_stream(self):
            return []


    class Model(el.AbstractModel):
        input_names = output_names = ()

        def __init__(self, **kwargs):
            el.AbstractModel.__init__(self, **kwargs)
            self.rate = kwargs["rate"]

        def run(self, batch, train):
            return {}

        def save(self, name_suffix):
            return ""
"""
HOOKS = [
    line.split()[1].partition("(")[0]
    for line in MODULE.splitlines()
    if line.strip().startswith("class ")
    and not line.strip().startswith(("class Base", "class Data", "class Model", "class TakesInTwo"))
]
GOOD = {"dataset": "{class: owning.Data, batch_size: 3}", "model": "{class: owning.Model, rate: 1}", "hooks": "[]"}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a config, with other sections than the good ones, and return its path."""
    (tmp_path / "owning.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "owning", raising=False)

    def write(**sections):
        text = "".join(f"{name}: {content}\n" for name, content in {**GOOD, **sections}.items())
        (tmp_path / "config.yaml").write_text(text)
        return tmp_path / "config.yaml"

    yield write
    sys.modules.pop("owning", None)


@pytest.mark.parametrize("arguments", ["{}", "{p: 1}", "{q: 2}", "{p: 1, q: 2}", "{other: 3}"])
@pytest.mark.parametrize("name", HOOKS)
def test_check_and_building_agree(config, name, arguments):
    """Whatever a hook does with its ``**kwargs``: neither says yes where the other says no."""
    path = config(hooks=f"[owning.{name}: {arguments}]")
    found = [problem.message for problem in check_config(path)[1]]
    try:
        build_hooks(load_config(path), object(), object(), "somewhere")
        is_built = True
    except (ValueError, KeyError):
        is_built = False

    assert is_built == (not found), found


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"dataset": "{class: owning.Data}"}, "Data needs the argument 'batch_size'"),
        ({"model": "{class: owning.Model}"}, "Model needs the argument 'rate'"),
        ({"hooks": "[owning.Needs]"}, "Needs needs the argument 'p'"),
        ({"dataset": "{class: owning.Data, batchsize: 3}"}, "unknown argument 'batchsize'"),
    ],
)
def test_what_is_looked_up_without_a_default_has_to_be_given(config, sections, message):
    """It is found before anything is built, instead of as a ``KeyError`` from inside a constructor."""
    assert [problem.message for problem in check_config(config(**sections))[1]] == [message]


def test_a_name_that_two_loops_use_makes_nothing_certain(config):
    """What cannot be told apart is left to the class: nothing that it takes is refused."""
    path = config(hooks="[owning.TakesInTwoTurns: {p: 1, q: 2}]")

    assert check_config(path)[1] == []
    assert build_hooks(load_config(path), object(), object(), "somewhere")[0].q == [2]
