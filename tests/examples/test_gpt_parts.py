"""The parts of the example ``gpt`` that need no framework: its alphabet, its dataset, and the writing of texts."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import emloop as el
from emloop._state.random import use_seed
from emloop._streams import StreamWrapper
from emloop.errors import ConfigError
from emloop.main_loop import MainLoop

ROOT = Path(__file__).parents[2]
PRINTABLE = "\n" + "".join(chr(point) for point in range(32, 127))


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
    """The examples are importable from where their commands are run."""
    monkeypatch.syspath_prepend(ROOT)


def part(name):
    return import_module(f"examples.gpt.{name}")


@pytest.fixture
def create():
    """Create the dataset in a run of a seed."""

    def create(seed=1991, config="{}"):
        with use_seed(seed):
            return part("stdlib_dataset").StandardLibrary(config)

    return create


@given(st.text(PRINTABLE))
def test_the_alphabet_keeps_the_characters_of_source_code(text):
    """What consists of printable ASCII and new lines comes back as it was."""
    alphabet = part("alphabet")

    numbers = alphabet.encode(text)

    assert (numbers.dtype, numbers.shape) == (np.uint8, (len(text),))
    assert text == alphabet.decode(numbers)


@given(st.text(st.characters(exclude_categories=[])))
def test_all_other_characters_become_one(text):
    """Whatever it is, lone surrogates included; the others keep their places."""
    alphabet = part("alphabet")
    expected = "".join(character if character in PRINTABLE else alphabet.OTHER for character in text)

    assert expected == alphabet.decode(alphabet.encode(text))


def test_the_library_is_read_without_what_is_only_beside_it(tmp_path):
    """Tests, tables and installed packages are left out; the order is that of the names."""
    names = ["b.py", "a.py", "email/mime/text.py", "a.txt", "_sysconfigdata__linux.py"]
    for name in [*names, *(f"{folder}/x.py" for folder in ("site-packages", "test", "json/tests", "encodings"))]:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")

    found = part("library").library_files(str(tmp_path))

    assert ["a.py", "b.py", "email/mime/text.py"] == [str(path.relative_to(tmp_path)) for path in found]


def test_the_library_of_this_python_is_there():
    """Hundreds of files, millions of characters, hardly any of which the alphabet lacks."""
    library, alphabet = part("library"), part("alphabet")

    texts = [library.read(path) for path in library.library_files()]

    assert len(texts) > 200
    numbers = alphabet.encode("".join(texts))
    assert len(numbers) > 2_000_000
    assert np.mean(numbers == alphabet.CHARACTERS.index(alphabet.OTHER)) < 0.01


def test_a_file_in_another_encoding_is_read_nevertheless(tmp_path):
    """What is no UTF-8 becomes a replacement character."""
    file = tmp_path / "latin.py"
    file.write_bytes("# -*- coding: latin-1 -*-\r\nname = 'Löwis'\r\n".encode("latin-1"))

    assert "# -*- coding: latin-1 -*-\nname = 'L�wis'\n" == part("library").read(file)


def test_an_interpreter_without_source_files_is_told_so(tmp_path):
    """As where the library is kept in an archive."""
    with pytest.raises(FileNotFoundError) as caught:
        part("library").library_files(str(tmp_path))

    assert f"{tmp_path}: there are no source files of the standard library" == str(caught.value)


def test_no_window_reaches_from_one_file_into_another():
    """Each is followed, within its file, by what has to be predicted."""
    windows = part("library").Windows([np.arange(10, 18, dtype=np.uint8), np.arange(3, dtype=np.uint8)], 3, offset=1)

    batch = windows.batch(np.arange(len(windows)))

    assert [[11, 12, 13], [14, 15, 16]] == batch["text"].tolist()
    assert [[12, 13, 14], [15, 16, 17]] == batch["targets"].tolist()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 9), st.data())
def test_windows_are_all_that_fit_into_each_text(lengths, size, data):
    """Whatever the lengths: without gaps from the offset on, and one more character behind each."""
    offset = data.draw(st.integers(0, size - 1))
    bounds = np.cumsum([0, *lengths])
    numbers = np.arange(bounds[-1], dtype=np.uint8)
    windows = part("library").Windows(np.split(numbers, bounds[1:-1]), size, offset)

    found = windows.batch(np.arange(len(windows)))

    starts = [
        start for begin, end in pairwise(bounds) for start in range(begin + offset, end, size) if start + size < end
    ]
    assert [list(range(start, start + size)) for start in starts] == found["text"].tolist()
    assert [list(range(start + 1, start + size + 1)) for start in starts] == found["targets"].tolist()


def test_train_and_valid_share_no_file(create):
    """Every file is in exactly one of them."""
    files = create().files

    assert [] == sorted({*files["train"]} & {*files["valid"]})
    assert part("library").library_files() == sorted([*files["train"], *files["valid"]])
    assert 0.09 < len(files["valid"]) / len(files["train"]) < 0.13


def test_the_seed_decides_which_files_are_for_validation(create):
    """The same seed, the same files; another seed, others."""
    one, same, other = create(seed=1), create(seed=1), create(seed=2)

    assert one.files == same.files
    assert one.files != other.files


@pytest.mark.parametrize("name", ["train", "valid"])
def test_windows_are_the_files_text(create, name):
    """Every one stands in a file of its part, with the next character behind it."""
    alphabet, read = part("alphabet"), part("library").read
    dataset = create(config="{batch_size: 20, context: 64}")
    texts = [alphabet.decode(alphabet.encode(read(path))) for path in dataset.files[name]]

    batch = getattr(dataset, f"{name}_stream")()[1]

    assert (batch["text"].dtype, batch["text"].shape) == (np.int64, (20, 64))
    for window, targets in zip(batch["text"], batch["targets"], strict=True):
        assert window[1:].tolist() == targets[:-1].tolist()
        assert any(alphabet.decode([*window, targets[-1]]) in text for text in texts)


def test_training_windows_are_others_in_every_pass(create):
    """And validation windows are the same."""
    dataset = create(config="{valid_windows: 50}")
    first, second = (next(iter(dataset.train_stream()))["text"] for _ in range(2))
    valid = [np.concatenate([batch["text"] for batch in dataset.valid_stream()]) for _ in range(2)]

    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(*valid)
    assert 50 == len(valid[0])


def test_a_training_goes_on_at_any_batch_without_reading_those_before(create):
    """The stream resumes by a jump."""
    dataset = create()

    with use_seed(1):
        assert "exact" == StreamWrapper(dataset.train_stream, name="train").level


def test_the_dataset_tells_how_many_batches_to_expect(create):
    """Of the streams whose epochs are a pass."""
    dataset = create(config="{batch_size: 20, valid_windows: 50, characters: 7}")

    assert {"valid": 3, "predict": 7} == dataset.num_batches
    assert 3 == len(dataset.valid_stream())


class Next(el.AbstractModel):
    """Expects, behind each character, the next one of the alphabet."""

    input_names = ("text",)
    output_names = ("logits",)

    def run(self, batch, train, stream=None):
        return {"logits": 99.0 * np.eye(97, dtype=np.float32)[(batch["text"] + 1) % 97]}

    def save(self, name_suffix):
        raise NotImplementedError


class Anything(Next):
    """Expects nothing in particular."""

    def run(self, batch, train, stream=None):
        return {"logits": np.zeros((*batch["text"].shape, 97), np.float32)}


@pytest.fixture
def write(create, tmp_path):
    """Continue prompts by a model, and return the file."""

    def write(model, prompts, characters=6, seed=1, **arguments):
        dataset = create(config=f"{{context: 8, prompts: {prompts!r}, characters: {characters}}}")
        hook = part("continue_texts").ContinueTexts(dataset, str(tmp_path), **arguments)
        loop = MainLoop(model, dataset, [hook], seed=seed, on_unused_sources="ignore")
        loop.run_evaluation("predict")
        return (tmp_path / "texts.txt").read_text(encoding="utf-8").split(f"\n{'-' * 80}\n")

    return write


def test_texts_are_continued_from_the_prompts_whatever_their_length(write):
    """Shorter and longer than what the model sees."""
    assert ["abcdefg", "in the year 123456789\n"] == write(Next(), ["a", "in the year 123"])


def test_texts_are_the_same_for_the_same_seed(write):
    """And others for another."""
    one, same, other = (write(Anything(), ["import ", "x"], 30, seed=seed) for seed in (1, 1, 2))

    assert one == same
    assert one != other


def test_what_is_unlikely_is_written_at_a_high_temperature_only(write):
    """A low one makes the likeliest character certain; so does a choice of one."""
    assert ["abcdefg\n"] == write(Next(), ["a"], temperature=0.1)
    assert ["abcdefg\n"] != write(Next(), ["a"], temperature=1000.0)
    assert ["abcdefg\n"] == write(Next(), ["a"], temperature=1000.0, top_k=1)


@given(st.integers(1, 8), st.integers(0, 2**32), st.none() | st.integers(1, 9))
def test_a_choice_is_as_likely_as_the_model_says(count, seed, top_k):
    """Chances that are spread evenly from 0 to 1 choose each of the allowed characters in proportion."""
    logits = np.random.default_rng(seed).normal(size=count)
    chance = (np.arange(10_000) + 0.5) / 10_000

    chosen = part("continue_texts").choose(np.tile(logits, (len(chance), 1)), chance, top_k)

    kept = logits >= np.sort(logits)[::-1][: top_k or count][-1]
    expected = np.where(kept, np.exp(logits), 0) / np.exp(logits[kept]).sum()
    np.testing.assert_allclose(np.bincount(chosen, minlength=count) / len(chance), expected, atol=2e-4)


def test_a_prompt_has_a_character_to_begin_with(create):
    """An empty one is refused."""
    with pytest.raises(ConfigError, match=r"prompts: expected texts of one character or more, got \['a', ''\]"):
        create(config="{prompts: [a, '']}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"temperature": 0}, "temperature: expected a number above 0, got 0"),
        ({"top_k": 0}, "top_k: expected a number of characters, at least 1, got 0"),
    ],
    ids=["temperature", "top_k"],
)
def test_what_nothing_can_be_drawn_with_is_refused(create, tmp_path, arguments, said):
    """The message says what is accepted."""
    with pytest.raises(ConfigError) as caught:
        part("continue_texts").ContinueTexts(create(), str(tmp_path), **arguments)

    assert said == str(caught.value)


def test_a_text_that_nobody_writes_is_an_error(create):
    """Without the hook, or where batches are read ahead of it, the stream says what is wrong."""
    with use_seed(1), pytest.raises(RuntimeError) as caught:
        list(create().predict_stream())

    assert (
        "stream 'predict': the next characters have not been written; the hook ContinueTexts does so, "
        "where main_loop.buffer is 0"
    ) == str(caught.value)
