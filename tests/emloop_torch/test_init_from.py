"""A fresh model begins with weights from elsewhere, as far as they fit, and says how far that is."""

from __future__ import annotations

import logging
import os

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from emloop.errors import ConfigError, UntrustedError  # noqa: E402
from emloop.parameters import InitFrom  # noqa: E402
from emloop_torch import _weight_files  # noqa: E402
from emloop_torch._transferring import transfer  # noqa: E402


class Tied(nn.Module):
    """Two names for one weight, and a buffer that no state has."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 2)
        self.head = nn.Linear(2, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("positions", torch.arange(3), persistent=False)


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def state(prefix="", **changed):
    values = {"0.weight": torch.full((3, 2), 2.0), "0.bias": torch.arange(3.0), "1.weight": torch.full((3,), 5.0)}
    return {f"{prefix}{name}": value for name, value in {**values, **changed}.items()}


def written(tmp_path, content, name):
    path = tmp_path / name
    if name.endswith(".safetensors"):
        save_file({key: value.contiguous() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.ckpt", "pytorch_model.bin"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_weights_are_read_from_a_file(tmp_path, caplog, name, prefix):
    """Whatever wrapped the network when it was written makes no difference."""
    caplog.set_level(logging.INFO)
    module = net()
    path = written(tmp_path, state(prefix), name)
    transfer(module, path)

    assert module[0].weight.tolist() == [[2.0, 2.0]] * 3
    assert module[0].bias.tolist() == [0.0, 1.0, 2.0]
    assert module[1].weight.tolist() == [5.0] * 3
    (message,) = caplog.messages
    assert message == (
        f"init_from {path}: 3 of 7 taken; of another shape: none; not there: 1.bias, 1.running_mean, 1.running_var, "
        "1.num_batches_tracked; not used: none"
    )


@pytest.mark.parametrize(
    "around",
    [
        lambda weights: {"state_dict": weights, "epoch": 3, "lr_schedulers": [{"last": 1}]},
        lambda weights: {
            "model": weights,
            "optimizer": {"state": {0: {"step": torch.tensor(1)}}, "param_groups": [{}]},
        },
        lambda weights: {
            "step": torch.tensor(4),
            "ema": {"shadow": {"a": torch.zeros(1)}},
            "net": {"weights": weights},
        },
    ],
    ids=["lightning", "plain-loop", "deep"],
)
def test_the_weights_are_found_in_what_a_trainer_keeps_beside_them(tmp_path, around):
    """They are the largest mapping of names to tensors."""
    module = net()
    transfer(module, written(tmp_path, around(state()), "w.ckpt"))

    assert module[1].weight.tolist() == [5.0] * 3


def test_parts_of_compiled_networks_are_found(tmp_path):
    """``torch.compile`` marks the part that it compiles, also inside of a network."""
    module = net()
    transfer(module, written(tmp_path, {"module.0._orig_mod.weight": torch.full((3, 2), 2.0)}, "w.pt"))

    assert module[0].weight.tolist() == [[2.0, 2.0]] * 3


def test_a_part_that_is_really_called_module_keeps_its_name(tmp_path):
    """Prefixes are left out only where the name means nothing as it is."""
    wrapped = nn.Module()
    wrapped.module = nn.Linear(1, 1)
    weights = {"module.weight": torch.tensor([[7.0]]), "module.module.bias": torch.tensor([9.0])}
    transfer(wrapped, written(tmp_path, weights, "w.pt"))

    assert (wrapped.module.weight.item(), wrapped.module.bias.item()) == (7.0, 9.0)


def test_names_are_changed_by_patterns(tmp_path):
    """Written as the file has them, or without what wrappers put before them."""
    for pattern in (r"module\.encoder\.(.*)", r"encoder\.(.*)"):
        module = net()
        path = written(tmp_path, state("module.encoder."), "w.pt")
        transfer(module, InitFrom(path, {pattern: r"\1"}))
        assert module[1].weight.tolist() == [5.0] * 3


def test_what_has_another_shape_or_kind_of_number_is_named_and_left(tmp_path, caplog):
    """Precision may differ, and is converted; whole numbers in place of weights are none."""
    caplog.set_level(logging.INFO)
    module = net()
    weights = state(**{"0.bias": torch.zeros(4), "1.weight": torch.zeros(3, dtype=torch.int64)})
    weights |= {"0.weight": torch.full((3, 2), 0.1, dtype=torch.float16), "2.weight": torch.zeros(1)}
    transfer(module, written(tmp_path, weights, "w.safetensors"))

    assert torch.equal(module[0].weight, torch.full((3, 2), 0.1, dtype=torch.float16).float())
    assert module[1].weight.tolist() == [1.0] * 3
    assert "of another shape: 0.bias ([4] there, [3] here), 1.weight (int64 there, float32 here);" in caplog.text
    assert "not used: 2.weight" in caplog.text


@pytest.mark.parametrize("name", ["embed.weight", "head.weight"])
def test_tied_weights_need_one_of_their_names(tmp_path, caplog, name):
    """As safetensors keeps them; what is made anew and kept in no state is not missed."""
    caplog.set_level(logging.INFO)
    module = Tied()
    transfer(module, written(tmp_path, {name: torch.full((5, 2), 3.0)}, "w.safetensors"))

    assert module.head.weight.tolist() == [[3.0, 3.0]] * 5
    assert "not there: none; not used: none" in caplog.text


def test_numbers_that_numpy_lacks_are_read(tmp_path):
    """As most large models are published."""
    module = net()
    transfer(module, written(tmp_path, {"0.bias": torch.full((3,), 1.5, dtype=torch.bfloat16)}, "w.safetensors"))

    assert module[0].bias.tolist() == [1.5] * 3


# -- what is refused --------------------------------------------------------------------------------------------------


class Anything:
    """What a pickle could ask for."""

    def __reduce__(self):
        return os.mkdir, ("pickled-was-run",)


@pytest.mark.parametrize(
    "content", [Anything(), {"0.weight": torch.zeros(3, 2), "config": Anything()}], ids=["alone", "beside-weights"]
)
def test_no_code_of_a_pickle_is_run(tmp_path, monkeypatch, content):
    """The file is refused as a whole."""
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, content, "w.pt")
    with pytest.raises(ConfigError, match=r"init_from: .*w\.pt holds more than weights, or is damaged: "):
        transfer(net(), path)

    assert not (tmp_path / "pickled-was-run").exists()


@pytest.mark.parametrize("mark", ["run.json", "trace.yaml"])
@pytest.mark.parametrize("where", ["w.pt", "model_best/w.pt", "checkpoints/1/deep/w.ckpt"])
def test_no_pickle_is_read_out_of_a_run(tmp_path, mark, where):
    """Also not through a link; safetensors are."""
    (tmp_path / "run" / where).parent.mkdir(parents=True)
    (tmp_path / "run" / mark).touch()
    path = written(tmp_path / "run", state(), where)
    (tmp_path / "linked.pt").symlink_to(path)
    (tmp_path / "run" / "link.pt").symlink_to(written(tmp_path, state(), "outside.pt"))
    for given in (path, str(tmp_path / "linked.pt"), str(tmp_path / "run" / "link.pt")):
        with pytest.raises(UntrustedError, match=r"is a pickle in the run .*run, out of which none is read"):
            transfer(net(), given)
    module = net()
    transfer(module, written((tmp_path / "run" / where).parent, state(), "w.safetensors"))
    assert module[1].weight.tolist() == [5.0] * 3


def test_a_restored_model_opens_no_such_file(create, batches, tmp_path, monkeypatch):
    """So neither an evaluation nor a resume ever does."""
    from .nets import deep  # noqa: PLC0415

    model = create(deep, log_dir=tmp_path)
    saved = model.save("best")
    monkeypatch.setattr(_weight_files, "read_weights", lambda path: pytest.fail(f"{path} was read"))

    create(deep, restore_from=saved, init_from=written(tmp_path, {"a": torch.zeros(1)}, "w.pt"))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"no weights", "w.pt", "holds more than weights, or is damaged: "),
        (b"", "w.ckpt", "holds more than weights, or is damaged: "),
        (b"no weights", "w.safetensors", "is damaged, or no safetensors: "),
        (None, "w.bin", "there is no file "),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, name, message):
    """And what is wrong with it."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^init_from: ") as error:
        transfer(net(), str(path))

    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "there"),
    [({"a": 1, "b": [2]}, "'a', 'b'"), ([torch.zeros(1)], "a list"), (torch.zeros(1), "a Tensor")],
)
def test_a_file_without_named_tensors_says_what_there_is(tmp_path, content, there):
    """It may be a state of an optimizer, or a single tensor."""
    with pytest.raises(ConfigError, match=f"holds no tensors by name; there is: {there}"):
        transfer(net(), written(tmp_path, content, "w.pt"))


def test_a_prefix_that_is_in_the_way_is_told(tmp_path):
    """With the renaming that helps, which then does."""
    path = written(tmp_path, state("backbone.model."), "w.safetensors")
    with pytest.raises(ConfigError) as error:
        transfer(net(), path)
    hint = r"rename: {'backbone\.model\.(.*)': '\1'}"
    assert hint in str(error.value)

    module = net()
    transfer(module, InitFrom(path, {r"backbone\.model\.(.*)": r"\1"}))
    assert module[1].weight.tolist() == [5.0] * 3


@pytest.mark.parametrize(
    ("weights", "rename"),
    [
        ({**state(), **state("module.")}, {}),
        ({**state("teacher."), **state("student.")}, {r"(?:teacher|student)\.(.*)": r"\1"}),
    ],
    ids=["by-prefix", "by-pattern"],
)
def test_two_weights_of_one_name_are_refused(tmp_path, weights, rename):
    """Nothing tells which one is meant."""
    with pytest.raises(ConfigError, match=r"init_from: .*0\.weight and .*0\.weight would both be 0\.weight"):
        transfer(net(), InitFrom(written(tmp_path, weights, "w.pt"), rename))


def test_a_replacement_that_refers_to_nothing_is_refused(tmp_path):
    """As the pattern has no such group."""
    with pytest.raises(ConfigError, match=r"init_from: rename: .* invalid group reference 2"):
        transfer(net(), InitFrom(written(tmp_path, state("a."), "w.pt"), {r"a\.(.*)": r"\2"}))
