"""The planner's policy: the need, from need to decision, and the way down."""

from dataclasses import replace
from typing import Any

import pytest

from cloudfn.control.planner.decide import EARLY_PAUSE, decide
from cloudfn.control.planner.need import need
from cloudfn.control.planner.room import current, least_useful
from cloudfn.control.planner.snapshot import ContainerView, PoolSnapshot
from tests.unit.planner_pools import (
    LONG,
    NOW,
    SHORT,
    TINY,
    a_pool,
    busy,
    carried_out,
    decided,
    held_up,
    idle,
    leaving,
    seen,
    several,
    starting,
)

# --------------------------------------------------------------------------------------- the need


@pytest.mark.parametrize(
    ("pool", "cores", "needed"),
    [
        pytest.param(a_pool(), 2, 0, id="nothing needs nothing"),
        pytest.param(a_pool(idle("a")), 2, 0, id="an idle container needs itself not"),
        pytest.param(a_pool(busy("a"), held_up("b")), 2, 2, id="what is busy is needed"),
        pytest.param(a_pool(leaving("a")), 2, 1, id="what is busy and leaves is needed until then"),
        pytest.param(a_pool(waiting=1), 2, 1, id="the first input wakes a pool from zero"),
        pytest.param(a_pool(waiting=1, service=TINY), 2, 1, id="a tiny first input wakes it too"),
        pytest.param(
            a_pool(waiting=1, service=0.0), 2, 1, id="an input that takes no time as well"
        ),
        pytest.param(a_pool(waiting=100), 2, 2, id="unknown inputs get as many as can compute"),
        pytest.param(a_pool(waiting=1), 8, 1, id="but not more than there are inputs"),
        pytest.param(
            a_pool(busy("a", 0.001), waiting=9), 2, 2, id="those that compute are counted"
        ),
        pytest.param(
            a_pool(busy("a", 0.04), busy("b", 0.04), waiting=98),
            2,
            2,
            id="unknown inputs that run for less than a start takes start no more",
        ),
        pytest.param(
            a_pool(busy("a", 0.2), busy("b", 0.2), waiting=98),
            2,
            100,
            id="unknown inputs that run for long start as many as there are inputs",
        ),
        pytest.param(
            a_pool(busy("a", 9.0), busy("b", 0.001), waiting=98),
            2,
            2,
            id="one slow input among unknown ones does not make all slow",
        ),
        pytest.param(a_pool(waiting=1_000, service=TINY), 2, 1, id="1,000 tiny inputs get one"),
        pytest.param(
            a_pool(busy("a"), busy("b"), waiting=1_000, service=TINY), 2, 2, id="or those there are"
        ),
        pytest.param(
            a_pool(busy("a"), waiting=1_000, service=SHORT),
            2,
            100,
            id="5 s of work in 5 ms inputs is worth starts of 50 ms, less what is done meanwhile",
        ),
        pytest.param(a_pool(waiting=100, service=LONG), 2, 100, id="sleeping inputs get one each"),
        pytest.param(
            a_pool(*several(busy, 60), waiting=1, service=LONG),
            2,
            60,
            id="an input that one of 60 busy containers is about to take needs none",
        ),
        pytest.param(
            a_pool(busy("a", 60.0), waiting=1_000, service=TINY),
            2,
            2,
            id="tiny inputs behind a slow one get one more container",
        ),
        pytest.param(
            a_pool(*several(busy, 4, 60.0), waiting=1_000, service=TINY),
            2,
            8,
            id="when all that run are slow, the containers double",
        ),
        pytest.param(
            a_pool(*several(busy, 4, 60.0), waiting=1, service=TINY),
            2,
            5,
            id="though not beyond the number of inputs",
        ),
        pytest.param(
            a_pool(*several(held_up, 16), waiting=1, service=TINY),
            2,
            17,
            id="who waits for a nested call helps nobody",
        ),
        pytest.param(
            a_pool(*several(held_up, 16), waiting=1),
            2,
            17,
            id="not even while nothing is known of the inputs",
        ),
        pytest.param(
            a_pool(leaving("a"), waiting=1, service=TINY),
            2,
            2,
            id="nor does who leaves",
        ),
        pytest.param(
            a_pool(leaving("a"), waiting=3, service=TINY, single_use=True),
            2,
            4,
            id="single-use containers take one input each, however tiny",
        ),
    ],
)
def test_the_need_is_what_the_work_keeps_busy(pool, cores, needed):
    assert need(pool, cores) == needed


def of_ten(*containers: ContainerView, waiting: int = 0, **more: Any) -> PoolSnapshot:
    """A pool whose containers should have 10 inputs at once, and take 20."""
    views = (replace(c, slots=20) for c in containers)
    return a_pool(*views, waiting=waiting, target=10, **more)


@pytest.mark.parametrize(
    ("pool", "cores", "needed"),
    [
        pytest.param(of_ten(waiting=1), 2, 1, id="one input wakes one container"),
        pytest.param(
            of_ten(waiting=95, service=LONG), 2, 10, id="95 sleeping inputs get ten containers"
        ),
        pytest.param(
            of_ten(waiting=95), 2, 2, id="unknown inputs get as many as can compute at once"
        ),
        pytest.param(
            of_ten(busy("a", held=3), waiting=7, service=LONG),
            2,
            1,
            id="the free slots of a busy container are used first",
        ),
        pytest.param(
            of_ten(busy("a", held=3), busy("b", held=10), waiting=8, service=LONG),
            2,
            3,
            id="and what they do not take needs another one",
        ),
        pytest.param(
            of_ten(busy("a", held=20)),
            2,
            2,
            id="a container that took a burst beyond its target is to be relieved",
        ),
        pytest.param(
            of_ten(busy("a", held=20), live=False),
            2,
            1,
            id="though not in a revision to which nothing comes any more",
        ),
        pytest.param(
            of_ten(busy("a", held=1), busy("b", held=1), busy("c", held=1)),
            2,
            3,
            id="inputs do not move: every container that has one is needed",
        ),
        pytest.param(
            of_ten(leaving("a"), waiting=9, service=LONG),
            2,
            2,
            id="who leaves takes nothing, whatever slots it has free",
        ),
        pytest.param(
            a_pool(busy("a", held=2, slots=2), waiting=8, service=LONG, target=10),
            2,
            2,
            id="a container that lowered its own slots has no more than those",
        ),
        pytest.param(
            of_ten(busy("a", held=2), waiting=1, service=LONG, alone=True),
            2,
            2,
            id="an input that must run alone gets an empty container, whatever slots are free",
        ),
        pytest.param(
            of_ten(waiting=1_000, service=TINY), 2, 1, id="1,000 tiny inputs get one container"
        ),
        pytest.param(
            of_ten(waiting=25, single_use=True),
            2,
            3,
            id="single-use containers take one batch each",
        ),
    ],
)
def test_the_need_counts_slots(pool, cores, needed):
    assert need(pool, cores) == needed


def test_a_pool_with_slots_says_how_it_counts():
    decision = decided(of_ten(busy("a", held=3), waiting=95, service=LONG))

    assert decision.reason == "95 waiting and 3 running, 10 to a container, need 10"


def test_the_least_busy_container_goes_first_when_max_is_lowered():
    pool = of_ten(busy("a", held=7), busy("b", held=2), max_containers=1)

    assert decided(pool).stop == ("b",)


def test_a_slow_start_asks_for_more_work_per_container():
    quick = a_pool(waiting=1_000, service=SHORT, start_time=0.02)
    slow = a_pool(waiting=1_000, service=SHORT, start_time=2.0)

    assert need(quick, 2) == 250
    assert need(slow, 2) == 3


def test_no_container_is_believed_to_start_in_no_time():
    assert need(a_pool(waiting=1_000, service=TINY, start_time=0.0), 2) == 1


# --------------------------------------------------------------------------- from need to decision


@pytest.mark.parametrize(
    ("pool", "start", "limiting", "reason"),
    [
        pytest.param(
            a_pool(
                busy("a"), busy("b"), waiting=3, service=LONG, buffer_containers=1, max_containers=4
            ),
            2,
            "max",
            "3 waiting and 2 busy need 5, buffer of 1, max 4",
            id="max wins over need and buffer",
        ),
        pytest.param(
            a_pool(busy("a"), buffer_containers=2),
            2,
            "buffer",
            "0 waiting and 1 busy need 1, buffer of 2",
            id="a buffer stands beside what is busy",
        ),
        pytest.param(
            a_pool(buffer_containers=2, last_active=NOW - 59),
            2,
            "buffer",
            "0 waiting and 0 busy need 0, buffer of 2",
            id="a pool is active for a window after its last input",
        ),
        pytest.param(
            a_pool(buffer_containers=2, last_active=NOW - 60),
            0,
            "need",
            "0 waiting and 0 busy need 0",
            id="an inactive pool has no buffer",
        ),
        pytest.param(
            a_pool(buffer_containers=2),
            0,
            "need",
            "0 waiting and 0 busy need 0",
            id="a pool that was never used has no buffer",
        ),
        pytest.param(
            a_pool(min_containers=3),
            3,
            "min",
            "0 waiting and 0 busy need 0, min 3",
            id="min holds without any work",
        ),
        pytest.param(
            a_pool(busy("a"), min_containers=3, buffer_containers=1),
            2,
            "min",
            "0 waiting and 1 busy need 1, buffer of 1, min 3",
            id="min counts what is busy and what is buffer",
        ),
        pytest.param(
            a_pool(
                min_containers=3, max_containers=3, buffer_containers=5, waiting=9, service=LONG
            ),
            3,
            "max",
            "9 waiting and 0 busy need 9, buffer of 5, max 3",
            id="min, need and buffer all give in to max",
        ),
        pytest.param(
            a_pool(busy("a"), busy("b"), waiting=1_000, service=TINY),
            0,
            "need",
            "1000 waiting and 2 busy need 2 at 10 µs each",
            id="tiny inputs start nothing",
        ),
        pytest.param(
            a_pool(busy("a"), waiting=1_000, service=SHORT, max_containers=2),
            1,
            "max",
            "1000 waiting and 1 busy need 100 at 5 ms each, max 2",
            id="short inputs start some",
        ),
        pytest.param(
            a_pool(*several(busy, 60), waiting=1, service=LONG),
            0,
            "need",
            "1 waiting and 60 busy need 60 at 1.0 s each",
            id="a hand that is about to be free is waited for",
        ),
        pytest.param(
            a_pool(waiting=5, blocked_until=NOW + 1.5),
            0,
            "backoff",
            "5 waiting and 0 busy need 5, but starts failed: next try in 1.5s",
            id="after failed starts nothing starts",
        ),
        pytest.param(
            a_pool(waiting=5, service=LONG, blocked_until=NOW),
            5,
            "need",
            "5 waiting and 0 busy need 5",
            id="until their time is over",
        ),
        pytest.param(
            a_pool(min_containers=3, buffer_containers=2, waiting=1, live=False),
            1,
            "need",
            "1 waiting and 0 busy need 1",
            id="a retired pool serves its inputs without min and buffer",
        ),
        pytest.param(
            a_pool(starting("a"), waiting=2, service=LONG),
            1,
            "need",
            "2 waiting and 0 busy need 2",
            id="what starts is counted",
        ),
        pytest.param(
            a_pool(*several(leaving, 2), waiting=9, single_use=True, max_containers=3),
            1,
            "max",
            "9 waiting and 2 busy need 11, max 3",
            id="single-use containers that work off their input count for max",
        ),
    ],
)
def test_what_is_started_and_why(pool, start, limiting, reason):
    decision = decided(pool)

    assert (decision.start, decision.stop) == (start, ())
    assert (decision.limiting, decision.reason) == (limiting, reason)


def test_unknown_inputs_say_that_they_wait_for_the_first_one():
    decision = decided(a_pool(waiting=100), cores=2)

    assert decision.reason == "100 waiting and 0 busy need 2 until one has finished"


# ------------------------------------------------------------------------------- on the way down


@pytest.mark.parametrize(
    ("pool", "stop", "limiting", "reason"),
    [
        pytest.param(
            a_pool(idle("a", 59.9)),
            (),
            "window",
            "0 waiting and 0 busy need 0, idle ones stay for 60s",
            id="the last idle container stays for the window",
        ),
        pytest.param(
            a_pool(idle("a", 60)),
            ("a",),
            "window",
            "1 idle for 60s, 0 waiting and 0 busy need 0",
            id="and leaves at its end, which scales the pool to zero",
        ),
        pytest.param(
            a_pool(idle("a", 10), scaledown_window=10),
            ("a",),
            "window",
            "1 idle for 10s, 0 waiting and 0 busy need 0",
            id="the window is the pool's own",
        ),
        pytest.param(
            a_pool(idle("old", 70), idle("new", 1), idle("older", 80)),
            ("older", "old"),
            "window",
            "2 idle for 60s, 0 waiting and 0 busy need 0",
            id="all leave whose window is over, the longest idle first",
        ),
        pytest.param(
            a_pool(idle("a", 70), idle("b", 80), min_containers=1),
            ("b",),
            "window",
            "1 idle for 60s, 0 waiting and 0 busy need 0, min 1",
            id="min stays whatever the window",
        ),
        pytest.param(
            a_pool(idle("a", 70), idle("b", 80), busy("c"), buffer_containers=1),
            ("b",),
            "window",
            "1 idle for 60s, 0 waiting and 1 busy need 1, buffer of 1",
            id="an active pool keeps its buffer whatever the window",
        ),
        pytest.param(
            a_pool(*several(idle, 10, 15), last_lowered=NOW - EARLY_PAUSE),
            tuple(f"idle-{n:03}" for n in range(5)),
            "early",
            "5 of 10 idle are clearly too many, 0 waiting and 0 busy need 0",
            id="half of far too many leave before the window ends",
        ),
        pytest.param(
            a_pool(*several(idle, 10, 15), last_lowered=NOW - EARLY_PAUSE + 0.1),
            (),
            "window",
            "0 waiting and 0 busy need 0, idle ones stay for 60s",
            id="but not at once after the last time",
        ),
        pytest.param(
            a_pool(*several(idle, 10, 14.9)),
            (),
            "window",
            "0 waiting and 0 busy need 0, idle ones stay for 60s",
            id="nor before a quarter of the window",
        ),
        pytest.param(
            a_pool(*several(idle, 4, 15), *several(busy, 9)),
            (),
            "window",
            "0 waiting and 9 busy need 9, idle ones stay for 60s",
            id="nor when the idle ones are a comfortable number for what is busy",
        ),
        pytest.param(
            a_pool(*several(idle, 6, 15), busy("b"), buffer_containers=3),
            ("idle-000",),
            "early",
            "1 of 6 idle are clearly too many, 0 waiting and 1 busy need 1, buffer of 3",
            id="a buffer makes more of them comfortable",
        ),
        pytest.param(
            a_pool(*several(idle, 10, 1.9), scaledown_window=4),
            (),
            "window",
            "0 waiting and 0 busy need 0, idle ones stay for 4s",
            id="nor within two seconds however short the window",
        ),
        pytest.param(
            a_pool(*several(idle, 8, 2), scaledown_window=2, last_lowered=NOW),
            tuple(f"idle-{n:03}" for n in range(8)),
            "window",
            "8 idle for 2s, 0 waiting and 0 busy need 0",
            id="the window asks for no pause",
        ),
        pytest.param(
            a_pool(starting("a"), starting("b", 100)),
            (),
            "window",
            "0 waiting and 0 busy need 0, idle ones stay for 60s",
            id="what starts is not called off when its work has gone",
        ),
        pytest.param(
            a_pool(idle("a"), busy("b"), starting("c"), live=False),
            ("c", "a"),
            "retired",
            "2 idle of a revision that is not live, 0 waiting and 1 busy need 1",
            id="a retired pool lets its idle containers go at once",
        ),
        pytest.param(
            a_pool(idle("a"), idle("b", 1), waiting=1, min_containers=2, live=False),
            ("b",),
            "retired",
            "1 idle of a revision that is not live, 1 waiting and 0 busy need 1",
            id="but for those that its last inputs need",
        ),
        pytest.param(
            a_pool(busy("a"), idle("b"), starting("c"), busy("d", 5.0), max_containers=1),
            ("c", "b", "d"),
            "max",
            "0 waiting and 2 busy need 2, max 1",
            id="a lower max holds now: starting, idle, then busy ones go",
        ),
        pytest.param(
            a_pool(idle("a", 70), idle("b", 1), max_containers=1),
            ("a",),
            "window",
            "1 idle for 60s, 0 waiting and 0 busy need 0",
            id="who leaves anyway counts towards a lower max",
        ),
        pytest.param(
            a_pool(*several(leaving, 2), busy("b"), busy("c"), max_containers=2),
            (),
            "max",
            "0 waiting and 4 busy need 4, max 2",
            id="those that leave already are not asked to leave for max again",
        ),
    ],
)
def test_what_is_stopped_and_why(pool, stop, limiting, reason):
    decision = decided(pool)

    assert (decision.stop, decision.start) == (stop, 0)
    assert (decision.limiting, decision.reason) == (limiting, reason)


def test_far_too_many_idle_containers_go_by_halves_and_the_last_one_stays_for_its_window():
    snapshot = seen(a_pool(*several(idle, 16)))
    sizes = []
    for second in range(61):
        at = replace(snapshot, now=NOW + second)
        decisions = decide(at)
        if decisions[0].stop:
            sizes.append((second, current(snapshot.pools[0]) - len(decisions[0].stop)))
        snapshot = carried_out(at, decisions)

    assert sizes == [(15, 8), (20, 4), (25, 2), (30, 1), (60, 0)]


def test_a_starting_container_is_less_useful_than_an_idle_one_and_that_than_a_busy_one():
    ranked = least_useful([busy("c"), idle("b", 1), idle("a", 9), starting("d")], 4)

    assert ranked == ("d", "a", "b", "c")
