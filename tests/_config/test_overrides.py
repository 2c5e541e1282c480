"""A configuration is changed from the command line."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emloop._config import load_config, parse_arg
from emloop.errors import ConfigError, Place

ANCHORS = "a: &x {b: 1}\ne: {<<: *x, f: 2}\n"
NESTED = "a: &x {n: {q: 1}}\ne: {<<: *x}\n"
ALIAS = "a: &x {b: 1}\ng: *x\n"
SCALAR = "rate: &rate 0.1\nmodel: {lr: *rate}\nother: *rate\n"
TRAINING = """\
dataset:
  class: d.Data
model:
  class: m.Model
  layers:
    - {units: 8}
    - {units: 4}
  weights: {0: 1.0, 1: 2.0}
  io.in: [x]
hooks:
  - SaveLatest
  - StopAfter:
      epochs: 10
  - my.hooks.Special: {n: 1}
  - LogProfile:
  - StopAfter: {name: quick, minutes: 5}
  - WriteCSV: {name: table}
main_loop:
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text, *arguments):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load_config(path, arguments)

    return load_text


@pytest.fixture
def refusal(load):
    def message(text, *arguments):
        with pytest.raises(ConfigError) as caught:
            load(text, *arguments)
        return str(caught.value)

    return message


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("model.dropout=0.5", "model.dropout", 0.5),
        ("a=1e-3", "a", 0.001),
        ("a=1_000", "a", 1000),
        ("a=0x1F", "a", 31),
        ("a=True", "a", True),
        ("a=yes", "a", "yes"),
        ("a=none", "a", "none"),
        ("a=null", "a", None),
        ("a=~", "a", None),
        ("a=", "a", None),
        ("a=[1, 2, 3.4]", "a", [1, 2, 3.4]),
        ("a={'x': ['y']}", "a", {"x": ["y"]}),
        ('a="1"', "a", "1"),
        ("a=nan", "a", "nan"),
        ("a=1=2", "a", "1=2"),
        ("a=#ff0000", "a", "#ff0000"),
        ("a= #1 ", "a", "#1"),
        ("a=the #1", "a", "the #1"),
        ("a=b#c", "a", "b#c"),
        ('a="b #c"', "a", "b #c"),
        ("a=[b#c, '#d']", "a", ["b#c", "#d"]),
        ("a=\n  b: 1 # one\n", "a", {"b": 1}),
        ('a."b=c"=1', 'a."b=c"', 1),
        ("it's='x'", "it's", "x"),
        ("hooks+=SaveLatest", "hooks+", "SaveLatest"),
    ],
)
def test_an_argument_is_a_key_and_a_typed_value(argument, key, value):
    """The text before the first ``=`` is the key as it is; what follows is read as YAML."""
    found, read = parse_arg(argument)

    assert (found, read, type(read)) == (key, value, type(value))


def test_not_a_number_needs_its_point():
    """``.nan`` is a number, ``nan`` a word."""
    assert math.isnan(parse_arg("a=.nan")[1])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("a", "argument: a: there is no '='"),
        ("", "argument: there is no '='"),
        ("a=x: y: z", "argument: mapping values are not allowed in this context\n     | a=x: y: z\n"),
        ("a=b: c #d", "argument: ' #' would begin a comment"),
        ("a=#\x1b[2J", "argument: U+001B is not allowed in YAML\n     | a=#\\x1b[2J\n"),
        ("a=!!python/name:os.system", "argument: the tag"),
        ("a=\x1b[2J", "argument: U+001B is not allowed in YAML\n     | a=\\x1b[2J\n"),
    ],
)
def test_an_argument_that_cannot_be_read_is_shown(argument, message):
    """The message quotes the argument as it was typed."""
    with pytest.raises(ConfigError) as caught:
        parse_arg(argument)

    assert str(caught.value).startswith(message)


@given(st.text())
@example("a=" + "[" * 100_000)
@example("a=&x [*x]")
def test_any_argument_is_read_or_refused(argument):
    """Nothing that can be typed makes the parser fail in another way."""
    try:
        parse_arg(argument)
    except ConfigError as error:
        message = str(error)
    else:
        message = "argument: "
    assert message.startswith("argument")


@pytest.mark.parametrize(
    ("text", "argument", "expected"),
    [
        pytest.param(ANCHORS, "a.b=12", {"a": {"b": 12}, "e": {"b": 12, "f": 2}}, id="anchor-reaches-who-merges-it"),
        pytest.param(ANCHORS, "e.b=19", {"a": {"b": 1}, "e": {"b": 19, "f": 2}}, id="merged-key-stays-local"),
        pytest.param(NESTED, "e.n.q=7", {"a": {"n": {"q": 7}}, "e": {"n": {"q": 7}}}, id="nested-is-shared"),
        pytest.param(ALIAS, "g.b=9", {"a": {"b": 9}, "g": {"b": 9}}, id="alias-is-the-same"),
        pytest.param(ALIAS, "g=9", {"a": {"b": 1}, "g": 9}, id="alias-itself-is-replaced"),
        pytest.param(ANCHORS, "a={b: 3, c: 4}", {"a": {"b": 3, "c": 4}, "e": {"f": 2, "b": 3, "c": 4}}, id="whole"),
        pytest.param(SCALAR, "rate=0.5", {"rate": 0.5, "model": {"lr": 0.5}, "other": 0.5}, id="anchored-scalar"),
        pytest.param(SCALAR, "model.lr=0.5", {"rate": 0.1, "model": {"lr": 0.5}, "other": 0.1}, id="aliased-scalar"),
        pytest.param(ANCHORS, "~a", {"e": {"f": 2, "b": 1}}, id="removed-anchor-stays-merged"),
        pytest.param(ANCHORS, "~e.b", {"a": {"b": 1}, "e": {"f": 2}}, id="removed-merged-key"),
        pytest.param(ANCHORS, "~a.b", {"a": {}, "e": {"f": 2}}, id="removed-anchored-key"),
    ],
)
def test_changes_act_before_anchors_are_followed(load, text, argument, expected):
    """A change of something anchored reaches all who refer to it; a change of a merged key only where it is made."""
    assert load(text, argument) == expected


def test_keys_keep_their_order(load):
    """A changed key stays where it was, own keys before merged ones; a new one comes last."""
    assert list(load(ANCHORS)["e"]) == ["f", "b"]
    assert list(load("a: 1\nb: 2\n", "a=3", "c=4").items()) == [("a", 3), ("b", 2), ("c", 4)]


def test_later_arguments_win_and_may_build_on_earlier_ones(load):
    """Arguments act in their order."""
    assert load("a: 1\n", "b={}", "b.c={}", "b.c.d=1", "b.c.d=2", "~a") == {"b": {"c": {"d": 2}}}
    assert load(ANCHORS, "~e.b", "e.b=5")["e"] == {"f": 2, "b": 5}


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("model.layers.1.units=32", lambda config: config["model"]["layers"] == [{"units": 8}, {"units": 32}]),
        ("model.layers.0=x", lambda config: config["model"]["layers"] == ["x", {"units": 4}]),
        ("~model.layers.0", lambda config: config["model"]["layers"] == [{"units": 4}]),
        ("model.layers+={units: 2}", lambda config: config["model"]["layers"][2] == {"units": 2}),
        ("model.weights.1=5", lambda config: config["model"]["weights"] == {0: 1.0, 1: 5}),
        ("model.weights.2=5", lambda config: config["model"]["weights"] == {0: 1.0, 1: 2.0, 2: 5}),
        ("model.io.in=[y]", lambda config: config["model"]["io.in"] == ["y"]),
        ("model.io.in.0=y", lambda config: config["model"]["io.in"] == ["y"]),
        ('model."io.in"=[y]', lambda config: config["model"]["io.in"] == ["y"]),
        ("model.'io.in'.0=y", lambda config: config["model"]["io.in"] == ["y"]),
        ('model."a.b"=1', lambda config: config["model"]["a.b"] == 1),
        ('model."a=b"=1', lambda config: config["model"]["a=b"] == 1),
        ('model."a.b"={}', lambda config: config["model"]["a.b"] == {}),
        ('model.weights."0"=1', lambda config: config["model"]["weights"] == {0: 1.0, 1: 2.0, "0": 1}),
        ('model."io.in"+=y', lambda config: config["model"]["io.in"] == ["x", "y"]),
        ('~model."io.in"', lambda config: "io.in" not in config["model"]),
        ("dataset.color=#ff0000", lambda config: config["dataset"]["color"] == "#ff0000"),
        ("main_loop.seed=1", lambda config: config["main_loop"] == {"seed": 1}),
        ("model.lr = 0.5", lambda config: config["model"]["lr"] == 0.5),
        ("~model.io.in", lambda config: "io.in" not in config["model"]),
        ("common={a: &a 1, b: *a}", lambda config: config["common"] == {"a": 1, "b": 1}),
    ],
)
def test_paths_lead_through_mappings_and_lists(load, argument, found):
    """Keys, items of lists, keys that are numbers, keys with dots, and sections that are still empty."""
    assert found(load(TRAINING, argument))


def test_the_main_loop_needs_no_section(load):
    """The one section that has nothing to say by itself is created."""
    assert load("model: {}\n", "main_loop.seed=1") == {"model": {}, "main_loop": {"seed": 1}}


@pytest.mark.parametrize(
    ("argument", "index", "expected"),
    [
        ("hooks.StopAfter.epochs=20", 1, {"StopAfter": {"epochs": 20}}),
        ("hooks.StopAfter.iterations=5", 1, {"StopAfter": {"epochs": 10, "iterations": 5}}),
        ("hooks.1.epochs=20", 1, {"StopAfter": {"epochs": 20}}),
        ("hooks.1.StopAfter.epochs=20", 1, {"StopAfter": {"epochs": 20}}),
        ("hooks.StopAfter={minutes: 1}", 1, {"StopAfter": {"minutes": 1}}),
        ("hooks.SaveLatest.on_save_failure=warn", 0, {"SaveLatest": {"on_save_failure": "warn"}}),
        ("hooks.Special.n=2", 2, {"my.hooks.Special": {"n": 2}}),
        ("hooks.my.hooks.Special.n=2", 2, {"my.hooks.Special": {"n": 2}}),
        ("hooks.2.my.hooks.Special.n=2", 2, {"my.hooks.Special": {"n": 2}}),
        ('hooks."my.hooks.Special".n=2', 2, {"my.hooks.Special": {"n": 2}}),
        ('hooks.2."my.hooks.Special".n=2', 2, {"my.hooks.Special": {"n": 2}}),
        ("hooks.LogProfile.a.b=2", 3, None),
        ("hooks.LogProfile.a=2", 3, {"LogProfile": {"a": 2}}),
        ("hooks.quick.minutes=7", 4, {"StopAfter": {"name": "quick", "minutes": 7}}),
        ("hooks.WriteCSV.delimiter=;", 5, {"WriteCSV": {"name": "table", "delimiter": ";"}}),
        ("hooks.0=LogDir", 0, "LogDir"),
        ("hooks+=LogDir", 6, "LogDir"),
        ("hooks+=StopOnNaN: {variables: [loss]}", 6, {"StopOnNaN": {"variables": ["loss"]}}),
    ],
)
def test_hooks_go_by_name(load, refusal, argument, index, expected):
    """By class, by full name, by the name they were given, or by number; bare names get room for arguments."""
    if expected is None:
        assert "'hooks[3].LogProfile' has no 'a'" in refusal(TRAINING, argument)
    else:
        assert load(TRAINING, argument)["hooks"][index] == expected


@pytest.mark.parametrize(
    ("argument", "gone"),
    [("~hooks.LogProfile", 3), ("~hooks.StopAfter", 1), ("~hooks.quick", 4), ("~hooks.0", 0), ("~hooks.Special", 2)],
)
def test_hooks_are_removed_by_name(load, argument, gone):
    """The whole hook goes, and nothing else."""
    before = load(TRAINING)["hooks"]

    assert load(TRAINING, argument)["hooks"] == before[:gone] + before[gone + 1 :]


@pytest.mark.parametrize("text", ["a: 1\n", "a: 1\nhooks:\n", "a: 1\nhooks: []\n"])
def test_the_first_hook_can_be_added(load, text):
    """It does not matter whether there is a section ``hooks`` already."""
    assert load(text, "hooks+=SaveLatest")["hooks"] == ["SaveLatest"]


def test_hooks_of_an_evaluation_go_by_name_too(load):
    """The hooks of the section ``eval`` are addressed like those of the training."""
    text = "eval: {test: {hooks: [ShowProgress, LogDir]}}\n"

    hooks = load(text, "~eval.test.hooks.LogDir", "eval.test.hooks+=WriteCSV", "eval.test.hooks.WriteCSV.delimiter=x")

    assert hooks["eval"]["test"]["hooks"] == ["ShowProgress", {"WriteCSV": {"delimiter": "x"}}]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "modle.lr=1",
            (
                "argument 1: modle.lr=1: the configuration has no 'modle'\n"
                "  did you mean 'model'?\n"
                "  it has: dataset, model, hooks, main_loop"
            ),
        ),
        (
            "model.layer.0.units=1",
            (
                "argument 1: model.layer.0.units=1: 'model' has no 'layer'\n"
                "  did you mean 'layers'?\n"
                "  it has: class, layers, weights, io.in"
            ),
        ),
        ("model.class.x=1", "argument 1: model.class.x=1: 'model.class' is 'm.Model', which has no keys"),
        (
            "model.layers.2.units=1",
            "argument 1: model.layers.2.units=1: 'model.layers' is a list of 2 items, counted from 0; it has no '2'",
        ),
        (
            "model.layers.x=1",
            "argument 1: model.layers.x=1: 'model.layers' is a list of 2 items, counted from 0; it has no 'x'",
        ),
        (
            "hooks.StopAfterr.epochs=1",
            (
                "argument 1: hooks.StopAfterr.epochs=1: there is no hook 'StopAfterr'\n"
                "  did you mean 'StopAfter'?\n"
                "  to add a hook, write hooks+=StopAfterr"
            ),
        ),
        ("model+=1", "argument 1: model+=1: 'model' is no list; only lists can be appended to"),
        (
            "model.sizes+=1",
            "argument 1: model.sizes+=1: 'model' has no 'sizes'\n  it has: class, layers, weights, io.in",
        ),
        (
            "~model.lr",
            "argument 1: ~model.lr: 'model' has no 'lr'\n  it has: class, layers, weights, io.in",
        ),
        (
            "model",
            (
                "argument 1: model: there is no '='\n"
                "  a configuration is changed by KEY=VALUE (model.lr=0.1), LIST+=VALUE (hooks+=SaveLatest) or ~KEY "
                "(~model.dropout)"
            ),
        ),
        (
            "~model.lr=1",
            (
                "argument 1: ~model.lr=1: a removal takes no value\n"
                "  a configuration is changed by KEY=VALUE (model.lr=0.1), LIST+=VALUE (hooks+=SaveLatest) or ~KEY "
                "(~model.dropout)"
            ),
        ),
    ],
)
def test_a_change_that_leads_nowhere_is_refused(refusal, argument, message):
    """The message names the argument, what is there, and what was probably meant."""
    assert refusal(TRAINING, argument) == message


def test_quotes_tell_a_key_with_dots_from_keys_below_each_other(load, refusal):
    """Where both are there, the shorter key is found first without quotes."""
    text = "model: {a: {b: {c: 1}}, a.b: {c: 2}}\n"

    assert load(text, "model.a.b.c=7")["model"] == {"a": {"b": {"c": 7}}, "a.b": {"c": 2}}
    assert load(text, 'model."a.b".c=7')["model"] == {"a": {"b": {"c": 1}}, "a.b": {"c": 7}}
    assert load(text, 'model."a.b".c=7', 'model."a.b".d=8')["model"]["a.b"] == {"c": 7, "d": 8}
    assert "'model' has no 'a.c'" in refusal(text, 'model."a.c".d=1')


@pytest.mark.parametrize("argument", ["=1", "a..b=1", ".a=1", "a.=1", "--verbose=1", "-x=1", "~", "+=1"])
def test_what_is_no_path_is_refused(refusal, argument):
    """An option that is not known, or a slip of the finger, changes nothing."""
    assert "is no path to a key" in refusal("a: {b: 1}\n", argument)


def test_a_name_of_two_hooks_is_refused(refusal):
    """Which of two hooks is meant is not guessed."""
    assert refusal("hooks: [A: {x: 1}, b.A: {x: 1}]\n", "hooks.A.x=2") == (
        "argument 1: hooks.A.x=2: 'A' may be several hooks\n  write hooks.0 or hooks.1, or give each a 'name:'"
    )


def test_all_wrong_arguments_are_told_at_once(refusal):
    """In their order, by number."""
    message = refusal("a: 1\n", "a.b=1", "c", "a=2", "x.y=1", "a=[")

    assert [line.split(":")[0] for line in message.splitlines() if not line.startswith(" ")] == [
        "argument 1",
        "argument 2",
        "argument 4",
        "argument 5",
    ]


def test_a_change_has_the_argument_as_its_place(load):
    """What was changed or added from the command line is located there, what was not in the file."""
    config = load(TRAINING, "model.lr=0,1", "hooks.SaveLatest.x=1", "hooks+=LogDir", "main_loop.seed=1")

    key = Place("argument 1", column=7, excerpt="model.lr=0,1", width=2)
    assert config.place(("model", "lr")) == key
    assert config.place(("model", "lr"), value=True) == key._replace(column=10, width=3)
    assert str(config.place(("hooks", 0, "SaveLatest", "x"))) == "argument 2: hooks.SaveLatest.x=1"
    assert str(config.place(("hooks", 0, "SaveLatest"))).endswith("config.yaml:11:5")
    assert str(config.place(("hooks", 6))) == "argument 3: hooks+=LogDir"
    assert str(config.place(("main_loop", "seed"))) == "argument 4: main_loop.seed=1"
    assert str(config.place(("main_loop",))).endswith("config.yaml:18:1")


def test_a_change_of_an_anchor_is_located_wherever_it_reaches(load):
    """The place of a merged key is that of the change."""
    assert str(load(ANCHORS, "a.b=12").place(("e", "b"))) == "argument 1: a.b=12"


_SHARED = (
    "a: &x {b: &y {c: 1}, d: &z [1, 2]}\ne: {<<: [*x, {f: 2}], g: *y}\nhooks: [&h Stop, *h, {Stop: *x}]\nm: {<<: *x}\n"
)
_PARTS = [
    "model",
    "layers",
    "0",
    "1",
    "hooks",
    "StopAfter",
    "quick",
    "x",
    "name",
    "io",
    "in",
    "my",
    "Special",
    *"abcdefgm",
    "Stop",
]
_ARGUMENTS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "~"]),
    st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4).map(".".join),
    st.sampled_from(["=", "+=", ""]),
    st.sampled_from(["", "1", "[a, b]", "{a: {b: c}}", "&x {y: *x}", "A: {name: quick}", "!!set {a}"]),
)


@pytest.mark.slow
@given(st.sampled_from([TRAINING, _SHARED]), st.lists(_ARGUMENTS, max_size=5))
@settings(max_examples=300)
def test_any_changes_are_made_or_refused(tmp_path_factory, text, arguments):
    """Whatever is changed in whatever order, there is a configuration with places, or an error of ours."""
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_text(text)

    try:
        config = load_config(path, arguments)
    except ConfigError as error:
        places = [problem.place for problem in error.problems]
    else:
        places = [config.place((section,)) for section in config]
    assert all(places)


def test_changes_cannot_build_a_bomb(refusal):
    """What grows only after the changes is refused like what is written so."""
    text = "a: &a {x: 1}\nb: [" + "*a, " * 900 + "]\n"

    assert "nodes once its aliases are followed" in refusal(text, f"a.x=[{'1, ' * 1000}]")
    assert "levels once its aliases are followed" in refusal("a: {b: {}}\n", "a.b.c=" + "[" * 49 + "]" * 49)
