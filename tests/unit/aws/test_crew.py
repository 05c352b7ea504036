"""Threads that ask for several things at once."""

import subprocess
import sys
from threading import Barrier, get_ident

import pytest

from cloudfn.providers.aws.crew import Crew


@pytest.fixture
def crew():
    crew = Crew(3)
    yield crew
    crew.close()


def test_things_are_done_side_by_side_and_answered_in_order(crew):
    together = Barrier(3, timeout=10)

    def act(thing):
        together.wait()
        return thing * 2

    assert crew.each(act, [1, 2, 3]) == [2, 4, 6]


def test_all_is_done_before_an_error_is_told(crew):
    done = []

    def act(thing):
        if thing == 1:
            raise ValueError(thing)
        done.append(thing)

    with pytest.raises(ValueError, match="1"):
        crew.each(act, range(9))
    assert sorted(done) == [0, *range(2, 9)]


@pytest.mark.parametrize(("threads", "things"), [(1, [1, 2, 3]), (3, [1]), (3, [])])
def test_nobody_is_asked_where_there_is_nothing_to_divide(threads, things):
    crew = Crew(threads)

    assert set(crew.each(lambda _: get_ident(), things)) <= {get_ident()}


def test_a_closed_crew_begins_anew(crew):
    crew.each(str, [1, 2])
    crew.close()

    assert crew.each(str, [1, 2]) == ["1", "2"]


def test_a_process_on_its_way_out_does_it_itself():
    program = (
        "import atexit; from cloudfn.providers.aws.crew import Crew; crew = Crew(2);"
        "crew.each(str, [1, 2]); atexit.register(lambda: print(crew.each(str, [3, 4])))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )

    assert (told.stdout, told.stderr) == ("['3', '4']\n", "")


def test_a_process_that_ends_does_not_wait_for_what_others_do_for_it():
    program = (
        "from threading import Event, Thread;"
        "from cloudfn.providers.aws.crew import Crew; crew = Crew(3); waits = Event();"
        "begun = [Event(), Event(), Event()];"
        "act = lambda event: (event.set(), waits.wait());"
        "Thread(target=crew.each, args=(act, begun), daemon=True).start();"
        "[event.wait() for event in begun]; print('over')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )

    assert (told.stdout, told.stderr) == ("over\n", "")
