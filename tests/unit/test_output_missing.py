"""The end of a run waits for output that is known to be missing, and for no other."""

from types import SimpleNamespace

import pytest

from cloudfn.control.invocation.missing import Missing
from cloudfn.control.invocation.operations.output import OutputOperations
from cloudfn.machine.printing import Printing
from cloudfn.model.call import Status
from cloudfn.model.log import LogEntry
from cloudfn.providers.wakeups import Note, Printed
from cloudfn.testing.clock import FakeClock


@pytest.fixture
def missing():
    found = Missing()
    found.expect("ap-1")
    found.called()
    return found


def a_note(size, writer="w1", app_id="ap-1"):
    return Note("fc-1", (0,), (Status.RETURNED,), (b"",), printed=Printed(app_id, writer, size))


def an_entry(text, container="ta-1", app_id="ap-1"):
    return LogEntry(1.0, app_id, "jobs", "f", container, "fc-1", "in-1", "stdout", text)


def test_nothing_is_missing_where_nothing_was_called_or_printed(missing):
    assert Missing().nothing("ap-1")
    assert not missing.nothing("ap-1")

    missing.told(a_note(0))

    assert missing.nothing("ap-1")


def test_output_is_missing_until_all_that_machines_had_is_here(missing):
    for note in (a_note(5), a_note(3), a_note(4, writer="w2"), a_note(100, app_id="ap-2")):
        missing.told(note)

    missing.came("ap-1", [an_entry("12345")])
    assert not missing.nothing("ap-1")
    missing.came("ap-1", [an_entry("a reason of the planner", container="planner")])
    assert not missing.nothing("ap-1")
    missing.came("ap-1", [an_entry("678"), an_entry("9", container="ta-2")])

    assert missing.nothing("ap-1")


@pytest.mark.parametrize("notes", [[a_note(-1), a_note(5)], [a_note(5), a_note(-1)]])
def test_where_containers_called_others_nobody_knows(missing, notes):
    for note in notes:
        missing.told(note)
    missing.came("ap-1", [an_entry("x" * 99)])

    assert not missing.nothing("ap-1")


def test_where_outcomes_came_without_a_word_of_output_nobody_knows(missing):
    missing.told(a_note(0))
    missing.untold()

    assert not missing.nothing("ap-1")


def test_a_note_of_an_older_machine_says_nothing_of_output(missing):
    missing.told(a_note(0))
    missing.told(a_note(0)._replace(printed=None))

    assert not missing.nothing("ap-1")


def test_what_is_followed_no_more_is_forgotten(missing):
    missing.told(a_note(0))
    missing.forget("ap-1")
    missing.told(a_note(0))

    assert not missing.nothing("ap-1")


def test_a_machine_counts_what_each_app_printed():
    printing = Printing()

    for text, app_id in (("12", "ap-1"), ("3", "ap-2"), ("3é", "ap-1")):
        printing.add(an_entry(text, app_id=app_id))
    printing.add(an_entry("a reason", container="planner"))

    assert [printing.of(app_id).size for app_id in ("ap-1", "ap-2", "ap-3")] == [4, 1, 0]
    assert printing.of("ap-1").writer != Printing().of("ap-1").writer


def test_a_machine_does_not_know_of_apps_whose_containers_call_or_that_it_forgot():
    printing = Printing()
    printing.add(an_entry("12"))
    printing.called("ap-1")
    printing.add(an_entry("12"))
    assert printing.of("ap-1").size == -1

    for number in range(12_000):
        printing.add(an_entry("x", app_id=f"ap-x{number}"))

    assert printing.of("ap-x0").size == -1
    assert printing.of("ap-x11999").size == -1
    assert printing.of("ap-x9000").size == 1


@pytest.mark.parametrize(
    ("size", "patience", "waited"), [(0, 10.0, 0.0), (5, 10.0, 2.5), (-1, 10.0, 2.5), (5, 1.0, 1.0)]
)
def test_the_end_of_a_run_waits_only_where_something_is_missing_and_not_for_ever(
    missing, size, patience, waited
):
    clock = FakeClock(sleepless=True)
    calls = SimpleNamespace(deliveries=SimpleNamespace(missing=missing))
    missing.told(a_note(size))
    began = clock.monotonic()

    OutputOperations(SimpleNamespace(clock=clock, calls=calls)).await_rest("ap-1", patience)

    assert clock.monotonic() - began == pytest.approx(waited, abs=0.11)
