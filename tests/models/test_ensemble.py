"""Several trained models answer as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import emloop as el
from emloop.errors import BatchError, ConfigError, SavedModelError
from emloop.models import Ensemble
from emloop.models.ensemble import major_vote

BATCH = {"x": [10, 20]}


def ensemble(paths, outputs=("y",), aggregation="major_vote", **options):
    return Ensemble(inputs=["x"], outputs=list(outputs), aggregation=aggregation, model_paths=paths, **options)


# -- aggregating ------------------------------------------------------------------------------------------------------


def test_the_mean_is_taken_element_by_element(trained):
    """Of arrays of any shape."""
    paths = [trained("a", {"y": [[1, 2], [3, 4]]}), trained("b", {"y": [[3, 2], [1, 0]]})]
    outputs = ensemble(paths, aggregation="mean").run(BATCH)

    assert list(outputs) == ["y"]
    np.testing.assert_array_equal([[[2, 2], [2, 2]]] * 2, outputs["y"])


def test_the_most_frequent_value_wins_element_by_element(trained):
    """And of equally frequent ones that of the member that comes first."""
    paths = [trained("a", {"y": [1, 2, 7]}), trained("b", {"y": [1, 3, 8]}), trained("c", {"y": [0, 3, 9]})]

    np.testing.assert_array_equal([[1, 3, 7], [1, 3, 7]], ensemble(paths).run(BATCH)["y"])


def test_a_vote_keeps_the_kind_of_the_values(trained):
    """Texts are not cut to the length that the first member happens to need, whole numbers stay whole."""
    texts = [trained("a", {"y": "cat"}), trained("b", {"y": "elephant"}), trained("c", {"y": "elephant"})]
    numbers = [trained("d", {"y": 1}), trained("e", {"y": 2}), trained("f", {"y": 2})]

    assert ensemble(texts).run(BATCH)["y"].tolist() == ["elephant", "elephant"]
    assert ensemble(numbers).run(BATCH)["y"].dtype == int


def test_outputs_may_be_aggregated_differently(trained):
    """One word for each."""
    paths = [trained("a", {"y": 1, "p": 0.5}), trained("b", {"y": 2, "p": 1.0}), trained("c", {"y": 2, "p": 1.5})]
    outputs = ensemble(paths, ["y", "p"], {"y": "major_vote", "p": "mean"}).run(BATCH)

    assert (outputs["y"].tolist(), outputs["p"].tolist()) == ([2, 2], [1.0, 1.0])


def test_repeating_a_member_gives_it_more_weight(trained, tmp_path):
    """Each occurrence has a vote."""
    trained("1", {"y": 1})
    trained("2", {"y": 2})
    mean = ensemble(["1", "1", "2"], aggregation="mean", models_root=str(tmp_path))

    np.testing.assert_allclose([4 / 3, 4 / 3], mean.run(BATCH)["y"])
    assert ensemble(["2", "1", "1"], models_root=str(tmp_path)).run(BATCH)["y"].tolist() == [1, 1]


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=6))
def test_nobody_has_more_votes_than_the_winner(votes):
    """At any position; and of several winners it is the one that came first."""
    for position, winner in enumerate(major_vote(votes)):
        ballot = [member[position] for member in votes]
        most = max(map(ballot.count, ballot))
        assert winner == next(vote for vote in ballot if ballot.count(vote) == most)


# -- loading ----------------------------------------------------------------------------------------------------------


def test_members_are_loaded_with_the_first_batch_or_at_once(trained):
    """``_models`` is where 0.2's tests looked."""
    path = trained("a", {"y": 1})
    lazy, eager = ensemble([path], dataset="the dataset"), ensemble([path], eager_loading=True)

    assert lazy._models is None
    lazy.run(BATCH)
    assert [model.dataset for model in lazy._models] == ["the dataset"]
    assert len(eager._models) == 1


def test_a_member_restores_from_its_directory_and_saves_nothing(trained):
    """It may be given as the directory, or as a config in it, of any name."""
    path = trained("a", {"y": 1})
    other = f"{path}/other.yaml"
    with open(other, "w") as file:  # noqa: PTH123 - a config beside the first
        file.write("model: {class: plain_models.Plain, gives: {y: 2}}")
    models = ensemble([path, f"{path}/config.yaml", other], eager_loading=True)._models

    assert [model.restore_from for model in models] == [path] * 3
    assert [model.log_dir for model in models] == [None] * 3
    assert models[2].run(BATCH, False)["y"] == [2, 2]


def test_names_replace_those_of_members_that_take_them(trained):
    """A member whose class has no such arguments, and whose config does not have them, keeps its own."""
    own = trained("a", {"y": 1, "z": 5})
    open_ = trained("b", {"y": 3}, **{"class": "plain_models.Open", "inputs": ["other"]})
    members = ensemble([own, open_], aggregation="mean")

    assert members.run(BATCH)["y"].tolist() == [2.0, 2.0]
    assert members._models[1].kwargs == {"inputs": ["x"], "outputs": ["y"]}


def test_without_paths_all_models_below_the_root_are_members(trained, tmp_path):
    """Sorted by name; what is no model is none."""
    for name, value in (("b", 2), ("a", 1), ("c", 3)):
        trained(f"root/{name}", {"y": value})
    (tmp_path / "root" / "notes").mkdir()
    (tmp_path / "root" / "file.txt").touch()
    members = Ensemble(["x"], ["y"], "mean", models_root=str(tmp_path / "root"))

    assert members.run(BATCH)["y"].tolist() == [2.0, 2.0]
    assert [path.name for path in members._paths] == ["a", "b", "c"]


def test_the_root_may_be_filled_after_the_ensemble_was_made(trained, tmp_path):
    """Members are looked for when they are needed; with ``eager_loading`` that is at once."""
    root = str(tmp_path / "root")
    lazy = Ensemble(["x"], ["y"], models_root=root)
    with pytest.raises(ConfigError, match=r"models_root: .*root is not a directory"):
        Ensemble(["x"], ["y"], models_root=root, eager_loading=True)
    trained("root/a", {"y": 7})

    assert lazy.run(BATCH)["y"].tolist() == [7, 7]


def test_a_member_only_has_to_answer(trained):
    """Nobody saves it, so it need not know how."""
    without_save = trained("a", {"y": 3}, **{"class": "plain_models.Answering"})

    assert ensemble([without_save]).run(BATCH)["y"].tolist() == [3, 3]
    with pytest.raises(ConfigError, match="Answering is no model: it has no method 'save'"):
        el.create_model(el.load_yaml(f"{without_save}/config.yaml"))


# -- the contract -----------------------------------------------------------------------------------------------------


def test_names_are_those_that_were_given(trained):
    """In and out."""
    members = ensemble([trained("a", {"y": 1})])

    assert (members.input_names, members.output_names) == (["x"], ["y"])
    assert Ensemble.AGGREGATION_METHODS == ["mean", "major_vote"]


def test_members_see_the_batch_and_the_stream(trained):
    """A model that wants the stream gets it, one that does not does not."""
    from emloop.datasets import StreamWrapper  # noqa: PLC0415

    wants, wants_not = trained("a", {"y": 1}, **{"class": "plain_models.Streaming"}), trained("b", {"y": 2})
    members = ensemble([wants, wants_not, wants])
    members.run(BATCH, False, StreamWrapper(lambda: [BATCH]))

    assert [model.seen for model in members._models] == [[(["x"], False)]] * 3


def test_it_cannot_be_trained_or_saved(trained):
    """Its members can."""
    members = ensemble([trained("a", {"y": 1})])
    with pytest.raises(ValueError, match="Ensemble cannot be trained; train its members"):
        members.run(BATCH, train=True)
    with pytest.raises(NotImplementedError, match="Ensemble is not saved; its members are"):
        members.save("best")
    with pytest.raises(NotImplementedError, match="Ensemble is not saved; its members are"):
        members.save()


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Ensemble needs model_paths, models_root, or both"),
        ({"model_paths": []}, "Ensemble has no members: model_paths is empty"),
        ({"model_paths": "log/a"}, "model_paths: expected a list of paths, got 'log/a'; write [log/a]"),
        (
            {"model_paths": ["a"], "aggregation": "meen"},
            "aggregation: expected one of 'mean', 'major_vote', got 'meen'; did you mean 'mean'?",
        ),
        (
            {"model_paths": ["a"], "aggregation": {"y": "meen"}},
            "aggregation.y: expected one of 'mean', 'major_vote', got 'meen'; did you mean 'mean'?",
        ),
        (
            {"model_paths": ["a"], "aggregation": {"z": "mean"}},
            "aggregation: must name exactly the outputs ['y']; differs in ['y', 'z']",
        ),
        ({"models_root": "gone", "eager_loading": True}, "models_root: gone is not a directory"),
    ],
)
def test_what_makes_no_ensemble_is_refused_at_once(arguments, message):
    """Before a model is loaded."""
    with pytest.raises(ConfigError) as error:
        Ensemble(inputs=["x"], outputs=["y"], **arguments)

    assert str(error.value) == message


def test_a_root_without_models_is_refused(tmp_path):
    """It is named."""
    with pytest.raises(ConfigError) as error:
        Ensemble(inputs=["x"], outputs=["y"], models_root=str(tmp_path)).run(BATCH)

    assert str(error.value) == f"models_root: there is neither a run nor a saved model in {tmp_path}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected the directory of a saved model, a run or a checkpoint, but there is none"),
        ("", "config.yaml: the file is empty"),
        ("dataset: {class: a.B}", "its config has no section 'model'"),
        ("model: [1]", "its config has no section 'model'"),
    ],
)
def test_a_path_without_a_model_is_named(tmp_path, content, message):
    """When it is loaded."""
    if content is not None:
        (tmp_path / "member").mkdir()
        (tmp_path / "member" / "config.yaml").write_text(content)
    with pytest.raises((SavedModelError, ConfigError)) as error:
        ensemble([str(tmp_path / "member")]).run(BATCH)

    assert str(tmp_path / "member") in str(error.value)
    assert message in str(error.value)


def test_a_member_that_cannot_be_loaded_is_tried_again(trained, tmp_path):
    """A failure leaves nothing half done."""
    members = ensemble([trained("a", {"y": 1}), str(tmp_path / "late")])
    with pytest.raises(SavedModelError):
        members.run(BATCH)
    assert members._models is None
    trained("late", {"y": 1})

    assert members.run(BATCH)["y"].tolist() == [1, 1]


def test_a_missing_output_is_named_with_its_member(trained):
    """And with what there is."""
    a, b = trained("a", {"y": 1}), trained("b", {"z": 1, "w": 2})
    with pytest.raises(BatchError) as error:
        ensemble([a, b]).run(BATCH)

    assert str(error.value) == f"member {b} gives no output 'y'; it gives: 'z', 'w'"


def test_outputs_of_different_shape_are_named_with_their_members(trained):
    """They could not be compared element by element."""
    a, b = trained("a", {"y": [1, 2]}), trained("b", {"y": [1, 2, 3]})
    with pytest.raises(BatchError) as error:
        ensemble([a, b], aggregation="mean").run(BATCH)

    assert str(error.value) == f"the members' outputs 'y' differ in shape: {a}: (2, 2), {b}: (2, 3)"
