"""What a training shows on a real terminal."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

TALKING = ("model.talks=true", "main_loop.epochs_count=3")


@pytest.mark.slow
def test_a_training_has_a_header_a_line_an_epoch_and_a_summary(terminal):
    """No prefix, nothing drawn twice, nothing left of the bar; what is printed, logged or warned of stands above it."""
    shown = terminal.run("train", "config.yaml", "--output_dir", "a", "main_loop.epochs_count=2", "model.talks=true")

    times = re.sub(r"\d+\.\ds +[\d.e+]+$", "TIME", shown, flags=re.MULTILINE)
    assert times.splitlines() == [
        "Run directory: log/a",
        "  seed 7 · Model · toy 1.0 · 1 parameter",
        "  train: 6 batches, exact · valid",
        "printed by the model",
        "a record of mine",
        *(line for line in times.splitlines() if "toy.py" in line or "yesterday" in line or "warn" in line),
        "          train                 valid",
        "epoch      loss   accuracy       loss   accuracy     time  batch/s",
        "    1    275.29     0.2753     196.12*    0.1961     TIME",
        "    2    113.29     0.1133     64.125*    0.0641     TIME",
        "Training terminated: main_loop.epochs_count = 2 is reached",
        "Best: valid loss 64.125 in epoch 2",
    ]


@pytest.mark.slow
def test_the_log_keeps_its_format_and_has_what_the_screen_had(terminal):
    """Also what was printed above the bar, once."""
    terminal.run("train", "config.yaml", "--output_dir", "a", *TALKING)

    log = (terminal.path / "log" / "a" / "train.log").read_text(encoding="utf-8")
    lines = re.findall(r"^[\d-]{10} [\d:]{8}\.\d{3}: (\w+) +@(\w+) *: (.*)$", log, flags=re.MULTILINE)
    said = [(level, text) for level, module, text in lines if module == "toy"]
    assert said == [
        ("INFO", "printed by the model"),
        ("INFO", "a record of mine"),
        ("WARNING", "UserWarning: data of yesterday"),
    ]
    assert ("INFO", "loop", "Training epoch 3") in lines
    assert ("INFO", "log_variables", "\tvalid loss mean: 4.125000") in lines


@pytest.mark.slow
@pytest.mark.parametrize("columns", [24, 40, 80, 200])
def test_no_number_is_broken_whatever_the_width(terminal, columns):
    """Columns that do not fit are left out, and lines end before the edge."""
    terminal.columns = columns
    settings = "model.variables=9", "hooks.ComputeStats.variables=[loss,accuracy,variable_3,variable_8]"
    shown = terminal.run("train", "config.yaml", "--output_dir", "a", "main_loop.epochs_count=2", *settings)

    assert max(len(line) for line in shown.splitlines()) <= columns
    assert re.findall(r"(?:^|\s)(?:196\.1250?|64\.1250?)\*", shown)
    assert len(re.findall(r"^(?:epoch|   ) +[12]\b(?! param)", shown, flags=re.MULTILINE)) == 2


@pytest.mark.slow
def test_the_bar_shows_total_loss_rate_and_time_left_in_the_first_pass(terminal):
    """The total of a sequence is known before it was read once."""
    settings = "model.pause=0.05", "dataset.batches=40", "main_loop.epochs_count=1"
    shown = terminal.run("train", "config.yaml", "--output_dir", "a", *settings)

    drawn = re.sub(r"\x1b\[[0-9;]*[mK]", "", terminal.raw).split("\r")
    bars = [text for text in drawn if re.search(r"train ━+[╸╺━ ]* *\d+/40 loss \d+\.\d+ ETA 0:00:0\d [\d.]+/s$", text)]
    assert len(bars) > 3
    assert "━" not in shown


@pytest.mark.slow
def test_the_bar_shows_the_newest_running_means(terminal):
    """Of ``LogEvery``; a mean over two batches of losses that fall by 2·(20 − step) − 1 is between them."""
    settings = "model.pause=0.3", "dataset.batches=8", "main_loop.epochs_count=1"
    more = "hooks+=LogEvery: {every: 2ba, variables: [loss, accuracy]}"
    terminal.run("train", "config.yaml", "--output_dir", "a", *settings, more)

    shown = re.findall(
        r"/8 loss (\d+\.\d+) ETA [\d:]+ [\d.]+/s accuracy 0\.\d+", re.sub(r"\x1b\[[0-9;]*[mK]", "", terminal.raw)
    )
    means = [f"{((20 - step) ** 2 + (19 - step) ** 2) / 2 + 0.125:.2f}" for step in (1, 3, 5)]
    assert list(dict.fromkeys(shown))[:3] == means


@pytest.mark.slow
def test_a_stopped_run_says_how_to_go_on_and_the_table_goes_on(terminal):
    """The best value of before is remembered: a worse one has no mark."""
    settings = "model.pause=0.05", "main_loop.epochs_count=30"
    stopped = terminal.run(
        "train", "config.yaml", "--output_dir", "a", *settings, expect=75, interrupt_at="    4  ", NO_COLOR="1"
    )
    assert stopped.splitlines()[-1] == "Next: emloop resume log/a"
    assert "Training terminated: interrupted by SIGINT" in stopped.splitlines()
    assert set(re.findall(r"\x1b\[[0-9;?]*[A-Za-z]", terminal.raw)) <= {"\x1b[2K", "\x1b[1m", "\x1b[2m", "\x1b[0m"}

    resumed = terminal.run("resume", "log/a", "main_loop.epochs_count=6", "model.pause=0.0")

    assert re.search(r"^  Going on after (.* )?epoch [45], from commit \d+$", resumed, flags=re.MULTILINE)
    assert resumed.count("epoch      loss") <= 1
    assert not re.search(r"^    6 .*\*", resumed, flags=re.MULTILINE)
    assert "Best: valid loss 4.1250 in epoch 3" in resumed


@pytest.mark.slow
def test_quiet_shows_nothing_and_verbose_all_that_the_log_has(terminal):
    """-q leaves warnings; -v adds what only goes to the log."""
    quiet = terminal.run("train", "config.yaml", "-q", "--output_dir", "a", "main_loop.epochs_count=1")
    verbose = terminal.run("train", "config.yaml", "-v", "--output_dir", "b", "main_loop.epochs_count=1")

    assert quiet == ""
    assert terminal.raw.count("\r") > 0
    assert "        valid loss mean: 196.125000" in verbose.expandtabs().splitlines()
    assert "Training epoch 1" in verbose.splitlines()
    assert [verbose.count(word) for word in ("Run directory: ", "terminated: ", "exact")] == [1, 1, 1]


@pytest.mark.slow
def test_an_evaluation_inside_an_epoch_has_a_line_of_its_own(terminal):
    """Between the lines of the epochs, whose columns stay."""
    settings = "main_loop.evaluate_every=4ba", "main_loop.epochs_count=1"
    shown = terminal.run("train", "config.yaml", "--output_dir", "a", *settings)

    lines = re.findall(r"^(?:after batch|    1 ).*", shown, flags=re.MULTILINE)
    assert lines[0] == "after batch 4  valid loss 256.12* · accuracy 0.2561"
    assert lines[1].startswith("    1    275.29     0.2753     196.12*    0.1961")


@pytest.mark.slow
def test_the_best_may_have_been_inside_an_epoch(terminal):
    """As the hook that saves it sees it; a resume remembers that."""
    settings = "main_loop.evaluate_every=2ba", "hooks+={LogEvery: {every: 1ba}}"
    first = terminal.run("train", "config.yaml", "--output_dir", "a", *settings, "main_loop.epochs_count=4")
    assert "Best: valid loss 0.1250 after batch 20" in first.splitlines()

    second = terminal.run("resume", "a", "main_loop.epochs_count=5")
    assert re.search(r"^    5 (?!.*\*)", second, flags=re.MULTILINE)
    assert "Best: valid loss 0.1250 after batch 20" in second.splitlines()


@pytest.mark.slow
def test_a_resume_names_what_has_changed_around_it_and_breaks_no_word(terminal):
    """Nothing but the number of threads; the log has it in one line."""
    words = "The environment has changed, so this resume may not be exact:", "OMP_NUM_THREADS: 1 → 2"
    terminal.run("train", "config.yaml", "--output_dir", "a", "main_loop.epochs_count=1")
    assert words[0] not in terminal.run("resume", "a", "main_loop.epochs_count=2")

    changed = terminal.run("resume", "a", "main_loop.epochs_count=3", OMP_NUM_THREADS="2")

    assert f"\nwarning: {words[0]}\n    {words[1]}\n" in changed
    assert f"{' '.join(words)}\n" in (terminal.path / "log" / "a" / "train.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_mistake_has_the_words_that_a_pipe_gets(terminal, processes):
    """Folded between them on the terminal."""
    command = ("check", "config.yaml", "hooks.SaveBest.variabel=loss", "hooks.ComputeStats.variable=[loss]")
    shown = terminal.run(*command, expect=2)
    piped = processes.run(
        [sys.executable, "-m", "emloop", *command], cwd=terminal.path, capture_output=True, text=True, check=False
    )

    assert max(map(len, piped.stderr.splitlines())) > terminal.columns >= max(map(len, shown.splitlines()))
    assert piped.stderr.split() == shown.split()


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_stops_the_training(toy, processes):
    """As a terminal that is closed: it commits, and can be resumed."""
    command = "emloop train config.yaml --output_dir a main_loop.epochs_count=100000 2>&1 | head -4"
    python = command.replace("emloop", f"{shlex.quote(sys.executable)} -m emloop", 1)
    python = f"({python.replace(' 2>&1 |', '; echo $? > code) 2>&1 |', 1)}"
    done = processes.run(["sh", "-c", python], cwd=toy, capture_output=True, text=True, timeout=120, check=False)

    assert len(done.stdout.splitlines()) == 4
    assert done.stderr == ""
    assert (toy / "code").read_text(encoding="utf-8") == "75\n"
    assert "status: stopped" in (toy / "log" / "a" / "trace.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_dumb_terminal_gets_plain_lines(terminal):
    """No control characters at all."""
    shown = terminal.run("train", "config.yaml", "--output_dir", "a", "main_loop.epochs_count=1", TERM="dumb")

    assert shown
    assert "\x1b" not in terminal.raw
    (line,) = re.findall(r"^epoch 1 .*$", terminal.raw.replace("\r", ""), flags=re.MULTILINE)
    assert line.startswith("epoch 1  train loss 275.29 · accuracy 0.2753 · valid loss 196.12* · accuracy 0.1961 · ")
