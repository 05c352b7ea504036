"""Threads that may block, and lanes."""

import threading

import pytest

from cloudfn.control.invocation.crew import Crew, Lane
from cloudfn.control.invocation.watches import Seen
from cloudfn.errors import ServiceError


@pytest.fixture
def crew():
    crew = Crew("test")
    yield crew
    crew.close()


def test_works_of_a_lane_follow_each_other(crew):
    lane, done = Lane(crew), []
    for number in range(100):
        lane.do(lambda number=number: done.append(number))

    assert crew.settle(10.0)
    assert done == list(range(100))


def test_a_work_that_fails_does_not_keep_the_next_ones_from_being_done(crew, caplog):
    lane, done = Lane(crew), []

    def fail():
        raise OSError("broken")

    lane.do(fail)
    lane.do(lambda: done.append(1))

    assert crew.settle(10.0)
    assert done == [1]
    assert "broken" in caplog.text


def test_an_error_of_ours_that_nobody_waits_for_is_told_without_a_traceback(crew, caplog):
    def fail():
        raise ServiceError("it is away")

    Lane(crew).do(fail)

    assert crew.settle(10.0)
    assert "it is away" in caplog.text
    assert "Traceback" not in caplog.text


def test_who_waits_for_a_work_hears_what_it_raised(crew):
    def fail():
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        crew.finish(fail, 10.0)
    assert crew.finish(lambda: None, 10.0)


def test_a_work_that_takes_too_long_goes_on_and_its_end_is_waited_for_otherwise(crew):
    gate, done = threading.Event(), []

    assert not crew.finish(lambda: done.append(gate.wait(10.0)), 0.0)

    assert not crew.settle(0.0)
    gate.set()
    assert crew.settle(10.0)
    assert done == [True]


def test_a_work_that_waits_holds_no_other_up(crew):
    gate, done = threading.Event(), threading.Event()
    crew.do(gate.wait)

    crew.do(done.set)

    assert done.wait(10.0)
    gate.set()


def test_each_value_is_worked_on_once_and_the_first_error_is_raised(crew):
    seen = []
    crew.map(seen.append, range(200))
    assert sorted(seen) == list(range(200))

    def fail(value):
        raise ValueError(value)

    with pytest.raises(ValueError, match="7"):
        crew.map(fail, [7])


def test_values_are_worked_on_even_when_no_thread_begins_any_more():
    crew, seen = Crew("test"), []
    crew.close()

    crew.map(seen.append, range(5))

    assert sorted(seen) == list(range(5))
    assert not crew.do(lambda: None)


def test_a_lane_of_a_closed_crew_counts_as_settled():
    crew = Crew("test")
    crew.close()
    Lane(crew).do(lambda: None)

    assert crew.settle(0.0)


def test_numbers_are_new_once_in_whatever_order_they_come():
    seen = Seen(3)

    assert [seen.add(number) for number in (4, 3, 4, 2, 6)] == [True, True, False, False, True]
    assert (seen.floor, len(seen)) == (5, 3)
