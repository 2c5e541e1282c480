"""From names and arguments in a configuration to objects; what is wrong is told where it stands."""

from __future__ import annotations

import enum
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from emloop import AbstractHook, AbstractModel
from emloop._build import build_hooks, build_model, check, fallback_name
from emloop._config import load_config
from emloop._registry import find_class
from emloop._settings.fitting import describe, value_problems
from emloop._settings.kinds import DATASET, HOOK, MODEL
from emloop._settings.live import hint_of
from emloop.arguments import read_component
from emloop.declare import Family
from emloop.errors import ConfigError, UnknownClassError
from emloop.hooks import SaveBest, StopAfter
from emloop.main_loop import MainLoop

MODULE = """
    import emloop as el

    class Data(el.BaseDataset):
        def _configure_dataset(self, output_dir, size: int = 3):
            self.size = size

    class Open(el.BaseDataset):
        def _configure_dataset(self, output_dir, **kwargs):
            self.given = kwargs

    class Model(el.AbstractModel):
        input_names = output_names = ()

        def __init__(self, dataset, log_dir, restore_from=None, *, rate: float, hidden: int = 3):
            self.dataset, self.log_dir, self.restore_from, self.rate = dataset, log_dir, restore_from, rate

        def run(self, batch, train, stream=None):
            return {}

        def save(self, name_suffix):
            return name_suffix

    class Fallback(Model):
        def __init__(self, dataset, log_dir, restore_from=None):
            self.restore_from = restore_from

    class OldHook(el.AbstractHook):
        def __init__(self, colour, output_dir, **kwargs):
            super().__init__(**kwargs)
            self.colour, self.output_dir = colour, output_dir

    class Modest(el.AbstractHook):
        def __init__(self, name):
            self.own_name = name

    class NoModel:
        pass

    def function():
        pass
"""


def _fits(value, hint):
    return not any(value_problems(value, hint, None))


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """The name of an importable module with a dataset, models and hooks."""
    name = f"parts_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def configure(parts, tmp_path):
    """Writes a config and loads it; ``PARTS`` stands for the module."""

    def load(text: str, *overrides: str) -> Any:
        path = tmp_path / "config.yaml"
        path.write_text(textwrap.dedent(text).replace("PARTS", parts).lstrip("\n"))
        return load_config(path, overrides)

    return load


GOOD = """
    dataset: {class: PARTS.Data}
    model:
      class: PARTS.Model
      rate: 0.1
    hooks:
      - StopAfter: {epochs: 3}
"""


def test_built_in_hooks_have_short_names():
    """No package is needed for what emloop ships."""
    assert StopAfter is find_class("StopAfter", HOOK)
    assert StopAfter is find_class("emloop.hooks.StopAfter", HOOK)
    assert StopAfter is find_class("emloop.hooks.stop_after.StopAfter", HOOK)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("StopAfer", HOOK, "unknown hook 'StopAfer'\n  did you mean 'StopAfter'?"),
        ("no_such_package.Hook", HOOK, "no_such_package.Hook leads nowhere: there is no module 'no_such_package'"),
        ("emloop.hoks.StopAfter", HOOK, "emloop has no 'hoks'\n  did you mean 'hooks'?"),
        ("emloop.hooks.StopAfer", HOOK, "emloop.hooks has no 'StopAfer'\n  did you mean 'StopAfter'?"),
        ("PARTS.function", MODEL, "PARTS.function is no class but a function"),
        ("PARTS.NoModel", MODEL, "PARTS.NoModel is no model: it has no method 'run', 'save'"),
        ("os.system", HOOK, "os.system is no class but a builtin_function_or_method"),
        ("Net", MODEL, "unknown model 'Net'"),
    ],
)
def test_a_name_that_leads_nowhere_says_how_far_it_led(parts, name, kind, message):
    """And what is near."""
    with pytest.raises(UnknownClassError) as caught:
        find_class(name.replace("PARTS", parts), kind)
    assert message.replace("PARTS", parts) in str(caught.value)
    assert isinstance(caught.value, ModuleNotFoundError)


def test_a_module_whose_own_imports_fail_is_told_apart_from_a_missing_one(tmp_path, monkeypatch):
    """The message names the import that failed."""
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        UnknownClassError, match="importing needs_more failed: No module named 'not_installed_anywhere'"
    ):
        find_class("needs_more.Hook", HOOK)


def test_an_error_of_the_users_own_module_is_not_dressed_up(tmp_path, monkeypatch):
    """Anything but an ImportError comes out as it is."""
    (tmp_path / "breaks.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ZeroDivisionError):
        find_class("breaks.Hook", HOOK)


def test_classes_inside_classes_are_found(tmp_path, monkeypatch):
    """A path may go on behind the module."""
    (tmp_path / "nested.py").write_text("class Outer:\n    class Inner:\n        def train_stream(self): ...\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert "Inner" == find_class("nested.Outer.Inner", DATASET).__name__


class Rates(Family):
    """Any class of a module."""

    home = "my_rates"


def test_a_family_without_a_base_takes_any_class_of_its_home(tmp_path, monkeypatch):
    """Short names are those of the module's classes."""
    (tmp_path / "my_rates.py").write_text("class Constant:\n    def __init__(self, rate: float):\n        pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    chosen = read_component(Rates, {"class": "Constant", "rate": 0.1}, ("rate",))

    assert ("my_rates", "Constant", {"rate": 0.1}) == (chosen.cls.__module__, chosen.cls.__name__, chosen.arguments)
    with pytest.raises(ConfigError, match="did you mean 'Constant'"):
        read_component(Rates, "Constnt", ("rate",))


@dataclass(frozen=True)
class Span:
    """A key that is a word of Python."""

    from_: int
    to: int = 9


class Spanned(Rates):
    """Further keys, one of which must be given."""

    word = "spanned rate"
    home = "my_spans"

    span: Span
    others: Sequence[Span] = ()


def test_keys_of_a_family_are_read_as_deep_as_they_nest(tmp_path, monkeypatch):
    """Data classes are made of mappings, also in lists; a key without a default must be given."""
    (tmp_path / "my_spans.py").write_text("class Constant:\n    def __init__(self, rate: float = 1.0):\n        pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    given = {"class": "Constant", "span": {"from": 1}, "others": [{"from": 2, "to": 3}]}
    chosen = read_component(Spanned, given, ("rate",))
    assert {"span": Span(1), "others": [Span(2, 3)]} == chosen.beside
    for wrong, message in (
        ("Constant", "rate: each spanned rate needs the argument 'span'"),
        ({"class": "Constant", "span": {"from_": 1}}, "rate.span: unknown argument 'from_'"),
        ({"class": "Constant", "span": {"to": 1}}, "rate.span: Span needs the argument 'from'"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_component(Spanned, wrong, ("rate",))


def test_all_mistakes_come_at_once_each_with_its_place(configure, tmp_path):
    """Nothing is built before everything is checked."""
    config = configure(
        """
        dataset:
          class: PARTS.Data
          szie: 4
        model:
          class: PARTS.Model
          rate: fast
        hooks:
          - StopAfter: {epoch: 3}
          - SaveBst
        main_loop:
          epochs_cont: 3
        """,
        "model.hiden=4",
    )

    with pytest.raises(ConfigError) as caught:
        check(config, MainLoop)

    path = tmp_path / "config.yaml"
    assert [
        f"{path}:3:3: dataset: unknown argument 'szie'",
        f"{path}:6:9: model.rate: expected number, got 'fast'",
        "argument 1: model: unknown argument 'hiden'",
        f"{path}:8:17: hooks[0].StopAfter: unknown argument 'epoch'",
        f"{path}:9:5: hooks[1].SaveBst: unknown hook 'SaveBst'",
        f"{path}:11:3: main_loop: unknown argument 'epochs_cont'",
    ] == sorted(
        (str(problem).splitlines()[0] for problem in caught.value.problems),
        key=lambda line: ["szie", "rate:", "hiden", "'epoch'", "SaveBst", "cont"].index(
            next(word for word in ["szie", "rate:", "hiden", "'epoch'", "SaveBst", "cont"] if word in line)
        ),
    )
    hidden = next(problem for problem in caught.value.problems if "hiden" in problem.message)
    assert "did you mean 'hidden'?" in hidden.hints


def test_a_missing_argument_is_named(configure):
    """Before the constructor is called."""
    config = configure(GOOD, "~model.rate")

    with pytest.raises(ConfigError, match="Model needs the argument 'rate'"):
        check(config, MainLoop)


def test_arguments_that_only_the_class_knows_are_left_to_it(configure):
    """``**kwargs`` in the user's own code accepts everything."""
    check(
        configure(
            GOOD, "dataset={class: PARTS.Open, anything: 3}".replace("PARTS", configure(GOOD)["dataset"]["class"][:-5])
        ),
        MainLoop,
    )


@pytest.mark.parametrize(("policy", "warned"), [("warn", 1), ("ignore", 0)])
def test_unknown_arguments_can_be_left_out_instead(configure, caplog, policy, warned):
    """``main_loop.on_incorrect_config`` governs them everywhere."""
    config = configure(GOOD, "hooks.StopAfter.colour=red", f"main_loop={{on_incorrect_config: {policy}}}")

    check(config, MainLoop)
    (hook,) = build_hooks(config)

    assert isinstance(hook, StopAfter)
    assert warned == caplog.text.count("StopAfter does not take 'colour'")


def test_an_impossible_value_that_only_the_constructor_notices_has_its_place(configure, tmp_path):
    """Even then the message says where the argument stands."""
    config = configure(GOOD.replace("StopAfter: {epochs: 3}", "SaveBest: {condition: mn}"))

    with pytest.raises(ConfigError) as caught:
        build_hooks(config, model=object())

    assert str(caught.value).startswith(
        f"{tmp_path / 'config.yaml'}:6:27: hooks[0].SaveBest.condition: expected one of 'min', 'max', got 'mn'"
    )


def test_hooks_are_given_the_objects_that_they_name(configure, parts):
    """And only these; a hook of the reference with **kwargs gets all."""
    config = configure(
        """
        dataset: {class: PARTS.Data}
        model: {class: PARTS.Model, rate: 1}
        hooks:
          - PARTS.OldHook: {colour: red, name: painter}
          - PARTS.Modest: {name: own}
          - SaveBest
        """
    )

    old, *_ = hooks = build_hooks(
        {"hooks": [config["hooks"][0], "SaveBest"]}, model="the model", dataset="the dataset", output_dir="there"
    )

    assert ("red", "there", "painter") == (old.colour, old.output_dir, old.hook_name)
    assert isinstance(hooks[1], SaveBest)


def test_hooks_do_not_share_their_arguments_with_the_config(configure):
    """A hook that changes what it was given changes nothing in the run's config."""
    config = {"hooks": [{"ComputeStats": {"variables": ["loss"]}}]}

    build_hooks(config)

    assert {"hooks": [{"ComputeStats": {"variables": ["loss"]}}]} == config


def test_an_empty_hook_config_is_warned_about(caplog):
    """With the reference's words."""
    build_hooks({"hooks": [{"LogVariables": None}]})

    assert ["\t\t Empty config of `LogVariables` hook"] == caplog.messages


@pytest.mark.parametrize(
    "hooks", [{"StopAfter": {"epochs": 3}}, [{"StopAfter": {}, "SaveBest": {}}], [3], [{"StopAfter": 3}]]
)
def test_hooks_of_an_impossible_form_are_refused(hooks):
    """A mapping would lose its arguments, two names in one entry are an indentation gone wrong."""
    with pytest.raises(ConfigError, match="hooks"):
        build_hooks({"hooks": hooks})


def test_a_missing_model_class_is_replaced_by_the_fallback_when_restoring(configure, caplog):
    """One warning names both and why; arguments that only the missing class takes are left out."""
    config = configure(GOOD, "model.class=gone_away.Net")
    config["model"]["restore_fallback"] = config["dataset"]["class"].replace("Data", "Fallback")

    model = build_model(config, None, None, restore_from="somewhere")

    assert "somewhere" == model.restore_from
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "gone_away.Net is restored as" in warning.getMessage()
    assert "there is no module 'gone_away'" in warning.getMessage()


def test_a_model_that_is_given_its_state_begins_with_nothing_else(tmp_path, monkeypatch):
    """A run goes on also where the weights that it once began with are gone."""
    (tmp_path / "begun.py").write_text(
        textwrap.dedent("""
        import emloop as el

        class Model(el.AbstractModel):
            input_names = output_names = run = save = None
            only_when_fresh = ("weights",)

            def __init__(self, *, size, weights=None):
                self.made_of = size, weights
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = {"model": {"class": "begun.Model", "size": 2, "weights": "gone"}}

    assert build_model(config).made_of == (2, "gone")
    assert build_model(config, state_from="checkpoints/00000001").made_of == (2, None)


def test_without_restoring_a_missing_model_class_is_an_error(configure):
    """A training of something else would be worse."""
    config = configure(GOOD, "model.class=gone_away.Net")
    config["model"]["restore_fallback"] = config["dataset"]["class"].replace("Data", "Fallback")

    with pytest.raises(UnknownClassError, match="there is no module 'gone_away'"):
        build_model(config)


def test_without_a_fallback_the_error_says_what_would_help(configure, tmp_path):
    """What was looked for, where, and the way out."""
    config = configure(GOOD, "model.class=gone_away.Net")

    with pytest.raises(UnknownClassError) as caught:
        build_model(config, None, None, restore_from=str(tmp_path))

    assert "neither the configuration nor the saved model names a restore_fallback" in str(caught.value)
    assert "make the model's source importable" in str(caught.value)


def test_an_error_of_the_models_own_constructor_is_never_hidden_by_the_fallback(configure, parts, tmp_path):
    """Only a class that cannot be found is replaced."""
    (tmp_path / f"{parts}_2.py").write_text(
        "import emloop as el\nclass Broken(el.AbstractModel):\n"
        "    input_names = output_names = run = save = None\n"
        "    def __init__(self, dataset, log_dir, restore_from=None):\n        import not_there\n"
    )
    config = configure(GOOD, f"model={{class: {parts}_2.Broken, restore_fallback: {parts}.Fallback}}")

    with pytest.raises(ModuleNotFoundError, match="not_there"):
        build_model(config, None, None, restore_from="x")


def test_the_fallback_may_be_named_by_an_attribute_a_property_or_a_method():
    """As a name or as the class itself."""

    class Base(AbstractModel):
        input_names = output_names = run = save = None  # type: ignore[assignment]

    class Attribute(Base):
        restore_fallback = "package.Class"

    class Property(Base):
        @property
        def restore_fallback(self):
            return StopAfter

    class Method(Base):
        def restore_fallback(self):
            return "package.Class"

    assert ["package.Class", "emloop.hooks.stop_after.StopAfter", "package.Class", None] == [
        fallback_name(cls()) for cls in (Attribute, Property, Method, Base)
    ]


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("hint", "good", "bad", "words"),
    [
        (int, [3], [3.0, True, "3", None], "whole number"),
        (float, [3, 3.5], [True, "3"], "number"),
        (str, ["a"], [3], "text"),
        (bool, [True], [1, "yes"], "true or false"),
        (list[int], [[1], []], [["a"], 1, "ab"], "list of whole number"),
        (dict[str, float], [{"a": 1}], [{"a": "b"}, [1]], "mapping of text to number"),
        (int | None, [None, 1], ["a"], "whole number or null"),
        (Literal["a", 1], ["a", 1], ["b", True], "one of 'a', 1"),
        (Path, ["a/b"], [3], "path"),
        (Colour, ["RED", 1], ["BLUE"], "one of 'RED'"),
        (tuple[int, str], [[1, "a"]], [[1], ["a", 1]], "list of whole number, text"),
        (Any, [1, None], [], "Any"),
    ],
)
def test_values_are_held_against_type_hints(hint, good, bad, words):
    """What a hint says about YAML values is checked, anything else accepted."""
    assert all(_fits(value, hint_of(hint)) for value in good)
    assert not any(_fits(value, hint_of(hint)) for value in bad)
    assert words == describe(hint_of(hint))


def test_a_hook_from_the_reference_runs_unchanged():
    """``super().__init__(**kwargs)`` takes the injected objects and refuses what nobody knows."""

    class Old(AbstractHook):
        def __init__(self, colour, **kwargs):
            super().__init__(**kwargs)

    Old("red", model=1, dataset=2, output_dir=3)
    with pytest.raises(ConfigError, match="unknown argument 'color'\n  did you mean 'colour'"):
        Old("red", color="blue")
