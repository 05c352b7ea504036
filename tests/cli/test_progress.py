"""The progress line, the summary, and how output shares a terminal with them."""

import contextlib
import io
import re

import pytest

from cloudfn.cli import progress
from cloudfn.cli.display import RunDisplay
from cloudfn.cli.progress import Figures
from cloudfn.cli.status_line import StatusLine, attached
from cloudfn.cli.terminal import clean
from tests.cli.conftest import FixedClock, TerminalStream

ERASE = "\r\x1b[2K"


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    for name, value in {"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


def screen_of(written: str) -> list[str]:
    """Return the lines that a terminal shows after `written`."""
    lines = [""]
    for piece in re.split(r"(\r\x1b\[2K|\n)", written):
        if piece == ERASE:
            lines[-1] = ""
        elif piece == "\n":
            lines.append("")
        else:
            lines[-1] += piece
    return lines


def test_the_line_counts_inputs_failures_and_containers():
    figures = Figures(containers=2, peak=8, pending=3, running=2, done=1518, failed=2)

    assert progress.line(figures, 3.21, 0)[2:] == (
        "1,518/1,523 inputs · 2 failed · 2 containers (peak 8) · 3.2 s"
    )


def test_before_the_first_input_the_line_shows_the_time_only():
    assert progress.line(Figures(), 1.0, 3)[2:] == "1.0 s"


@pytest.mark.parametrize(
    ("figures", "succeeded", "text"),
    [
        (
            Figures(done=1523, peak=8),
            True,
            "✓ 1,523 inputs · 0 failed · 8 containers at the peak · 3.2 s",
        ),
        (
            Figures(done=1, failed=1, peak=1),
            False,
            "✗ 1 input · 1 failed · 1 container at the peak · 3.2 s",
        ),
    ],
)
def test_the_summary_is_one_line(figures, succeeded, text):
    assert progress.summary(figures, 3.21, succeeded=succeeded) == text


def test_late_messages_never_make_the_figures_go_back():
    later = Figures.of({"containers_peak": 5, "done": 10})
    stale = Figures.of({"containers": 1, "peak": 2, "done": 9, "pending": 1})

    assert later.joined(stale) == Figures(containers=1, peak=5, pending=1, done=10)


def test_output_scrolls_above_the_line():
    screen = TerminalStream()
    line = StatusLine(screen, enabled=True)

    line.show("one")
    line.write(screen, "out\n")
    line.show("two")

    assert screen_of(screen.getvalue()) == ["out", "two"]


def test_output_that_has_not_ended_its_line_keeps_it():
    screen = TerminalStream()
    line = StatusLine(screen, enabled=True)

    line.show("one")
    line.write(screen, "What is your name? ")
    line.show("two")
    asked = screen_of(screen.getvalue())
    line.write(screen, "Ada\n")

    assert asked == ["What is your name? "]
    assert screen_of(screen.getvalue()) == ["What is your name? Ada", "two"]


def test_a_closed_line_leaves_nothing_behind_and_never_comes_back():
    screen = TerminalStream()
    line = StatusLine(screen, enabled=True)

    line.show("one")
    line.close()
    line.show("two")

    assert screen_of(screen.getvalue()) == [""]


def test_the_line_is_cut_to_the_terminals_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = TerminalStream()

    StatusLine(screen, enabled=True).show("a line that is much longer than the terminal")

    assert screen_of(screen.getvalue()) == ["a line that is muc…"]


def test_without_a_terminal_nothing_but_the_output_is_written():
    pipe = io.StringIO()
    line = StatusLine(pipe, enabled=False)

    line.show("one")
    line.write(pipe, "out\n")
    line.close()

    assert pipe.getvalue() == "out\n"


def test_the_programs_own_prints_go_above_the_line():
    screen = TerminalStream()
    line = StatusLine(screen, enabled=True)

    with contextlib.redirect_stdout(screen), attached(line):
        line.show("one")
        print("printed")
        line.show("two")

    assert screen_of(screen.getvalue()) == ["printed", "two"]


def test_stdout_that_is_a_file_is_left_alone():
    screen, file = TerminalStream(), io.StringIO()
    line = StatusLine(screen, enabled=True)

    with contextlib.redirect_stdout(file), attached(line):
        line.show("one")
        print("printed")

    assert file.getvalue() == "printed\n"
    assert screen_of(screen.getvalue()) == ["one"]


def test_the_display_shows_what_containers_print_cleaned_on_a_terminal():
    screen, errors = TerminalStream(), io.StringIO()

    with (
        contextlib.redirect_stdout(screen),
        contextlib.redirect_stderr(errors),
        RunDisplay(FixedClock(), started=0.0) as display,
    ):
        display.take({"entries": [{"source": "stdout", "text": "a\x1b[2Jb\n"}]})
        display.take({"entries": [{"source": "stderr", "text": "a\x1b[2Jb\n"}]})

    assert screen.getvalue() == "ab\n"
    assert errors.getvalue() == "a\x1b[2Jb\n"


def test_a_reader_that_left_does_not_stop_the_run():
    class Closed(io.StringIO):
        def write(self, _text):
            raise BrokenPipeError

    with (
        contextlib.redirect_stdout(Closed()),
        RunDisplay(FixedClock(), started=0.0, quiet=True) as display,
    ):
        display.take({"entries": [{"source": "stdout", "text": "x\n"}]})
        display.take({"event": "containers", "done": 1})

    assert display.figures.done == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x\x1b]8;;u\x1b\\y", "xy"),
        ("\x1b[2J\x1b[1;1H\x07\x08\x9b31m", "31m"),
        ("abc\u202edef\u2066", "abcdef"),
        ("\x1b", ""),
        ("ends in \x1b[", "ends in "),
    ],
)
def test_text_from_elsewhere_loses_what_could_move_the_cursor(text, shown):
    assert clean(text) == shown


def test_colours_may_stay_but_end_with_the_text_and_never_hide_it():
    assert clean("\x1b[1;31mred\n", colours=True) == "\x1b[1;31mred\x1b[0m\n"
    assert clean("\x1b[8mhidden", colours=True) == "hidden"
