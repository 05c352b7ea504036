"""The planner's policy: the need, who gets how much of the machine, and laws for all of it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.control.planner.decide import EARLY_PAUSE, decide
from cloudfn.control.planner.need import need
from cloudfn.control.planner.room import current, least_useful, serving
from cloudfn.control.planner.snapshot import ContainerView, PoolDecision, PoolSnapshot, Snapshot
from cloudfn.model.function import AutoscalerSettings

NOW = 10_000.0
TINY, SHORT, LONG = 10e-6, 0.005, 1.0
ROOMY = 1_000_000


def busy(name: str, running: float = 0.0, **more: Any) -> ContainerView:
    values: dict[str, Any] = {"held": 1, "waiting": False, "last_used": NOW - running}
    return ContainerView(name, ready=True, running=running, **{**values, **more})


def held_up(name: str) -> ContainerView:
    """Its input waits for a nested call."""
    return busy(name, running=0.5, waiting=True)


def leaving(name: str) -> ContainerView:
    return busy(name, draining=True)


def idle(name: str, seconds: float = 0.0) -> ContainerView:
    return ContainerView(name, ready=True, held=0, waiting=False, last_used=NOW - seconds)


def starting(name: str, seconds: float = 0.0) -> ContainerView:
    return ContainerView(name, ready=False, held=0, waiting=False, last_used=NOW - seconds)


def several(kind: Any, count: int, *args: Any) -> tuple[ContainerView, ...]:
    return tuple(kind(f"{kind.__name__}-{number:03}", *args) for number in range(count))


def a_pool(*containers: ContainerView, waiting: int = 0, **more: Any) -> PoolSnapshot:
    settings = {
        name: more.pop(name) for name in tuple(more) if name in AutoscalerSettings.__slots__
    }
    values: dict[str, Any] = {
        "pool": "fu-1@1",
        "settings": AutoscalerSettings(**settings),
        "live": True,
        "service": None,
        "start_time": 0.05,
        "last_active": float("-inf"),
        "cpu": 0.125,
        "memory": 128,
    }
    return PoolSnapshot(**{**values, "waiting": waiting, "containers": containers, **more})


def seen(*pools: PoolSnapshot, cores: float = ROOMY, memory: int = ROOMY) -> Snapshot:
    return Snapshot(NOW, pools, cores, memory)


def decided(pool: PoolSnapshot, cores: float = ROOMY, memory: int = ROOMY) -> PoolDecision:
    (decision,) = decide(seen(pool, cores=cores, memory=memory))
    return decision


def carried_out(
    snapshot: Snapshot, decisions: tuple[PoolDecision, ...], *, gone: bool = True
) -> Snapshot:
    """What there is when the decisions are carried out; `gone`: idle ones have left already."""
    pools = []
    for pool, decision in zip(snapshot.pools, decisions, strict=True):
        containers = [
            replace(c, draining=True) if c.container_id in decision.stop else c
            for c in pool.containers
            if c.busy or not gone or c.container_id not in decision.stop
        ]
        containers += several(starting, decision.start)
        lowered = snapshot.now if decision.stop else pool.last_lowered
        pools.append(replace(pool, containers=tuple(containers), last_lowered=lowered))
    return replace(snapshot, pools=tuple(pools))


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


# -------------------------------------------------------------------------- the size of the machine


def two_cores(*pools: PoolSnapshot, memory: int = ROOMY) -> tuple[PoolDecision, ...]:
    """16 containers of the default size have room."""
    return decide(seen(*pools, cores=2, memory=memory))


def test_sleeping_inputs_start_containers_up_to_the_room_of_the_machine_at_once():
    (decision,) = two_cores(a_pool(*several(busy, 2, 0.2), waiting=98))

    assert (decision.current, decision.desired, decision.start) == (2, 16, 14)
    assert decision.limiting == "machine"
    assert decision.reason == "98 waiting and 2 busy need 100, the machine has room for 16"


def test_two_hungry_pools_share_the_machine_equally():
    first, second = two_cores(
        a_pool(waiting=10_000, service=LONG), a_pool(waiting=100, service=LONG)
    )

    assert (first.start, second.start) == (8, 8)


def test_what_a_modest_pool_leaves_goes_to_the_hungry_one():
    modest, hungry = two_cores(a_pool(waiting=3, service=LONG), a_pool(waiting=99, service=LONG))

    assert (modest.start, hungry.start) == (3, 13)


def test_shares_are_counted_in_what_the_containers_ask_for():
    small, large = two_cores(
        a_pool(waiting=99, service=LONG), a_pool(waiting=99, service=LONG, cpu=0.5)
    )

    assert (small.start, large.start) == (8, 2)


def test_a_pool_that_asks_for_memory_shares_by_memory():
    lean, fat = decide(
        seen(
            a_pool(waiting=99, service=LONG, memory=100),
            a_pool(waiting=99, service=LONG, memory=400),
            cores=100,
            memory=1_600,
        )
    )

    assert (lean.start, fat.start) == (8, 2)


def test_min_is_granted_before_need_and_need_before_buffer():
    floors, needs, buffers = two_cores(
        a_pool(min_containers=8),
        a_pool(waiting=99, service=LONG),
        a_pool(busy("a"), buffer_containers=9),
    )

    assert (floors.start, needs.start, buffers.start) == (8, 7, 0)


def test_a_late_pool_takes_the_place_of_the_idle_part_and_then_of_busy_containers():
    early = a_pool(*several(busy, 14, 3.0), *several(idle, 2), waiting=99, service=LONG)
    late = a_pool(waiting=5, service=LONG)

    first, second = two_cores(early, late)

    assert second.start == 5
    assert first.stop == ("idle-000", "idle-001", "busy-000", "busy-001", "busy-002")
    assert first.desired == 11
    assert first.reason == "99 waiting and 14 busy need 113, the machine has room for 11"


def test_a_pool_with_nothing_gets_one_container_even_of_a_machine_that_mins_fill():
    full = a_pool(*several(busy, 16), min_containers=16)
    late = a_pool(waiting=5, service=LONG)

    first, second = two_cores(full, late)

    assert second.start == 1
    assert first.stop == ("busy-000",)


def test_a_pool_over_its_share_keeps_what_it_has_while_nobody_lacks_anything():
    # A container whose input waits for a nested call gives its share back, and takes it again.
    (decision,) = two_cores(a_pool(*several(busy, 20), waiting=99, service=LONG))

    assert decision.stop == ()
    assert decision.limiting == "machine"


def test_idle_containers_take_no_cpu_from_others():
    resting = a_pool(*several(idle, 16))
    hungry = a_pool(waiting=99, service=LONG)

    first, second = two_cores(resting, hungry)

    assert first.stop == ()
    assert second.start == 16


def test_idle_containers_make_room_when_another_pool_needs_their_memory():
    resting = a_pool(idle("new", 1), idle("old", 9), idle("older", 10))
    hungry = a_pool(waiting=4, service=LONG)

    first, second = two_cores(resting, hungry, memory=5 * 128)

    assert first.stop == ("older", "old")
    assert first.limiting == "machine"
    assert first.reason == "2 idle make room for others, 0 waiting and 0 busy need 0"
    assert (second.desired, second.start) == (4, 2)
    assert second.reason == "4 waiting and 0 busy need 4, 2 of them when there is room"


def test_the_longest_idle_of_all_pools_makes_room():
    resting = [a_pool(idle("a", 8), idle("b", 3)), a_pool(idle("c", 9), idle("d", 2))]
    hungry = a_pool(waiting=2, service=LONG)

    first, second, third = two_cores(*resting, hungry, memory=4 * 128)

    assert (first.stop, second.stop) == (("a",), ("c",))
    assert third.desired == 2


def test_what_a_pool_lacks_is_asked_of_one_of_those_over_their_share_and_not_of_each():
    rich = a_pool(*several(busy, 12), waiting=99, service=LONG)
    poor = a_pool(waiting=2, service=LONG)

    first, second, _ = two_cores(rich, rich, poor)

    assert (len(first.stop), len(second.stop)) == (2, 0)


def test_what_a_pool_lacks_is_asked_for_once():
    rich = a_pool(*several(busy, 20), waiting=99, service=LONG)
    poor = a_pool(waiting=2, service=LONG)
    snapshot = seen(rich, poor, cores=2, memory=20 * 128)
    decisions = decide(snapshot)
    assert [len(decision.stop) for decision in decisions] == [2, 0]
    assert decisions[1].start == 1

    later = decide(carried_out(snapshot, decisions))

    assert [len(decision.stop) for decision in later] == [0, 0]


def test_memory_is_not_given_out_twice_while_containers_leave():
    hungry = a_pool(*several(leaving, 3), waiting=4, service=LONG)

    (decision,) = two_cores(hungry, memory=5 * 128)

    assert (decision.desired, decision.start) == (5, 2)


def test_what_one_pool_starts_is_not_free_for_the_next_one():
    gone = tuple(replace(container, draining=True) for container in several(idle, 4))
    hungry = a_pool(waiting=4, service=LONG)

    decisions = two_cores(hungry, hungry, a_pool(*gone), memory=8 * 128)

    assert [decision.start for decision in decisions] == [4, 1, 0]
    assert decisions[1].reason == "4 waiting and 0 busy need 4, 3 of them when there is room"


@pytest.mark.parametrize(
    "memory", [ROOMY, 16 * 128], ids=["cores are short", "memory is short too"]
)
def test_a_chain_of_waiting_parents_always_gets_one_more_container(memory):
    (decision,) = two_cores(
        a_pool(*several(held_up, 16), waiting=1, service=LONG, cpu=2.0), memory=memory
    )

    assert decision.start == 1


def test_a_waiting_chain_gets_one_at_a_time_beyond_the_memory():
    chain = a_pool(*several(held_up, 16), starting("next"), waiting=9, service=LONG)

    (decision,) = two_cores(chain, memory=16 * 128)

    assert (decision.start, decision.stop) == (0, ())


def test_a_waiting_chain_ends_at_max():
    (decision,) = two_cores(a_pool(*several(held_up, 4), waiting=1, max_containers=4))

    assert (decision.start, decision.desired) == (0, 4)


def test_parents_that_wait_leave_their_cpu_to_their_children():
    parents = a_pool(*several(held_up, 16), waiting=99, service=LONG)
    children = a_pool(waiting=16, service=LONG)

    above, below = two_cores(parents, children)

    assert (above.start, below.start) == (8, 8)


def test_single_use_containers_never_outgrow_the_machine():
    (decision,) = two_cores(a_pool(*several(leaving, 16), waiting=99, single_use=True))

    assert decision.start == 0


# --------------------------------------------------------------------------------- in a small world


class World:
    """A machine that does what the planner says, in steps of 10 ms; for one pool."""

    def __init__(self, service: float, start_time: float = 0.05, cores: float = 2) -> None:
        self.service, self.start_time, self.cores = service, start_time, cores
        self.tick = 0
        self.waiting = 0
        self.measured: float | None = None
        self.containers: dict[str, list[float | None]] = {}
        self.started = 0
        self.most = 0
        self.changes: list[int] = []
        self.last_active = float("-inf")
        self.last_lowered = 0.0

    @property
    def now(self) -> float:
        return NOW + self.tick / 100

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            self._work()
            self._plan()
            self.tick += 1

    def _work(self) -> None:
        """Each container is [when it is ready, when its input is done or None, when last used]."""
        for state in self.containers.values():
            ready, done, _ = state
            room = 0.01
            while ready is not None and ready <= self.now and room > 0:
                if done is not None and done > self.now:
                    break
                if done is not None:
                    self.measured = self.service
                    state[2], self.last_active = self.now, self.now
                    done = None
                if not self.waiting:
                    break
                self.waiting -= 1
                room -= self.service
                done = self.now + self.service if self.service > 0.01 else self.now
            state[1] = done

    def _plan(self) -> None:
        views = tuple(
            ContainerView(
                name,
                ready=ready is not None and ready <= self.now,
                held=int(done is not None),
                waiting=False,
                last_used=used or 0.0,
                running=0.0 if done is None else max(0.0, self.now - (done - self.service)),
            )
            for name, (ready, done, used) in self.containers.items()
        )
        pool = a_pool(
            *views,
            waiting=self.waiting,
            service=self.measured,
            start_time=self.start_time,
            last_active=self.last_active,
            last_lowered=self.last_lowered,
        )
        (decision,) = decide(Snapshot(self.now, (pool,), self.cores, ROOMY))
        for name in decision.stop:
            del self.containers[name]
        for _ in range(decision.start):
            self.started += 1
            ready = self.now + self.start_time
            self.containers[f"ta-{self.started}"] = [ready, None, ready]
        if decision.stop:
            self.last_lowered = self.now
        if decision.stop or decision.start:
            self.changes.append(decision.start - len(decision.stop))
        self.most = max(self.most, len(self.containers))


def test_a_thousand_tiny_inputs_are_done_by_as_many_containers_as_cores():
    world = World(service=TINY)
    world.waiting = 1_000
    world.run(2)

    assert world.waiting == 0
    assert world.started == 2


def test_a_hundred_sleeping_inputs_fill_the_machine_within_a_quarter_of_a_second():
    world = World(service=LONG)
    world.waiting = 100
    world.run(0.25)

    assert len(world.containers) == 16


def test_a_burst_starts_each_container_once_and_lets_it_go_once():
    world = World(service=LONG)
    world.waiting = 100
    world.run(90)

    ups = [change for change in world.changes if change > 0]
    assert sum(ups) == 16
    assert world.changes == ups + [change for change in world.changes if change < 0]
    assert world.containers == {}


# --------------------------------------------------------------------------------------------- laws

counts = st.integers(0, 5)
moments = st.sampled_from([0.0, 1.0, 5.0, 20.0, 59.0, 60.0, 100.0]).map(lambda ago: NOW - ago)


@st.composite
def views(draw: st.DrawFn) -> ContainerView:
    kind = draw(st.sampled_from(["starting", "idle", "busy", "held up", "leaving", "left"]))
    working = kind in ("busy", "held up", "leaving")
    slots = draw(st.sampled_from([1, 4, 10]))
    return ContainerView(
        container_id=f"ta-{draw(st.integers(0, 2**40))}",
        ready=kind != "starting",
        held=draw(st.integers(1, slots)) if working else 0,
        waiting=kind == "held up" or (working and draw(st.booleans())),
        last_used=draw(moments),
        draining=kind in ("leaving", "left"),
        running=draw(st.sampled_from([0.0, 1e-5, 0.03, 0.2, 9.0])) if working else 0.0,
        slots=slots,
    )


@st.composite
def settings(draw: st.DrawFn) -> AutoscalerSettings:
    least = draw(counts)
    return AutoscalerSettings(
        min_containers=least,
        max_containers=draw(st.none() | st.integers(max(1, least), 9)),
        buffer_containers=draw(counts),
        scaledown_window=draw(st.sampled_from([2, 20, 60])),
    )


pools = st.builds(
    PoolSnapshot,
    pool=st.sampled_from(["fu-1@1", "fu-2@1"]),
    settings=settings(),
    live=st.booleans(),
    waiting=st.sampled_from([0, 0, 1, 2, 7, 1_000]),
    service=st.sampled_from([None, 0.0, TINY, SHORT, 0.06, LONG]),
    start_time=st.sampled_from([0.0, 0.05, 2.0]),
    last_active=moments | st.just(float("-inf")),
    cpu=st.sampled_from([0.125, 0.1, 0.5, 1.0]),
    memory=st.sampled_from([16, 128, 500]),
    containers=st.lists(views(), max_size=8, unique_by=lambda c: c.container_id).map(tuple),
    single_use=st.booleans(),
    target=st.sampled_from([1, 1, 3, 10]),
    alone=st.booleans(),
    blocked_until=st.sampled_from([0.0, NOW + 1]),
    last_lowered=moments,
)
snapshots = st.builds(
    Snapshot,
    now=st.just(NOW),
    pools=st.lists(pools, min_size=1, max_size=3).map(tuple),
    cores=st.sampled_from([1.0, 2.0, 16.0]),
    memory=st.sampled_from([512, 2_048, 100_000]),
)


def reach(pool: PoolSnapshot) -> int:
    """The first container of a pool that can work is granted whatever the room."""
    return 1 + sum(c.busy and c.waiting for c in pool.containers)


@given(snapshots)
def test_a_decision_that_is_carried_out_is_not_made_again(snapshot):
    after = carried_out(snapshot, decide(snapshot), gone=False)

    assert [(d.start, d.stop) for d in decide(after)] == [(0, ())] * len(after.pools)


@given(snapshots)
def test_what_leaves_is_replaced_by_nothing_but_what_waits_for_its_place(snapshot):
    first = decide(snapshot)
    second = decide(carried_out(snapshot, first))

    for before, after in zip(first, second, strict=True):
        assert after.stop == ()
        assert after.start <= max(0, before.desired - before.current - before.start)


@given(snapshots)
def test_max_is_never_exceeded_and_nothing_starts_above_it(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        limit = pool.settings.max_containers
        if limit is not None:
            assert decision.desired <= limit
            assert len(serving(pool)) - len(decision.stop) <= limit
            assert not decision.start or len(pool.containers) + decision.start <= limit


@given(pools)
def test_min_is_kept_by_every_live_pool_that_can_start_containers(pool):
    decision = decided(replace(pool, blocked_until=0.0))

    if pool.live:
        assert decision.desired >= pool.settings.min_containers


@given(snapshots, st.integers(0, 2_000))
def test_more_waiting_inputs_never_mean_fewer_containers(snapshot, more):
    first, *others = snapshot.pools
    crowded = replace(snapshot, pools=(replace(first, waiting=first.waiting + more), *others))

    before, after = decide(snapshot)[0], decide(crowded)[0]

    assert after.desired >= before.desired
    assert len(after.stop) <= len(before.stop)


@given(snapshots)
def test_no_busy_container_is_stopped_while_an_idle_one_stays(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        stopped_busy = any(c.busy and c.container_id in decision.stop for c in pool.containers)
        idle_left = [c for c in serving(pool) if not c.busy and c.container_id not in decision.stop]

        assert not (stopped_busy and idle_left)
        assert not stopped_busy or decision.limiting in ("max", "machine")


@given(snapshots)
def test_only_containers_that_are_there_and_stay_are_stopped_and_each_once(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        assert len(set(decision.stop)) == len(decision.stop)
        assert set(decision.stop) <= {c.container_id for c in serving(pool)}
        assert not (decision.start and decision.stop)


@given(snapshots)
def test_a_pool_with_inputs_and_no_container_gets_one_at_once(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        if pool.waiting and not pool.containers and not pool.blocked_until:
            assert decision.start >= 1


@given(snapshots)
def test_whoever_waits_for_a_nested_call_never_keeps_the_last_inputs_from_running(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        stuck = all(
            c.busy and c.waiting and c.held >= min(c.slots, pool.target) for c in pool.containers
        )
        limit = pool.settings.max_containers
        if pool.waiting and stuck and not pool.blocked_until and limit is None:
            assert decision.start >= 1
            assert not decision.stop


@given(snapshots)
def test_no_memory_is_given_out_twice(snapshot):
    decisions = decide(snapshot)
    beyond_first = [
        pool
        for pool, decision in zip(snapshot.pools, decisions, strict=True)
        if decision.start and current(pool) + decision.start > reach(pool)
    ]
    used = sum(
        pool.memory * (len(pool.containers) + decision.start)
        for pool, decision in zip(snapshot.pools, decisions, strict=True)
    )
    granted = sum(
        pool.memory * decision.start
        for pool, decision in zip(snapshot.pools, decisions, strict=True)
        if pool not in beyond_first
    )

    assert not beyond_first or used - granted <= snapshot.memory


@given(snapshots)
def test_nothing_starts_for_a_pool_whose_starts_failed(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        assert not (pool.blocked_until and decision.start)


@given(snapshots)
def test_retired_pools_keep_no_idle_container_that_their_inputs_do_not_need(snapshot):
    for pool, decision in zip(snapshot.pools, decide(snapshot), strict=True):
        if not pool.live and not pool.waiting:
            spare = {c.container_id for c in serving(pool) if not c.busy}
            assert spare <= set(decision.stop)


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.sampled_from([1.0, 2.0, 4.0]),
)
def test_pools_alike_get_max_min_fair_shares(wants, cores):
    alike = [a_pool(waiting=want, service=LONG) for want in wants]

    got = [decision.desired for decision in decide(seen(*alike, cores=cores))]

    assert sum(got) == min(sum(wants), max(round(cores / 0.125), len(wants)))
    for want, have in zip(wants, got, strict=True):
        if have < want:
            assert max(got) <= have + 1


@given(snapshots)
def test_a_stored_snapshot_replays_to_the_same_decisions(snapshot):
    stored = json.dumps(snapshot.to_json(), allow_nan=False)
    replayed = Snapshot.from_json(json.loads(stored))

    assert replayed == snapshot
    assert decide(replayed) == decide(snapshot)


def test_a_snapshot_of_a_newer_writer_is_read_without_what_it_added():
    data = seen(a_pool(idle("a"))).to_json()
    data["pools"][0] |= {"mood": "good"}
    data["pools"][0]["containers"][0] |= {"colour": "red"}
    data["pools"][0]["settings"] |= {"target": 3}

    assert Snapshot.from_json(data) == seen(a_pool(idle("a")))
