"""The runner of the documentation notices what is wrong with a page."""

from __future__ import annotations

import pytest

FENCE = "```"


def markdown(*blocks):
    """Blocks, each given as its first line and its text, as a page."""
    return "\n".join(f"{FENCE}{first}\n{text}\n{FENCE}\n" for first, text in blocks)


@pytest.fixture
def run(tmp_path_factory, run_page):
    """Run a page of some blocks."""

    def run(*blocks):
        path = tmp_path_factory.mktemp("page") / "page.md"
        path.write_text(markdown(*blocks))
        return run_page(path)

    return run


def test_files_scripts_and_commands_share_a_directory(run):
    """A page builds up what it needs, also in comments, which readers do not see."""
    page = run(
        ("text title=data/words.txt", "one two"),
        ("python title=count.py", "print(len(open('data/words.txt').read().split()), 'words')"),
        ("console", "$ python count.py\n2 words\n$ ls \\\n  data\nwords.txt"),
        ("python", "import count; print('imported')"),
        ("text output", "2 words\nimported"),
    )

    assert page.output == "2 words\nimported\n"


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        pytest.param([("console", "$ echo a b\nb  c")], "'b  c' is not in the output", id="other-output"),
        pytest.param([("console", "$ printf 'a\\nb\\n'\nb\na")], "'a' is not in the output, in this order", id="order"),
        pytest.param([("console", "$ false")], "page.md:1: false: ended with 1 instead of 0", id="failure"),
        pytest.param([("console exit=3", "$ exit 4")], "ended with 4 instead of 3", id="other-failure"),
        pytest.param([("console exit=3", "$ exit 3\n$ true")], "exit 3: ended with 3 instead of 0", id="only-the-last"),
        pytest.param([("console", "echo a")], "a console block without a command", id="no-command"),
        pytest.param([("python", "raise SystemExit(5)")], "ended with 5", id="script"),
        pytest.param([("python", "print(1)"), ("text output", "2")], "'2' is not in the output", id="script-output"),
        pytest.param([("shell", "true")], "no rule for a block of 'shell'", id="language"),
        pytest.param([("", "true")], "a block without a language", id="no-language"),
        pytest.param([("yaml", "hooks: []")], "needs a page with a whole one", id="part-of-nothing"),
    ],
)
def test_what_is_wrong_is_found_and_named(run, blocks, complaint):
    """A page that shows something else than what happens fails, and the message says where."""
    with pytest.raises(AssertionError) as failed:
        run(*blocks)

    assert complaint in str(failed.value)


def test_expected_lines_may_leave_out_what_changes(run):
    """``…`` stands for any text, and spaces may differ."""
    run(("console", "$ echo 2026-01-31: loss   0.25\n…: loss 0.25\n$ echo 'a b c d'\na … d\n…"))


def test_control_c_interrupts_once_the_lines_before_it_were_seen(run):
    """What a reader does by hand at a certain moment is done at that moment."""
    program = (
        "import signal, threading\n"
        "stopped = threading.Event()\n"
        "signal.signal(signal.SIGINT, lambda *_: stopped.set())\n"
        "print('working', flush=True)\n"
        "assert stopped.wait(60)\n"
        "print('stopping')\n"
        "raise SystemExit(75)\n"
    )
    run(("python title=work.py", program), ("console exit=75", "$ python work.py\nworking\n^C\nstopping"))


def test_shown_commands_are_not_run(run, tmp_path):
    """``sh`` is for what would change the reader's machine."""
    run(("sh", "touch changed"))

    assert not (tmp_path / "changed").exists()


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([("console needs=nonesuch", "$ false"), ("console", "$ false")], id="it-ends-there"),
        pytest.param([("yaml needs=nonesuch", "hooks: []"), ("console", "$ true")], id="a-part-is-left-out"),
    ],
)
def test_a_page_that_needs_what_is_not_there_is_skipped(run, blocks):
    """Visibly; the reader of the report learns what is missing."""
    with pytest.raises(pytest.skip.Exception, match=r"page\.md:1 needs nonesuch, which is not installed"):
        run(*blocks)


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([("console", "$ false"), ("console needs=nonesuch", "$ true")], id="before"),
        pytest.param([("yaml needs=nonesuch", "hooks: []"), ("console", "$ false")], id="after-a-part"),
        pytest.param([("console needs=numpy", "$ false")], id="with-what-is-there"),
    ],
)
def test_what_does_not_need_it_is_tried_all_the_same(run, blocks):
    """A page says no wrong things about what is there."""
    with pytest.raises(AssertionError, match="false: ended with 1"):
        run(*blocks)


def test_a_part_of_another_class_takes_the_place_of_a_section(run):
    """The arguments of one class mean nothing to another; other sections stay as they are."""
    whole = (
        "dataset: {class: circle.Circle, examples: 40}\n"
        "model: {class: emloop_sklearn.BaseModel, estimator: {class: sklearn.naive_bayes.GaussianNB}}\n"
        "main_loop: {on_unused_sources: ignore}"
    )
    part = "inputs: [points, labels], outputs: [loss], classes: 2"
    run(
        ("yaml title=config.yaml", whole),
        ("yaml", f"model: {{{part}}}"),
        ("yaml", f"model: {{class: examples.majority.majority_model.MajorityNet, {part}}}"),
    )
